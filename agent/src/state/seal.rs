//! Seals files on disk, since specs hold a project's secrets. In: bytes and the name they belong to. Out: AES-256-GCM under
//! a key of this node; a changed or renamed file cannot be unsealed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

use crate::fsio;

const KEY_BYTES: usize = 32;
/// First byte of a sealed file: version of the format.
const VERSION: u8 = 1;

/// Why bytes cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// This node did not seal this content under that name.
    #[error("the content was changed, belongs elsewhere, or was sealed under another key")]
    Tampered,
    /// The crypto library failed.
    #[error("the crypto library failed")]
    Crypto,
    /// The key file cannot be used.
    #[error("the sealing key {path} cannot be used: {reason}")]
    Key { path: PathBuf, reason: String },
}

/// Seals and opens with one key.
pub struct Sealer(RandomizedNonceKey);

impl Sealer {
    /// Loads the key file; creates it if it does not exist.
    pub fn open(path: &Path) -> Result<Self, SealError> {
        let key = load_or_create(path)
            .map_err(|error| SealError::Key { path: path.to_owned(), reason: error.to_string() })?;
        RandomizedNonceKey::new(&AES_256_GCM, &key).map(Self).map_err(|_| SealError::Key {
            path: path.to_owned(),
            reason: format!("it must hold {KEY_BYTES} bytes"),
        })
    }

    /// Version, nonce, ciphertext and tag. `name` is bound to the content without being part of it.
    pub fn seal(&self, name: &str, content: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut body = content.to_vec();
        let nonce =
            self.0.seal_in_place_append_tag(associated(name), &mut body).map_err(|_| SealError::Crypto)?;
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + body.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.append(&mut body);
        Ok(sealed)
    }

    /// The content, if it was sealed under `name`.
    pub fn unseal(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (&version, rest) = sealed.split_first().ok_or(SealError::Tampered)?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or(SealError::Tampered)?;
        if version != VERSION {
            return Err(SealError::Tampered);
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Tampered)?;
        let mut body = Zeroizing::new(body.to_vec());
        let length =
            self.0.open_in_place(nonce, associated(name), &mut body).map_err(|_| SealError::Tampered)?.len();
        body.truncate(length);
        Ok(body)
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(..)")
    }
}

fn associated(name: &str) -> Aad<Vec<u8>> {
    Aad::from([b"supalove-agent record ", name.as_bytes()].concat())
}

fn load_or_create(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    match fs::read(path) {
        Ok(key) => Ok(Zeroizing::new(key)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = Zeroizing::new(vec![0; KEY_BYTES]);
            aws_lc_rs::rand::fill(&mut key)
                .map_err(|_| io::Error::other("the system's random source failed"))?;
            fsio::write_atomic(path, &key, 0o600)?;
            Ok(key)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_record_opens_only_unchanged_under_its_name_and_key() {
        let dir = tempfile::tempdir().unwrap();
        let sealer = Sealer::open(&dir.path().join("key")).unwrap();
        let bytes = sealer.seal("a", b"canary").unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"canary"));
        assert_eq!(&**sealer.unseal("a", &bytes).unwrap(), b"canary");
        assert!(sealer.unseal("b", &bytes).is_err());
        for position in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[position] ^= 1;
            assert!(sealer.unseal("a", &changed).is_err(), "byte {position}");
            assert!(sealer.unseal("a", &bytes[..position]).is_err());
        }
        let again = Sealer::open(&dir.path().join("key")).unwrap();
        assert_eq!(&**again.unseal("a", &bytes).unwrap(), b"canary");
        let other = Sealer::open(&dir.path().join("other")).unwrap();
        assert!(other.unseal("a", &bytes).is_err());
        assert_ne!(sealer.seal("a", b"canary").unwrap(), bytes, "nonces are fresh");
    }

    #[test]
    fn a_short_key_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, b"short").unwrap();
        assert!(matches!(Sealer::open(&path), Err(SealError::Key { .. })));
    }
}
