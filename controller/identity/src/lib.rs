//! Who: users, passwords, sessions and their tokens.
//!
//! A sign-in makes a session. Its access token is a short JWT that names the session, which is looked up at each call,
//! so that a sign-out works at once. Its refresh token works once.

pub mod api;
#[cfg(test)]
mod fuzz;
mod open;
mod password;
mod rules;
mod setup;
pub mod store;
mod tokens;

use chrono::{DateTime, Utc};
use supalove_proto::v1::ErrorReason;

pub use api::AuthApi;
pub use open::{Identity, open};
pub use password::{MIN_PASSWORD_CHARS, Passwords};
pub use rules::RULES;
pub use setup::ensure_setup_token;
pub use tokens::{Opaque, TokenSigner};

use supalove_core::{
    error::{Error, Result},
    ids::UserId,
};

/// A platform user.
#[derive(Debug, Clone)]
pub struct User {
    /// Id.
    pub id: UserId,
    /// Address, lower case.
    pub email: String,
    /// Name to show.
    pub display_name: String,
    /// Runs the platform.
    pub operator: bool,
    /// When the account was made.
    pub created_at: DateTime<Utc>,
}

/// The session of an access token is over.
pub fn session_ended() -> Error {
    Error::Unauthenticated {
        reason: ErrorReason::SessionEnded,
        message: "the session has ended; sign in again".to_owned(),
    }
}

/// An e-mail address in the form it is stored: trimmed, lower case. Checked only as far as typing errors go; whether
/// mail arrives is another question.
pub fn normalize_email(text: &str) -> Result<String> {
    let email = text.trim().to_lowercase();
    let valid = email.len() <= 254
        && email.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty()
                && domain.len() >= 3
                && domain.contains('.')
                && !domain.contains('@')
                && !domain.starts_with('.')
                && !domain.ends_with('.')
        })
        && !email.chars().any(|c| c.is_whitespace() || c.is_control());
    if valid { Ok(email) } else { Err(Error::field("email", "must be an address like name@example.com")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_stored_in_lower_case_and_typing_errors_are_refused() {
        assert_eq!(normalize_email(" Ada@Example.com ").unwrap(), "ada@example.com");
        for wrong in
            ["", "ada", "ada@", "@example.com", "ada@example", "a da@example.com", "ada@.com", "a@b@c.de"]
        {
            assert!(normalize_email(wrong).is_err(), "{wrong}");
        }
    }
}
