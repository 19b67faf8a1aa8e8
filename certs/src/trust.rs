//! The roots that a member of the fleet trusts: one, or two while the fleet's CA is being replaced.
//!
//! In: PEM texts, from the controller or from disk. Out: the roots of a TLS configuration, their names, and which of them
//! signed a certificate.

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::fingerprint::CaFingerprint;
use crate::pem::{self, PemError};

/// Most roots of a bundle: the old and the new one of a rotation, and room for a mistake.
pub const MAX_ROOTS: usize = 4;

/// Roots, the preferred one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustBundle {
    roots: Vec<CertificateDer<'static>>,
    pem: String,
}

/// Why a text is not a bundle of roots.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The text is not PEM, or holds no certificate.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The text holds too many roots.
    #[error("a bundle has at most {MAX_ROOTS} roots, this has {found}")]
    Many {
        /// Number of roots in the text.
        found: usize,
    },
    /// One of them may not sign certificates.
    #[error("certificate {number} of the bundle is not a CA")]
    NotACa {
        /// Its position in the text, counted from 1.
        number: usize,
    },
}

impl TrustBundle {
    /// Reads the certificates of a PEM text, at least one.
    pub fn from_pem(pem: &str) -> Result<Self, BundleError> {
        let roots = pem::certificate_chain(pem)?;
        if roots.len() > MAX_ROOTS {
            return Err(BundleError::Many { found: roots.len() });
        }
        if let Some(index) = roots.iter().position(|root| !is_ca(root)) {
            return Err(BundleError::NotACa { number: index + 1 });
        }
        Ok(Self { roots, pem: pem.to_owned() })
    }

    /// The text it was read from.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The roots' names, in their order.
    pub fn fingerprints(&self) -> Vec<CaFingerprint> {
        self.roots.iter().map(CaFingerprint::from_certificate).collect()
    }

    /// Which root signed the first certificate of this PEM text.
    pub fn issuer_of_pem(&self, certificate_pem: &str) -> Result<Option<CaFingerprint>, PemError> {
        let chain = pem::certificate_chain(certificate_pem)?;
        Ok(chain.first().and_then(|certificate| self.issuer_of(certificate)))
    }

    /// Which root signed a certificate. Does not check its life and usage.
    pub(crate) fn issuer_of(&self, certificate: &CertificateDer<'_>) -> Option<CaFingerprint> {
        let (_, leaf) = X509Certificate::from_der(certificate).ok()?;
        let signed = |root: &&CertificateDer<'static>| {
            let root = X509Certificate::from_der(root);
            root.is_ok_and(|(_, root)| leaf.verify_signature(Some(root.public_key())).is_ok())
        };
        self.roots.iter().find(signed).map(CaFingerprint::from_certificate)
    }

    pub(crate) fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }
}

fn is_ca(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, root)| root.is_ca())
}
