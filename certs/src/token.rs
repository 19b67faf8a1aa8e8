//! Join tokens. One text carries all that a new host needs: which CA to trust, which token this is, and its secret.
//!
//! `slj1.<SHA-256 of the CA, hex>.<token id, 32 hex digits>.<secret, 32 bytes in base64url>`. The controller stores only
//! [`JoinToken::secret_hash`]: the secret has 256 random bits, so a plain SHA-256 cannot be reversed by guessing.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::fingerprint::{CaFingerprint, sha256};

/// First field of a token: kind and version of the format.
pub const TOKEN_PREFIX: &str = "slj1";

/// A token that lets new hosts join one cluster.
pub struct JoinToken {
    ca: CaFingerprint,
    id: Uuid,
    secret: Zeroizing<[u8; 32]>,
}

/// Why a text is not a join token. The messages never repeat the text, which may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The text is empty.
    #[error("the join token is empty: create one with `supalove join-token create`")]
    Empty,
    /// The token has a later version of the format.
    #[error(
        "the join token has another version than {TOKEN_PREFIX}: update this program or create a new token"
    )]
    Version,
    /// The text does not begin as a join token does.
    #[error(
        "this is not a join token, which starts with \"{TOKEN_PREFIX}.\": create one with `supalove join-token create`"
    )]
    Prefix,
    /// The number of fields is wrong: the text was cut off, or joined with another.
    #[error("a join token has 4 fields separated by dots, this has {found}: copy it whole")]
    Fields {
        /// Number of fields found.
        found: usize,
    },
    /// The fingerprint of the CA, the second field, cannot be read.
    #[error(
        "the CA fingerprint of the join token (second field) is not 64 lowercase hex digits: copy it whole"
    )]
    Ca,
    /// The token's id, the third field, cannot be read.
    #[error("the id of the join token (third field) is not 32 lowercase hex digits: copy it whole")]
    Id,
    /// The secret, the fourth field, cannot be read.
    #[error("the secret of the join token (fourth field) is not 43 characters of base64url: copy it whole")]
    Secret,
    /// The system's random source failed.
    #[error("the system's random source failed: no join token can be created until it works")]
    Random,
}

impl JoinToken {
    /// Creates a token with a new secret for the fleet of `ca`. `id` is the controller's name for it.
    pub fn generate(ca: CaFingerprint, id: Uuid) -> Result<Self, TokenError> {
        let mut secret = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(secret.as_mut_slice()).map_err(|_| TokenError::Random)?;
        Ok(Self { ca, id, secret })
    }

    /// The only CA that the joining agent trusts.
    pub fn ca(&self) -> CaFingerprint {
        self.ca
    }

    /// The token's id; not secret.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// SHA-256 of the secret, to be stored.
    pub fn secret_hash(&self) -> [u8; 32] {
        sha256(self.secret.as_slice())
    }

    /// True if the stored hash is that of this token's secret. Compares in constant time.
    pub fn verify_hash(&self, stored: &[u8]) -> bool {
        verify_slices_are_equal(&self.secret_hash(), stored).is_ok()
    }
}

/// The full text with the secret: show it once, never log it.
impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(self.secret.as_slice()));
        write!(f, "{TOKEN_PREFIX}.{}.{}.{}", self.ca, self.id.simple(), *secret)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("ca", &self.ca)
            .field("id", &self.id)
            .field("secret", &"[redacted]")
            .finish()
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    /// Reads a token; white space around it, as left by copying, is ignored.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        check_prefix(text)?;
        let fields: Vec<&str> = text.split('.').collect();
        let [_, ca, id, secret] = fields[..] else {
            return Err(TokenError::Fields { found: fields.len() });
        };
        Ok(Self {
            ca: ca.parse().map_err(|_| TokenError::Ca)?,
            id: parse_id(id)?,
            secret: parse_secret(secret)?,
        })
    }
}

fn check_prefix(text: &str) -> Result<(), TokenError> {
    match text.split('.').next() {
        None | Some("") if text.is_empty() => Err(TokenError::Empty),
        Some(TOKEN_PREFIX) => Ok(()),
        Some(prefix) if is_other_version(prefix) => Err(TokenError::Version),
        _ => Err(TokenError::Prefix),
    }
}

fn is_other_version(prefix: &str) -> bool {
    prefix
        .strip_prefix("slj")
        .is_some_and(|version| !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()))
}

fn parse_id(text: &str) -> Result<Uuid, TokenError> {
    let id = Uuid::try_parse(text).map_err(|_| TokenError::Id)?;
    // `Uuid` reads several spellings; a token has one.
    if id.simple().to_string() == text { Ok(id) } else { Err(TokenError::Id) }
}

fn parse_secret(text: &str) -> Result<Zeroizing<[u8; 32]>, TokenError> {
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Secret)?);
    let secret = bytes.as_slice().try_into().map_err(|_| TokenError::Secret)?;
    Ok(Zeroizing::new(secret))
}
