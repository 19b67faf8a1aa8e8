//! Refresh tokens of a session: a family of numbered tokens.
//!
//! A token is the session's id, a number, and a MAC over both under a key of the platform. So one row of a session knows all
//! tokens that it ever issued, and a controller can issue the successor of a token a second time: to an honest caller who
//! lost the answer, or to the second of two tabs.

use std::{fmt, time::Duration};

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::Opaque;
use supalove_core::{
    error::{Error, Result},
    ids::SessionId,
};

const ID: usize = 16;
const NUMBER: usize = 8;
const MAC: usize = 32;
/// Separates these MACs from all others.
const DOMAIN: &[u8] = b"supalove refresh token v1";

/// Issues and reads the refresh tokens of all sessions.
pub struct Families(hmac::Key);

impl fmt::Debug for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Families")
    }
}

/// A refresh token that a caller presents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    /// Token of a session, by its number.
    Numbered(SessionId, i64),
    /// Perhaps the first token of a session from before tokens had numbers, by its hash. It counts as number 0.
    Unnumbered(Vec<u8>),
}

/// What a presented token gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The next token, with this number.
    Next(i64),
    /// The same successor as a moment ago, with this number.
    Same(i64),
    /// The end of the session: the token was replaced before, so somebody has a copy.
    Reused,
}

/// Decides on token `presented` of a session whose token `current` works since `age`.
pub fn answer(presented: i64, current: i64, age: Duration, grace: Duration) -> Answer {
    if presented >= current {
        // A greater number is from after the moment to which the database was restored; only we can have issued it.
        Answer::Next(presented.saturating_add(1))
    } else if presented + 1 == current && age < grace {
        Answer::Same(current)
    } else {
        Answer::Reused
    }
}

impl Families {
    /// Generates a key.
    pub fn generate_key() -> Result<Zeroizing<Vec<u8>>> {
        let mut key = Zeroizing::new(vec![0u8; MAC]);
        aws_lc_rs::rand::fill(key.as_mut()).map_err(Error::internal)?;
        Ok(key)
    }

    /// Uses a key.
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(HMAC_SHA256, key))
    }

    /// The token of a session with this number.
    pub fn token(&self, session: SessionId, number: i64) -> Opaque {
        let body = body(session, number);
        let mac = hmac::sign(&self.0, &message(&body));
        let bytes = Zeroizing::new([body.as_slice(), mac.as_ref()].concat());
        Opaque::received(URL_SAFE_NO_PAD.encode(bytes.as_slice()))
    }

    /// Reads a token. One whose MAC is wrong is not ours, unless its hash is known.
    pub fn read(&self, token: &Opaque) -> Presented {
        self.numbered(&token.reveal()).unwrap_or_else(|| Presented::Unnumbered(token.hash()))
    }

    fn numbered(&self, text: &str) -> Option<Presented> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == ID + NUMBER + MAC)?;
        let (body, mac) = bytes.split_at(ID + NUMBER);
        hmac::verify(&self.0, &message(body), mac).ok()?;
        let (id, number) = body.split_at(ID);
        let number = i64::from_be_bytes(number.try_into().ok()?);
        Some(Presented::Numbered(SessionId(Uuid::from_slice(id).ok()?), number))
    }
}

fn body(session: SessionId, number: i64) -> Vec<u8> {
    [session.0.as_bytes().as_slice(), &number.to_be_bytes()].concat()
}

fn message(body: &[u8]) -> Vec<u8> {
    [DOMAIN, body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    #[test]
    fn a_token_names_its_session_and_number_and_no_other_key_issues_it() {
        let families = Families::new(&[1; 32]);
        let session = SessionId::generate();
        let token = families.token(session, 7);
        assert_eq!(families.read(&token), Presented::Numbered(session, 7));
        assert_eq!(families.token(session, 7).reveal(), token.reveal(), "a successor can be issued again");
        assert_ne!(families.token(session, 8).reveal(), token.reveal());
        assert_eq!(Families::new(&[2; 32]).read(&token), Presented::Unnumbered(token.hash()));
        let text = token.reveal();
        for place in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = Opaque::received(String::from_utf8(changed).unwrap());
            assert_eq!(families.read(&changed), Presented::Unnumbered(changed.hash()), "character {place}");
        }
    }

    #[test]
    fn every_old_token_ends_the_session_but_the_last_one_for_a_moment() {
        let now = Duration::ZERO;
        assert_eq!(answer(3, 3, now, GRACE), Answer::Next(4));
        assert_eq!(answer(3, 4, now, GRACE), Answer::Same(4));
        assert_eq!(answer(3, 4, GRACE, GRACE), Answer::Reused);
        assert_eq!(answer(3, 5, now, GRACE), Answer::Reused, "its successor was used");
        assert_eq!(answer(0, 900, now, GRACE), Answer::Reused);
        assert_eq!(answer(5, 3, GRACE, GRACE), Answer::Next(6), "the database is older than the token");
    }
}
