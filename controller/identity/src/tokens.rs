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

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    sid: String,
    iat: i64,
    exp: i64,
}

/// Signs and checks access tokens.
pub struct TokenSigner {
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
    /// Generates a key, PKCS#8.
    pub fn generate_key() -> Result<Zeroizing<Vec<u8>>> {
        let key = Ed25519KeyPair::generate().map_err(Error::internal)?;
        let document = key.to_pkcs8v1().map_err(Error::internal)?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// Uses a PKCS#8 key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(der).map_err(|e| Error::internal(e.to_string()))?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        validation.leeway = 5;
        Ok(Self {
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
            sub: user.to_string(),
            sid: session.to_string(),
            iat: now.timestamp(),
            exp: end.timestamp(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &self.encoding).map_err(Error::internal)
    }

    /// Verifies an access token and returns its session.
    pub fn verify(&self, token: &str) -> Result<SessionId> {
        let data = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation).map_err(|e| {
            let (reason, message) = match e.kind() {
                jsonwebtoken::errors::ErrorKind::ExpiredSignature => (
                    ErrorReason::AccessTokenExpired,
                    "the access token has expired; get a new one with AuthService.Refresh",
                ),
                _ => (ErrorReason::AccessTokenInvalid, "the access token is not valid; sign in again"),
            };
            Error::Unauthenticated { reason, message: message.to_owned() }
        })?;
        data.claims.sid.parse().map_err(|_| Error::Unauthenticated {
            reason: ErrorReason::AccessTokenInvalid,
            message: "the access token is not valid; sign in again".to_owned(),
        })
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

    fn signer() -> TokenSigner {
        TokenSigner::from_pkcs8(&TokenSigner::generate_key().unwrap()).unwrap()
    }

    #[test]
    fn a_token_names_its_session_until_it_ends() {
        let signer = signer();
        let session = SessionId::generate();
        let now = Utc::now();
        let token = signer.sign(UserId::generate(), session, now, now + TimeDelta::minutes(1)).unwrap();
        assert_eq!(signer.verify(&token).unwrap(), session);
        let old = signer.sign(UserId::generate(), session, now, now - TimeDelta::minutes(1)).unwrap();
        assert!(matches!(
            signer.verify(&old),
            Err(Error::Unauthenticated { reason: ErrorReason::AccessTokenExpired, .. })
        ));
    }

    #[test]
    fn a_token_of_another_key_or_algorithm_is_refused() {
        let now = Utc::now();
        let foreign =
            signer().sign(UserId::generate(), SessionId::generate(), now, now + TimeDelta::hours(1)).unwrap();
        assert!(signer().verify(&foreign).is_err());
        let claims =
            serde_json::json!({"iss": ISSUER, "sub": "x", "sid": "y", "iat": 0, "exp": now.timestamp() + 60});
        let hs256 =
            jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(b"x"))
                .unwrap();
        assert!(signer().verify(&hs256).is_err());
    }
}
