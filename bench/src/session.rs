//! The cost of a unary call over the swapped session: this process holds the controller's end, the real agent the other,
//! on loopback with TLS 1.3 and both certificates.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use prost::Message as _;
use supalove_controller::{
    config::{Arguments as ControllerArguments, Command},
    server::Controller,
};
use supalove_core::{
    ids::{NodeId, ProjectRef},
    times::Times,
};
use supalove_fleet::AgentClient;
use supalove_proto::node::v1::{
    ApplyStackRequest, Launch, Limits, Placement, Probe, RemoveStackRequest, RunState, Security, ServiceSpec,
    StackSpec, TcpProbe, probe,
};

use crate::{
    agent::{Agent, FIRST_NETWORK},
    arguments::Arguments,
    controller::{Files, fleet_id},
    database::Database,
    stack::ENGINE,
    stats::{Samples, us},
    table::{Table, number},
};

/// Timeout of the removal of a project that never ran.
const REMOVED: Duration = Duration::from_secs(30);

/// Adds the rows.
pub async fn measure(arguments: &Arguments, table: &mut Table) -> Result<()> {
    let database = Database::create(&arguments.database_url).await?;
    let files = Files::write(&arguments.dir.join("session"), &database)?;
    let controller = start(&files).await?;
    let done = measure_at(&controller, &files, arguments, table).await;
    // It runs in this process, so end it even after an error, before the next measurement.
    controller.stop().await;
    done?;
    database.drop().await
}

async fn measure_at(
    controller: &Controller,
    files: &Files,
    arguments: &Arguments,
    table: &mut Table,
) -> Result<()> {
    let api = files.set_up(controller.public.port()).await?;
    let token = api.join_token().await?;
    let address = controller.node.to_string();
    let mut agent = Agent::start(arguments, "session", &address, &token, ENGINE).await?;
    let node: NodeId = agent.wait_ready(&api).await?.parse()?;
    let client = controller.fleet.agent(node)?;
    let project = ProjectRef::generate();
    let request = apply(&project, agent.port_base);
    let bytes = request.encoded_len();
    let latency = calls(client.clone(), request, arguments.effort().calls).await?;
    let name = format!("unary call over the swapped session ({bytes} bytes, one at a time)");
    let p50 = us(latency.percentile(50));
    let p99 = us(latency.percentile(99));
    table.note(format!("{name}: p50, p99"), format!("{}, {}", number(p50, "µs"), number(p99, "µs")));
    forget(client, &project, &agent).await?;
    agent.end().await
}

/// A controller in this process.
pub async fn start(files: &Files) -> Result<Controller> {
    let text = |path: std::path::PathBuf| path.display().to_string();
    let arguments = <ControllerArguments as clap::Parser>::try_parse_from([
        "supalove-controller",
        "run",
        "--public-listen=127.0.0.1:0",
        "--node-listen=127.0.0.1:0",
        &format!("--database-url-file={}", text(files.database_url())),
        &format!("--master-key-file={}", text(files.master_key())),
        &format!("--setup-token-file={}", text(files.setup_token())),
        &format!("--images-dir={}", text(files.images())),
        &format!("--fleet-id={}", fleet_id()),
    ])?;
    let Command::Run(config) = arguments.command else { bail!("the arguments are not those of a run") };
    Controller::start(&config, Times::default()).await
}

/// Repeats the same ApplyStack: the agent validates and compares it and answers from memory. The project is stopped, so the
/// agent creates nothing on the engine.
async fn calls(mut client: AgentClient, request: ApplyStackRequest, count: usize) -> Result<Samples> {
    let first = client.apply_stack(request.clone()).await?.into_inner();
    ensure!(first.changed, "the agent knew the project before");
    let mut latencies = Vec::with_capacity(count);
    for number in 0..count + count / 10 {
        let request = request.clone();
        let sent = Instant::now();
        let answer = client.apply_stack(request).await?.into_inner();
        // The first tenth warms up.
        if number >= count / 10 {
            latencies.push(sent.elapsed());
        }
        ensure!(!answer.changed, "the agent took a known generation for a new one");
    }
    Ok(Samples::new(latencies))
}

/// A stopped project with one service.
pub fn apply(project: &ProjectRef, port_base: u16) -> ApplyStackRequest {
    let service = ServiceSpec {
        name: "gateway".into(),
        image: "supalove/gateway:1-1".into(),
        launch: Launch::ImageDefault.into(),
        limits: Some(Limits { cpu_millis: 100, memory_mib: 64, pids: 16, open_files: 1024 }),
        security: Some(Security { user: "101:101".into(), read_only_root: true, ..Default::default() }),
        probe: Some(Probe {
            interval_ms: 1000,
            timeout_ms: 1000,
            ready_within_seconds: 30,
            failures: 3,
            check: Some(probe::Check::Tcp(TcpProbe { port: 8000 })),
        }),
        stop_grace_seconds: 5,
        ..Default::default()
    };
    ApplyStackRequest {
        project_ref: project.to_string(),
        generation: 1,
        run_state: RunState::Stopped.into(),
        restart_token: String::new(),
        new_volumes: Vec::new(),
        spec: Some(StackSpec { release: "bench".into(), services: vec![service], volumes: Vec::new() }),
        placement: Some(Placement {
            slot: 0,
            port_base: port_base.into(),
            subnet: FIRST_NETWORK.into(),
            api_url: format!("http://127.0.0.1:{port_base}"),
            api_host: "127.0.0.1".into(),
            api_port: port_base.into(),
            db_port: u32::from(port_base) + 1,
        }),
    }
}

/// Returns when nothing of the project is left. An agent that is ended before leaves its packet rules.
pub async fn forget(mut client: AgentClient, project: &ProjectRef, agent: &Agent) -> Result<()> {
    let request =
        RemoveStackRequest { project_ref: project.to_string(), generation: 2, delete_volumes: true };
    client.remove_stack(request).await?;
    let until = Instant::now() + REMOVED;
    let name = project.to_string();
    while !agent.log().lines().any(|line| line.contains(&name) && line.contains("STACK_PHASE_REMOVED")) {
        ensure!(Instant::now() < until, "the project is not removed after {REMOVED:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
