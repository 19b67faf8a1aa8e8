//! How a node whose certificate is unusable proves that it holds the enrolled key: it signs a new nonce of the controller.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use rcgen::{PKCS_ED25519, PublicKeyData as _};
use uuid::Uuid;

use crate::ca::{CsrError, request_key};
use crate::fingerprint::sha256;
use crate::key::{KeyError, NodeKey};

/// Separates these signatures from all others of the same key (TLS, requests).
const PURPOSE: &[u8] = b"supalove-recover/1\0";

/// Why a proof is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The certificate request cannot be used.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// Another key has signed, or something else was signed.
    #[error("the nonce is not signed by the key of the certificate request")]
    Signature,
}

impl NodeKey {
    /// Signs the controller's nonce for a request made with this key.
    pub fn sign_recovery(&self, node_id: Uuid, nonce: &[u8], csr_pem: &str) -> Result<Vec<u8>, KeyError> {
        self.sign(&signed_bytes(node_id, nonce, csr_pem))
    }
}

/// Checks that the holder of the request's key has signed the nonce for this node and this request. Returns the SHA-256
/// of the key (SPKI); the caller decides whether that is the enrolled key.
pub fn verify_recovery(
    node_id: Uuid,
    nonce: &[u8],
    csr_pem: &str,
    signature: &[u8],
) -> Result<[u8; 32], RecoveryError> {
    let key = request_key(csr_pem)?;
    let algorithm: &dyn VerificationAlgorithm =
        if key.algorithm() == &PKCS_ED25519 { &ED25519 } else { &ECDSA_P256_SHA256_ASN1 };
    UnparsedPublicKey::new(algorithm, key.der_bytes())
        .verify(&signed_bytes(node_id, nonce, csr_pem), signature)
        .map_err(|_| RecoveryError::Signature)?;
    Ok(sha256(&key.subject_public_key_info()))
}

/// Fixed lengths after the purpose, so that no two inputs give the same bytes.
fn signed_bytes(node_id: Uuid, nonce: &[u8], csr_pem: &str) -> Vec<u8> {
    [PURPOSE, node_id.as_bytes(), &sha256(nonce), &sha256(csr_pem.as_bytes())].concat()
}
