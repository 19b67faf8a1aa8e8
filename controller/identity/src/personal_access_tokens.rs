//! Personal access tokens: `sbp_` and 40 hex digits, as hosted Supabase has them. 32 of them are random, the others a MAC under
//! a key of the platform: what is no token of ours costs the database nothing. The database stores hashes of tokens.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    hmac::{self, HMAC_SHA256},
};
use chrono::{DateTime, Utc};
use supalove_core::{
    error::{Error, Result},
    ids::PersonalAccessTokenId,
};
use zeroize::Zeroizing;

const PREFIX: &str = "sbp_";
/// Random bytes: a plain hash is enough, and nobody guesses them.
const RANDOM: usize = 16;
const MAC_DIGITS: usize = 8;
/// Separates these MACs from all others.
const DOMAIN: &[u8] = b"supalove personal access token v1";

/// Makes and reads tokens.
pub struct Tokens(hmac::Key);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

/// A token in clear text.
pub struct Secret(Zeroizing<String>);

impl Tokens {
    /// Generates a key.
    pub fn generate_key() -> Result<Zeroizing<Vec<u8>>> {
        let mut key = Zeroizing::new(vec![0u8; 32]);
        aws_lc_rs::rand::fill(key.as_mut()).map_err(Error::internal)?;
        Ok(key)
    }

    /// Uses a key.
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(HMAC_SHA256, key))
    }

    pub fn generate(&self) -> Result<Secret> {
        let mut bytes = Zeroizing::new([0u8; RANDOM]);
        aws_lc_rs::rand::fill(bytes.as_mut()).map_err(Error::internal)?;
        let random = hex(bytes.as_ref());
        let mac = self.mac(&random);
        Ok(Secret(Zeroizing::new(format!("{PREFIX}{}{mac}", *random))))
    }

    /// Reads the bearer token of a call; `None` if it is no token of this platform.
    pub fn read(&self, text: &str) -> Option<Secret> {
        let (random, mac) = text.strip_prefix(PREFIX)?.split_at_checked(2 * RANDOM)?;
        // A forger learns nothing from the time: a right MAC opens nothing without its row.
        (mac == self.mac(random)).then(|| Secret(Zeroizing::new(text.to_owned())))
    }

    fn mac(&self, random: &str) -> String {
        let mac = hmac::sign(&self.0, &[DOMAIN, random.as_bytes()].concat());
        let mut digits = hex(mac.as_ref()).to_string();
        digits.truncate(MAC_DIGITS);
        digits
    }
}

impl Secret {
    /// The hash to store.
    pub fn hash(&self) -> Vec<u8> {
        digest(&SHA256, self.0.as_bytes()).as_ref().to_vec()
    }

    /// The token in clear text, to show it once.
    pub fn reveal(&self) -> String {
        self.0.to_string()
    }
}

fn hex(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// When tokens were used, until a job writes it down: no call waits for that.
#[derive(Debug, Default)]
pub struct Uses(Mutex<BTreeMap<PersonalAccessTokenId, DateTime<Utc>>>);

impl Uses {
    /// Notes that a token is used now.
    pub fn note(&self, token: PersonalAccessTokenId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(token, Utc::now());
    }

    /// Takes what was noted.
    pub fn take(&self) -> BTreeMap<PersonalAccessTokenId, DateTime<Utc>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives back what could not be written; what was noted meanwhile is newer.
    pub fn give_back(&self, uses: BTreeMap<PersonalAccessTokenId, DateTime<Utc>>) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (token, at) in uses {
            noted.entry(token).or_insert(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_form_and_no_other_key_makes_it() {
        let tokens = Tokens::new(&[1; 32]);
        let token = tokens.generate().unwrap();
        let text = token.reveal();
        assert_eq!(text.len(), 44);
        assert_eq!(tokens.read(&text).unwrap().hash(), token.hash());
        assert_ne!(tokens.generate().unwrap().reveal(), text);
        assert!(Tokens::new(&[2; 32]).read(&text).is_none());
        let forged = format!("sbp_{}{}", "0".repeat(32), &text[36..]);
        for wrong in
            ["", "sbp_", &text[1..], &text[..43], &text.to_uppercase(), &format!("{text}0"), &forged, "sbp_ü"]
        {
            assert!(tokens.read(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_use_that_is_given_back_does_not_replace_a_newer_one() {
        let uses = Uses::default();
        let token = PersonalAccessTokenId::generate();
        uses.note(token);
        let old = uses.take();
        assert!(uses.take().is_empty());
        uses.give_back(old.clone());
        assert_eq!(uses.take(), old);
        uses.note(token);
        uses.give_back(old.clone());
        assert_ne!(uses.take(), old);
    }
}
