//! Reads a node's certificate request. In: PEM from an unknown sender. Out: its public key, or why it is refused.

use rcgen::SubjectPublicKeyInfo;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::fingerprint::sha256;
use crate::key::is_allowed;
use crate::pem::{self, PemError};

/// Largest accepted request in bytes of PEM. A request of an agent has about 400.
pub const MAX_CSR_PEM_BYTES: usize = 4096;

/// Why a request is not signed. All of these are the sender's fault.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    /// Larger than [`MAX_CSR_PEM_BYTES`].
    #[error(
        "the certificate request has {bytes} bytes, at most {MAX_CSR_PEM_BYTES} are allowed: send a plain request \
         for one ECDSA P-256 or Ed25519 key"
    )]
    TooLarge {
        /// Bytes that were sent.
        bytes: usize,
    },
    /// The text is not exactly one PEM request.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The request is not a PKCS#10 structure.
    #[error("the certificate request is not valid PKCS#10: generate it again")]
    Malformed,
    /// The key is of a kind that the fleet does not use.
    #[error("the certificate request's key is neither ECDSA P-256 nor Ed25519: use one of these")]
    Algorithm,
    /// The signature does not match the key: changed on the way, or the sender does not hold the key.
    #[error(
        "the certificate request is not signed by the key it names: generate it again with the matching private key"
    )]
    Signature,
}

/// The public key of a request whose signature proves possession of the private half.
pub(crate) fn public_key(csr_pem: &str) -> Result<SubjectPublicKeyInfo, CsrError> {
    // The size is checked before parsing, since the sender is unknown.
    if csr_pem.len() > MAX_CSR_PEM_BYTES {
        return Err(CsrError::TooLarge { bytes: csr_pem.len() });
    }
    let der = pem::request(csr_pem)?;
    let (rest, request) = X509CertificationRequest::from_der(&der).map_err(|_| CsrError::Malformed)?;
    if !rest.is_empty() {
        return Err(CsrError::Malformed);
    }
    // The kind is read from the key itself: the sender chooses the signature's algorithm.
    let raw_key = request.certification_request_info.subject_pki.raw;
    let key = SubjectPublicKeyInfo::from_der(raw_key).map_err(|_| CsrError::Algorithm)?;
    if !is_allowed(rcgen::PublicKeyData::algorithm(&key)) {
        return Err(CsrError::Algorithm);
    }
    request.verify_signature().map_err(|_| CsrError::Signature)?;
    Ok(key)
}

/// SHA-256 over the SubjectPublicKeyInfo of a request's key, after the same checks as before signing it.
pub fn csr_key_sha256(csr_pem: &str) -> Result<[u8; 32], CsrError> {
    Ok(sha256(&rcgen::PublicKeyData::subject_public_key_info(&public_key(csr_pem)?)))
}
