//! Personal access tokens: `sbp_` and 40 hex digits, as hosted Supabase has them. The database stores their hashes.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use supalove_core::error::{Error, Result};
use zeroize::Zeroizing;

const PREFIX: &str = "sbp_";
/// 160 random bits: a plain hash is enough, and nobody guesses one.
const BYTES: usize = 20;

/// A token in clear text.
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn generate() -> Result<Self> {
        let mut bytes = Zeroizing::new([0u8; BYTES]);
        aws_lc_rs::rand::fill(bytes.as_mut()).map_err(Error::internal)?;
        let mut text = Zeroizing::new(PREFIX.to_owned());
        for byte in *bytes {
            write!(text, "{byte:02x}").map_err(Error::internal)?;
        }
        Ok(Self(text))
    }

    /// Reads the bearer token of a call; `None` if it has another form.
    pub fn from_bearer(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let right =
            digits.len() == 2 * BYTES && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        right.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The hash to store.
    pub fn hash(&self) -> Vec<u8> {
        digest(&SHA256, self.0.as_bytes()).as_ref().to_vec()
    }

    /// The token in clear text, to show it once.
    pub fn reveal(&self) -> String {
        self.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_form() {
        let token = Secret::generate().unwrap();
        let text = token.reveal();
        assert_eq!(text.len(), 44);
        assert_eq!(Secret::from_bearer(&text).unwrap().hash(), token.hash());
        assert_ne!(Secret::generate().unwrap().reveal(), text);
        for wrong in ["", "sbp_", &text[1..], &text[..43], &text.to_uppercase(), &format!("{text}0")] {
            assert!(Secret::from_bearer(wrong).is_none(), "{wrong}");
        }
    }
}
