//! A new certificate for a node that has only its key left: it signs a nonce of the controller with it.

use supalove_certs::tls::{join_client_config, recovery_client_config};
use supalove_certs::{CaFingerprint, NodeKey};
use supalove_proto::node::v1::enrollment_service_client::EnrollmentServiceClient;
use supalove_proto::node::v1::{GetRecoveryNonceRequest, NodeCertificate, RecoverRequest};
use supalove_spec::ProtocolTimes;
use tonic::Status;

use super::renew::short_call;
use super::{RenewalError, with_certificate};
use crate::dial::dial;
use crate::identity::Identity;

/// `supalove-agent recover`: the same by hand, for an agent that does not run.
pub async fn recover_by_hand(
    identity: &Identity,
    ca: Option<CaFingerprint>,
    times: &ProtocolTimes,
) -> Result<Identity, RenewalError> {
    with_certificate(identity, recover(identity, ca, times).await?)
}

/// Asks the controller for a certificate. `ca` replaces the roots that the node trusts, which may be retired by now.
pub(super) async fn recover(
    identity: &Identity,
    ca: Option<CaFingerprint>,
    times: &ProtocolTimes,
) -> Result<NodeCertificate, RenewalError> {
    let tls = match ca {
        Some(ca) => join_client_config(&ca)?,
        None => recovery_client_config(&identity.ca_pem)?,
    };
    let key = NodeKey::from_pem(&identity.key_pem)?;
    let node =
        identity.node_uuid().ok_or_else(|| RenewalError::Unusable("the node's id is damaged".into()))?;
    let node_id = identity.node_id.clone();
    let csr_pem = key.csr_pem()?;
    let dialled = dial(&identity.controller, tls, times.dial).await?;
    let refusal = dialled.refusal();
    Box::pin(short_call(times, &refusal, async {
        let mut client = EnrollmentServiceClient::new(dialled.channel().await?);
        let asked = GetRecoveryNonceRequest { node_id: node_id.clone() };
        let nonce = client.get_recovery_nonce(asked).await?.into_inner().nonce;
        let signature =
            key.sign_recovery(node, &nonce, &csr_pem).map_err(|error| Status::internal(error.to_string()))?;
        let agent_version = env!("CARGO_PKG_VERSION").to_owned();
        let request = RecoverRequest { node_id, nonce, csr_pem, signature, agent_version };
        Ok(client.recover(request).await?.into_inner().certificate)
    }))
    .await
}
