//! Reads PEM: exactly one item where one is expected, and errors that name what was expected.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer};

/// A PEM text that does not hold what is expected.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// The text is not PEM or is cut off.
    #[error("the {expected} is not valid PEM ({reason}): copy it whole, with its BEGIN and END lines")]
    Malformed {
        /// What the text should hold.
        expected: &'static str,
        /// What the parser found.
        reason: rustls_pki_types::pem::Error,
    },
    /// PEM without the expected item.
    #[error("no {expected} found in the PEM text: check that this is the right file")]
    Missing {
        /// What the text should hold.
        expected: &'static str,
    },
    /// More than one item where exactly one is allowed.
    #[error("more than one {expected} found in the PEM text: pass exactly one")]
    Several {
        /// What the text should hold.
        expected: &'static str,
    },
}

/// All certificates of a chain, at least one, in the order of the text.
pub(crate) fn certificate_chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, PemError> {
    all(pem, "certificate")
}

/// The only certificate of a text.
pub(crate) fn certificate(pem: &str) -> Result<CertificateDer<'static>, PemError> {
    one(pem, "certificate")
}

/// The only certificate signing request of a text.
pub(crate) fn request(pem: &str) -> Result<CertificateSigningRequestDer<'static>, PemError> {
    one(pem, "certificate signing request")
}

/// The only private key of a text.
pub(crate) fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, PemError> {
    one(pem, "private key")
}

fn one<T: PemObject>(pem: &str, expected: &'static str) -> Result<T, PemError> {
    let mut items = all(pem, expected)?;
    if items.len() > 1 {
        return Err(PemError::Several { expected });
    }
    items.pop().ok_or(PemError::Missing { expected })
}

fn all<T: PemObject>(pem: &str, expected: &'static str) -> Result<Vec<T>, PemError> {
    let items = T::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|reason| PemError::Malformed { expected, reason })?;
    if items.is_empty() {
        return Err(PemError::Missing { expected });
    }
    Ok(items)
}
