//! The secrets of one project: generated once, sealed by the vault, and passed to the templates.
//!
//! Formats follow the official generator where services depend on them: passwords are hex, because they
//! go unescaped into URLs and SQL; services use the JWT secret as text, without decoding it.

use std::{collections::BTreeMap, fmt};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Months, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use supalove_certs::{BACK_DATED, CaError, DatabaseAuthority, ServerFacts};
use zeroize::Zeroizing;

/// Lifetime of the API keys, as on the hosted platform.
const KEY_MONTHS: Months = Months::new(120);

/// Internal database password: `supabase_admin` and the service roles.
const POSTGRES_PASSWORD: &str = "postgres_password";
/// Password of the tenant's role `postgres`.
const TENANT_DB_PASSWORD: &str = "tenant_db_password";
/// Signs the project's tokens.
const JWT_SECRET: &str = "jwt_secret";
/// API key with the role anon; public by design.
const ANON_KEY: &str = "anon_key";
/// API key with the role service_role; bypasses row-level security.
const SERVICE_ROLE_KEY: &str = "service_role_key";
/// Phoenix cookies of realtime: 64 characters.
const SECRET_KEY_BASE: &str = "secret_key_base";
/// Realtime's AES-128 key: exactly 16 ASCII characters.
const DB_ENC_KEY: &str = "db_enc_key";
const METRICS_JWT_SECRET: &str = "metrics_jwt_secret";
/// The storage service's S3 endpoint.
const S3_ACCESS_KEY_ID: &str = "s3_access_key_id";
/// The storage service's S3 endpoint.
const S3_SECRET_ACCESS_KEY: &str = "s3_secret_access_key";

/// Certificate of the CA of the project's database; public.
const DB_CA_CERTIFICATE: &str = "db_ca_certificate";
/// Private key of that CA. No template gets it.
pub(super) const DB_CA_KEY: &str = "db_ca_key";
/// Certificate that the database presents.
const DB_CERTIFICATE: &str = "db_certificate";
const DB_CERTIFICATE_KEY: &str = "db_certificate_key";

/// Names of the secrets that a reset of the database password replaces.
pub const PASSWORD_SECRETS: &[&str] = &[TENANT_DB_PASSWORD];
/// Names of the secrets that a rotation of the JWT secret replaces.
pub const JWT_SECRETS: &[&str] = &[JWT_SECRET, ANON_KEY, SERVICE_ROLE_KEY];

/// Secrets of which none is new without the others: one is made from the other.
const TOGETHER: [&[&str]; 2] =
    [JWT_SECRETS, &[DB_CA_CERTIFICATE, DB_CA_KEY, DB_CERTIFICATE, DB_CERTIFICATE_KEY]];

/// Names under which every database is reached: on its host, through a tunnel, and by the project's services.
const LOCAL_NAMES: [&str; 4] = ["localhost", "127.0.0.1", "::1", "db"];

const NAMES: [&str; 14] = [
    POSTGRES_PASSWORD,
    TENANT_DB_PASSWORD,
    JWT_SECRET,
    ANON_KEY,
    SERVICE_ROLE_KEY,
    SECRET_KEY_BASE,
    DB_ENC_KEY,
    METRICS_JWT_SECRET,
    S3_ACCESS_KEY_ID,
    S3_SECRET_ACCESS_KEY,
    DB_CA_CERTIFICATE,
    DB_CA_KEY,
    DB_CERTIFICATE,
    DB_CERTIFICATE_KEY,
];

/// Why secrets cannot be generated or assembled.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The operating system gave no random bytes.
    #[error("no random bytes")]
    Random,
    /// An API key cannot be signed.
    #[error("cannot sign an API key")]
    Sign(#[source] jsonwebtoken::errors::Error),
    /// The database's certificate cannot be made or read.
    #[error("the certificate of the project's database")]
    Certificate(#[from] CaError),
    /// A stored secret is missing.
    #[error("the project has no secret '{0}'")]
    Missing(&'static str),
    /// A stored secret has an unknown name.
    #[error("there is no project secret named '{0}'")]
    Unknown(String),
}

/// All secrets of a project by name. Zeroized on drop; `Debug` shows no value.
#[derive(Clone, PartialEq, Eq)]
pub struct ProjectSecrets {
    values: BTreeMap<&'static str, Zeroizing<String>>,
}

impl fmt::Debug for ProjectSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectSecrets").finish_non_exhaustive()
    }
}

impl ProjectSecrets {
    /// Generates new secrets. The API keys contain the ref and are valid for ten years. Like certificates they are
    /// back-dated: services refuse keys from the future, and a host's clock may be behind the controller's.
    pub fn generate(project_ref: &str) -> Result<Self, SecretsError> {
        Self::generate_at(project_ref, Utc::now() - BACK_DATED)
    }

    fn generate_at(project_ref: &str, now: DateTime<Utc>) -> Result<Self, SecretsError> {
        let jwt_secret = base64_of::<30>()?;
        let anon_key = api_key(&jwt_secret, project_ref, "anon", now)?;
        let service_role_key = api_key(&jwt_secret, project_ref, "service_role", now)?;
        let authority = DatabaseAuthority::create(project_ref, now + BACK_DATED)?;
        let certificate = authority.issue(&LOCAL_NAMES, now + BACK_DATED)?;
        let values = BTreeMap::from([
            (POSTGRES_PASSWORD, hex_of::<16>()?),
            (TENANT_DB_PASSWORD, hex_of::<16>()?),
            (JWT_SECRET, jwt_secret),
            (ANON_KEY, anon_key),
            (SERVICE_ROLE_KEY, service_role_key),
            (SECRET_KEY_BASE, base64_of::<48>()?),
            (DB_ENC_KEY, hex_of::<8>()?),
            (METRICS_JWT_SECRET, hex_of::<32>()?),
            (S3_ACCESS_KEY_ID, hex_of::<16>()?),
            (S3_SECRET_ACCESS_KEY, hex_of::<32>()?),
            (DB_CA_CERTIFICATE, authority.cert_pem().to_owned().into()),
            (DB_CA_KEY, authority.key_pem()),
            (DB_CERTIFICATE, certificate.cert_pem.into()),
            (DB_CERTIFICATE_KEY, certificate.key_pem),
        ]);
        Ok(Self { values })
    }

    /// For salts of password verifiers, which the server shows to who wants to log in: from a secret that no project's
    /// service has for itself, so that a salt tells nothing of a password.
    pub(crate) fn salt_key(&self) -> hmac::Key {
        let secret = self.values.get(SECRET_KEY_BASE).map_or("", |value| value.as_str());
        hmac::Key::new(
            hmac::HMAC_SHA256,
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), b"salts of verifiers").as_ref(),
        )
    }

    /// Iterates over all pairs of name and value, sorted by name, for the vault.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// Restores the secrets from the pairs of `iter`.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self, SecretsError>
    where
        N: AsRef<str>,
        V: Into<Zeroizing<String>>,
    {
        let mut values = BTreeMap::new();
        for (name, value) in pairs {
            let name = name.as_ref();
            let known = NAMES.iter().find(|one| **one == name);
            let known = known.ok_or_else(|| SecretsError::Unknown(name.to_owned()))?;
            values.insert(*known, value.into());
        }
        match NAMES.iter().find(|name| !values.contains_key(**name)) {
            None => Ok(Self { values }),
            Some(missing) => Err(SecretsError::Missing(missing)),
        }
    }

    /// Restores stored secrets and generates those that the project has not got yet, because an earlier version did not
    /// know them. Returns the names of the new ones, too. The API keys are never new: they belong to the stored JWT secret.
    /// The database's CA and its certificate are new together or not at all.
    pub fn completed<V>(
        project_ref: &str,
        pairs: impl IntoIterator<Item = (String, V)>,
    ) -> Result<(Self, Vec<&'static str>), SecretsError>
    where
        V: Into<Zeroizing<String>>,
    {
        let mut stored: BTreeMap<String, Zeroizing<String>> =
            pairs.into_iter().map(|(name, value)| (name, value.into())).collect();
        let mut all = Self::generate(project_ref)?;
        let mut new = Vec::new();
        for together in TOGETHER {
            if together.iter().any(|name| stored.contains_key(*name))
                && let Some(missing) = together.iter().find(|name| !stored.contains_key(**name))
            {
                return Err(SecretsError::Missing(missing));
            }
        }
        for (name, value) in &mut all.values {
            match stored.remove(*name) {
                Some(known) => *value = known,
                None if [JWT_SECRET, ANON_KEY, SERVICE_ROLE_KEY].contains(name) => {
                    return Err(SecretsError::Missing(name));
                }
                None => new.push(*name),
            }
        }
        match stored.into_keys().next() {
            Some(unknown) => Err(SecretsError::Unknown(unknown)),
            None => Ok((all, new)),
        }
    }

    /// API key with the role anon; public by design.
    pub fn anon_key(&self) -> &str {
        self.get(ANON_KEY)
    }

    /// API key with the role service_role.
    pub fn service_role_key(&self) -> &str {
        self.get(SERVICE_ROLE_KEY)
    }

    /// Password of the role `postgres`.
    pub fn tenant_db_password(&self) -> &str {
        self.get(TENANT_DB_PASSWORD)
    }

    /// Certificate of the CA of the project's database, for its clients.
    pub fn db_ca_certificate(&self) -> &str {
        self.get(DB_CA_CERTIFICATE)
    }

    /// What the certificate of the project's database says.
    pub fn db_certificate(&self) -> Result<ServerFacts, SecretsError> {
        Ok(ServerFacts::from_pem(self.get(DB_CERTIFICATE))?)
    }

    /// Replaces the database's certificate by one with a new key, for the names of every database and this host. Returns the
    /// names of the secrets that changed.
    pub fn renew_db_certificate(
        &mut self,
        host: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<[&'static str; 2], SecretsError> {
        let mut names = LOCAL_NAMES.to_vec();
        names.extend(host.filter(|host| !LOCAL_NAMES.contains(host)));
        let authority = DatabaseAuthority::load(self.get(DB_CA_CERTIFICATE), self.get(DB_CA_KEY))?;
        let certificate = authority.issue(&names, now)?;
        self.values.insert(DB_CERTIFICATE, certificate.cert_pem.into());
        self.values.insert(DB_CERTIFICATE_KEY, certificate.key_pem);
        Ok([DB_CERTIFICATE, DB_CERTIFICATE_KEY])
    }

    /// Replaces the password of the role `postgres`. Returns the names of the secrets that changed.
    pub fn new_tenant_password(&mut self) -> Result<&'static [&'static str], SecretsError> {
        self.values.insert(TENANT_DB_PASSWORD, hex_of::<16>()?);
        Ok(PASSWORD_SECRETS)
    }

    /// Replaces the secret that signs tokens, and both API keys with it. Returns the names of the secrets that changed.
    pub fn new_jwt_secret(&mut self, project_ref: &str) -> Result<&'static [&'static str], SecretsError> {
        let now = Utc::now() - BACK_DATED;
        let jwt_secret = base64_of::<30>()?;
        self.values.insert(ANON_KEY, api_key(&jwt_secret, project_ref, "anon", now)?);
        self.values.insert(SERVICE_ROLE_KEY, api_key(&jwt_secret, project_ref, "service_role", now)?);
        self.values.insert(JWT_SECRET, jwt_secret);
        Ok(JWT_SECRETS)
    }

    /// Both constructors set every name, so the fallback never occurs.
    fn get(&self, name: &str) -> &str {
        self.values.get(name).map_or("", |value| value.as_str())
    }
}

/// Claims of an API key, as hosted projects have them.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'static str,
    #[serde(rename = "ref")]
    project_ref: &'a str,
    role: &'a str,
    iat: i64,
    exp: i64,
}

fn api_key(
    jwt_secret: &str,
    project_ref: &str,
    role: &str,
    now: DateTime<Utc>,
) -> Result<Zeroizing<String>, SecretsError> {
    let claims = Claims {
        iss: "supabase",
        project_ref,
        role,
        iat: now.timestamp(),
        exp: (now + KEY_MONTHS).timestamp(),
    };
    let key = EncodingKey::from_secret(jwt_secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
        .map(Zeroizing::new)
        .map_err(SecretsError::Sign)
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, SecretsError> {
    let mut bytes = Zeroizing::new([0; N]);
    aws_lc_rs::rand::fill(bytes.as_mut()).map_err(|_| SecretsError::Random)?;
    Ok(bytes)
}

fn hex_of<const N: usize>() -> Result<Zeroizing<String>, SecretsError> {
    Ok(Zeroizing::new(hex::encode(random::<N>()?.as_ref())))
}

fn base64_of<const N: usize>() -> Result<Zeroizing<String>, SecretsError> {
    Ok(Zeroizing::new(STANDARD.encode(random::<N>()?.as_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REF: &str = "abcdefghijklmnopqrst";

    fn claims(key: &str, secret: &str) -> serde_json::Value {
        let key_of = jsonwebtoken::DecodingKey::from_secret(secret.as_bytes());
        let validation = jsonwebtoken::Validation::new(Algorithm::HS256);
        jsonwebtoken::decode(key, &key_of, &validation).unwrap().claims
    }

    #[test]
    fn api_keys_verify_with_the_secret_text_and_carry_role_ref_and_ten_years() {
        let secrets = ProjectSecrets::generate(REF).unwrap();
        for (key, role) in [(secrets.anon_key(), "anon"), (secrets.service_role_key(), "service_role")] {
            let claims = claims(key, secrets.get(JWT_SECRET));
            assert_eq!(claims["role"], role);
            assert_eq!(claims["ref"], REF);
            assert_eq!(claims["iss"], "supabase");
            let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
            assert!((3_652 * 86_400..=3_653 * 86_400).contains(&life));
        }
    }

    #[test]
    fn formats_are_what_the_services_need() {
        let secrets = ProjectSecrets::generate(REF).unwrap();
        let is_hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit());
        assert_eq!(secrets.get(DB_ENC_KEY).len(), 16);
        assert_eq!(secrets.get(SECRET_KEY_BASE).len(), 64);
        assert!(secrets.get(JWT_SECRET).len() >= 32);
        for name in [POSTGRES_PASSWORD, TENANT_DB_PASSWORD] {
            assert_eq!(secrets.get(name).len(), 32);
            assert!(is_hex(secrets.get(name)));
        }
        assert_ne!(secrets.get(POSTGRES_PASSWORD), secrets.get(TENANT_DB_PASSWORD));
    }

    #[test]
    fn secrets_come_back_from_their_pairs() {
        let secrets = ProjectSecrets::generate(REF).unwrap();
        let pairs = || secrets.iter().map(|(name, value)| (name, value.to_owned()));
        assert_eq!(ProjectSecrets::from_pairs(pairs()).unwrap(), secrets);
        assert_eq!(pairs().count(), NAMES.len());

        let without = pairs().filter(|(name, _)| *name != ANON_KEY);
        let error = ProjectSecrets::from_pairs(without).unwrap_err();
        assert!(matches!(error, SecretsError::Missing(ANON_KEY)));

        let with = pairs().chain([("nonsense", String::new())]);
        let error = ProjectSecrets::from_pairs(with).unwrap_err();
        assert!(matches!(error, SecretsError::Unknown(_)));
    }

    #[test]
    fn a_secret_that_an_earlier_version_did_not_know_is_generated_and_the_others_stay() {
        let old = ProjectSecrets::generate(REF).unwrap();
        let stored = || old.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let without = stored().filter(|(name, _)| name != METRICS_JWT_SECRET);
        let (all, new) = ProjectSecrets::completed(REF, without).unwrap();
        assert_eq!(new, [METRICS_JWT_SECRET]);
        for (name, value) in old.iter().filter(|(name, _)| *name != METRICS_JWT_SECRET) {
            assert_eq!(all.get(name), value);
        }
        assert_eq!(all.get(METRICS_JWT_SECRET).len(), 64);
        assert_eq!(ProjectSecrets::completed(REF, stored()).unwrap(), (old.clone(), Vec::new()));
        let without_key = stored().filter(|(name, _)| name != ANON_KEY);
        assert!(matches!(ProjectSecrets::completed(REF, without_key), Err(SecretsError::Missing(ANON_KEY))));
    }

    #[test]
    fn the_databases_certificates_are_new_together_and_renewed_under_the_same_ca() {
        let mut secrets = ProjectSecrets::generate(REF).unwrap();
        let without = |missing: &[&str]| {
            let stored = secrets.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
            ProjectSecrets::completed(REF, stored.filter(|(name, _)| !missing.contains(&name.as_str())))
        };
        let (_, new) = without(TOGETHER[1]).unwrap();
        assert_eq!(new.len(), 4);
        assert!(matches!(without(&[DB_CA_KEY]), Err(SecretsError::Missing(DB_CA_KEY))));

        let before = secrets.clone();
        let changed = secrets.renew_db_certificate(Some("db-1.example.org"), Utc::now()).unwrap();
        let (old, new) = (before.db_certificate().unwrap(), secrets.db_certificate().unwrap());
        assert_ne!(new.serial_hex, old.serial_hex);
        assert_eq!(old.names, LOCAL_NAMES);
        assert_eq!(new.names.last().unwrap(), "db-1.example.org");
        for (name, value) in secrets.iter() {
            assert_eq!(before.get(name) != value, changed.contains(&name), "{name}");
        }
        secrets.renew_db_certificate(Some("127.0.0.1"), Utc::now()).unwrap();
        assert_eq!(secrets.db_certificate().unwrap().names, LOCAL_NAMES);
    }

    #[test]
    fn a_rotation_changes_what_it_names_and_the_new_keys_verify_with_the_new_secret() {
        let mut secrets = ProjectSecrets::generate(REF).unwrap();
        let before = secrets.clone();
        let changed = [secrets.new_tenant_password().unwrap(), secrets.new_jwt_secret(REF).unwrap()].concat();
        assert_eq!(changed.len(), 4);
        for (name, value) in secrets.iter() {
            assert_eq!(before.get(name) != value, changed.contains(&name), "{name}");
        }
        assert_eq!(claims(secrets.anon_key(), secrets.get(JWT_SECRET))["role"], "anon");
        assert_eq!(claims(secrets.service_role_key(), secrets.get(JWT_SECRET))["role"], "service_role");
    }

    #[test]
    fn debug_shows_no_value() {
        let secrets = ProjectSecrets::generate(REF).unwrap();
        let shown = format!("{secrets:?}");
        assert!(secrets.iter().all(|(_, value)| !shown.contains(value)));
    }

    #[test]
    fn two_projects_share_nothing() {
        let one = ProjectSecrets::generate(REF).unwrap();
        let two = ProjectSecrets::generate(REF).unwrap();
        assert!(one.iter().zip(two.iter()).all(|(a, b)| a.1 != b.1));
    }
}
