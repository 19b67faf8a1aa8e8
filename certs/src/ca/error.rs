//! Errors of the certificate authority.

use super::MAX_FLEET_NAME_CHARS;
use super::csr::CsrError;
use crate::key::KeyError;
use crate::pem::PemError;

/// An error of the certificate authority. Only [`CaError::Csr`] is the fault of a joining node.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The node's request was refused.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// The fleet name cannot stand in a certificate.
    #[error("a fleet name has 1 to {MAX_FLEET_NAME_CHARS} characters and no control characters")]
    FleetName,
    /// The stored CA certificate is not PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A private key cannot be created or read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The stored certificate may not sign others.
    #[error("the stored certificate is not a CA: restore the fleet's CA from a backup")]
    NotACa,
    /// Certificate and private key belong to different authorities.
    #[error("the CA's certificate and private key do not belong together: restore both from the same backup")]
    KeyMismatch,
    /// The stored certificate was changed.
    #[error(
        "the stored CA certificate does not bear its own signature: restore the fleet's CA from a backup"
    )]
    Damaged,
    /// The root's life is over.
    #[error(
        "the CA has expired: check the clock; if it is right and this is the fleet's CA, create a new CA and enrol the \
         nodes again"
    )]
    Expired,
    /// The clock shows a time that a certificate cannot hold.
    #[error("the clock shows a time outside of 1971 to 8999: set it right")]
    Clock,
    /// A server's name cannot stand in a certificate.
    #[error("a server's certificate cannot hold the name {0:?}: it must be a host name or an IP address")]
    ServerName(String),
    /// The stored certificate is no server certificate of ours.
    #[error("the stored server certificate cannot be read: issue a new one")]
    ServerCertificate,
    /// The system's random source failed.
    #[error("the system's random source failed: no certificate can be issued until it works")]
    Random,
    /// The certificate could not be written.
    #[error("the certificate could not be encoded: {0}")]
    Encode(rcgen::Error),
}
