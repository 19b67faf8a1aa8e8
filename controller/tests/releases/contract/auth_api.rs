//! auth and api: §2, §5, §6, §12.

use super::table::{Contract, Need, Probe, Variable, fits, if_set, is, is_positive, is_url, unset};

/// supabase/gotrue.
pub const AUTH: Contract = Contract {
    service: "auth",
    image: "supabase/gotrue:v2.184.0",
    launch: "LAUNCH_IMAGE_DEFAULT",
    aliases: &[],
    port: None,
    volumes: &[],
    variables: &[
        is("§5.1", &["GOTRUE_DB_DRIVER"], &["postgres"]),
        Variable {
            section: "§5.1",
            names: &["GOTRUE_DB_DATABASE_URL", "DATABASE_URL"],
            need: Need::Login("supabase_auth_admin", "postgres_password"),
        },
        // Public origin, or the newest way with the path; the mail paths below fit both.
        is("§5.1", &["API_EXTERNAL_URL"], &["{public}", "{public}/auth/v1"]),
        fits("§5.1", &["GOTRUE_SITE_URL"], "an absolute URL", is_url),
        is("§5.1", &["GOTRUE_JWT_SECRET"], &["{jwt_secret}"]),
        is("§5.1", &["GOTRUE_API_HOST"], &["0.0.0.0"]),
        // The default is 8081.
        is("§5.1", &["GOTRUE_API_PORT", "PORT"], &["9999"]),
        Variable {
            section: "§5.1",
            names: &["GOTRUE_URI_ALLOW_LIST"],
            need: Need::UnsetOrFits("not *", |list| {
                !list.contains('\u{1}') && list.split(',').all(|one| !matches!(one.trim(), "*" | "**"))
            }),
        },
        if_set("§5.1", &["GOTRUE_DISABLE_SIGNUP"], &["false"]),
        if_set("§5.1", &["GOTRUE_JWT_ADMIN_ROLES"], &["service_role", "service_role,supabase_admin"]),
        is("§5.1", &["GOTRUE_JWT_AUD"], &["authenticated"]),
        is("§5.1", &["GOTRUE_JWT_DEFAULT_GROUP_NAME"], &["authenticated"]),
        is("§5.1", &["GOTRUE_JWT_EXP"], &["3600"]),
        if_set("§5.1", &["GOTRUE_JWT_ISSUER"], &["{public}/auth/v1"]),
        // §11.2: not before the newer keys exist.
        unset("§11.2", &["GOTRUE_JWT_KEYS"]),
        if_set("§5.1", &["GOTRUE_EXTERNAL_EMAIL_ENABLED"], &["true"]),
        if_set("§5.1", &["GOTRUE_EXTERNAL_PHONE_ENABLED"], &["false"]),
        if_set("§5.1", &["GOTRUE_EXTERNAL_ANONYMOUS_USERS_ENABLED"], &["false"]),
        // §16: not to be repeated.
        if_set("§5.1", &["GOTRUE_MAILER_AUTOCONFIRM"], &["false"]),
        if_set("§5.1", &["GOTRUE_SMS_AUTOCONFIRM"], &["false"]),
        if_set("§5.1", &["GOTRUE_MAILER_ALLOW_UNVERIFIED_EMAIL_SIGN_INS"], &["false"]),
        is("§5.1", &["GOTRUE_MAILER_URLPATHS_INVITE"], &["/auth/v1/verify"]),
        is("§5.1", &["GOTRUE_MAILER_URLPATHS_CONFIRMATION"], &["/auth/v1/verify"]),
        is("§5.1", &["GOTRUE_MAILER_URLPATHS_RECOVERY"], &["/auth/v1/verify"]),
        is("§5.1", &["GOTRUE_MAILER_URLPATHS_EMAIL_CHANGE"], &["/auth/v1/verify"]),
        // Behind a proxy; without it limits per address are off or shared.
        is("§5.1", &["GOTRUE_RATE_LIMIT_HEADER"], &["X-Real-IP", "X-Forwarded-For"]),
        // §4.6: the connection budget.
        is("§5.1", &["GOTRUE_DB_MAX_POOL_SIZE"], &["10"]),
        if_set("§5.1", &["DB_NAMESPACE"], &["auth"]),
    ],
    files: &[],
    probe: Probe::Http(9999, &["/health"], "", 90),
    depends_on: &["postgres"],
    users: &["", "1000", "1000:1000"],
    capabilities: (&[], &[]),
    new_privileges: false,
    stop_signals: &["", "SIGTERM", "SIGINT"],
    least_grace: 1,
    least_memory_mib: 40,
};

/// postgrest/postgrest.
pub const API: Contract = Contract {
    service: "api",
    image: "postgrest/postgrest:v12.2.3",
    launch: "LAUNCH_IMAGE_DEFAULT",
    aliases: &["rest"],
    // §6.2: never publish 3001, nor is 3000 to be: only the gateway is.
    port: None,
    volumes: &[],
    variables: &[
        Variable {
            section: "§6.1",
            names: &["PGRST_DB_URI"],
            need: Need::Login("authenticator", "postgres_password"),
        },
        is("§6.1", &["PGRST_DB_SCHEMAS"], &["public,storage,graphql_public"]),
        is("§6.1", &["PGRST_DB_EXTRA_SEARCH_PATH"], &["public,extensions", "public"]),
        is("§6.1", &["PGRST_DB_MAX_ROWS"], &["1000"]),
        is("§6.1", &["PGRST_DB_ANON_ROLE"], &["anon"]),
        is("§6.1", &["PGRST_JWT_SECRET"], &["{jwt_secret}"]),
        if_set("§6.1", &["PGRST_DB_USE_LEGACY_GUCS"], &["false"]),
        // It would be readable by SQL.
        unset("§6.1", &["PGRST_APP_SETTINGS_JWT_SECRET"]),
        if_set("§6.1", &["PGRST_APP_SETTINGS_JWT_EXP"], &["3600"]),
        Variable {
            section: "§6.1",
            names: &["PGRST_DB_POOL"],
            need: Need::UnsetOrFits("a number", is_positive),
        },
        is("§6.1", &["PGRST_ADMIN_SERVER_PORT"], &["3001"]),
        if_set("§6.1", &["PGRST_OPENAPI_SERVER_PROXY_URI"], &["{public}/rest/v1"]),
        if_set("§6.1", &["PGRST_DB_CHANNEL_ENABLED"], &["true"]),
        if_set("§2", &["PGRST_SERVER_PORT"], &["3000"]),
    ],
    files: &[],
    // No shell and no `--ready` in this tag: only from outside.
    probe: Probe::Http(3001, &["/ready"], "", 60),
    depends_on: &["postgres"],
    users: &["", "1000", "1000:1000"],
    capabilities: (&[], &[]),
    new_privileges: false,
    stop_signals: &["", "SIGTERM", "SIGINT"],
    least_grace: 1,
    least_memory_mib: 60,
};
