//! `supalove.node.v1.EnrollmentService`, on join connections: a token and a public key become a node.

use std::sync::Arc;

use chrono::Utc;
use sqlx::PgPool;
use supalove_certs::{CaError, CertificateAuthority, JoinToken, NodeIdentity, TokenError};
use supalove_proto::node::v1::{EnrollRequest, EnrollResponse, enrollment_service_server::EnrollmentService};
use tonic::{Request, Response, Status};

use super::{
    nodes::is_plain,
    store::{self, IssuedRow},
};
use crate::{
    audit,
    encode::timestamp,
    error::{Error, Result},
    ids::NodeId,
};

/// The service.
#[derive(Debug, Clone)]
pub struct EnrolmentApi {
    db: PgPool,
    authority: Arc<CertificateAuthority>,
    fleet_id: String,
}

impl EnrolmentApi {
    /// With the fleet's CA.
    pub fn new(db: PgPool, authority: Arc<CertificateAuthority>, fleet_id: String) -> Self {
        Self { db, authority, fleet_id }
    }

    /// One transaction: the token's use, the node and its certificate are written together or not at all.
    async fn enroll(&self, body: &EnrollRequest) -> Result<EnrollResponse> {
        let (hostname, token) = checked(body)?;
        if token.ca() != self.authority.fingerprint() {
            return Err(refused("JOIN_TOKEN_FOREIGN", "the join token belongs to another fleet"));
        }
        let mut tx = self.db.begin().await?;
        let stored = store::lock_join_token(&mut tx, token.id()).await?;
        let stored = stored
            .filter(|s| token.verify_hash(&s.secret_hash))
            .ok_or_else(|| refused("JOIN_TOKEN_UNKNOWN", "the join token is not known"))?;
        if stored.expired {
            return Err(refused("JOIN_TOKEN_EXPIRED", "the join token has expired"));
        }
        if !stored.usable {
            return Err(refused("JOIN_TOKEN_USED", "the join token has been used as often as it may be"));
        }
        let node = NodeId::generate();
        let identity = NodeIdentity { cluster_id: stored.cluster.0, node_id: node.0 };
        let issued =
            self.authority.sign_node(&body.csr_pem, &identity, Utc::now()).map_err(|error| match error {
                CaError::Csr(csr) => Error::field("csr_pem", csr.to_string()),
                other => Error::internal(other),
            })?;
        store::use_join_token(&mut tx, token.id()).await?;
        let row = IssuedRow {
            serial: &issued.serial_hex,
            key_sha256: &issued.spki_sha256,
            not_before: issued.not_before,
            not_after: issued.not_after,
        };
        store::insert_node(&mut tx, node, stored.cluster, &hostname, &body.agent_version, &row).await?;
        let entry =
            audit::Entry::system(node.to_string(), "/supalove.node.v1.EnrollmentService/Enroll", &hostname);
        audit::record(&mut *tx, &entry).await?;
        tx.commit().await?;
        tracing::info!(%node, cluster = %stored.cluster, hostname, "a node joined");
        Ok(EnrollResponse {
            node_id: node.to_string(),
            certificate_pem: issued.cert_pem,
            ca_pem: self.authority.cert_pem().to_owned(),
            expire_time: Some(timestamp(issued.not_after)),
            fleet_id: self.fleet_id.clone(),
            cluster_id: stored.cluster.to_string(),
        })
    }
}

#[tonic::async_trait]
impl EnrollmentService for EnrolmentApi {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let answer = Self::enroll(self, request.get_ref()).await;
        if let Err(error) = &answer {
            tracing::warn!(hostname = request.get_ref().hostname, %error, "a host was not let in");
        }
        Ok(Response::new(answer?))
    }
}

/// What can be said of a request without the database: the host's name and the token.
pub(super) fn checked(body: &EnrollRequest) -> Result<(String, JoinToken)> {
    let hostname = hostname(&body.hostname)?;
    if !is_plain(&body.agent_version) {
        return Err(Error::field("agent_version", "must be a version"));
    }
    let token = body.join_token.parse();
    Ok((hostname, token.map_err(|e: TokenError| Error::field("join_token", e.to_string()))?))
}

/// One sentence for people; what to do is the same each time.
fn refused(reason: &'static str, what: &str) -> Error {
    Error::Unauthenticated {
        reason,
        message: format!("{what}; make a new one with: supalove join-token create"),
    }
}

/// RFC 1123 labels, as host names are.
fn hostname(text: &str) -> Result<String> {
    let valid = !text.is_empty()
        && text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
    if valid { Ok(text.to_lowercase()) } else { Err(Error::field("hostname", "must be a host name")) }
}
