//! Logs and tunnels over the bulk connection that the agent dials when asked.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Parser as _;
use futures::StreamExt as _;
use supalove_controller::{
    config::{Arguments, Command},
    server,
};
use supalove_core::times::Times;
use supalove_fleet::BulkClient;
use supalove_proto::node::v1::{TailLogsRequest, TunnelOpen, TunnelRequest, tunnel_request::Part};
use supalove_system_tests::{Agent, AgentOptions, Api, Database, free_port, wait_for};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// A controller in this process, so that its fleet can be asked; the agent is the real program.
async fn controller(dir: &std::path::Path, fleet: &str) -> server::Controller {
    supalove_system_tests::install_crypto();
    let database = Database::create().await;
    std::fs::write(dir.join("key"), STANDARD.encode([7u8; 32])).unwrap();
    std::fs::write(dir.join("url"), &database.url).unwrap();
    let file = |name: &str| dir.join(name).display().to_string();
    let public = format!("127.0.0.1:{}", free_port());
    let node = format!("127.0.0.1:{}", free_port());
    let arguments = [
        ["supalove-controller", "run"],
        ["--public-listen", &public],
        ["--node-listen", &node],
        ["--database-url-file", &file("url")],
        ["--master-key-file", &file("key")],
        ["--setup-token-file", &file("setup")],
        ["--fleet-id", fleet],
    ];
    let Command::Run(config) = Arguments::parse_from(arguments.concat()).command;
    server::Controller::start(&config, Times::default()).await.unwrap()
}

async fn tail(bulk: &mut BulkClient, project_ref: &str, service: &str) -> Vec<String> {
    let request = TailLogsRequest {
        project_ref: project_ref.into(),
        service: service.into(),
        lines: 100,
        follow: false,
    };
    let stream = bulk.tail_logs(request).await.unwrap().into_inner();
    stream.map(|line| line.unwrap().line).collect().await
}

/// One HTTP exchange through a tunnel to the gateway.
async fn get_through_tunnel(bulk: &mut BulkClient, project_ref: &str) -> String {
    let (sender, receiver) = mpsc::channel(4);
    let open = TunnelOpen { project_ref: project_ref.into(), service: "gateway".into(), port: 8000 };
    sender.send(TunnelRequest { part: Some(Part::Open(open)) }).await.unwrap();
    let mut answers = bulk.tunnel(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    assert!(answers.next().await.unwrap().unwrap().data.is_empty(), "the first message says that it stands");
    let request = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec();
    sender.send(TunnelRequest { part: Some(Part::Data(request)) }).await.unwrap();
    let mut text = Vec::new();
    while let Some(message) = answers.next().await {
        text.extend(message.unwrap().data);
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_tunnels_reach_a_service_and_only_services_of_the_project() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = format!("test{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
    let controller = controller(dir.path(), &fleet).await;
    let mut api = Api::connect(controller.public.port());
    api.set_up(std::fs::read_to_string(dir.path().join("setup")).unwrap().trim()).await;
    api.create_organization("acme").await;
    let token = api.join_token().await;
    let _agent = Agent::start_at(&controller.node.to_string(), &fleet, &token, AgentOptions::default());
    api.wait_ready_nodes(1).await;
    let project = api.create_healthy("bulk", "core").await;
    let node = project.node_id.parse().unwrap();

    let mut bulk = controller.fleet.bulk(node).await.unwrap();
    let lines = tail(&mut bulk, &project.r#ref, "postgres").await;
    assert!(lines.iter().any(|l| l.contains("database system is ready")), "{lines:#?}");
    assert!(get_through_tunnel(&mut bulk, &project.r#ref).await.starts_with("HTTP/1.1 200"));

    let unknown =
        TailLogsRequest { project_ref: project.r#ref.clone(), service: "sshd".into(), ..Default::default() };
    assert!(bulk.tail_logs(unknown).await.is_err());

    // A second asker shares the connection while it lives, and gets a new one when it does not.
    let mut again = controller.fleet.bulk(node).await.unwrap();
    assert_eq!(tail(&mut again, &project.r#ref, "postgres").await, lines);
    let session = controller.fleet.session(node).unwrap();
    let epoch = session.epoch;
    session.ended.cancel();
    // Its connection lasts as long as somebody holds it.
    drop(session);
    let mut fresh = wait_for("a new session and bulk connection", Duration::from_secs(30), async || {
        controller.fleet.session(node).ok().filter(|live| live.epoch > epoch)?;
        controller.fleet.bulk(node).await.ok()
    })
    .await;
    assert!(get_through_tunnel(&mut fresh, &project.r#ref).await.starts_with("HTTP/1.1 200"));
}
