//! A node's identity in the test's own hands: dials, renews and recovers as an agent would, or as a thief.

use std::{io, time::Duration};

use supalove_certs::{
    CaFingerprint, CertificateAuthority, JoinToken, NodeKey,
    tls::{ClientTls, ClientTlsStream, NodeChannel, connect, join_client_config, node_client_config},
};
use supalove_core::vault::{Scope, Vault};
use supalove_proto::node::v1::{
    EnrollRequest, GetRecoveryNonceRequest, RecoverRequest, RecoverResponse, RenewRequest, RenewResponse,
    enrollment_service_client::EnrollmentServiceClient, renewal_service_client::RenewalServiceClient,
};
use tokio::net::TcpStream;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use super::Controller;

/// An identity file, read.
#[derive(Clone)]
pub struct Holder {
    /// "nod_…".
    pub node_id: String,
    /// Roots, PEM.
    pub ca_pem: String,
    /// Certificate, PEM.
    pub certificate_pem: String,
    /// Key, PEM.
    pub key_pem: String,
}

impl Holder {
    /// From an agent's file.
    pub fn from_identity(identity: &serde_json::Value) -> Self {
        let text = |name: &str| identity[name].as_str().unwrap().to_owned();
        Self {
            node_id: text("node_id"),
            ca_pem: text("ca_pem"),
            certificate_pem: text("certificate_pem"),
            key_pem: text("key_pem"),
        }
    }

    /// Enrols a new node, as an agent's `join` does.
    pub async fn enroll(address: &str, token: &str, hostname: &str) -> Self {
        Self::try_enroll(address, token, hostname).await.unwrap()
    }

    /// The same, which may be refused.
    pub async fn try_enroll(address: &str, token: &str, hostname: &str) -> Result<Self, Status> {
        let ca = token.parse::<JoinToken>().unwrap().ca();
        let key = NodeKey::generate().unwrap();
        let request = EnrollRequest {
            join_token: token.into(),
            csr_pem: key.csr_pem().unwrap(),
            hostname: hostname.into(),
            agent_version: "test".into(),
        };
        let channel = over(open(address, join_client_config(&ca).unwrap()).await).await.unwrap();
        let enrolled = EnrollmentServiceClient::new(channel).enroll(request).await?.into_inner();
        Ok(Self {
            node_id: enrolled.node_id,
            ca_pem: enrolled.ca_pem,
            certificate_pem: enrolled.certificate_pem,
            key_pem: key.to_pem().to_string(),
        })
    }

    /// The node's id without its prefix.
    pub fn uuid(&self) -> uuid::Uuid {
        self.node_id.strip_prefix("nod_").unwrap().parse().unwrap()
    }

    /// A TLS connection with the node's certificate.
    pub async fn dial(&self, address: &str, channel: NodeChannel) -> ClientTlsStream<TcpStream> {
        let tls = node_client_config(&self.ca_pem, &self.certificate_pem, &self.key_pem, channel).unwrap();
        open(address, tls).await
    }

    /// The same for a controller that may be away.
    pub async fn try_dial(
        &self,
        address: &str,
        channel: NodeChannel,
    ) -> io::Result<ClientTlsStream<TcpStream>> {
        let tls = node_client_config(&self.ca_pem, &self.certificate_pem, &self.key_pem, channel).unwrap();
        let connecting =
            async { connect(TcpStream::connect(address).await?, tls).await.map_err(io::Error::other) };
        tokio::time::timeout(Duration::from_secs(10), connecting).await.map_err(io::Error::other)?
    }

    /// RenewalService.Renew.
    pub async fn renew(&self, address: &str) -> Result<RenewResponse, Status> {
        self.renew_for(address, self.csr_pem()).await
    }

    /// The same with this request for a certificate.
    pub async fn renew_for(&self, address: &str, csr_pem: String) -> Result<RenewResponse, Status> {
        let request = RenewRequest { csr_pem, agent_version: "test".into() };
        let channel = over(self.dial(address, NodeChannel::Renewal).await).await?;
        Ok(RenewalServiceClient::new(channel).renew(request).await?.into_inner())
    }

    /// A request of the key.
    pub fn csr_pem(&self) -> String {
        NodeKey::from_pem(&self.key_pem).unwrap().csr_pem().unwrap()
    }

    /// The nonce for a Recover.
    pub async fn nonce(&self, address: &str) -> Vec<u8> {
        let request = GetRecoveryNonceRequest { node_id: self.node_id.clone() };
        let mut client = EnrollmentServiceClient::new(self.join_channel(address).await);
        client.get_recovery_nonce(request).await.unwrap().into_inner().nonce
    }

    /// A proof for a nonce.
    pub fn proof(&self, nonce: &[u8]) -> RecoverRequest {
        let key = NodeKey::from_pem(&self.key_pem).unwrap();
        let csr_pem = self.csr_pem();
        let signature = key.sign_recovery(self.uuid(), nonce, &csr_pem).unwrap();
        let node_id = self.node_id.clone();
        let nonce = nonce.to_vec();
        let agent_version = "test".into();
        RecoverRequest { node_id, nonce, csr_pem, signature, agent_version }
    }

    /// EnrollmentService.Recover.
    pub async fn recover(&self, address: &str, proof: RecoverRequest) -> Result<RecoverResponse, Status> {
        let mut client = EnrollmentServiceClient::new(self.join_channel(address).await);
        Ok(client.recover(proof).await?.into_inner())
    }

    async fn join_channel(&self, address: &str) -> Channel {
        let ca = supalove_certs::TrustBundle::from_pem(&self.ca_pem).unwrap().fingerprints()[0];
        over(open(address, join_client_config(&ca).unwrap()).await).await.unwrap()
    }
}

/// A TLS connection; at most 10 s.
pub async fn open(address: &str, tls: ClientTls) -> ClientTlsStream<TcpStream> {
    let connecting = async { connect(TcpStream::connect(address).await.unwrap(), tls).await.unwrap() };
    tokio::time::timeout(Duration::from_secs(10), connecting).await.expect("no connection")
}

async fn over(stream: ClientTlsStream<TcpStream>) -> Result<Channel, Status> {
    let stream = std::sync::Mutex::new(Some(stream));
    let connector = tower::service_fn(move |_: http::Uri| {
        let stream = stream.lock().unwrap().take();
        async move {
            stream
                .map(hyper_util::rt::TokioIo::new)
                .ok_or_else(|| std::io::Error::other("the connection has ended"))
        }
    });
    let endpoint = Endpoint::from_static("http://controller").timeout(Duration::from_secs(20));
    endpoint.connect_with_connector(connector).await.map_err(|error| Status::from_error(error.into()))
}

/// The certificate that a controller shows to whoever trusts this root: DER.
pub async fn shown(address: &str, ca: &CaFingerprint) -> Vec<u8> {
    let stream = open(address, join_client_config(ca).unwrap()).await;
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Whether a controller has a certificate of this root.
pub async fn shows(address: &str, ca: &CaFingerprint) -> bool {
    let stream = TcpStream::connect(address).await.unwrap();
    connect(stream, join_client_config(ca).unwrap()).await.is_ok()
}

/// The fleet's trusted roots with their keys, opened with the controller's master key, the signing one first.
pub async fn authorities(controller: &Controller) -> Vec<CertificateAuthority> {
    let vault = Vault::from_file(&controller.dir.path().join("master.key")).unwrap();
    let roots = controller.database.rows().await.roots().await;
    roots
        .into_iter()
        .map(|(id, certificate_pem, sealed_key)| {
            let id = supalove_core::ids::AuthorityId(id).to_string();
            let scope = Scope { kind: "authority", id: &id, name: "key", version: 1 };
            let key = vault.open(scope, &sealed_key).unwrap();
            let key = std::str::from_utf8(&key).unwrap();
            CertificateAuthority::load(&certificate_pem, key).unwrap()
        })
        .collect()
}
