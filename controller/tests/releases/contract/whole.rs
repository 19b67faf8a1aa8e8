//! What holds for the stack as a whole: where secrets are and are not, that no two projects share one, that no known
//! default of the official files is in it, and the form of keys (§3, §11, §16).

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use super::{
    rendered::{Project, REF},
    table::contracts,
};

/// §3: who gets which secret, in a variable or a file.
const CONSUMERS: [(&str, &[&str]); 14] = [
    ("postgres_password", &["api", "auth", "postgres", "realtime", "storage"]),
    // Architecture §7: the tenant's own role; functions connect as it.
    ("tenant_db_password", &["functions", "postgres"]),
    ("jwt_secret", &["api", "auth", "functions", "realtime", "storage"]),
    ("anon_key", &["functions", "gateway", "storage"]),
    ("service_role_key", &["functions", "gateway", "storage"]),
    ("secret_key_base", &["realtime"]),
    ("db_enc_key", &["realtime"]),
    ("metrics_jwt_secret", &["realtime"]),
    ("s3_access_key_id", &["storage"]),
    ("s3_secret_access_key", &["storage"]),
    // The database speaks TLS from the next release on.
    ("db_ca_key", &[]),
    ("db_ca_certificate", &[]),
    ("db_certificate", &[]),
    ("db_certificate_key", &[]),
];

/// Constants of the official files that are public, so no secrets (§3, §7.1, §11.1, §16).
const KNOWN_DEFAULTS: [&str; 6] = [
    "supabaserealtime",
    "supabase-demo",
    "your-super-secret",
    "UpNVntn3cDxHJpq99YMc1T1AQgQpc8kfYTuRgBiYa15BLrx8etQoXz3gZv1/u2oq",
    "this_password_is_insecure",
    "super-secret-jwt-token",
];

/// A text as a gateway's regular expression has it.
fn escaped(text: &str) -> String {
    text.replace('.', "\\.")
}

#[test]
fn secrets_are_where_they_are_used_and_nowhere_else() {
    let project = Project::render();
    for (name, consumers) in CONSUMERS {
        let secret = &project.secrets[name];
        let holders: BTreeSet<&str> = contracts()
            .iter()
            .map(|contract| contract.service)
            .filter(|service| {
                let texts = project.texts(service);
                texts.iter().any(|(_, text)| text.contains(secret) || text.contains(&escaped(secret)))
            })
            .collect();
        let beyond: Vec<_> = holders.iter().filter(|one| !consumers.contains(one)).collect();
        assert!(beyond.is_empty(), "{name} is also in {beyond:?}");
        // The metrics' secret is optional at this version.
        let needs_none = consumers.is_empty() || name == "metrics_jwt_secret";
        assert!(!holders.is_empty() || needs_none, "nobody gets {name}");
    }
    assert_eq!(CONSUMERS.len(), project.secrets.len(), "a secret that the table does not know");
}

#[test]
fn no_file_of_the_database_and_no_setting_of_it_holds_a_secret() {
    let project = Project::render();
    let texts = project.texts("postgres");
    for (place, text) in texts.iter().filter(|(place, _)| place.contains(" file ")) {
        for (name, secret) in &project.secrets {
            assert!(!text.contains(secret), "{name} in {place}");
        }
        assert!(!text.to_lowercase().contains("jwt_secret"), "{place} (§4.4: leave jwt_secret out)");
    }
    // §15, §4.5: only what the seven services need of the official files.
    for other in ["97-_supabase", "99-logs", "99-pooler"] {
        assert!(texts.iter().all(|(place, _)| !place.contains(other)), "{other}");
    }
}

#[test]
fn two_projects_share_no_secret() {
    let one = Project::render();
    let other = Project::render();
    for (name, secret) in &one.secrets {
        assert_ne!(secret, &other.secrets[name], "{name}");
        assert!(secret.len() >= 16, "{name}");
    }
    let mut differing = 0;
    for contract in contracts() {
        let texts = other.texts(contract.service);
        for (place, text) in one.texts(contract.service) {
            let (_, same) = texts.iter().find(|(one, _)| *one == place).unwrap();
            differing += usize::from(text != *same);
            for (name, secret) in &one.secrets {
                assert!(!same.contains(secret), "{name} of another project in {place}");
            }
        }
    }
    assert!(differing >= CONSUMERS.len(), "only {differing} texts differ");
}

#[test]
fn nothing_known_to_everybody_is_in_it() {
    let project = Project::render();
    for contract in contracts() {
        for (place, text) in project.texts(contract.service) {
            for known in KNOWN_DEFAULTS {
                assert!(!text.contains(known), "{known} in {place}");
            }
            assert!(!place.ends_with(" env POSTGRES_USER"), "{place}");
            assert!(!text.contains("{{") && !text.contains("{%"), "{place} is not rendered");
        }
    }
}

/// Only the gateway, and the database on loopback: §2, §6.2 (3001), §7.2 (5369).
#[test]
fn two_ports_are_published() {
    let project = Project::render();
    let ports: BTreeSet<_> = project
        .spec
        .services
        .iter()
        .flat_map(|service| service.ports.iter().map(|port| (service.name.as_str(), port.container_port)))
        .collect();
    assert_eq!(ports, BTreeSet::from([("gateway", 8000), ("postgres", 5432)]));
}

#[test]
fn every_name_on_the_network_is_one_services() {
    let project = Project::render();
    let mut seen = BTreeSet::new();
    for service in &project.spec.services {
        for name in service.aliases.iter().chain([&service.name]) {
            assert!(seen.insert(name), "{name} twice");
        }
    }
}

#[test]
fn every_volume_is_one_services() {
    let project = Project::render();
    let mounts = project.spec.services.iter().flat_map(|service| &service.volume_mounts);
    let mounted: Vec<&str> = mounts.map(|mount| mount.volume.as_str()).collect();
    let distinct: BTreeSet<&str> = mounted.iter().copied().collect();
    assert_eq!(distinct.len(), mounted.len(), "{mounted:?}");
    let made: BTreeSet<&str> = project.spec.volumes.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(made, distinct);
}

/// Read-only unless the release says why not; whoever may not write has somewhere to.
#[test]
fn no_container_is_without_limits() {
    for service in &Project::render().spec.services {
        let limits = service.limits.as_ref().unwrap();
        let bounds = [limits.cpu_millis, limits.memory_mib, limits.pids];
        assert!(bounds.iter().all(|bound| *bound > 0), "{}: {limits:?}", service.name);
    }
}

/// §7.1: the limit is left to the engine if the variable is empty.
#[test]
fn realtime_has_its_open_files() {
    let project = Project::render();
    let realtime = project.service("realtime");
    let soft = realtime.env.iter().find(|one| one.name == "RLIMIT_NOFILE").unwrap();
    let hard = realtime.limits.as_ref().unwrap().open_files;
    let wanted = soft.value.parse().unwrap_or(10_000);
    assert!(hard >= wanted, "RLIMIT_NOFILE {:?}, open_files {hard}", soft.value);
}

/// §3: formats that services or SQL depend on.
#[test]
fn secrets_have_the_form_that_their_users_expect() {
    let secrets = Project::render().secrets;
    let is_hex =
        |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    for (name, length) in [
        ("postgres_password", 32),
        ("tenant_db_password", 32),
        ("db_enc_key", 16),
        ("s3_access_key_id", 32),
        ("s3_secret_access_key", 64),
    ] {
        assert!(is_hex(&secrets[name], length), "{name}");
    }
    assert!(secrets["jwt_secret"].len() >= 32);
    assert_eq!(secrets["secret_key_base"].len(), 64);
}

/// §11.1: signed with the secret's text as it is; no kid; ten years; the project's ref.
#[test]
fn api_keys_are_what_the_services_verify() {
    let secrets = Project::render().secrets;
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_aud = false;
    let key = DecodingKey::from_secret(secrets["jwt_secret"].as_bytes());
    for (name, role) in [("anon_key", "anon"), ("service_role_key", "service_role")] {
        let token = &secrets[name];
        let claims = jsonwebtoken::decode::<serde_json::Value>(token, &key, &validation).unwrap().claims;
        assert_eq!((&claims["role"], &claims["iss"]), (&role.into(), &"supabase".into()));
        assert_eq!(claims["ref"], REF);
        let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert!((3650..=3653).contains(&(life / 86_400)), "{life} s");
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
        assert_eq!(header, serde_json::json!({"alg": "HS256", "typ": "JWT"}));
    }
}
