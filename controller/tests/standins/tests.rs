//! A stand-in that accepts anything would prove nothing: each variable, dropped or wrong, is a point that it names.

use jsonwebtoken::{EncodingKey, Header};

use crate::{api, auth, realtime, storage, variables::Variables};

const SECRET: &str = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0";
const PASSWORD: &str = "0123456789abcdef0123456789abcdef";
const FOREIGN: &str = "another-secret-that-is-long-enough-too";

type Judge = fn(&Variables) -> Vec<String>;

fn key(secret: &str, role: &str) -> String {
    let claims = serde_json::json!({ "role": role, "iss": "supabase", "iat": 1, "exp": 4_000_000_000_u64 });
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn url(role: &str) -> String {
    format!("postgres://{role}:{PASSWORD}@db:5432/postgres")
}

fn good_auth() -> Variables {
    Variables::from([
        ("GOTRUE_DB_DRIVER", "postgres"),
        ("GOTRUE_DB_DATABASE_URL", &url("supabase_auth_admin")),
        ("API_EXTERNAL_URL", "http://127.0.0.1:5500"),
        ("GOTRUE_SITE_URL", "http://127.0.0.1:5500"),
        ("GOTRUE_JWT_SECRET", SECRET),
        ("GOTRUE_API_HOST", "0.0.0.0"),
        ("GOTRUE_API_PORT", "9999"),
        ("GOTRUE_MAILER_URLPATHS_INVITE", "/auth/v1/verify"),
        ("GOTRUE_MAILER_URLPATHS_CONFIRMATION", "/auth/v1/verify"),
        ("GOTRUE_MAILER_URLPATHS_RECOVERY", "/auth/v1/verify"),
        ("GOTRUE_MAILER_URLPATHS_EMAIL_CHANGE", "/auth/v1/verify"),
        ("GOTRUE_JWT_AUD", "authenticated"),
        ("GOTRUE_JWT_DEFAULT_GROUP_NAME", "authenticated"),
        ("GOTRUE_RATE_LIMIT_HEADER", "X-Real-IP"),
        ("GOTRUE_DB_MAX_POOL_SIZE", "10"),
    ])
}

fn good_api() -> Variables {
    Variables::from([
        ("PGRST_DB_URI", &*url("authenticator")),
        ("PGRST_DB_SCHEMAS", "public,storage"),
        ("PGRST_DB_EXTRA_SEARCH_PATH", "public,extensions"),
        ("PGRST_DB_MAX_ROWS", "1000"),
        ("PGRST_DB_ANON_ROLE", "anon"),
        ("PGRST_JWT_SECRET", SECRET),
        ("PGRST_ADMIN_SERVER_PORT", "3001"),
    ])
}

fn good_realtime() -> Variables {
    Variables::from([
        ("DB_HOST", "db"),
        ("DB_PORT", "5432"),
        ("DB_NAME", "postgres"),
        ("DB_USER", "supabase_admin"),
        ("DB_PASSWORD", PASSWORD),
        ("DB_AFTER_CONNECT_QUERY", "SET search_path TO _realtime"),
        ("DB_ENC_KEY", "0123456789abcdef"),
        ("API_JWT_SECRET", SECRET),
        ("SECRET_KEY_BASE", &"k".repeat(64)),
        ("ERL_AFLAGS", "-proto_dist inet_tcp"),
        ("DNS_NODES", "''"),
        ("RLIMIT_NOFILE", ""),
        ("APP_NAME", "realtime"),
        ("SEED_SELF_HOST", "true"),
        ("RUN_JANITOR", "true"),
    ])
}

fn good_storage() -> Variables {
    Variables::from([
        ("DATABASE_URL", &*url("supabase_storage_admin")),
        ("AUTH_JWT_SECRET", SECRET),
        ("FILE_SIZE_LIMIT", "52428800"),
        ("STORAGE_BACKEND", "file"),
        ("FILE_STORAGE_BACKEND_PATH", "/var/lib/storage"),
        ("TENANT_ID", "abcdefghijklmnopqrst"),
        ("REGION", "local"),
        ("GLOBAL_S3_BUCKET", "objects"),
        ("REQUEST_ALLOW_X_FORWARDED_PATH", "true"),
        ("S3_PROTOCOL_ACCESS_KEY_ID", PASSWORD),
        ("S3_PROTOCOL_ACCESS_KEY_SECRET", &PASSWORD.repeat(2)),
    ])
    .with("ANON_KEY", Some(&key(SECRET, "anon")))
    .with("SERVICE_KEY", Some(&key(SECRET, "service_role")))
}

fn services() -> [(Variables, Judge); 4] {
    [
        (good_auth(), |variables| auth::settings(variables).1),
        (good_api(), |variables| api::settings(variables).1),
        (good_realtime(), |variables| realtime::settings(variables).1),
        (good_storage(), |variables| storage::settings(variables).1),
    ]
}

#[test]
fn what_the_contract_asks_for_is_accepted() {
    for (good, judge) in services() {
        assert_eq!(judge(&good), Vec::<String>::new());
    }
}

#[test]
fn each_variable_that_is_missing_is_named() {
    // Without it GoTrue takes its default port; its probe then finds nobody.
    let optional = ["GOTRUE_API_PORT", "ANON_KEY", "SERVICE_KEY"];
    for (good, judge) in services() {
        for name in good.names().filter(|name| !optional.contains(name)) {
            let unmet = judge(&good.clone().with(name, None));
            assert!(unmet.iter().any(|point| point.contains(name)), "{name}: {unmet:?}");
        }
    }
}

#[test]
fn values_that_do_not_fit_are_named_without_being_shown() {
    let [auth, api, realtime, storage] = services();
    let anon = key(SECRET, "anon");
    let foreign = key(FOREIGN, "service_role");
    for ((good, judge), name, wrong, expected) in [
        (&auth, "GOTRUE_DB_DATABASE_URL", &*url("postgres"), "must be supabase_auth_admin"),
        (
            &auth,
            "GOTRUE_DB_DATABASE_URL",
            "postgres://supabase_auth_admin:a%21b@db:5432/postgres",
            "unescaped",
        ),
        (
            &auth,
            "GOTRUE_DB_DATABASE_URL",
            "postgres://supabase_auth_admin:ab@x:5432/postgres",
            "host must be db",
        ),
        (&auth, "API_EXTERNAL_URL", "${placement.api_url}", "token that nobody replaced"),
        (&auth, "GOTRUE_URI_ALLOW_LIST", "https://a.example,*", "must not be *"),
        (&auth, "GOTRUE_JWT_SECRET", "short-secret-of-25-letters", "at least 32"),
        (&auth, "GOTRUE_SMTP_HOST", "mail.example.com", "GOTRUE_SMTP_ADMIN_EMAIL is not set"),
        (&api, "PGRST_DB_URI", &*url("postgres"), "must be authenticator"),
        (&api, "PGRST_APP_SETTINGS_JWT_SECRET", SECRET, "must not be set"),
        (&api, "PGRST_DB_SCHEMAS", "storage,public", "first is the default"),
        (&realtime, "DB_ENC_KEY", "supabaserealtime", "everybody knows"),
        (&realtime, "DB_ENC_KEY", "0123456789abcdef0", "exactly 16"),
        (&realtime, "DB_USER", "postgres", "DB_USER must be"),
        (&storage, "ANON_KEY", &foreign, "ANON_KEY is no key of the role anon"),
        (&storage, "SERVICE_KEY", &anon, "SERVICE_KEY is no key of the role service_role"),
        (&storage, "TENANT_ID", "stub", "must be the project's ref"),
        (&storage, "DB_INSTALL_ROLES", "true", "DB_INSTALL_ROLES must be false"),
        (&storage, "NODE_ENV", "production", "must not be production"),
    ] {
        let unmet = judge(&good.clone().with(name, Some(wrong)));
        assert!(unmet.iter().any(|point| point.contains(expected)), "{name}: {unmet:?}");
        let shown = unmet.iter().any(|point| point.contains(wrong) && wrong.len() > 20);
        assert!(!shown, "{name} is shown: {unmet:?}");
    }
}
