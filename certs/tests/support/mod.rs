//! A small fleet for the tests: one CA, one controller, nodes and both ends of a handshake over memory.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use supalove_certs::tls::{
    AcceptError, Accepted, ClientTls, ClientTlsStream, ConnectError, NodeChannel, NodePortTls, connect,
    node_client_config,
};
use supalove_certs::{CertificateAuthority, NodeIdentity, NodeKey};
use tokio::io::DuplexStream;
use uuid::Uuid;

pub const TIMEOUT: Duration = Duration::from_secs(5);

pub struct Fleet {
    pub ca: CertificateAuthority,
    pub port: NodePortTls,
}

pub struct Node {
    pub identity: NodeIdentity,
    pub cert_pem: String,
    pub key_pem: String,
}

pub fn fleet() -> Fleet {
    let ca = CertificateAuthority::create("test", Utc::now()).unwrap();
    let certificate = ca.issue_controller(Uuid::now_v7(), Utc::now()).unwrap();
    let port = NodePortTls::new(&certificate, ca.cert_pem(), TIMEOUT).unwrap();
    Fleet { ca, port }
}

pub fn identity() -> NodeIdentity {
    NodeIdentity { cluster_id: Uuid::now_v7(), node_id: Uuid::now_v7() }
}

impl Fleet {
    pub fn enrol(&self) -> Node {
        self.enrol_at(Utc::now())
    }

    pub fn enrol_at(&self, now: DateTime<Utc>) -> Node {
        let key = NodeKey::generate().unwrap();
        let identity = identity();
        let issued = self.ca.sign_node(&key.csr_pem().unwrap(), &identity, now).unwrap();
        Node { identity, cert_pem: issued.cert_pem, key_pem: key.to_pem().to_string() }
    }

    /// The node's own configuration, with this fleet's CA as its root.
    pub fn config_for(&self, node: &Node, channel: NodeChannel) -> ClientTls {
        node_client_config(self.ca.cert_pem(), &node.cert_pem, &node.key_pem, channel).unwrap()
    }

    /// Runs both ends of a handshake to their ends.
    pub async fn handshake(
        &self,
        client: impl Into<ClientTls>,
    ) -> (Result<Accepted<DuplexStream>, AcceptError>, Result<ClientTlsStream<DuplexStream>, ConnectError>)
    {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        tokio::join!(self.port.accept(ours), connect(theirs, client))
    }
}

pub fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap()
}

pub fn private_key(pem: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// A client written by somebody else: trusts the fleet's CA, offers what it is told to.
pub fn stranger(
    fleet: &Fleet,
    versions: &[&'static rustls::SupportedProtocolVersion],
    alpns: &[&str],
    node: Option<&Node>,
) -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificates(fleet.ca.cert_pem()).remove(0)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match node {
        Some(node) => {
            builder.with_client_auth_cert(certificates(&node.cert_pem), private_key(&node.key_pem)).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpns.iter().map(|&alpn| alpn.into()).collect();
    config
}

/// A server that shows any chain it likes on the given ALPN.
pub fn impostor(chain_pem: &str, key_pem: &str, alpn: &str) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates(chain_pem), private_key(key_pem))
        .unwrap();
    config.alpn_protocols = vec![alpn.into()];
    Arc::new(config)
}

/// What a client sees when it dials an impostor.
pub async fn dial(
    server: Arc<ServerConfig>,
    client: impl Into<ClientTls>,
) -> Result<ClientTlsStream<DuplexStream>, ConnectError> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let acceptor = tokio_rustls::TlsAcceptor::from(server);
    let (_, connected) = tokio::join!(acceptor.accept(ours), connect(theirs, client));
    connected
}

/// Signs anything with the fleet's own CA, as no code of the crate would.
pub fn forge(
    ca: &CertificateAuthority,
    edit: impl FnOnce(&mut rcgen::CertificateParams),
) -> (String, String) {
    let ca_key = rcgen::KeyPair::from_pem(&ca.key_pem()).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(ca.cert_pem(), ca_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    edit(&mut params);
    let certificate = params.signed_by(&key, &issuer).unwrap();
    (certificate.pem(), key.serialize_pem())
}
