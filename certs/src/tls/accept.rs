//! The controller's side: reads the hello first, picks the configuration by its ALPN, then does the handshake.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::{CertificateError, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::LazyConfigAcceptor;

use super::show::{ByRoot, ForDownloads};
use super::{
    ALPN_BULK, ALPN_DOWNLOAD, ALPN_JOIN, ALPN_NODE, ALPN_RENEW, TlsConfigError, only, provider, tls_error,
};
use crate::ca::ControllerCertificate;
use crate::download::DownloadKey;
use crate::fingerprint::CaFingerprint;
use crate::identity::{IdentityError, NodeIdentity, PeerIdentity, peer_identity};
use crate::trust::TrustBundle;

/// An encrypted stream from a peer.
pub type ServerTlsStream<IO> = tokio_rustls::server::TlsStream<IO>;

/// A plaintext record with the fatal alert `no_application_protocol` (RFC 8446 §5.1 and §6.2, alert 120), so that the
/// peer learns why it is refused before any configuration was picked.
const NO_APPLICATION_PROTOCOL: [u8; 7] = [21, 3, 3, 0, 2, 2, 120];

/// A connection after its handshake, by its purpose.
#[derive(Debug)]
pub enum Accepted<IO> {
    /// The control session of a verified node.
    Node(NodeIdentity, ServerTlsStream<IO>),
    /// A bulk connection of a verified node.
    Bulk(NodeIdentity, ServerTlsStream<IO>),
    /// A verified node that wants a new certificate.
    Renew(NodeIdentity, ServerTlsStream<IO>),
    /// A peer that wants to enrol. Nothing is known about it.
    Join(ServerTlsStream<IO>),
    /// A peer that wants to download the agent. Nothing is known about it.
    Download(ServerTlsStream<IO>),
}

/// Why a connection was not accepted. All of these concern one peer only: the accept loop goes on.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// Hello and handshake together took too long.
    #[error("the peer did not finish the TLS handshake within {0:?}")]
    Timeout(Duration),
    /// The first bytes are not a usable TLS hello.
    #[error("the peer sent no usable TLS hello ({0}): this port speaks TLS to agents only")]
    Hello(io::Error),
    /// The hello names no protocol.
    #[error("the peer named no ALPN protocol: only agents may dial this port")]
    NoAlpn,
    /// The hello names several protocols, so the purpose is unclear.
    #[error(
        "the peer offered {count} ALPN protocols where exactly one is allowed: only agents may dial this port"
    )]
    SeveralAlpn {
        /// Number of protocols that were offered.
        count: usize,
    },
    /// The hello names an unknown protocol.
    #[error("the peer asked for an unknown ALPN protocol: its version does not fit this controller")]
    UnknownAlpn,
    /// A node connection without a certificate.
    #[error("the node showed no certificate: enrol it first")]
    NoClientCertificate,
    /// A certificate that this fleet does not accept.
    #[error("the node's certificate was refused ({0}): check the node's clock, or enrol it again")]
    ClientCertificate(CertificateError),
    /// A certificate of this fleet that names no node.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A controller's certificate where a node's is needed.
    #[error("the peer is not a node: only nodes may open this kind of connection")]
    NotANode,
    /// Another failure of the handshake.
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
}

/// The TLS side of the node port. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct NodePortTls {
    node: Arc<ServerConfig>,
    bulk: Arc<ServerConfig>,
    join: Arc<ServerConfig>,
    renew: Arc<ServerConfig>,
    download: Option<Arc<ServerConfig>>,
    shown: Arc<ByRoot>,
    roots: TrustBundle,
    handshake_timeout: Duration,
}

/// What a peer asks for in its hello. Until the handshake is done it is only what the peer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A control session.
    Node,
    /// A bulk connection.
    Bulk,
    /// A new certificate for a node that has one.
    Renew,
    /// An enrolment.
    Join,
    /// The join script, or the agent's program.
    Download,
}

/// A connection whose hello was read and whose handshake has not begun.
pub struct Greeted<IO> {
    purpose: Purpose,
    start: tokio_rustls::StartHandshake<IO>,
    config: Arc<ServerConfig>,
    limit: Duration,
}

impl NodePortTls {
    /// For a fleet with one root. `handshake_timeout` bounds hello and handshake together.
    pub fn new(
        certificate: &ControllerCertificate,
        ca_pem: &str,
        handshake_timeout: Duration,
    ) -> Result<Self, TlsConfigError> {
        Self::with_roots(std::slice::from_ref(certificate), TrustBundle::from_pem(ca_pem)?, handshake_timeout)
    }

    /// Builds the configurations. Nodes of any root in `roots` are let in; an agent is shown the certificate of the root
    /// that it names in its hello, else the first.
    pub fn with_roots(
        certificates: &[ControllerCertificate],
        roots: TrustBundle,
        handshake_timeout: Duration,
    ) -> Result<Self, TlsConfigError> {
        let nodes = node_verifier(&roots)?;
        let anybody = WebPkiClientVerifier::no_client_auth();
        let shown = Arc::new(ByRoot::new(certificates)?);
        Ok(Self {
            node: server_config(shown.clone(), nodes.clone(), ALPN_NODE)?,
            bulk: server_config(shown.clone(), nodes.clone(), ALPN_BULK)?,
            renew: server_config(shown.clone(), nodes, ALPN_RENEW)?,
            join: server_config(shown.clone(), anybody, ALPN_JOIN)?,
            download: None,
            shown,
            roots,
            handshake_timeout,
        })
    }

    /// Also accepts [`ALPN_DOWNLOAD`]. A peer that names a root is shown the certificate of it, any other one a new certificate of
    /// this key.
    pub fn with_downloads(self, key: &DownloadKey, now: DateTime<Utc>) -> Result<Self, TlsConfigError> {
        let shown = Arc::new(ForDownloads::new(self.shown.clone(), key, now)?);
        let anybody = WebPkiClientVerifier::no_client_auth();
        Ok(Self { download: Some(server_config(shown, anybody, ALPN_DOWNLOAD)?), ..self })
    }

    /// Which root signed the peer's certificate; `None` without one.
    pub fn issuer<IO>(&self, stream: &ServerTlsStream<IO>) -> Option<CaFingerprint> {
        self.roots.issuer_of(stream.get_ref().1.peer_certificates()?.first()?)
    }

    /// Does the handshake on a new connection; returns the peer and its purpose.
    pub async fn accept<IO>(&self, io: IO) -> Result<Accepted<IO>, AcceptError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let accepted = async { self.hello(io, self.handshake_timeout).await?.handshake().await };
        tokio::time::timeout(self.handshake_timeout, accepted)
            .await
            .map_err(|_| AcceptError::Timeout(self.handshake_timeout))?
    }

    /// Reads the hello of a new connection within `limit`, without any costly work.
    pub async fn hello<IO>(&self, io: IO, limit: Duration) -> Result<Greeted<IO>, AcceptError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let greeted = self.read_hello(io);
        tokio::time::timeout(limit, greeted).await.map_err(|_| AcceptError::Timeout(limit))?
    }

    async fn read_hello<IO>(&self, io: IO) -> Result<Greeted<IO>, AcceptError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut start = LazyConfigAcceptor::new(Acceptor::default(), io).await.map_err(AcceptError::Hello)?;
        let asked = purpose_of(&start.client_hello())
            .and_then(|purpose| Ok((purpose, self.config(purpose).ok_or(AcceptError::UnknownAlpn)?)));
        let (purpose, config) = match asked {
            Ok(asked) => asked,
            Err(error) => {
                refuse(&mut start.io).await;
                return Err(error);
            }
        };
        Ok(Greeted { purpose, start, config, limit: self.handshake_timeout })
    }

    fn config(&self, purpose: Purpose) -> Option<Arc<ServerConfig>> {
        match purpose {
            Purpose::Node => Some(self.node.clone()),
            Purpose::Bulk => Some(self.bulk.clone()),
            Purpose::Renew => Some(self.renew.clone()),
            Purpose::Join => Some(self.join.clone()),
            Purpose::Download => self.download.clone(),
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Greeted<IO> {
    /// What the peer asks for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Does the handshake.
    pub async fn handshake(self) -> Result<Accepted<IO>, AcceptError> {
        let handshake = self.start.into_stream(self.config);
        let stream = tokio::time::timeout(self.limit, handshake)
            .await
            .map_err(|_| AcceptError::Timeout(self.limit))?
            .map_err(handshake_error)?;
        match self.purpose {
            Purpose::Node => Ok(Accepted::Node(node_of(&stream)?, stream)),
            Purpose::Bulk => Ok(Accepted::Bulk(node_of(&stream)?, stream)),
            Purpose::Renew => Ok(Accepted::Renew(node_of(&stream)?, stream)),
            Purpose::Join => Ok(Accepted::Join(stream)),
            Purpose::Download => Ok(Accepted::Download(stream)),
        }
    }
}

fn node_verifier(trusted: &TrustBundle) -> Result<Arc<dyn ClientCertVerifier>, TlsConfigError> {
    let roots = only(trusted.roots()).map_err(TlsConfigError::Root)?;
    WebPkiClientVerifier::builder_with_provider(roots, provider()).build().map_err(TlsConfigError::Verifier)
}

fn server_config(
    shown: Arc<dyn ResolvesServerCert>,
    clients: Arc<dyn ClientCertVerifier>,
    alpn: &str,
) -> Result<Arc<ServerConfig>, TlsConfigError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsConfigError::Provider)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(shown);
    config.alpn_protocols = vec![alpn.into()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// Exactly one known protocol, or a refusal: with several, the server would have to guess the purpose.
fn purpose_of(hello: &ClientHello<'_>) -> Result<Purpose, AcceptError> {
    let offered: Vec<&[u8]> = hello.alpn().ok_or(AcceptError::NoAlpn)?.collect();
    let [protocol] = offered[..] else {
        return Err(AcceptError::SeveralAlpn { count: offered.len() });
    };
    match std::str::from_utf8(protocol) {
        Ok(ALPN_NODE) => Ok(Purpose::Node),
        Ok(ALPN_BULK) => Ok(Purpose::Bulk),
        Ok(ALPN_RENEW) => Ok(Purpose::Renew),
        Ok(ALPN_JOIN) => Ok(Purpose::Join),
        Ok(ALPN_DOWNLOAD) => Ok(Purpose::Download),
        _ => Err(AcceptError::UnknownAlpn),
    }
}

/// Tells the peer the reason of the refusal. Errors are ignored: the peer may be gone already.
async fn refuse(io: &mut (impl AsyncWrite + Unpin)) {
    if io.write_all(&NO_APPLICATION_PROTOCOL).await.is_ok() {
        let _ = io.shutdown().await;
    }
}

fn node_of<IO>(stream: &ServerTlsStream<IO>) -> Result<NodeIdentity, AcceptError> {
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let end_entity = chain.first().ok_or(AcceptError::NoClientCertificate)?;
    match peer_identity(end_entity)? {
        PeerIdentity::Node(identity) => Ok(identity),
        PeerIdentity::Controller(_) => Err(AcceptError::NotANode),
    }
}

fn handshake_error(error: io::Error) -> AcceptError {
    match tls_error(&error) {
        Some(rustls::Error::NoCertificatesPresented) => AcceptError::NoClientCertificate,
        Some(rustls::Error::InvalidCertificate(reason)) => AcceptError::ClientCertificate(reason.clone()),
        _ => AcceptError::Handshake(error),
    }
}
