//! `supalove.node.v1.EnrollmentService`, on join connections: enrols a host with a token and a public key as a node,
//! and recovers a node whose certificate is unusable. `RenewalService`, on renewal connections: issues the next
//! certificate.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use supalove_certs::{JoinToken, NodeIdentity, RecoveryError, TokenError, csr_key_sha256, verify_recovery};
use supalove_proto::node::v1::{
    EnrollRequest, EnrollResponse, GetRecoveryNonceRequest, GetRecoveryNonceResponse, NodeCertificate,
    RecoverRequest, RecoverResponse, RenewRequest, RenewResponse,
    enrollment_service_server::EnrollmentService, renewal_service_server::RenewalService,
};
use supalove_proto::v1::ErrorReason;
use supalove_spec::{
    limits::NODE_TEXT_CHARS,
    text::{host_name, is_plain},
};
use tonic::{Request, Response, Status};

use super::{
    quotas,
    store::{self, identities, join_tokens},
};
use crate::certificates::{Nonces, Pki};
use supalove_core::{
    Core,
    error::{Error, Result},
    ids::NodeId,
    wire::timestamp,
};

/// Attempts to sign a certificate when the fleet's roots change meanwhile.
const TRIES: usize = 5;

#[derive(Clone)]
pub struct EnrolmentApi {
    core: Core,
    pki: Pki,
    nonces: Arc<Nonces>,
}

/// A node that requests a certificate for its enrolled key.
struct Holder {
    identity: NodeIdentity,
    key_sha256: [u8; 32],
    agent_version: String,
    method: &'static str,
}

/// `RenewalService` for the node that a connection's certificate names.
pub struct Renewal {
    enrolment: EnrolmentApi,
    identity: NodeIdentity,
}

impl EnrolmentApi {
    /// Creates the service with the fleet's roots and nonces.
    pub fn new(core: Core, pki: Pki, nonces: Arc<Nonces>) -> Self {
        Self { core, pki, nonces }
    }

    /// Creates the service for a renewal connection of a node.
    pub fn renewal_of(&self, identity: NodeIdentity) -> Renewal {
        Renewal { enrolment: self.clone(), identity }
    }

    /// Counts the use of the token, creates the node and issues its certificate, in one transaction.
    async fn enroll(&self, body: &EnrollRequest) -> Result<EnrollResponse> {
        let (hostname, token) = checked(body)?;
        for _ in 0..TRIES {
            if let Some(answer) = self.try_enroll(body, &hostname, &token).await? {
                return Ok(answer);
            }
            self.pki.refresh().await?;
        }
        Err(ROOTS_CHANGE)
    }

    /// Returns `None` if this replica's roots are out of date.
    async fn try_enroll(
        &self,
        body: &EnrollRequest,
        hostname: &str,
        token: &JoinToken,
    ) -> Result<Option<EnrollResponse>> {
        if !self.pki.roots().fingerprints().contains(&token.ca()) {
            return Err(refused(
                ErrorReason::JoinTokenForeign,
                "the join token belongs to another fleet, or to a retired root",
            ));
        }
        let node = NodeId::generate();
        let mut write = self.core.system_write(node.to_string());
        let stored = join_tokens::lock(&mut write, token.id()).await?;
        let stored = stored
            .filter(|s| token.verify_hash(&s.secret_hash))
            .ok_or_else(|| refused(ErrorReason::JoinTokenUnknown, "the join token is not known"))?;
        if stored.revoked {
            return Err(refused(ErrorReason::JoinTokenRevoked, "the join token was revoked"));
        }
        if stored.expired {
            return Err(refused(ErrorReason::JoinTokenExpired, "the join token has expired"));
        }
        if !stored.usable {
            return Err(refused(ErrorReason::JoinTokenUsed, "the join token has no uses left"));
        }
        let identity = NodeIdentity { cluster_id: stored.cluster.0, node_id: node.0 };
        let Some((roots, issued)) = self.pki.sign(&mut write, &body.csr_pem, &identity).await? else {
            return Ok(None);
        };
        quotas::take_node(&mut write, stored.cluster).await?;
        join_tokens::use_up(&mut write, token.id()).await?;
        let new = identities::NewNode {
            id: node,
            cluster: stored.cluster,
            name: hostname,
            agent_version: &body.agent_version,
            key_sha256: &issued.spki_sha256,
            trusted_ca: roots.fingerprints().iter().map(ToString::to_string).collect(),
        };
        identities::insert_node(&mut write, &new).await?;
        identities::insert_certificate(&mut write, node, &issued, roots.signing().fingerprint()).await?;
        let cluster_name = store::cluster_name(&mut write, stored.cluster).await?;
        write.audit("/supalove.node.v1.EnrollmentService/Enroll", hostname);
        write.commit([]).await?;
        tracing::info!(%node, cluster = %stored.cluster, hostname, "node joined");
        Ok(Some(EnrollResponse {
            node_id: node.to_string(),
            certificate_pem: issued.cert_pem,
            ca_pem: roots.signing().cert_pem().to_owned(),
            expire_time: Some(timestamp(issued.not_after)),
            fleet_id: self.core.fleet_id.clone(),
            cluster_id: stored.cluster.to_string(),
            trusted_ca_pem: roots.trusted_pem(),
            cluster_name,
        }))
    }

    /// Issues a certificate for a node's enrolled key and uses up `nonce`. A node keeps its key for life, so that
    /// a crash on either side never leaves a node whose key the controller does not know, and `Recover` always works.
    async fn certify(
        &self,
        holder: Holder,
        csr_pem: &str,
        nonce: Option<(&[u8], DateTime<Utc>)>,
    ) -> Result<NodeCertificate> {
        let node = NodeId(holder.identity.node_id);
        // Before any lock, because unauthenticated callers get here.
        let enrolled = identities::enrolled_key(&self.core.db, node).await?;
        if enrolled.ok_or_else(|| unproven(ErrorReason::NodeUnknown, "no such node"))? != holder.key_sha256 {
            return Err(unproven(
                ErrorReason::KeyMismatch,
                "the request does not have the key with which the node enrolled",
            ));
        }
        for _ in 0..TRIES {
            if let Some(certificate) = self.try_certify(&holder, csr_pem, nonce).await? {
                return Ok(certificate);
            }
            self.pki.refresh().await?;
        }
        Err(ROOTS_CHANGE)
    }

    /// Returns `None` if this replica's roots are out of date.
    async fn try_certify(
        &self,
        holder: &Holder,
        csr_pem: &str,
        nonce: Option<(&[u8], DateTime<Utc>)>,
    ) -> Result<Option<NodeCertificate>> {
        let node = NodeId(holder.identity.node_id);
        let mut write = self.core.system_write(node.to_string());
        // The row stays locked, so that a revocation is ordered before or after this.
        let stored = store::lock_node(&mut write, node)
            .await?
            .ok_or_else(|| unproven(ErrorReason::NodeUnknown, "no such node"))?;
        if let Some((nonce, ends)) = nonce
            && !identities::use_nonce(&mut write, nonce, ends).await?
        {
            return Err(unproven(ErrorReason::NonceInvalid, "the nonce has been used or has expired"));
        }
        if stored.revoked {
            return Err(Error::FailedPrecondition {
                reason: ErrorReason::NodeRevoked,
                message: "this node was revoked by an operator; join the host again under another name"
                    .to_owned(),
            });
        }
        let identity = NodeIdentity { cluster_id: stored.cluster.0, ..holder.identity };
        let Some((roots, issued)) = self.pki.sign(&mut write, csr_pem, &identity).await? else {
            return Ok(None);
        };
        identities::insert_certificate(&mut write, node, &issued, roots.signing().fingerprint()).await?;
        write.audit(holder.method, &node.to_string());
        write.commit([]).await?;
        let version = &holder.agent_version;
        let ends = issued.not_after;
        tracing::info!(%node, method = holder.method, version, serial = issued.serial_hex, %ends, "certificate issued");
        Ok(Some(roots.answer(&issued)))
    }

    async fn recover(&self, node: NodeId, body: RecoverRequest) -> Result<RecoverResponse> {
        check_version(&body.agent_version)?;
        let ends = self.nonces.end_of(node, &body.nonce);
        let ends = ends.ok_or_else(|| {
            unproven(ErrorReason::NonceInvalid, "the nonce is not one of this fleet for this node")
        })?;
        let key_sha256 = verify_recovery(node.0, &body.nonce, &body.csr_pem, &body.signature).map_err(
            |error| match error {
                RecoveryError::Csr(csr) => Error::field("csr_pem", csr.to_string()),
                RecoveryError::Signature => {
                    unproven(ErrorReason::SignatureInvalid, "the signature does not match")
                }
            },
        )?;
        let holder = Holder {
            // `try_certify` uses the stored cluster.
            identity: NodeIdentity { cluster_id: uuid::Uuid::nil(), node_id: node.0 },
            key_sha256,
            agent_version: body.agent_version,
            method: "/supalove.node.v1.EnrollmentService/Recover",
        };
        let certificate = self.certify(holder, &body.csr_pem, Some((&body.nonce, ends))).await?;
        Ok(RecoverResponse { certificate: Some(certificate) })
    }
}

impl Renewal {
    async fn renew(&self, body: RenewRequest) -> Result<RenewResponse> {
        check_version(&body.agent_version)?;
        let key_sha256 = csr_key_sha256(&body.csr_pem).map_err(|e| Error::field("csr_pem", e.to_string()))?;
        let holder = Holder {
            identity: self.identity,
            key_sha256,
            agent_version: body.agent_version,
            method: "/supalove.node.v1.RenewalService/Renew",
        };
        let certificate = self.enrolment.certify(holder, &body.csr_pem, None).await?;
        Ok(RenewResponse { certificate: Some(certificate) })
    }
}

#[tonic::async_trait]
impl EnrollmentService for EnrolmentApi {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let answer = Self::enroll(self, request.get_ref()).await;
        if let Err(error) = &answer {
            let hostname = hostname(&request.get_ref().hostname).unwrap_or_default();
            tracing::warn!(hostname, %error, "enrolment of a host refused");
        }
        Ok(Response::new(answer?))
    }

    /// Returns a nonce to every caller: without the node's key it is useless, and it reveals nothing about the node.
    async fn get_recovery_nonce(
        &self,
        request: Request<GetRecoveryNonceRequest>,
    ) -> Result<Response<GetRecoveryNonceResponse>, Status> {
        let node = parse_node(&request.get_ref().node_id)?;
        let ends = identities::nonce_end(&self.core.db, self.core.times.recovery_nonce).await?;
        let nonce = self.nonces.make(node, ends)?;
        Ok(Response::new(GetRecoveryNonceResponse { nonce, expire_time: Some(timestamp(ends)) }))
    }

    async fn recover(&self, request: Request<RecoverRequest>) -> Result<Response<RecoverResponse>, Status> {
        let node = parse_node(&request.get_ref().node_id)?;
        let answer = Self::recover(self, node, request.into_inner()).await;
        if let Err(error) = &answer {
            tracing::warn!(%node, %error, "recovery of a node refused");
        }
        Ok(Response::new(answer?))
    }
}

#[tonic::async_trait]
impl RenewalService for Renewal {
    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        let answer = Self::renew(self, request.into_inner()).await;
        if let Err(error) = &answer {
            tracing::warn!(node = %NodeId(self.identity.node_id), %error, "renewal of a certificate refused");
        }
        Ok(Response::new(answer?))
    }
}

const ROOTS_CHANGE: Error = Error::Aborted("the fleet's roots are changing");

fn parse_node(id: &str) -> Result<NodeId> {
    id.parse().map_err(|e: supalove_core::ids::InvalidId| Error::field("node_id", e.to_string()))
}

/// Checks the agent's version, which goes into rows and logs.
fn check_version(text: &str) -> Result<()> {
    if is_plain(text, NODE_TEXT_CHARS) {
        Ok(())
    } else {
        Err(Error::field("agent_version", "must be a version"))
    }
}

/// The error for a caller that has not proved to be the node.
fn unproven(reason: ErrorReason, what: &str) -> Error {
    Error::Unauthenticated { reason, message: what.to_owned() }
}

/// Checks a request without the database: host name and token.
pub(super) fn checked(body: &EnrollRequest) -> Result<(String, JoinToken)> {
    let hostname = hostname(&body.hostname)?;
    check_version(&body.agent_version)?;
    let token = body.join_token.parse();
    Ok((hostname, token.map_err(|e: TokenError| Error::field("join_token", e.to_string()))?))
}

/// The error for a refused join token, with the common remedy.
fn refused(reason: ErrorReason, what: &str) -> Error {
    Error::Unauthenticated {
        reason,
        message: format!("{what}; create a new one with: supalove join-token create"),
    }
}

fn hostname(text: &str) -> Result<String> {
    host_name(text).ok_or_else(|| Error::field("hostname", "must be a host name"))
}
