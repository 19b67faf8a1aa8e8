//! Private keys: created here, wiped on drop, never printed.

use std::fmt;

use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData,
    SignatureAlgorithm, SigningKey,
};
use zeroize::{Zeroize, Zeroizing};

/// A private key that cannot be created or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is not a private key.
    #[error("the private key cannot be read: expected one unencrypted PKCS#8 key in PEM")]
    Unreadable,
    /// The key is of a kind the fleet does not use.
    #[error("the private key is neither ECDSA P-256 nor Ed25519: generate a new one")]
    Algorithm,
    /// The crypto library failed.
    #[error("the crypto library failed on a private key: {0}")]
    Crypto(rcgen::Error),
}

/// True for the key kinds of the fleet: ECDSA P-256 and Ed25519, small and quick at TLS handshakes.
pub(crate) fn is_allowed(algorithm: &SignatureAlgorithm) -> bool {
    algorithm == &PKCS_ECDSA_P256_SHA256 || algorithm == &PKCS_ED25519
}

/// A key pair of an allowed kind.
pub(crate) struct PrivateKey(KeyPair);

impl PrivateKey {
    /// Creates a P-256 key.
    pub(crate) fn generate() -> Result<Self, KeyError> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map(Self).map_err(KeyError::Crypto)
    }

    pub(crate) fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = Self(KeyPair::from_pem(pem).map_err(|_| KeyError::Unreadable)?);
        if is_allowed(key.0.algorithm()) { Ok(key) } else { Err(KeyError::Algorithm) }
    }

    pub(crate) fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.serialize_pem())
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

impl PublicKeyData for PrivateKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for PrivateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

/// A node's own private key. It is created on the node and never leaves it.
#[derive(Debug)]
pub struct NodeKey(PrivateKey);

impl NodeKey {
    /// Creates a P-256 key.
    pub fn generate() -> Result<Self, KeyError> {
        PrivateKey::generate().map(Self)
    }

    /// Reads a key that [`NodeKey::to_pem`] wrote.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        PrivateKey::from_pem(pem).map(Self)
    }

    /// The key as PKCS#8 PEM, for a file with mode 0600.
    pub fn to_pem(&self) -> Zeroizing<String> {
        self.0.to_pem()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.0.sign(message).map_err(KeyError::Crypto)
    }

    /// A certificate request (PKCS#10, PEM) that proves possession of the key. It asks for no names: the controller believes
    /// only the key.
    pub fn csr_pem(&self) -> Result<String, KeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.serialize_request(&self.0).and_then(|request| request.pem()).map_err(KeyError::Crypto)
    }
}
