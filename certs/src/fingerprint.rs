//! The name of a CA: the SHA-256 of its certificate. Join tokens carry it, joining agents pin it.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;

use crate::CONTROLLER_NAME;
use crate::pem::{self, PemError};

/// SHA-256 over the DER of a CA certificate. Displayed as 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CaFingerprint([u8; 32]);

/// A text that is not a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a CA fingerprint is 64 lowercase hexadecimal digits")]
pub struct FingerprintError;

impl CaFingerprint {
    /// The fingerprint of a certificate.
    pub fn from_certificate(certificate: &CertificateDer<'_>) -> Self {
        Self(sha256(certificate))
    }

    /// The fingerprint of the only certificate in a PEM text.
    pub fn from_pem(certificate_pem: &str) -> Result<Self, PemError> {
        pem::certificate(certificate_pem).map(|certificate| Self::from_certificate(&certificate))
    }

    /// The server name by which a dialling agent tells the root it trusts, so that a controller with two roots shows the
    /// right certificate: the first half of the digest as a label before [`CONTROLLER_NAME`]. The certificate itself holds
    /// [`CONTROLLER_NAME`] only.
    pub(crate) fn server_name(&self) -> String {
        format!("{}.{CONTROLLER_NAME}", hex::encode(&self.0[..16]))
    }

    /// The raw digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for CaFingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| FingerprintError)?;
        // One spelling only, so that equal fingerprints are equal texts.
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(FingerprintError);
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for CaFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for CaFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaFingerprint({self})")
    }
}

/// SHA-256 as an array.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}
