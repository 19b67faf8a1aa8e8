//! The agent's side: client configurations and the handshake.

use std::io;
use std::sync::Arc;

use rustls::client::{Resumption, WantsClientCert};
use rustls::{AlertDescription, CertificateError, ClientConfig, ConfigBuilder};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::verify::{ControllerVerifier, PinnedCaMissing};
use super::{
    ALPN_BULK, ALPN_DOWNLOAD, ALPN_JOIN, ALPN_NODE, ALPN_RENEW, TlsConfigError, provider, tls_error,
};
use crate::CONTROLLER_NAME;
use crate::fingerprint::CaFingerprint;
use crate::pem;
use crate::trust::TrustBundle;

/// An encrypted stream to a controller whose certificate was verified.
pub type ClientTlsStream<IO> = tokio_rustls::client::TlsStream<IO>;

/// The purpose of a connection that an enrolled node dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeChannel {
    /// The control session, [`ALPN_NODE`].
    Control,
    /// Logs, tunnels and other bulk data, [`ALPN_BULK`].
    Bulk,
    /// A new certificate, [`ALPN_RENEW`].
    Renewal,
}

impl NodeChannel {
    /// The ALPN of this channel.
    pub fn alpn(self) -> &'static str {
        match self {
            Self::Control => ALPN_NODE,
            Self::Bulk => ALPN_BULK,
            Self::Renewal => ALPN_RENEW,
        }
    }
}

/// Why there is no connection to the controller.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Only when joining: the chain lacks the CA of the token.
    #[error(transparent)]
    WrongCa(#[from] PinnedCaMissing),
    /// Another CA than this fleet's signed the certificate.
    #[error(
        "the controller's certificate was not signed by this fleet's CA: check the address; if the fleet has got a new \
         CA while this host was off, run `supalove-agent recover --ca` with the new CA's sha256, which `supalove \
         authorities list` shows to the operator"
    )]
    ForeignController,
    /// The certificate is not valid now.
    #[error(
        "the controller's certificate is not valid at this time ({0}): check the clocks of this host and the controller"
    )]
    ControllerCertificateTime(CertificateError),
    /// The certificate cannot be used for another reason.
    #[error(
        "the controller's certificate was refused ({0}): check that the address is a controller's node port"
    )]
    ControllerCertificate(CertificateError),
    /// The controller ended the handshake with an alert.
    #[error(
        "the controller refused the connection ({0:?}): check that its version fits and that this node is still enrolled"
    )]
    Refused(AlertDescription),
    /// The other end did not confirm the purpose of the connection.
    #[error("the other end does not speak {expected}: check that the address is a controller's node port")]
    Alpn {
        /// The protocol that was asked for.
        expected: String,
    },
    /// Another TLS failure.
    #[error("the TLS handshake with the controller failed: {0}")]
    Tls(rustls::Error),
    /// The stream below TLS failed.
    #[error("the connection to the controller broke during the handshake: {0}")]
    Io(io::Error),
}

/// How to dial: the configuration, and the name that tells the controller which root is trusted.
#[derive(Debug, Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    name: String,
}

/// A custom configuration, which names no root.
impl From<Arc<ClientConfig>> for ClientTls {
    fn from(config: Arc<ClientConfig>) -> Self {
        Self { config, name: CONTROLLER_NAME.to_owned() }
    }
}

/// How an enrolled node dials: it trusts the roots in `ca_pem` only and shows its own certificate.
pub fn node_client_config(
    ca_pem: &str,
    cert_pem: &str,
    key_pem: &str,
    channel: NodeChannel,
) -> Result<ClientTls, TlsConfigError> {
    let bundle = TrustBundle::from_pem(ca_pem)?;
    let chain = pem::certificate_chain(cert_pem)?;
    let key = pem::private_key(key_pem)?;
    let config = tls13_client(ControllerVerifier::from_bundle(&bundle)?)?
        .with_client_auth_cert(chain, key)
        .map_err(TlsConfigError::Certificate)?;
    Ok(finish(config, channel.alpn(), bundle.fingerprints().first()))
}

/// How a new host dials: it trusts only the CA with this hash, which the controller shows in its chain.
pub fn join_client_config(ca: &CaFingerprint) -> Result<ClientTls, TlsConfigError> {
    let config = tls13_client(ControllerVerifier::pinned(*ca))?.with_no_client_auth();
    Ok(finish(config, ALPN_JOIN, Some(ca)))
}

/// How a node with an unusable certificate dials: it trusts the roots in `ca_pem` and shows no certificate.
pub fn recovery_client_config(ca_pem: &str) -> Result<ClientTls, TlsConfigError> {
    let bundle = TrustBundle::from_pem(ca_pem)?;
    let config = tls13_client(ControllerVerifier::from_bundle(&bundle)?)?.with_no_client_auth();
    Ok(finish(config, ALPN_JOIN, bundle.fingerprints().first()))
}

/// How a new host asks what the controller serves for downloads: like [`join_client_config`].
pub fn download_client_config(ca: &CaFingerprint) -> Result<ClientTls, TlsConfigError> {
    let config = tls13_client(ControllerVerifier::pinned(*ca))?.with_no_client_auth();
    Ok(finish(config, ALPN_DOWNLOAD, Some(ca)))
}

/// How an enrolled node asks the same: it trusts the roots in `ca_pem`.
pub fn trusted_download_client_config(ca_pem: &str) -> Result<ClientTls, TlsConfigError> {
    let bundle = TrustBundle::from_pem(ca_pem)?;
    let config = tls13_client(ControllerVerifier::from_bundle(&bundle)?)?.with_no_client_auth();
    Ok(finish(config, ALPN_DOWNLOAD, bundle.fingerprints().first()))
}

/// Does the handshake on a fresh stream. The configuration holds the purpose; the certificate must hold
/// [`CONTROLLER_NAME`].
///
/// In TLS 1.3 the server judges the client's certificate after the client has finished: a refusal appears as an
/// error of the first read. Set a time limit around this call.
pub async fn connect<IO>(io: IO, tls: impl Into<ClientTls>) -> Result<ClientTlsStream<IO>, ConnectError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let ClientTls { config, name } = tls.into();
    let name = ServerName::try_from(name)
        .map_err(|_| ConnectError::ControllerCertificate(CertificateError::NotValidForName))?;
    let expected = config.alpn_protocols.first().cloned();
    let stream = TlsConnector::from(config).connect(name, io).await.map_err(connect_error)?;
    if stream.get_ref().1.alpn_protocol() != expected.as_deref() {
        let expected = String::from_utf8_lossy(&expected.unwrap_or_default()).into_owned();
        return Err(ConnectError::Alpn { expected });
    }
    Ok(stream)
}

fn tls13_client(
    verifier: ControllerVerifier,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsConfigError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsConfigError::Provider)?;
    // Not weaker than the default: the verifier checks chain, name, life and usage.
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
}

fn finish(mut config: ClientConfig, alpn: &str, root: Option<&CaFingerprint>) -> ClientTls {
    config.alpn_protocols = vec![alpn.into()];
    config.resumption = Resumption::disabled();
    let name = root.map_or_else(|| CONTROLLER_NAME.to_owned(), CaFingerprint::server_name);
    ClientTls { config: Arc::new(config), name }
}

fn connect_error(error: io::Error) -> ConnectError {
    match tls_error(&error) {
        Some(rustls::Error::InvalidCertificate(reason)) => certificate_error(reason.clone()),
        Some(rustls::Error::AlertReceived(alert)) => ConnectError::Refused(*alert),
        Some(other) => ConnectError::Tls(other.clone()),
        None => ConnectError::Io(error),
    }
}

fn certificate_error(reason: CertificateError) -> ConnectError {
    use CertificateError as Reason;
    if let Reason::Other(other) = &reason
        && let Some(missing) = other.0.downcast_ref::<PinnedCaMissing>()
    {
        return missing.clone().into();
    }
    match reason {
        // A foreign CA with the same subject appears as a bad signature.
        Reason::UnknownIssuer | Reason::BadSignature => ConnectError::ForeignController,
        Reason::Expired
        | Reason::ExpiredContext { .. }
        | Reason::NotValidYet
        | Reason::NotValidYetContext { .. } => ConnectError::ControllerCertificateTime(reason),
        _ => ConnectError::ControllerCertificate(reason),
    }
}
