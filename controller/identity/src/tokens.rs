//! Access tokens (JWT, Ed25519) and opaque tokens (refresh, setup); the database stores only hashes of opaque tokens.

use std::fmt;

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use supalove_proto::v1::ErrorReason;
use zeroize::Zeroizing;

use supalove_core::{
    error::{Error, Result},
    ids::{SessionId, UserId},
};

const ISSUER: &str = "supalove";
/// Tokens for somebody else are refused, whoever signed them.
const AUDIENCE: &str = "supalove-api";
/// How far clocks of replicas may differ, in seconds.
const LEEWAY: u64 = 5;

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    sid: String,
    iat: i64,
    exp: i64,
}

/// Signs and checks access tokens with one key.
pub struct TokenSigner {
    header: Header,
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSigner")
    }
}

impl TokenSigner {
    /// Uses a PKCS#8 key under its id.
    pub fn from_pkcs8(key_id: &str, der: &[u8]) -> Result<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(der).map_err(|e| Error::internal(e.to_string()))?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(key_id.to_owned());
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = LEEWAY;
        Ok(Self {
            header,
            encoding: EncodingKey::from_ed_der(der),
            decoding: DecodingKey::from_ed_der(pair.public_key().as_ref()),
            validation,
        })
    }

    /// Signs an access token of a session.
    pub fn sign(
        &self,
        user: UserId,
        session: SessionId,
        now: DateTime<Utc>,
        end: DateTime<Utc>,
    ) -> Result<String> {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user.to_string(),
            sid: session.to_string(),
            iat: now.timestamp(),
            exp: end.timestamp(),
        };
        jsonwebtoken::encode(&self.header, &claims, &self.encoding).map_err(Error::internal)
    }

    /// The id of the key that a token says to be signed with. Nothing is verified yet.
    pub fn key_id(token: &str) -> Result<String> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| invalid())?;
        // A token of a controller from before keys had ids, or of a stranger.
        header.kid.ok_or_else(Self::unknown_key)
    }

    /// The error for a token of a key that is unknown or retired. A client that holds a refresh token gets another one.
    pub fn unknown_key() -> Error {
        Error::Unauthenticated {
            reason: ErrorReason::AccessTokenExpired,
            message: "the access token is of a key that is not used any more; get a new one with AuthService.Refresh"
                .to_owned(),
        }
    }

    /// Verifies an access token and returns its session.
    pub fn verify(&self, token: &str) -> Result<SessionId> {
        let data = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation).map_err(|e| {
            match e.kind() {
                jsonwebtoken::errors::ErrorKind::ExpiredSignature => Error::Unauthenticated {
                    reason: ErrorReason::AccessTokenExpired,
                    message: "the access token has expired; get a new one with AuthService.Refresh"
                        .to_owned(),
                },
                _ => invalid(),
            }
        })?;
        data.claims.sid.parse().map_err(|_| invalid())
    }
}

fn invalid() -> Error {
    Error::Unauthenticated {
        reason: ErrorReason::AccessTokenInvalid,
        message: "the access token is not valid; sign in again".to_owned(),
    }
}

/// A random token with 256 bits. The caller sees it once; the database stores its hash.
#[derive(Clone)]
pub struct Opaque(Zeroizing<String>);

impl Opaque {
    pub fn generate() -> Result<Self> {
        let mut bytes = Zeroizing::new([0u8; 32]);
        aws_lc_rs::rand::fill(bytes.as_mut()).map_err(Error::internal)?;
        Ok(Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_ref()))))
    }

    /// The same with a prefix that says what it is.
    pub fn with_prefix(prefix: &str) -> Result<Self> {
        Ok(Self(Zeroizing::new(format!("{prefix}{}", Self::generate()?.0.as_str()))))
    }

    /// Wraps a token that a caller sent.
    pub fn received(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Returns the hash to store. A plain SHA-256 is enough for 256 random bits.
    pub fn hash(&self) -> Vec<u8> {
        digest(&SHA256, self.0.as_bytes()).as_ref().to_vec()
    }

    /// Returns the token in clear text, to show it once.
    pub fn reveal(&self) -> String {
        self.0.to_string()
    }
}

impl fmt::Debug for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opaque(…)")
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn key() -> Vec<u8> {
        Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap().as_ref().to_vec()
    }

    fn claims(now: DateTime<Utc>) -> serde_json::Value {
        let (user, session) = (UserId::generate().to_string(), SessionId::generate().to_string());
        serde_json::json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": user, "sid": session, "iat": now.timestamp(), "exp": now.timestamp() + 60,
        })
    }

    #[test]
    fn a_token_names_its_session_until_it_ends() {
        let signer = TokenSigner::from_pkcs8("a", &key()).unwrap();
        let session = SessionId::generate();
        let now = Utc::now();
        let token = signer.sign(UserId::generate(), session, now, now + TimeDelta::minutes(1)).unwrap();
        assert_eq!(signer.verify(&token).unwrap(), session);
        assert_eq!(TokenSigner::key_id(&token).unwrap(), "a");
        let old = signer.sign(UserId::generate(), session, now, now - TimeDelta::minutes(1)).unwrap();
        assert!(matches!(
            signer.verify(&old),
            Err(Error::Unauthenticated { reason: ErrorReason::AccessTokenExpired, .. })
        ));
    }

    #[test]
    fn what_is_not_signed_by_this_key_for_this_platform_is_refused() {
        let der = key();
        let signer = TokenSigner::from_pkcs8("a", &der).unwrap();
        let right = claims(Utc::now());
        let sign = |algorithm, claims: &serde_json::Value, key: &EncodingKey| {
            let header = Header { kid: Some("a".into()), ..Header::new(algorithm) };
            jsonwebtoken::encode(&header, claims, key).unwrap()
        };
        let own = EncodingKey::from_ed_der(&der);
        signer.verify(&sign(Algorithm::EdDSA, &right, &own)).unwrap();

        let mut wrong = vec![sign(Algorithm::EdDSA, &right, &EncodingKey::from_ed_der(&key()))];
        // The public key as the secret of a symmetric algorithm.
        let public = Ed25519KeyPair::from_pkcs8(&der).unwrap().public_key().as_ref().to_vec();
        wrong.push(sign(Algorithm::HS256, &right, &EncodingKey::from_secret(&public)));
        for (claim, value) in [("aud", "another"), ("iss", "another"), ("sid", "no session")] {
            let mut claims = right.clone();
            claims[claim] = value.into();
            wrong.push(sign(Algorithm::EdDSA, &claims, &own));
        }
        for missing in ["aud", "iss", "exp", "sub", "sid"] {
            let mut claims = right.clone();
            claims.as_object_mut().unwrap().remove(missing);
            wrong.push(sign(Algorithm::EdDSA, &claims, &own));
        }
        let part = |json: &serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let none = serde_json::json!({"alg": "none", "typ": "JWT", "kid": "a"});
        wrong.push(format!("{}.{}.", part(&none), part(&right)));
        for token in &wrong {
            let refused = signer.verify(token).unwrap_err();
            assert!(
                matches!(refused, Error::Unauthenticated { reason: ErrorReason::AccessTokenInvalid, .. }),
                "{token}: {refused:?}"
            );
        }
        assert!(TokenSigner::key_id("no token").is_err());
    }
}
