//! A new certificate on a connection of its own, with the old one shown.

use supalove_certs::NodeKey;
use supalove_certs::tls::{NodeChannel, node_client_config};
use supalove_proto::node::v1::renewal_service_client::RenewalServiceClient;
use supalove_proto::node::v1::{NodeCertificate, RenewRequest};
use supalove_spec::ProtocolTimes;
use tonic::Status;

use super::RenewalError;
use crate::dial::{Refusal, dial};
use crate::identity::Identity;

/// Asks the controller for a new certificate. The key stays the same.
pub(super) async fn renew(
    identity: &Identity,
    times: &ProtocolTimes,
) -> Result<NodeCertificate, RenewalError> {
    let tls = node_client_config(
        &identity.ca_pem,
        &identity.certificate_pem,
        &identity.key_pem,
        NodeChannel::Renewal,
    )?;
    let request = RenewRequest {
        csr_pem: NodeKey::from_pem(&identity.key_pem)?.csr_pem()?,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let dialled = dial(&identity.controller, tls, times.dial).await?;
    let refusal = dialled.refusal();
    // On the heap: a connection's future is large.
    Box::pin(short_call(times, &refusal, async {
        let mut client = RenewalServiceClient::new(dialled.channel().await?);
        Ok(client.renew(request).await?.into_inner().certificate)
    }))
    .await
}

/// Waits for a call on a short connection and tells its failures apart.
pub(super) async fn short_call(
    times: &ProtocolTimes,
    refusal: &Refusal,
    call: impl Future<Output = Result<Option<NodeCertificate>, Status>>,
) -> Result<NodeCertificate, RenewalError> {
    match tokio::time::timeout(times.short_call, call).await {
        Ok(Ok(Some(certificate))) => Ok(certificate),
        Ok(Ok(None)) => Err(RenewalError::Unusable("it is empty".into())),
        Ok(Err(_)) if refusal.came() => Err(RenewalError::CertificateRefused),
        Ok(Err(status)) => {
            let reason = supalove_net::status::reason(&status).unwrap_or_default();
            Err(RenewalError::Refused { reason, message: status.message().to_owned() })
        }
        Err(_) => Err(RenewalError::Timeout(times.short_call)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::Utc;
    use supalove_certs::tls::{AcceptError, NodePortTls};
    use tokio::net::TcpListener;
    use uuid::Uuid;

    use super::super::tests::{authority, identity};
    use super::*;

    #[tokio::test]
    async fn a_renewal_with_an_ended_certificate_is_told_from_other_failures() {
        let ca = authority();
        let shown = ca.issue_controller(Uuid::now_v7(), Utc::now()).unwrap();
        let tls = NodePortTls::new(&shown, ca.cert_pem(), Duration::from_secs(5)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let controller = listener.local_addr().unwrap().to_string();
        let serving = async {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // One that is let in is dropped at once.
                let refused = tls.accept(stream).await;
                assert!(matches!(refused, Ok(_) | Err(AcceptError::ClientCertificate(_))), "{refused:?}");
            }
        };
        let dials = |age: i64| {
            let mut held = identity(&ca, Utc::now() - chrono::TimeDelta::days(age));
            held.controller.clone_from(&controller);
            held
        };
        let renewing = async {
            for _ in 0..20 {
                let refused = renew(&dials(31), &ProtocolTimes::DEFAULT).await;
                assert!(matches!(refused, Err(RenewalError::CertificateRefused)), "{refused:?}");
            }
            let dropped = renew(&dials(0), &ProtocolTimes::DEFAULT).await;
            assert!(matches!(dropped, Err(RenewalError::Refused { .. })), "{dropped:?}");
        };
        tokio::select! {
            () = serving => {}
            () = renewing => {}
        }
    }
}
