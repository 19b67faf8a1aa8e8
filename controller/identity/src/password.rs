//! Hashes passwords with Argon2id and OWASP's parameters (19 MiB, t = 2, p = 1), on blocking threads and only a few
//! at a time, so that sign-ins exhaust neither the runtime nor the memory. Refuses new ones that are easy to guess.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use supalove_net::allowance::{Allowance, network};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;
use zxcvbn::{Score, feedback::Feedback, zxcvbn};

use supalove_core::{
    counter::Counter,
    error::{Error, Result},
};

pub const MIN_PASSWORD_CHARS: usize = 10;
/// Maximum length of a password in bytes. A longer one costs time and adds no security.
const MAX_PASSWORD_BYTES: usize = 1024;
/// Maximum number of concurrent hashes.
const PARALLEL: usize = 4;
/// Maximum number of waiting calls. Further calls are refused, so that a flood does not delay everybody.
const WAITING: usize = 64;
/// The same from one address: nobody keeps others from signing in.
const WAITING_PER_ADDRESS: usize = 16;

/// zxcvbn's score that a new password needs: 10⁸ guesses or more, out of reach for somebody who can only try to sign in.
const MIN_SCORE: Score = Score::Three;

/// A password that a user chooses.
pub struct NewPassword {
    /// Field of the request, for errors.
    field: &'static str,
    text: Zeroizing<String>,
    /// What anybody knows of the user, and so makes a poor password.
    known: Vec<String>,
}

impl NewPassword {
    /// Rejects one that is too short or too long; the error names the field.
    pub fn new(field: &'static str, text: String, known: &[&str]) -> Result<Self> {
        let text = Zeroizing::new(text);
        if text.chars().count() < MIN_PASSWORD_CHARS {
            return Err(Error::field(field, format!("must have at least {MIN_PASSWORD_CHARS} characters")));
        }
        if text.len() > MAX_PASSWORD_BYTES {
            return Err(Error::field(field, format!("must have at most {MAX_PASSWORD_BYTES} bytes")));
        }
        // zxcvbn compares whole words: so also the parts, and all of them in a row.
        let parts = |text: &str| -> Vec<String> {
            let parts = text.split(|c: char| !c.is_alphanumeric()).filter(|part| part.chars().count() > 2);
            parts.map(str::to_owned).collect()
        };
        let known = known
            .iter()
            .flat_map(|text| [vec![(*text).to_owned(), parts(text).concat()], parts(text)].concat());
        Ok(Self { field, text, known: known.collect() })
    }

    /// Rejects one that is easy to guess. Takes milliseconds.
    fn check_strength(&self) -> Result<()> {
        let known: Vec<&str> = self.known.iter().map(String::as_str).chain(["supalove"]).collect();
        let found = zxcvbn(&self.text, &known);
        if found.score() >= MIN_SCORE {
            return Ok(());
        }
        let why = found.feedback().and_then(Feedback::warning);
        let why = why.map_or_else(|| "it follows a common pattern".to_owned(), |warning| warning.to_string());
        let why = why.trim_end_matches('.');
        Err(Error::field(
            self.field,
            format!("is easy to guess ({why}); take several words, or a random one"),
        ))
    }
}

/// Hashes and checks passwords.
#[derive(Debug, Clone)]
pub struct Passwords {
    waiting: Allowance<IpAddr>,
    running: Arc<Semaphore>,
    hashings: Counter,
}

impl Passwords {
    /// Counts there how often Argon2 runs.
    pub fn new(hashings: Counter) -> Self {
        Self {
            waiting: Allowance::new(WAITING, WAITING_PER_ADDRESS),
            running: Arc::new(Semaphore::new(PARALLEL)),
            hashings,
        }
    }

    /// Hashes a new password for a client if it is hard to guess; returns the PHC string.
    pub async fn hash(&self, client: Option<IpAddr>, password: NewPassword) -> Result<String> {
        self.run(client, move |argon2| {
            password.check_strength()?;
            let hash = argon2
                .get()
                .hash_password(password.text.as_bytes())
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
        self.run(client, move |argon2| {
            let Some(hash) = hash else {
                let _ = argon2.get().hash_password(password.as_bytes());
                return Ok(false);
            };
            let parsed = PasswordHash::new(&hash).map_err(|e| Error::internal(e.to_string()))?;
            Ok(argon2.get().verify_password(password.as_bytes(), &parsed).is_ok())
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        client: Option<IpAddr>,
        work: impl FnOnce(&CountedArgon2) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let client = network(client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        let waits = self.waiting.take(client, 1);
        let _waits = waits.map_err(|full| Error::full(full, "sign-ins from your address"))?;
        let permit = self.running.clone().acquire_owned().await.map_err(Error::internal)?;
        let argon2 = CountedArgon2(self.hashings.clone());
        tokio::task::spawn_blocking(move || {
            let result = work(&argon2);
            drop(permit);
            result
        })
        .await
        .map_err(Error::internal)?
    }
}

/// The only way to Argon2 in this file: each use is counted, also one whose result nobody needs.
struct CountedArgon2(Counter);

impl CountedArgon2 {
    /// For one hash.
    fn get(&self) -> Argon2<'static> {
        self.0.add_one();
        Argon2::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_only() {
        let count = Counter::default();
        let passwords = Passwords::new(count.clone());
        let chosen = NewPassword::new("password", "correct horse".into(), &[]).unwrap();
        let hash = passwords.hash(None, chosen).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.verify(None, "correct horse".into(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify(None, "wrong horse".into(), Some(hash)).await.unwrap());
        assert!(!passwords.verify(None, "correct horse".into(), None).await.unwrap());
        assert_eq!(count.get(), 4, "one for each");
        assert!(!passwords.verify(None, "x".repeat(MAX_PASSWORD_BYTES + 1), None).await.unwrap());
        assert_eq!(count.get(), 4, "none for one that nobody can have");
    }

    #[tokio::test]
    async fn one_address_does_not_take_the_turns_of_others() {
        let passwords = Passwords::new(Counter::default());
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
        assert!(NewPassword::new("password", "123456789".into(), &[]).is_err());
        assert!(NewPassword::new("password", "1234567890".into(), &[]).is_ok());
        assert!(NewPassword::new("password", "x".repeat(MAX_PASSWORD_BYTES + 1), &[]).is_err());
    }

    #[test]
    fn passwords_that_are_easy_to_guess_are_refused_with_the_field_and_why() {
        let known = ["xkrzzq.wvtq@example.com", "Xkrzzq Bnmpf"];
        let check =
            |text: &str| NewPassword::new("new_password", text.into(), &known).unwrap().check_strength();
        for easy in [
            "1234567890",
            "password123",
            "qwertyuiop",
            "xkrzzq.wvtq@example.com",
            "xkrzzqbnmpf",
            "XkrzzqBnmpf",
            "supalovesupalove",
            "aaaaaaaaaaaa",
        ] {
            let Err(Error::Invalid(violations)) = check(easy) else { panic!("{easy} is taken") };
            assert_eq!(violations[0].field, "new_password");
            assert!(violations[0].description.starts_with("is easy to guess ("), "{violations:?}");
        }
        assert!(NewPassword::new("password", "xkrzzqbnmpf".into(), &[]).unwrap().check_strength().is_ok());
        for hard in ["correct-horse-battery", "7f3c0a9d51", "ʇsıɟ ɐ ʇou sı sıɥʇ"] {
            check(hard).unwrap();
        }
        // No input takes long.
        check(&"correct-horse-battery ".repeat(40)).unwrap();
    }
}
