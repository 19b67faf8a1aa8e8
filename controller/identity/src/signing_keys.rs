//! The keys that sign access tokens: one signs, the next one is known before it begins, and the last one is known until its
//! tokens have ended. So a change of keys refuses nobody, on any replica and for any reader of the key set.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{Ed25519KeyPair, KeyPair as _},
};
use axum::{
    Router,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use supalove_core::{
    Core, Write,
    error::{Error, Result},
    hints::Hint,
    ids::{SessionId, UserId},
    jobs::Run,
    vault::{Scope, columns::SealedColumn},
};
use zeroize::Zeroizing;

use crate::{store, tokens::TokenSigner};

/// Age at which a key is replaced.
const LIFE: TimeDelta = TimeDelta::days(30);
/// How long a key is known before it signs: caches of the key set and replicas that lost a hint have learned it by then.
const NOTICE: Duration = Duration::from_mins(15);
/// How long readers may keep the key set.
const CACHED: &str = "public, max-age=300";

/// A key as this replica knows it.
struct Key {
    id: String,
    public: Vec<u8>,
    signs_at: DateTime<Utc>,
    retires_at: Option<DateTime<Utc>>,
    signer: TokenSigner,
}

/// All keys that sign, will, or have signed tokens that still live. Newest first.
#[derive(Default)]
pub struct SigningKeys(RwLock<Arc<Vec<Key>>>);

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKeys")
    }
}

/// A key that was made.
#[derive(Debug, Clone)]
pub struct Made {
    pub id: String,
    pub signs_at: DateTime<Utc>,
}

impl SigningKeys {
    /// Reads the keys; the first replica makes the first one.
    pub async fn open(core: &Core) -> Result<Self> {
        let keys = Self::default();
        keys.load(core).await?;
        if keys.known().is_empty() {
            let mut write = core.system_write("identity.open");
            replace(core, &mut write, Duration::ZERO, Some(lasts(core))).await?;
            write.commit([Hint::SigningKeys]).await?;
            keys.load(core).await?;
        }
        Ok(keys)
    }

    /// Reads the keys again.
    pub async fn load(&self, core: &Core) -> Result<()> {
        let mut keys = Vec::new();
        for row in store::signing_keys::list(&core.db).await? {
            let private = core.vault.open(scope(&row.id), &row.sealed).map_err(Error::internal)?;
            keys.push(Key {
                signer: TokenSigner::from_pkcs8(&row.id, &private)?,
                id: row.id,
                public: row.public_key,
                signs_at: row.signs_at,
                retires_at: row.retires_at,
            });
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(())
    }

    fn known(&self) -> Arc<Vec<Key>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Signs an access token of a session.
    pub fn sign(
        &self,
        user: UserId,
        session: SessionId,
        now: DateTime<Utc>,
        end: DateTime<Utc>,
    ) -> Result<String> {
        let known = self.known();
        let key = known.iter().find(|key| key.signs_at <= now && key.retires_at.is_none_or(|end| now < end));
        // A clock that is behind finds only keys that begin later.
        let key = key.or(known.last()).ok_or_else(|| Error::internal("there is no signing key"))?;
        key.signer.sign(user, session, now, end)
    }

    /// Verifies an access token and returns its session.
    pub fn verify(&self, token: &str) -> Result<SessionId> {
        let id = TokenSigner::key_id(token)?;
        let now = Utc::now();
        let known = self.known();
        let key = known.iter().find(|key| key.id == id && key.retires_at.is_none_or(|end| now < end));
        key.ok_or_else(TokenSigner::unknown_key)?.signer.verify(token)
    }

    /// The public keys, as RFC 7517 and RFC 8037 write them.
    fn set(&self) -> serde_json::Value {
        let now = Utc::now();
        let known = self.known();
        let live = known.iter().filter(|key| key.retires_at.is_none_or(|end| now < end));
        let keys: Vec<_> = live
            .map(|key| {
                json!({
                    "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(&key.public),
                    "kid": key.id, "alg": "EdDSA", "use": "sig",
                })
            })
            .collect();
        json!({ "keys": keys })
    }

    /// `/.well-known/jwks.json`.
    pub fn routes(self: &Arc<Self>) -> Router {
        let keys = self.clone();
        let answer = move || async move {
            ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, CACHED)], keys.set().to_string())
        };
        Router::new().route("/.well-known/jwks.json", get(answer))
    }
}

/// Makes the next key when the newest one is old, and deletes retired ones. A job.
pub async fn rotate(core: Core, _run: Run) -> Result<()> {
    let newest = store::signing_keys::list(&core.db).await?.into_iter().next();
    if newest.is_none_or(|newest| newest.signs_at + LIFE < Utc::now()) {
        let mut write = core.system_write("identity.rotate_signing_key");
        let made = replace(&core, &mut write, NOTICE, Some(lasts(&core))).await?;
        write.audit("AuthService/RotateSigningKey", &made.id);
        write.commit([Hint::SigningKeys]).await?;
        tracing::info!(key = made.id, signs_at = %made.signs_at, "made the next key of access tokens");
    }
    let mut write = core.system_write("identity.rotate_signing_key");
    store::signing_keys::prune(&mut write).await?;
    write.commit([]).await
}

/// How long tokens of a key live after it has stopped to sign.
fn lasts(core: &Core) -> Duration {
    core.times.access_token + Duration::from_mins(1)
}

/// Stores a new key in place of the others: in a quarter of an hour, so that nobody notices, or at once, so that all tokens of
/// before are refused.
pub async fn replace_by_call(core: &Core, write: &mut impl Write, at_once: bool) -> Result<Made> {
    if at_once {
        replace(core, write, Duration::ZERO, None).await
    } else {
        replace(core, write, NOTICE, Some(lasts(core))).await
    }
}

async fn replace(
    core: &Core,
    write: &mut impl Write,
    notice: Duration,
    others_live: Option<Duration>,
) -> Result<Made> {
    let private = generate()?;
    let pair = Ed25519KeyPair::from_pkcs8(&private).map_err(|e| Error::internal(e.to_string()))?;
    let public_key = pair.public_key().as_ref();
    let id = thumbprint(public_key);
    let sealed = core.vault.seal(scope(&id), &private).map_err(Error::internal)?;
    let new = store::signing_keys::New { id: &id, sealed: &sealed, public_key, notice, others_live };
    let signs_at = store::signing_keys::replace(write, &new).await?;
    Ok(Made { id, signs_at })
}

/// PKCS#8.
fn generate() -> Result<Zeroizing<Vec<u8>>> {
    let key = Ed25519KeyPair::generate().map_err(Error::internal)?;
    let document = key.to_pkcs8v1().map_err(Error::internal)?;
    Ok(Zeroizing::new(document.as_ref().to_vec()))
}

/// RFC 7638, with the members of RFC 8037 in lexicographic order.
fn thumbprint(public: &[u8]) -> String {
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(public));
    URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes()))
}

/// Sealed values of signing keys.
pub const SEALED: &[SealedColumn] = &[SealedColumn {
    table: "signing_keys",
    column: "sealed",
    kind: "signing-key",
    id: "id",
    name: "'private'",
    version: "1",
}];

fn scope(id: &str) -> Scope<'_> {
    Scope { kind: "signing-key", id, name: "private", version: 1 }
}

#[cfg(test)]
mod tests {
    use supalove_proto::v1::ErrorReason;

    use super::*;

    /// Keys that begin and end after so many minutes, the newest first.
    fn keys(times: &[(i64, Option<i64>)]) -> SigningKeys {
        let at = |minutes| Utc::now() + TimeDelta::minutes(minutes);
        let make = |(signs, retires): &(i64, Option<i64>)| {
            let private = generate().unwrap();
            let public = Ed25519KeyPair::from_pkcs8(&private).unwrap().public_key().as_ref().to_vec();
            let id = thumbprint(&public);
            Key {
                signer: TokenSigner::from_pkcs8(&id, &private).unwrap(),
                id,
                public,
                signs_at: at(*signs),
                retires_at: retires.map(at),
            }
        };
        SigningKeys(RwLock::new(Arc::new(times.iter().map(make).collect())))
    }

    fn sign(keys: &SigningKeys) -> String {
        let now = Utc::now();
        keys.sign(UserId::generate(), SessionId::generate(), now, now + TimeDelta::minutes(15)).unwrap()
    }

    #[test]
    fn the_thumbprint_is_that_of_the_standard() {
        // RFC 8037, appendix A.3.
        let public = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        assert_eq!(thumbprint(&public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn the_newest_key_that_has_begun_signs_and_all_that_live_verify() {
        let keys = keys(&[(10, None), (-100, Some(30)), (-200, Some(-1))]);
        let [next, present, retired] = &keys.known()[..] else { panic!() };
        let token = sign(&keys);
        assert_eq!(TokenSigner::key_id(&token).unwrap(), present.id);
        keys.verify(&token).unwrap();
        let now = Utc::now();
        let by = |key: &Key| {
            key.signer
                .sign(UserId::generate(), SessionId::generate(), now, now + TimeDelta::minutes(1))
                .unwrap()
        };
        keys.verify(&by(next)).unwrap();
        let refused = keys.verify(&by(retired)).unwrap_err();
        assert!(matches!(refused, Error::Unauthenticated { reason: ErrorReason::AccessTokenExpired, .. }));
        let set = keys.set();
        let listed: Vec<_> =
            set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
        assert_eq!(listed, [&next.id, &present.id], "a retired key is not in the set");
        assert_eq!(set["keys"][0]["x"].as_str().unwrap().len(), 43);
    }
}
