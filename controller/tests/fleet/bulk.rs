//! Logs and tunnels over the bulk connection that the agent dials when asked.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Parser as _;
use futures::StreamExt as _;
use supalove_controller::{
    config::{Arguments, Command},
    server,
};
use supalove_core::{error::Error, times::Times};
use supalove_fleet::{BulkClient, Fleet};
use supalove_proto::{
    node::v1::{ReadLogsRequest, TunnelOpen, read_logs_response},
    v1::Project,
};
use supalove_system_tests::{Agent, AgentOptions, Api, CORE, Database, free_port, wait_for};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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
        ["--images-dir", &file("images")],
        ["--fleet-id", fleet],
    ];
    let Command::Run(config) = Arguments::parse_from(arguments.concat()).command else {
        panic!("the arguments are those of `run`");
    };
    server::Controller::start(&config, Times::default()).await.unwrap()
}

async fn tail(bulk: &mut BulkClient, project_ref: &str, service: &str) -> Vec<String> {
    let request = ReadLogsRequest {
        project_ref: project_ref.into(),
        services: vec![service.into()],
        lines: 100,
        ..ReadLogsRequest::default()
    };
    let stream = bulk.read_logs(request).await.unwrap().into_inner();
    let lines = stream.filter_map(|message| async {
        match message.unwrap().item {
            Some(read_logs_response::Item::Line(line)) => Some(line.text),
            _ => None,
        }
    });
    lines.collect().await
}

/// One HTTP exchange with the gateway of a project, in which the client ends its direction before it reads.
async fn get_through_tunnel(fleet: &Fleet, project: &Project) -> String {
    let gateway = TunnelOpen { project_ref: project.r#ref.clone(), service: "gateway".into(), port: 8000 };
    let mut tunnel = fleet.tunnel(project.node_id.parse().unwrap(), gateway).await.unwrap();
    tunnel.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    tunnel.shutdown().await.unwrap();
    let mut text = String::new();
    tunnel.read_to_string(&mut text).await.unwrap();
    text
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
    let project = api.create_healthy("bulk", CORE).await;
    let node = project.node_id.parse().unwrap();

    let mut bulk = controller.fleet.bulk(node).await.unwrap();
    let lines = tail(&mut bulk, &project.r#ref, "postgres").await;
    assert!(lines.iter().any(|l| l.contains("database system is ready")), "{lines:#?}");
    assert!(get_through_tunnel(&controller.fleet, &project).await.starts_with("HTTP/1.1 200"));

    let tunnel = async |service: &str, port| {
        let to = TunnelOpen { project_ref: project.r#ref.clone(), service: service.into(), port };
        controller.fleet.tunnel(node, to).await.err()
    };
    assert!(matches!(tunnel("sshd", 22).await, Some(Error::NotFound { .. })));
    assert!(matches!(tunnel("gateway", 9).await, Some(Error::Unavailable { .. })), "nothing listens there");
    let unknown = ReadLogsRequest {
        project_ref: project.r#ref.clone(),
        services: vec!["sshd".into()],
        ..ReadLogsRequest::default()
    };
    assert!(bulk.read_logs(unknown).await.is_err());

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
    assert!(tail(&mut fresh, &project.r#ref, "postgres").await.starts_with(&lines));
    assert!(get_through_tunnel(&controller.fleet, &project).await.starts_with("HTTP/1.1 200"));
}
