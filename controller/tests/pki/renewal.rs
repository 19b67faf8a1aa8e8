//! Certificates are renewed on both sides while a session goes on.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use supalove_certs::{CertificateLife, NodeKey, tls::NodeChannel};
use tokio::io::AsyncReadExt as _;
use tonic_types::StatusExt as _;

use supalove_system_tests::{Agent, Controller, Holder, Options, SLACK, authorities, shown, wait_for};

/// Life of every certificate here.
const LIFE: Duration = Duration::from_secs(8);

#[tokio::test]
async fn certificates_are_renewed_without_losing_the_session() {
    let life = LIFE.as_secs().to_string();
    let lives = ["--node-certificate-life", &life, "--controller-certificate-life", &life];
    let arguments = lives.map(str::to_owned).to_vec();
    let controller = Controller::start_with(Options { arguments, ..Options::default() }).await;
    let api = controller.operator().await;
    let replica = controller.replica().await;
    let agent = Agent::start(&controller, &api.join_token().await);
    api.wait_ready_nodes(1).await;
    let rows = controller.database.rows().await;
    let first = Holder::from_identity(&agent.identity());
    let began = rows.session_epoch().await;
    let ca = authorities(&controller).await[0].fingerprint();
    let mut before = Vec::new();
    for address in [&controller.node_address, &replica.node_address] {
        before.push(shown(address, &ca).await);
    }

    // Each side twice, so that it is no accident of the first.
    let issued = wait_for("two renewals of the node's certificate", 2 * LIFE * SLACK, async || {
        let renewed = rows.done("Renew").await;
        (renewed >= 2).then_some(renewed)
    })
    .await;
    for (address, before) in [&controller.node_address, &replica.node_address].into_iter().zip(before) {
        wait_for("another certificate of the controller", LIFE * SLACK, async || {
            (shown(address, &ca).await != before).then_some(())
        })
        .await;
    }

    wait_for("the renewed certificate on disk", LIFE, async || {
        let now = Holder::from_identity(&agent.identity());
        assert_eq!(now.key_pem, first.key_pem, "the key stays");
        (now.certificate_pem != first.certificate_pem).then_some(())
    })
    .await;
    assert_eq!(rows.session_epoch().await, began, "the same session all the time");
    assert!(!controller.process.log().contains("session ended"), "{}", controller.process.log());
    let recovered = rows.audited("Recover").await.len();
    println!("{issued} renewals, {recovered} recoveries in one session");
    assert_eq!(agent.status()["session"]["state"], "connected");

    // A certificate is for the enrolled key only, whoever asks with it.
    let now = Holder::from_identity(&agent.identity());
    let other = NodeKey::generate().unwrap().csr_pem().unwrap();
    let refused = now.renew_for(&replica.node_address, other).await.unwrap_err();
    assert_eq!(refused.get_details_error_info().unwrap().reason, "KEY_MISMATCH");

    // The old certificate was good until its own end, by the second.
    let ends = CertificateLife::from_pem(&first.certificate_pem).unwrap().ends + TimeDelta::seconds(2);
    tokio::time::sleep((ends - Utc::now()).to_std().unwrap_or_default()).await;
    let mut refused = first.dial(&controller.node_address, NodeChannel::Renewal).await;
    let error = refused.read(&mut [0; 1]).await.expect_err("a certificate past its end is of use");
    let alert = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let expired = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateExpired);
    assert_eq!(alert, Some(&expired), "{error}");
    api.assert_consistent(1).await;
}
