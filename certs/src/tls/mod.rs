//! TLS of the node port. In: byte streams and certificates. Out: streams whose peer is known.
//!
//! TLS 1.3 only, no session tickets and no resumption on either side: a resumed session would skip the check of
//! the peer's certificate. The ALPN names the purpose of a connection; each purpose has its own configuration.

mod accept;
mod connect;
mod show;
mod verify;

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::VerifierBuilderError;
use rustls_pki_types::CertificateDer;

pub use self::accept::{AcceptError, Accepted, Greeted, NodePortTls, Purpose, ServerTlsStream};
pub use self::connect::{
    ClientTls, ClientTlsStream, ConnectError, NodeChannel, connect, download_client_config,
    join_client_config, node_client_config, recovery_client_config, trusted_download_client_config,
};
pub use self::verify::PinnedCaMissing;
use crate::ca::CaError;
use crate::pem::PemError;
use crate::trust::BundleError;

/// The control session of a node: client certificate required, HTTP/2 roles swapped after the handshake.
pub const ALPN_NODE: &str = "supalove-node/1";
/// Bulk data of a node: client certificate required.
pub const ALPN_BULK: &str = "supalove-bulk/1";
/// Renewal of a node's certificate: client certificate required, the controller serves.
pub const ALPN_RENEW: &str = "supalove-renew/1";
/// Enrolment and recovery: no client certificate.
pub const ALPN_JOIN: &str = "supalove-join/1";
/// The join script, the digests and the programs of the agent, over HTTP/1.1: no client certificate.
pub const ALPN_DOWNLOAD: &str = "http/1.1";

/// Why certificates or keys give no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsConfigError {
    /// A text is not valid PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The roots are not a bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The CA certificate cannot serve as a root.
    #[error("the fleet's CA certificate cannot be used as a root: {0}")]
    Root(rustls::Error),
    /// The verifier of the other side's certificates cannot be built.
    #[error("certificates cannot be verified against the fleet's CA: {0}")]
    Verifier(VerifierBuilderError),
    /// Certificate and key do not belong together, or are unusable.
    #[error("the certificate and its private key cannot be used together: {0}; issue a new certificate")]
    Certificate(rustls::Error),
    /// No certificate for the key of downloads.
    #[error("no certificate can be issued for the key of downloads: {0}")]
    Download(CaError),
    /// The crypto provider does not support TLS 1.3.
    #[error("the crypto provider cannot do TLS 1.3: {0}")]
    Provider(rustls::Error),
}

/// The one crypto provider, named here so that nothing depends on a process-wide default.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A store that trusts these roots and nothing else.
fn only(roots: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, rustls::Error> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone())?;
    }
    Ok(Arc::new(store))
}

/// The TLS error inside an I/O error, if there is one.
fn tls_error(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
