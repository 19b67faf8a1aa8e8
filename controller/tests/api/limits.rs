//! Limits that one peer meets alone: open calls of an address, connections of a node, certificates on record. Load from many is
//! in `load.rs`.

use std::time::Duration;

use supalove_certs::tls::NodeChannel;
use supalove_proto::v1::GetSignUpPolicyRequest;
use supalove_system_tests::{Api, Controller, Heard, Holder, Options, SLACK, Stub, wait_for};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

const SOON: Duration = Duration::from_secs(10);

/// A cheap call that anybody may make.
async fn open_call(api: &Api, address: &str) -> Result<(), Status> {
    let mut request = Request::new(GetSignUpPolicyRequest {});
    request.metadata_mut().insert("x-forwarded-for", address.parse().unwrap());
    api.auth().get_sign_up_policy(request).await.map(|_| ())
}

/// A call whose request never ends. It is open until its time for that is over.
async fn unfinished_call(port: u16, address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = format!(
        "POST /supalove.v1.AuthService/SignIn HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc-web+proto\r\n\
         x-forwarded-for: {address}\r\ncontent-length: 100\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn an_address_has_so_many_calls_without_sign_in_at_once_and_others_have_theirs() {
    let arguments = vec!["--trusted-proxy=127.0.0.1/32".to_owned()];
    let controller = Controller::start_with(Options { arguments, ..Options::default() }).await;
    let api = controller.api();
    let unfinished = |count| {
        let calls = (0..count).map(|_| unfinished_call(controller.public_port, "192.0.2.1"));
        futures::future::join_all(calls)
    };
    let held = unfinished(31).await;
    // With this one there are 32 at most.
    open_call(&api, "192.0.2.1").await.unwrap();
    drop(held);
    // Each is held for ten seconds at most, so they are held anew for each look.
    let refused = wait_for("the address to have too many", SOON * SLACK, async || {
        let held = unfinished(32).await;
        let refused = open_call(&api, "192.0.2.1").await.err()?;
        open_call(&api, "192.0.2.2").await.unwrap();
        drop(held);
        Some(refused)
    })
    .await;
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(
        refused.message(),
        "you have too many calls from your address at once (the maximum is 32); end some, or try again later"
    );
    assert_eq!(refused.get_details_error_info().unwrap().reason, "BUSY");
    assert!(refused.get_details_retry_info().is_some());
    wait_for("room for many calls", SOON * SLACK, async || {
        let answers = futures::future::join_all((0..16).map(|_| open_call(&api, "192.0.2.1"))).await;
        answers.iter().all(Result::is_ok).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_node_has_so_many_connections_at_once_and_its_session_stays() {
    let mut controller = Controller::start().await;
    let api = controller.operator().await;
    let address = controller.node_address.clone();
    let node = Holder::enroll(&address, &api.join_token().await, "many").await;
    let other = Holder::enroll(&address, &api.join_token().await, "other").await;
    let mut stub = Stub::dial(&node, &address).await;
    stub.answer_hello();
    assert_eq!(stub.hears().await, Heard::Hello);
    let rows = controller.database.rows().await;
    let epoch = wait_for("the session", SOON * SLACK, async || rows.live_epoch().await).await;

    let dial =
        |count| futures::future::join_all((0..count).map(|_| node.try_dial(&address, NodeChannel::Renewal)));
    let refusal = "connection to the node port: too many of one node";
    // With its session these are four. They end when they have been idle for two seconds.
    let held = dial(3).await;
    assert!(held.iter().all(Result::is_ok));
    other.renew(&address).await.unwrap();
    assert!(!controller.process.log().contains(refusal), "{}", controller.process.log());
    drop(held);
    // On a slow machine the first may have ended before the last has begun.
    wait_for("a connection too many", SOON * SLACK, async || {
        let held = dial(6).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(held);
        controller.process.log().contains(refusal).then_some(())
    })
    .await;
    assert_eq!(rows.live_epoch().await, Some(epoch), "the node has its session");
    other.renew(&address).await.unwrap();
    wait_for("room for a renewal", SOON * SLACK, async || node.renew(&address).await.ok()).await;
    controller.process.assert_alive();
}

#[tokio::test]
async fn a_node_has_fifty_certificates_on_record_the_newest_ones() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let address = controller.node_address.clone();
    let node = Holder::enroll(&address, &api.join_token().await, "eager").await;
    let other = Holder::enroll(&address, &api.join_token().await, "other").await;
    let rows = controller.database.rows().await;
    assert_eq!(rows.certificates(node.uuid()).await.len(), 1);
    rows.add_certificates(node.uuid(), 48).await;
    node.renew(&address).await.unwrap();
    let fifty = rows.certificates(node.uuid()).await;
    assert_eq!(fifty.len(), 50, "that many are kept");
    for _ in 0..3 {
        node.renew(&address).await.unwrap();
    }
    let now = rows.certificates(node.uuid()).await;
    assert_eq!(now.len(), 50, "one goes for each that comes");
    // Newest first: the three of the renewals, and then those of before without their three oldest.
    assert_eq!(now[3..], fifty[..47]);
    assert_eq!(rows.certificates(other.uuid()).await.len(), 1, "that of another node stays");
}
