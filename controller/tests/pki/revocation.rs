//! Every replica locks out a revoked node at once and for good, and its agent knows why.

use std::time::{Duration, Instant};

use supalove_certs::tls::NodeChannel;
use supalove_proto::v1::{
    GetNodeRequest, NodeState, OperationState, ProjectEventType, ProjectState, RevokeNodeRequest,
};
use supalove_system_tests::{
    Agent, Audited, CORE, Controller, Heard, Holder, SLACK, STUB_RUN, Stub, wait_for,
};
use tokio::io::AsyncReadExt as _;
use tonic_types::StatusExt as _;

/// Everywhere, within this time.
const REVOKED_WITHIN: Duration = Duration::from_secs(3);

/// Reads what the other end says until it hangs up.
async fn until_closed(mut stream: impl tokio::io::AsyncRead + Unpin) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

#[tokio::test]
async fn a_revoked_node_is_out_everywhere_and_says_so() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let replica = controller.replica().await;
    let mut agent = Agent::start(&controller, &api.join_token().await);
    api.wait_ready_nodes(1).await;
    let node = Holder::from_identity(&agent.identity());
    let node_id = node.node_id.clone();
    // The bulk connection is accepted beside the session, and stays.
    let bulk = node.dial(&controller.node_address, NodeChannel::Bulk).await;
    let mut bulk = tokio::spawn(until_closed(bulk));
    assert!(tokio::time::timeout(Duration::from_millis(500), &mut bulk).await.is_err(), "still open");

    // Through the replica that does not hold the session.
    let mut there = replica.api();
    there.sign_in("operator@example.com").await;
    let started = Instant::now();
    let request = RevokeNodeRequest { node_id: node_id.clone() };
    let revoked = there.clusters().revoke_node(request.clone()).await.unwrap().into_inner().node.unwrap();
    assert_eq!(revoked.state(), NodeState::Revoked);
    let limit = REVOKED_WITHIN * SLACK;
    tokio::time::timeout(limit, &mut bulk).await.expect("the bulk connection is still open").unwrap();
    wait_for("the agent to know", limit, async || {
        let session = agent.status()["session"].clone();
        (session["state"] == "refused" && session["reason"] == "REVOKED").then_some(())
    })
    .await;
    println!("revoked on the other replica within {:?}", started.elapsed());
    assert!(started.elapsed() < limit);
    let log = agent.process.log();
    assert!(log.contains("sent this node away") && log.contains("REVOKED"), "{log}");

    // Nothing of it works any more, on either replica.
    for address in [&controller.node_address, &replica.node_address] {
        for channel in [NodeChannel::Control, NodeChannel::Bulk] {
            let dialled = node.dial(address, channel).await;
            tokio::time::timeout(limit, until_closed(dialled)).await.expect("a session for a revoked node");
        }
        let refused = node.renew(address).await.unwrap_err();
        assert_eq!(refused.get_details_error_info().unwrap().reason, "NODE_REVOKED");
        let proof = node.proof(&node.nonce(address).await);
        let refused = node.recover(address, proof).await.unwrap_err();
        assert_eq!(refused.get_details_error_info().unwrap().reason, "NODE_REVOKED");
    }
    // A restart asks once, and then waits like before.
    agent.process.kill();
    agent.restart();
    wait_for("the restarted agent to know", limit, async || {
        (agent.status()["session"]["reason"] == "REVOKED").then_some(())
    })
    .await;
    let tries = || controller.process.log().matches("the node was revoked").count();
    let before = tries();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(tries(), before, "it does not hammer");

    // Repeating it is safe; whoever asks sees it, and who did it is on record.
    there.clusters().revoke_node(request).await.unwrap();
    let seen = api.clusters().get_node(GetNodeRequest { node_id }).await.unwrap().into_inner().node.unwrap();
    assert_eq!((seen.state(), seen.revoke_time), (NodeState::Revoked, revoked.revoke_time));
    let revocations = controller.database.rows().await.audited("RevokeNode").await;
    let by_a_user = |call: &Audited| call.outcome == "OK" && call.actor.starts_with("usr_");
    assert!(revocations.len() == 2 && revocations.iter().all(by_a_user), "{revocations:?}");
}

#[tokio::test]
async fn a_revocation_between_epoch_and_hello_is_kept_on_another_replica() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let replica = controller.replica().await;
    let mut agent = Agent::start(&controller, &api.join_token().await);
    api.wait_ready_nodes(1).await;
    agent.process.kill();
    let node = Holder::from_identity(&agent.identity());
    let mut stub = Stub::dial(&node, &controller.node_address).await;
    assert_eq!(stub.hears().await, Heard::Hello);

    let mut there = replica.api();
    there.sign_in("operator@example.com").await;
    there.clusters().revoke_node(RevokeNodeRequest { node_id: node.node_id.clone() }).await.unwrap();
    stub.answer_hello();
    stub.closed(REVOKED_WITHIN * SLACK).await;
    assert_ne!(controller.database.rows().await.agent_run().await, STUB_RUN, "what it said is not written");
}

#[tokio::test]
async fn a_project_on_a_revoked_node_can_be_deleted() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let mut agent = Agent::start(&controller, &api.join_token().await);
    api.wait_ready_nodes(1).await;
    // Nothing is needed on the host: nobody will look at it again.
    agent.process.kill();
    let created = api.create("left-behind", CORE).await;
    assert_eq!(created.operation.unwrap().state(), OperationState::Running, "placed");
    let project = created.project.unwrap().r#ref;
    let node_id = Holder::from_identity(&agent.identity()).node_id.clone();
    api.clusters().revoke_node(RevokeNodeRequest { node_id }).await.unwrap();

    let deleted = api.delete(&project, 0).await;
    assert_eq!(deleted.state(), OperationState::Succeeded, "{deleted:#?}");
    assert_eq!(api.project(&project).await.state(), ProjectState::Removed);
    let events = api.events(&project).await;
    let told =
        events.iter().find(|event| event.r#type() == ProjectEventType::ProjectAbandoned).expect("an event");
    assert!(told.message.contains("stay on that host"), "{}", told.message);
    assert_eq!(controller.database.rows().await.held().await, (0, 0, 0));
}
