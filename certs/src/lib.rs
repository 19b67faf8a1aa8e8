//! The fleet's public key infrastructure, shared by both ends of the node port.
//!
//! The controller creates or loads the [`CertificateAuthority`], signs the requests of joining nodes and accepts
//! connections with [`tls::NodePortTls`]. The agent creates a [`NodeKey`], reads a [`JoinToken`], joins over a
//! connection pinned to the CA named by the token, and from then on dials with its own certificate, which it renews.
//!
//! [`DatabaseAuthority`] is apart from all this: the CA of one project's database, which only its clients trust.
//!
//! In: PEM texts, join tokens, byte streams, the time. Out: certificates, verified identities, TLS streams.
//! This crate stores nothing, logs nothing and reads no clock for issuing: the caller passes `now`.

mod ca;
mod download;
mod fingerprint;
mod identity;
mod key;
mod life;
mod pem;
mod recovery;
pub mod tls;
mod token;
mod trust;

#[cfg(test)]
mod fuzz;

pub use ca::{
    BACK_DATED, CA_LIFETIME, CONTROLLER_LIFETIME, CaError, CertificateAuthority, ControllerCertificate,
    CsrError, DATABASE_LIFETIME, DatabaseAuthority, IssuedCertificate, MAX_CSR_PEM_BYTES,
    MAX_FLEET_NAME_CHARS, NODE_LIFETIME, ServerCertificate, ServerFacts, csr_key_sha256,
};
pub use download::DownloadKey;
pub use fingerprint::{CaFingerprint, FingerprintError};
pub use identity::{IdentityError, NodeIdentity, PeerIdentity, peer_identity};
pub use key::{KeyError, NodeKey};
pub use life::{CertificateLife, RENEWED_FROM, RENEWED_UNTIL};
pub use pem::PemError;
pub use recovery::{RecoveryError, verify_recovery};
pub use token::{JoinToken, TOKEN_PREFIX, TokenError};
pub use trust::{BundleError, MAX_ROOTS, TrustBundle};

/// The DNS name in every controller certificate. Agents verify this name whatever address they dial, so a controller
/// can move or be reached through a balancer without new certificates.
pub const CONTROLLER_NAME: &str = "controller.supalove.internal";
