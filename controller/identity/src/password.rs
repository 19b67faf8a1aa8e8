//! Hashes passwords with Argon2id and OWASP's parameters (19 MiB, t = 2, p = 1), on blocking threads and only a few
//! at a time, so that sign-ins exhaust neither the runtime nor the memory.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use supalove_net::allowance::{Allowance, Full, network};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use supalove_core::error::{Error, Result};

pub const MIN_PASSWORD_CHARS: usize = 10;
/// Maximum length of a password in bytes. A longer one costs time and adds no security.
const MAX_PASSWORD_BYTES: usize = 1024;
/// Maximum number of concurrent hashes.
const PARALLEL: usize = 4;
/// Maximum number of waiting calls. Further calls are refused, so that a flood does not delay everybody.
const WAITING: usize = 64;
/// The same from one address: nobody keeps others from signing in.
const WAITING_PER_ADDRESS: usize = 16;

/// Hashes and checks passwords.
#[derive(Debug, Clone)]
pub struct Passwords {
    waiting: Allowance<IpAddr>,
    running: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            waiting: Allowance::new(WAITING, WAITING_PER_ADDRESS),
            running: Arc::new(Semaphore::new(PARALLEL)),
        }
    }
}

impl Passwords {
    /// Rejects a password that is too short or too long; the error names the field.
    pub fn check_rules(password: &str) -> Result<()> {
        if password.chars().count() < MIN_PASSWORD_CHARS {
            return Err(Error::field(
                "password",
                format!("must have at least {MIN_PASSWORD_CHARS} characters"),
            ));
        }
        if password.len() > MAX_PASSWORD_BYTES {
            return Err(Error::field("password", format!("must have at most {MAX_PASSWORD_BYTES} bytes")));
        }
        Ok(())
    }

    /// Hashes a password for a client; returns the PHC string.
    pub async fn hash(&self, client: Option<IpAddr>, password: String) -> Result<String> {
        let password = Zeroizing::new(password);
        self.run(client, move || {
            let hash = Argon2::default()
                .hash_password(password.as_bytes())
                .map_err(|e| Error::internal(e.to_string()))?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Returns whether a password matches its hash. Without a hash it takes the same time and returns false, so that
    /// the time does not reveal which addresses have accounts.
    pub async fn verify(
        &self,
        client: Option<IpAddr>,
        password: String,
        hash: Option<String>,
    ) -> Result<bool> {
        let password = Zeroizing::new(password);
        if password.len() > MAX_PASSWORD_BYTES {
            return Ok(false);
        }
        self.run(client, move || {
            let Some(hash) = hash else {
                let _ = Argon2::default().hash_password(password.as_bytes());
                return Ok(false);
            };
            let parsed = PasswordHash::new(&hash).map_err(|e| Error::internal(e.to_string()))?;
            Ok(Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok())
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        client: Option<IpAddr>,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let client = network(client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        let _waits = self.waiting.take(client, 1).map_err(|full| match full {
            Full::All(_) => Error::Busy,
            Full::Key(most) => Error::TooMany { what: "sign-ins from your address", most },
        })?;
        let permit = self.running.clone().acquire_owned().await.map_err(Error::internal)?;
        tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        })
        .await
        .map_err(Error::internal)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_only() {
        let passwords = Passwords::default();
        let hash = passwords.hash(None, "correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.verify(None, "correct horse".into(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify(None, "wrong horse".into(), Some(hash)).await.unwrap());
        assert!(!passwords.verify(None, "correct horse".into(), None).await.unwrap());
    }

    #[tokio::test]
    async fn one_address_does_not_take_the_turns_of_others() {
        let passwords = Passwords::default();
        let from = |last| Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)));
        let flood = (0..100).map(|_| passwords.verify(from(1), "wrong horse".into(), None));
        let (flooded, other) = tokio::join!(
            futures::future::join_all(flood),
            passwords.verify(from(2), "wrong horse".into(), None)
        );
        assert!(other.is_ok(), "{other:?}");
        let refused = flooded.iter().filter(|answer| matches!(answer, Err(Error::TooMany { most: 16, .. })));
        assert_eq!(refused.count(), 100 - 16);
    }

    #[test]
    fn short_passwords_are_refused() {
        assert!(Passwords::check_rules("123456789").is_err());
        assert!(Passwords::check_rules("1234567890").is_ok());
    }
}
