//! Envelope encryption of secrets at rest.
//!
//! The vault seals each value with a random data key of its own (AES-256-GCM) and wraps the data key with the master
//! key, which is outside the database. The associated data of both names the place of the value, so that nobody can
//! open a sealed value that was copied to another row.
//!
//! Sealed form: `version (1) | nonce (12) | wrapped data key (32 + 16) | nonce (12) | ciphertext + tag (16)`.

use std::{fmt, fs, path::Path};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const KEY_LEN: usize = 32;
const TAG_LEN: usize = 16;
const WRAPPED_LEN: usize = NONCE_LEN + KEY_LEN + TAG_LEN;

/// Errors of the vault.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key file cannot be read.
    #[error("cannot read the master key file {path}; create one with: head -c 32 /dev/urandom | base64")]
    Unreadable {
        /// Path of the file.
        path: String,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// Not 32 bytes in base64.
    #[error("the master key must be 32 bytes in base64")]
    BadKey,
    /// Wrong key, wrong place, or changed bytes.
    #[error("cannot open a sealed value of {0}: wrong master key or damaged data")]
    DoesNotOpen(String),
    /// The cryptographic provider failed.
    #[error("sealing failed")]
    Seal,
}

/// The place of a sealed value.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Kind of the owner, e.g. "platform" or "project".
    pub kind: &'a str,
    /// Id of the owner.
    pub id: &'a str,
    /// Name of the value.
    pub name: &'a str,
    /// Version of the value.
    pub version: u64,
}

impl Scope<'_> {
    /// Encodes the scope with length prefixes, so that no two scopes have equal bytes.
    fn associated_data(&self) -> Vec<u8> {
        let mut data = Vec::new();
        for part in [self.kind, self.id, self.name] {
            data.extend_from_slice(&(part.len() as u64).to_be_bytes());
            data.extend_from_slice(part.as_bytes());
        }
        data.extend_from_slice(&self.version.to_be_bytes());
        data
    }
}

/// Seals and opens values under one master key.
#[derive(Clone)]
pub struct Vault {
    master: Zeroizing<[u8; KEY_LEN]>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

impl Vault {
    /// Reads the master key from a file: 32 bytes in base64.
    pub fn from_file(path: &Path) -> Result<Self, VaultError> {
        let text = fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|source| VaultError::Unreadable { path: path.display().to_string(), source })?;
        Self::from_base64(text.trim())
    }

    /// Creates a vault from a master key in base64.
    pub fn from_base64(text: &str) -> Result<Self, VaultError> {
        let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| VaultError::BadKey)?);
        let master = <[u8; KEY_LEN]>::try_from(bytes.as_slice()).map_err(|_| VaultError::BadKey)?;
        Ok(Self { master: Zeroizing::new(master) })
    }

    /// Returns a fingerprint of a secret that tells whether two are the same, and nothing to who lacks the master key.
    pub fn fingerprint(&self, secret: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.master.as_ref());
        let key = hmac::sign(&key, b"fingerprints");
        let fingerprint = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()), secret);
        STANDARD.encode(fingerprint.as_ref())
    }

    /// Seals a value for a place.
    pub fn seal(&self, scope: Scope<'_>, plaintext: &[u8]) -> Result<Vec<u8>, VaultError> {
        let aad = scope.associated_data();
        let mut data_key = Zeroizing::new([0u8; KEY_LEN]);
        aws_lc_rs::rand::fill(data_key.as_mut()).map_err(|_| VaultError::Seal)?;
        let mut sealed = Vec::with_capacity(1 + WRAPPED_LEN + NONCE_LEN + plaintext.len() + TAG_LEN);
        sealed.push(VERSION);
        encrypt(&self.master, &aad, data_key.as_ref(), &mut sealed)?;
        encrypt(&data_key, &aad, plaintext, &mut sealed)?;
        Ok(sealed)
    }

    /// Opens a value that was sealed for this place.
    pub fn open(&self, scope: Scope<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let refused = || VaultError::DoesNotOpen(format!("{} {}", scope.kind, scope.name));
        let aad = scope.associated_data();
        let (version, rest) = sealed.split_first().ok_or_else(refused)?;
        if *version != VERSION || rest.len() < WRAPPED_LEN {
            return Err(refused());
        }
        let (wrapped, body) = rest.split_at(WRAPPED_LEN);
        let data_key = decrypt(&self.master, &aad, wrapped).ok_or_else(refused)?;
        let data_key = <[u8; KEY_LEN]>::try_from(data_key.as_slice()).map_err(|_| refused())?;
        decrypt(&Zeroizing::new(data_key), &aad, body).ok_or_else(refused)
    }
}

fn cipher(key: &[u8; KEY_LEN]) -> Result<LessSafeKey, VaultError> {
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new).map_err(|_| VaultError::Seal)
}

fn encrypt(key: &[u8; KEY_LEN], aad: &[u8], plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), VaultError> {
    let mut nonce = [0u8; NONCE_LEN];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| VaultError::Seal)?;
    let mut body = plaintext.to_vec();
    cipher(key)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut body)
        .map_err(|_| VaultError::Seal)?;
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&body);
    Ok(())
}

fn decrypt(key: &[u8; KEY_LEN], aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, body) = sealed.split_at_checked(NONCE_LEN)?;
    let mut body = Zeroizing::new(body.to_vec());
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let length = cipher(key).ok()?.open_in_place(nonce, Aad::from(aad), &mut body).ok()?.len();
    body.truncate(length);
    Some(body)
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Scope<'_> = Scope { kind: "project", id: "a", name: "jwt", version: 1 };

    fn vault(byte: u8) -> Vault {
        Vault::from_base64(&STANDARD.encode([byte; 32])).unwrap()
    }

    #[test]
    fn a_value_opens_only_with_its_key_at_its_place() {
        let sealed = vault(1).seal(HERE, b"secret").unwrap();
        assert_eq!(vault(1).open(HERE, &sealed).unwrap().as_slice(), b"secret");
        assert!(vault(2).open(HERE, &sealed).is_err());
        for elsewhere in [
            Scope { kind: "platform", ..HERE },
            Scope { id: "b", ..HERE },
            Scope { name: "jwt2", ..HERE },
            Scope { version: 2, ..HERE },
        ] {
            assert!(vault(1).open(elsewhere, &sealed).is_err(), "{elsewhere:?}");
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let sealed = vault(1).seal(HERE, b"secret").unwrap();
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert!(vault(1).open(HERE, &changed).is_err(), "byte {i}");
        }
        for cut in 0..sealed.len() {
            assert!(vault(1).open(HERE, &sealed[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn the_same_value_never_seals_to_the_same_bytes() {
        assert_ne!(vault(1).seal(HERE, b"x").unwrap(), vault(1).seal(HERE, b"x").unwrap());
    }

    #[test]
    fn a_fingerprint_belongs_to_a_secret_and_a_master_key() {
        assert_eq!(vault(1).fingerprint(b"x"), vault(1).fingerprint(b"x"));
        assert_ne!(vault(1).fingerprint(b"x"), vault(1).fingerprint(b"y"));
        assert_ne!(vault(1).fingerprint(b"x"), vault(2).fingerprint(b"x"));
    }

    #[test]
    fn a_short_master_key_is_refused() {
        assert!(Vault::from_base64("c2hvcnQ=").is_err());
    }
}
