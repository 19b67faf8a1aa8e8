//! Envelope encryption of secrets at rest.
//!
//! The vault seals each value with a random data key of its own (AES-256-GCM) and wraps the data key with the master
//! key, which is outside the database. The associated data of both names the place of the value, so that nobody can
//! open a sealed value that was copied to another row.
//!
//! Sealed form: `header | nonce (12) | ciphertext + tag (16)`, the header being
//! `2 | id of the master key (8) | nonce (12) | wrapped data key (32 + 16)`, or without the id `1 | nonce | wrapped data key`.
//!
//! While the master key is replaced there are two: the vault opens values under both, and [`rotation`] wraps the data keys
//! anew ([`Vault::rewrap`]), which leaves the ciphertext as it is. [`keys`] decides which of the two seals.

pub mod columns;
pub mod keys;
pub mod rotation;

use std::{
    fmt, fs,
    path::Path,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::{SHA256, digest},
    hmac,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// Version of a header without the id of its master key.
const NAMELESS: u8 = 1;
/// Version of a header with the id.
const NAMED: u8 = 2;
const KEY_LEN: usize = 32;
const ID_LEN: usize = 8;
const TAG_LEN: usize = 16;
const WRAPPED_LEN: usize = NONCE_LEN + KEY_LEN + TAG_LEN;
/// The longest header.
pub const HEADER_LEN: usize = 1 + ID_LEN + WRAPPED_LEN;

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
    /// Sealed under a key that this vault does not have.
    #[error(
        "a sealed value of {what} needs the master key {key}, which this controller was not started with: start it with the \
         new key as --master-key-file and the old one as --previous-master-key-file"
    )]
    OtherKey {
        /// Kind and name of the value.
        what: String,
        /// The key.
        key: KeyId,
    },
    /// The new and the previous key are one.
    #[error(
        "--previous-master-key-file has the same key as --master-key-file; make a new key, or leave the option out"
    )]
    SameKey,
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

    fn does_not_open(&self) -> VaultError {
        VaultError::DoesNotOpen(self.to_string())
    }
}

impl fmt::Display for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// Names a master key without telling anything of it: the first bytes of its SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; ID_LEN]);

impl KeyId {
    fn of(key: &[u8; KEY_LEN]) -> Self {
        let hash = Zeroizing::new([&b"supalove master key id v1"[..], key].concat());
        let hash = digest(&SHA256, &hash);
        let mut id = [0; ID_LEN];
        id.copy_from_slice(&hash.as_ref()[..ID_LEN]);
        Self(id)
    }

    /// What the sealed values under this key begin with.
    pub fn prefix(self) -> Vec<u8> {
        [&[NAMED][..], &self.0].concat()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut id = [0; ID_LEN];
        hex::decode_to_slice(text, &mut id)?;
        Ok(Self(id))
    }
}

struct MasterKey {
    id: KeyId,
    key: Zeroizing<[u8; KEY_LEN]>,
}

/// Seals values under one master key, and opens them under that or another one. Clones share the choice.
#[derive(Clone)]
pub struct Vault {
    /// The given key, then the previous one if there is one.
    keys: Arc<Vec<MasterKey>>,
    sealing: Arc<Sealing>,
}

/// How values are sealed: replicas of the controller agree on it, see [`keys`].
struct Sealing {
    /// Which key.
    key: AtomicUsize,
    /// Version of the header.
    version: AtomicUsize,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

impl Vault {
    /// Reads the master key from a file: 32 bytes in base64.
    pub fn from_file(path: &Path) -> Result<Self, VaultError> {
        Self::from_files(path, None)
    }

    /// The same with the key that it replaces, whose values are opened as well.
    pub fn from_files(path: &Path, previous: Option<&Path>) -> Result<Self, VaultError> {
        let mut keys = vec![read(path)?];
        if let Some(previous) = previous {
            keys.push(read(previous)?);
        }
        Self::new(keys)
    }

    /// Creates a vault from a master key in base64.
    pub fn from_base64(text: &str) -> Result<Self, VaultError> {
        Self::new(vec![parse(text)?])
    }

    fn new(keys: Vec<MasterKey>) -> Result<Self, VaultError> {
        if keys.iter().skip(1).any(|key| key.id == keys[0].id) {
            return Err(VaultError::SameKey);
        }
        let sealing = Sealing { key: AtomicUsize::new(0), version: AtomicUsize::new(NAMED.into()) };
        Ok(Self { keys: Arc::new(keys), sealing: Arc::new(sealing) })
    }

    /// The key of `--master-key-file`.
    pub fn given(&self) -> KeyId {
        self.keys[0].id
    }

    /// The key of `--previous-master-key-file`.
    pub fn previous(&self) -> Option<KeyId> {
        self.keys.get(1).map(|key| key.id)
    }

    /// The key under which new values are sealed.
    pub fn sealing(&self) -> KeyId {
        self.sealing_key().id
    }

    /// Seals under this key from now on; false if the vault does not have it. Headers name the key if all replicas can read
    /// that.
    pub fn seal_under(&self, key: KeyId, named: bool) -> bool {
        let Some(position) = self.keys.iter().position(|known| known.id == key) else { return false };
        self.sealing.key.store(position, Ordering::Relaxed);
        self.sealing.version.store(if named { NAMED } else { NAMELESS }.into(), Ordering::Relaxed);
        true
    }

    fn sealing_key(&self) -> &MasterKey {
        &self.keys[self.sealing.key.load(Ordering::Relaxed)]
    }

    /// The keys under which a fingerprint may have been made, the one that makes new ones first.
    pub fn fingerprint_keys(&self) -> Vec<KeyId> {
        let sealing = self.sealing();
        let others = self.keys.iter().map(|key| key.id).filter(|key| *key != sealing);
        std::iter::once(sealing).chain(others).collect()
    }

    /// Returns a fingerprint of a secret that tells whether two are the same, and nothing to who lacks the master key. Under
    /// another master key it is another one; `None` if the vault does not have this one.
    pub fn fingerprint(&self, key: KeyId, secret: &[u8]) -> Option<String> {
        let key = self.keys.iter().find(|known| known.id == key)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.key.as_ref());
        let key = hmac::sign(&key, b"fingerprints");
        let fingerprint = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()), secret);
        Some(STANDARD.encode(fingerprint.as_ref()))
    }

    /// Seals a value for a place.
    pub fn seal(&self, scope: Scope<'_>, plaintext: &[u8]) -> Result<Vec<u8>, VaultError> {
        let aad = scope.associated_data();
        let mut data_key = Zeroizing::new([0u8; KEY_LEN]);
        aws_lc_rs::rand::fill(data_key.as_mut()).map_err(|_| VaultError::Seal)?;
        let mut sealed = Vec::with_capacity(HEADER_LEN + NONCE_LEN + plaintext.len() + TAG_LEN);
        let key = self.sealing_key();
        let named = self.sealing.version.load(Ordering::Relaxed) == usize::from(NAMED);
        let prefix = if named { key.id.prefix() } else { vec![NAMELESS] };
        sealed.extend_from_slice(&prefix);
        encrypt(&key.key, &wrapped_data(&prefix, &aad), data_key.as_ref(), &mut sealed)?;
        encrypt(&data_key, &aad, plaintext, &mut sealed)?;
        Ok(sealed)
    }

    /// Opens a value that was sealed for this place.
    pub fn open(&self, scope: Scope<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let aad = scope.associated_data();
        let opened = self.unwrap(scope, &aad, sealed)?;
        decrypt(&opened.data_key, &aad, &sealed[opened.header..]).ok_or_else(|| scope.does_not_open())
    }

    /// Wraps the data key of a value, of which only the beginning is needed, under the key that seals now. Returns the new
    /// header, and how long the old one was; `None` if it is wrapped so already.
    pub fn rewrap(&self, scope: Scope<'_>, beginning: &[u8]) -> Result<Option<(Vec<u8>, usize)>, VaultError> {
        let key = self.sealing_key();
        let prefix = key.id.prefix();
        if beginning.starts_with(&prefix) {
            return Ok(None);
        }
        let aad = scope.associated_data();
        let opened = self.unwrap(scope, &aad, beginning)?;
        let wrapped = wrapped_data(&prefix, &aad);
        let mut header = prefix;
        encrypt(&key.key, &wrapped, opened.data_key.as_ref(), &mut header)?;
        Ok(Some((header, opened.header)))
    }

    /// The key under which a value is sealed.
    pub fn key_of(&self, scope: Scope<'_>, sealed: &[u8]) -> Result<KeyId, VaultError> {
        Ok(self.unwrap(scope, &scope.associated_data(), sealed)?.key)
    }

    fn unwrap(&self, scope: Scope<'_>, aad: &[u8], sealed: &[u8]) -> Result<Opened, VaultError> {
        let (version, rest) = sealed.split_first().ok_or_else(|| scope.does_not_open())?;
        let named = match *version {
            NAMELESS => None,
            NAMED => Some(rest.first_chunk().copied().map(KeyId).ok_or_else(|| scope.does_not_open())?),
            _ => return Err(scope.does_not_open()),
        };
        let begin = 1 + named.map_or(0, |_| ID_LEN);
        let header = begin + WRAPPED_LEN;
        let wrapped = sealed.get(begin..header).ok_or_else(|| scope.does_not_open())?;
        if let Some(key) = named.filter(|named| self.keys.iter().all(|key| key.id != *named)) {
            return Err(VaultError::OtherKey { what: scope.to_string(), key });
        }
        let aad = wrapped_data(&sealed[..begin], aad);
        let tried = self.keys.iter().filter(|key| named.is_none_or(|named| key.id == named));
        for key in tried {
            let Some(data_key) = decrypt(&key.key, &aad, wrapped) else { continue };
            let data_key =
                <[u8; KEY_LEN]>::try_from(data_key.as_slice()).map_err(|_| scope.does_not_open())?;
            return Ok(Opened { key: key.id, header, data_key: Zeroizing::new(data_key) });
        }
        Err(scope.does_not_open())
    }
}

/// Associated data of a wrapped data key: the place of the value, and what the header begins with if it names its key.
fn wrapped_data(prefix: &[u8], place: &[u8]) -> Vec<u8> {
    if prefix == [NAMELESS] { place.to_vec() } else { [prefix, place].concat() }
}

/// The data key of a value.
struct Opened {
    key: KeyId,
    /// Length of the header.
    header: usize,
    data_key: Zeroizing<[u8; KEY_LEN]>,
}

fn read(path: &Path) -> Result<MasterKey, VaultError> {
    let text = fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|source| VaultError::Unreadable { path: path.display().to_string(), source })?;
    parse(text.trim())
}

fn parse(text: &str) -> Result<MasterKey, VaultError> {
    let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| VaultError::BadKey)?);
    let key = <[u8; KEY_LEN]>::try_from(bytes.as_slice()).map_err(|_| VaultError::BadKey)?;
    Ok(MasterKey { id: KeyId::of(&key), key: Zeroizing::new(key) })
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
        for named in [false, true] {
            let vault = vault(1);
            assert!(vault.seal_under(vault.given(), named));
            let sealed = vault.seal(HERE, b"secret").unwrap();
            for i in 0..sealed.len() {
                for bit in 0..8 {
                    let mut changed = sealed.clone();
                    changed[i] ^= 1 << bit;
                    assert!(vault.open(HERE, &changed).is_err(), "byte {i}");
                }
            }
            for cut in 0..sealed.len() {
                assert!(vault.open(HERE, &sealed[..cut]).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn the_same_value_never_seals_to_the_same_bytes() {
        assert_ne!(vault(1).seal(HERE, b"x").unwrap(), vault(1).seal(HERE, b"x").unwrap());
    }

    fn two(new: u8, old: u8) -> Vault {
        let key = |byte| parse(&STANDARD.encode([byte; 32])).unwrap();
        Vault::new(vec![key(new), key(old)]).unwrap()
    }

    #[test]
    fn both_keys_open_while_one_replaces_the_other_and_only_the_header_changes() {
        for named in [false, true] {
            let old = vault(1);
            assert!(old.seal_under(old.given(), named));
            let sealed = old.seal(HERE, b"secret").unwrap();
            let both = two(2, 1);
            assert_eq!(both.open(HERE, &sealed).unwrap().as_slice(), b"secret");
            assert_eq!(both.key_of(HERE, &sealed).unwrap(), old.given());
            let elsewhere = Scope { id: "b", ..HERE };
            assert!(
                both.rewrap(elsewhere, &sealed).is_err(),
                "a moved value is not wrapped for its new place"
            );
            let (header, length) = both.rewrap(HERE, &sealed[..HEADER_LEN]).unwrap().unwrap();
            let rewrapped = [&header[..], &sealed[length..]].concat();
            assert_eq!(vault(2).open(HERE, &rewrapped).unwrap().as_slice(), b"secret");
            assert_eq!(both.rewrap(HERE, &rewrapped).unwrap(), None, "once is enough");
            let error = old.open(HERE, &rewrapped).unwrap_err();
            assert!(matches!(error, VaultError::OtherKey { key, .. } if key == vault(2).given()), "{error}");
            assert!(vault(2).open(HERE, &sealed).is_err());
        }
    }

    #[test]
    fn the_old_key_seals_until_the_new_one_is_chosen() {
        let both = two(2, 1);
        assert_eq!(both.sealing(), vault(2).given());
        assert!(both.seal_under(vault(1).given(), true));
        let shared = both.clone();
        assert_eq!(vault(1).open(HERE, &shared.seal(HERE, b"x").unwrap()).unwrap().as_slice(), b"x");
        assert!(shared.seal_under(vault(2).given(), true));
        assert_eq!(vault(2).open(HERE, &both.seal(HERE, b"x").unwrap()).unwrap().as_slice(), b"x");
        assert!(!both.seal_under(vault(3).given(), true), "it does not have this key");
        assert_eq!(both.sealing(), vault(2).given());
    }

    #[test]
    fn a_key_does_not_replace_itself_and_its_id_tells_nothing_of_it() {
        let key = || parse(&STANDARD.encode([1; 32])).unwrap();
        assert!(matches!(Vault::new(vec![key(), key()]), Err(VaultError::SameKey)));
        let id = vault(1).given().to_string();
        assert_eq!(id.parse(), Ok(vault(1).given()));
        assert!(id.len() == 16 && id != vault(2).given().to_string() && !id.contains("0101"));
    }

    #[test]
    fn a_fingerprint_belongs_to_a_secret_and_a_master_key() {
        let of = |vault: &Vault, secret| vault.fingerprint(vault.given(), secret).unwrap();
        assert_eq!(of(&vault(1), b"x"), of(&vault(1), b"x"));
        assert_ne!(of(&vault(1), b"x"), of(&vault(1), b"y"));
        assert_ne!(of(&vault(1), b"x"), of(&vault(2), b"x"));
        // While one key replaces another, what was made under the old one is still known.
        let both = two(2, 1);
        assert_eq!(both.fingerprint_keys(), [vault(2).given(), vault(1).given()]);
        assert_eq!(both.fingerprint(vault(1).given(), b"x"), Some(of(&vault(1), b"x")));
        assert!(both.seal_under(vault(1).given(), true));
        assert_eq!(both.fingerprint_keys(), [vault(1).given(), vault(2).given()]);
        assert_eq!(vault(1).fingerprint(vault(2).given(), b"x"), None);
    }

    #[test]
    fn a_short_master_key_is_refused() {
        assert!(Vault::from_base64("c2hvcnQ=").is_err());
    }
}
