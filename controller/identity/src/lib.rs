//! Identity: users, passwords, sessions and their tokens, personal access tokens.
//!
//! A sign-in starts a session. Its access token is a short-lived JWT that names the session. The controller looks the
//! session up at each call, so a sign-out takes effect at once. Its refresh tokens are a [`family`]: each works once.

#![allow(missing_docs, reason = "a room's crate: a comment is written where it says something")]

pub mod api;
mod cookie;
mod family;
#[cfg(test)]
mod fuzz;
pub mod letter;
pub mod limits;
pub mod links;
mod open;
mod password;
mod personal_access_tokens;
mod rules;
mod setup;
mod sign_up;
mod signing_keys;
pub mod store;
mod tokens;

use chrono::{DateTime, Utc};
use supalove_proto::v1::ErrorReason;

pub use api::{AuthApi, PersonalAccessTokenApi};
pub use family::Families;
pub use open::{Identity, open};
pub use password::{MIN_PASSWORD_CHARS, NewPassword, Passwords};
pub use rules::RULES;
pub use setup::{ShowToken, ensure_setup_token};
pub use sign_up::SignUpPolicy;
pub use signing_keys::{SEALED, SigningKeys};
pub use tokens::{Opaque, TokenSigner};

use supalove_core::{
    error::{Error, Result},
    ids::{SessionId, UserId},
    mail::is_address,
};
use supalove_spec::text::is_visible;
use url::Host;

#[derive(Debug, Clone)]
pub struct User {
    pub id: UserId,
    pub email: String,
    pub display_name: String,
    pub operator: bool,
    /// The user has shown that mail to the address arrives.
    pub email_verified: bool,
    /// When the account was created.
    pub created_at: DateTime<Utc>,
}

/// A session as its user sees it.
#[derive(Debug, Clone)]
pub struct Session {
    pub id: SessionId,
    /// The sign-in.
    pub created_at: DateTime<Utc>,
    /// When the newest refresh token was issued.
    pub refreshed_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    /// Client address at the sign-in; empty if unknown.
    pub client: String,
    pub user_agent: String,
}

/// The error for an access token whose session has ended.
pub fn session_ended() -> Error {
    Error::Unauthenticated {
        reason: ErrorReason::SessionEnded,
        message: "the session has ended; sign in again".to_owned(),
    }
}

/// Normalizes an e-mail address: trimmed, lower case, the domain in ASCII, so that one mailbox has one spelling. Checks only for
/// typing errors, not whether the address receives mail.
pub fn normalize_email(text: &str) -> Result<String> {
    let mut email = text.trim().to_lowercase();
    if let Some((local, domain)) = email.rsplit_once('@')
        && let Ok(Host::Domain(ascii)) = Host::parse(domain)
    {
        email = format!("{local}@{ascii}");
    }
    let valid = email.len() <= 254
        && email.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty()
                && domain.len() >= 3
                && domain.contains('.')
                && !domain.contains('@')
                && !domain.starts_with('.')
                && !domain.ends_with('.')
        })
        && !email.chars().any(|c| c.is_whitespace() || !is_visible(c))
        && is_address(&email);
    if valid { Ok(email) } else { Err(Error::field("email", "must be an address like name@example.com")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_stored_in_lower_case_and_typing_errors_are_refused() {
        assert_eq!(normalize_email(" Ada@Example.com ").unwrap(), "ada@example.com");
        assert_eq!(normalize_email("ada@ｅxample.com").unwrap(), "ada@example.com");
        assert_eq!(normalize_email("ada@exämple.com").unwrap(), "ada@xn--exmple-cua.com");
        for wrong in [
            "",
            "ada",
            "ada@",
            "@example.com",
            "ada@example",
            "a da@example.com",
            "ada@.com",
            "a@b@c.de",
            "a..b@example.com",
            "a\u{200b}da@example.com",
        ] {
            assert!(normalize_email(wrong).is_err(), "{wrong}");
        }
    }
}
