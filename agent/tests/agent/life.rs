//! One project's life on a real Docker Engine: started, repeated, restarted, broken, stopped, removed.
//! Needs the local image set (deploy/images/build.sh), `docker` and `nft`.

use std::time::{Duration, Instant};

use crate::support::docker::{container, docker, id, labelled, rules};
use crate::support::spec::{gateway, postgres, stack};
use crate::support::{Fleet, Session, call};
use supalove_proto::node::v1::tunnel_request::Part;
use supalove_proto::node::v1::{
    InventoryRequest, ObservedStack, ReadLogsRequest, ReadLogsResponse, RemoveStackRequest, RunState,
    ServiceState, StackPhase, TunnelOpen, TunnelRequest, read_logs_response,
};
use tonic::Code;
use tonic_types::StatusExt as _;

const ONE: &str = "lifeaaaaaaaaaaaaaaaa";

async fn get(port: u32, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream =
        tokio::net::TcpStream::connect(("127.0.0.1", u16::try_from(port).unwrap())).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn reason(status: &tonic::Status) -> String {
    status.get_details_error_info().unwrap().reason
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_lives_and_leaves_nothing() {
    let mut fleet = Fleet::start(1).await;
    fleet.run_agent();
    let mut session = fleet.session().await;
    assert_eq!(session.hello.slots, 8);
    assert_eq!(session.hello.network_range, fleet.range);
    assert!(session.hello.capacity.unwrap().memory_mib > 0);
    assert_eq!(session.hello.blocked_slots, []);

    // Create.
    let mut services = vec![gateway(), postgres()];
    services[0].depends_on = vec!["postgres".into()];
    // Long enough to see what is reported while a probe is under way.
    services[1].probe.as_mut().unwrap().timeout_ms = 15_000;
    let first = stack(&fleet, ONE, 1, 1, services.clone());
    let began = Instant::now();
    assert!(session.client.apply_stack(session.call(first.clone())).await.unwrap().into_inner().changed);
    let healthy = session.wait_for(ONE, 1, StackPhase::Healthy, 90).await;
    eprintln!("healthy after {:?}", began.elapsed());
    assert!(healthy.error.is_none());
    assert!(healthy.services.iter().all(|service| service.state() == ServiceState::Healthy));
    let api_port = first.placement.as_ref().unwrap().api_port;
    assert!(get(api_port, "/origin").await.ends_with(&format!("http://127.0.0.1:{api_port}")));
    let inside = docker(&["exec", &container(ONE, "gateway"), "getent", "hosts", "db"]);
    assert!(inside.starts_with("10.214.1."), "{inside}");
    assert!(rules().contains(&format!("p_{ONE}")));
    assert!(fleet.files_with(ONE).len() > 1);
    let config = docker(&["inspect", "--format", "{{json .HostConfig}}", &container(ONE, "gateway")]);
    for expected in [
        r#""CapDrop":["ALL"]"#,
        "no-new-privileges",
        r#""ReadonlyRootfs":true"#,
        r#""Memory":134217728"#,
        r#""MemorySwap":134217728"#,
        r#""NanoCpus":500000000"#,
        r#""PidsLimit":32"#,
        r#""max-size":"10m""#,
    ] {
        assert!(config.contains(expected), "{expected} in {config}");
    }

    // Repeat, older, other content, a new generation with the same content.
    let before = (id(ONE, "gateway"), id(ONE, "postgres"));
    assert!(!session.client.apply_stack(session.call(first.clone())).await.unwrap().into_inner().changed);
    let mut conflicting = first.clone();
    conflicting.restart_token = "other".into();
    let refused = session.client.apply_stack(session.call(conflicting)).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "GENERATION_CONFLICT")
    );
    let second = stack(&fleet, ONE, 1, 2, services.clone());
    session.client.apply_stack(session.call(second.clone())).await.unwrap();
    session.wait_for(ONE, 2, StackPhase::Healthy, 20).await;
    assert_eq!((id(ONE, "gateway"), id(ONE, "postgres")), before, "same content, same containers");
    let refused = session.client.apply_stack(session.call(first)).await.unwrap_err();
    assert_eq!(reason(&refused), "STALE_GENERATION");
    let mut wrong = second.clone();
    wrong.generation = 3;
    wrong.spec.as_mut().unwrap().services[0].image = "not an image".into();
    let refused = session.client.apply_stack(session.call(wrong)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(
        refused.get_details_bad_request().unwrap().field_violations[0].field,
        "spec.services[0].image"
    );
    let taken = stack(&fleet, "lifebbbbbbbbbbbbbbbb", 1, 1, services.clone());
    assert_eq!(reason(&session.client.apply_stack(session.call(taken)).await.unwrap_err()), "SLOT_TAKEN");

    // Logs and a tunnel.
    logs_and_tunnel(&mut fleet, &mut session).await;

    // A container that ends by itself comes back; one that is removed is made anew.
    docker(&["kill", &container(ONE, "gateway")]);
    session.wait_for(ONE, 2, StackPhase::Unhealthy, 10).await;
    let back = session.wait_for(ONE, 2, StackPhase::Healthy, 20).await;
    assert_eq!(back.services[0].restarts, 1);
    docker(&["rm", "-f", &container(ONE, "gateway")]);
    session.wait_for(ONE, 2, StackPhase::Unhealthy, 10).await;
    session.wait_for(ONE, 2, StackPhase::Healthy, 20).await;
    assert_eq!(id(ONE, "postgres"), before.1, "the database was left alone");

    // The agent dies: containers run on, a new one takes over without a restart and without a controller.
    let before = (id(ONE, "gateway"), id(ONE, "postgres"));
    fleet.kill_agent();
    let killed = Instant::now();
    assert!(get(api_port, "/health").await.ends_with("ok"));
    docker(&["kill", "--signal", "STOP", &container(ONE, "postgres")]);
    fleet.run_agent();
    let old_epoch = session.epoch;
    let mut session = fleet.session().await;
    assert!(killed.elapsed() < Duration::from_secs(10));
    // What ran all the time must not look as if it had just been made or started.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let seen = session.snapshot().await.remove(0);
    assert_eq!(seen.phase(), StackPhase::Converging);
    assert!(seen.services.iter().all(|service| service.state() == ServiceState::Pending), "{seen:#?}");
    docker(&["kill", "--signal", "CONT", &container(ONE, "postgres")]);
    let calmly = |seen: &ObservedStack| {
        let calm = |state| matches!(state, ServiceState::Pending | ServiceState::Healthy);
        assert!(seen.services.iter().all(|service| calm(service.state())), "{seen:#?}");
        seen.phase() == StackPhase::Healthy
    };
    session.wait_until(20, "the project to be adopted", calmly).await;
    assert_eq!((id(ONE, "gateway"), id(ONE, "postgres")), before, "adopted, not restarted");
    let stale = session.client.inventory(call(InventoryRequest::default(), old_epoch)).await.unwrap_err();
    assert_eq!(reason(&stale), "STALE_EPOCH");
    let status = String::from_utf8(fleet.agent("status", &["--json"]).stdout).unwrap();
    assert!(status.contains("HEALTHY") && status.contains(ONE), "{status}");

    // Small: the aim is 25 MiB in a release build.
    let memory = std::fs::read_to_string(format!("/proc/{}/status", fleet.agent_pid())).unwrap();
    eprintln!("{}", memory.lines().find(|line| line.starts_with("VmRSS")).unwrap());

    // Restart once, in order.
    let mut restart = stack(&fleet, ONE, 1, 3, services.clone());
    restart.restart_token = "again".into();
    session.client.apply_stack(session.call(restart.clone())).await.unwrap();
    session.wait_for(ONE, 3, StackPhase::Healthy, 60).await;
    assert_ne!(id(ONE, "gateway"), before.0);
    assert_ne!(id(ONE, "postgres"), before.1);

    // The database goes: what depends on it is not counted as crashing, and the database comes back.
    docker(&["kill", &container(ONE, "postgres")]);
    session.wait_for(ONE, 3, StackPhase::Unhealthy, 10).await;
    session.wait_for(ONE, 3, StackPhase::Healthy, 60).await;

    // Stop keeps volumes; start brings the data back.
    let sql = |statement: &str| {
        docker(&[
            "exec",
            &container(ONE, "postgres"),
            "psql",
            "-h",
            "127.0.0.1",
            "-U",
            "supabase_admin",
            "-d",
            "postgres",
            "-Atc",
            statement,
        ])
    };
    sql("create table kept (x int); insert into kept values (42)");
    let mut stopped = stack(&fleet, ONE, 1, 4, services.clone());
    stopped.run_state = RunState::Stopped.into();
    session.client.apply_stack(session.call(stopped)).await.unwrap();
    session.wait_for(ONE, 4, StackPhase::Stopped, 60).await;
    let project = format!("supalove.project={ONE}");
    assert!(labelled("container", &project).is_empty() && labelled("network", &project).is_empty());
    assert_eq!(labelled("volume", &project).len(), 2);
    assert!(!rules().contains(ONE));
    session.client.apply_stack(session.call(stack(&fleet, ONE, 1, 5, services.clone()))).await.unwrap();
    session.wait_for(ONE, 5, StackPhase::Healthy, 60).await;
    assert_eq!(sql("select x from kept"), "42");
    let inventory =
        session.client.inventory(session.call(InventoryRequest::default())).await.unwrap().into_inner();
    assert_eq!(inventory.projects.len(), 1);
    assert_eq!(inventory.projects[0].containers.len(), 2);
    assert_eq!(inventory.blocked_slots, [], "our own ports and networks block nothing");

    // Remove.
    let removal = |generation, delete_volumes| RemoveStackRequest {
        project_ref: ONE.into(),
        generation,
        delete_volumes,
    };
    let refused = session.client.remove_stack(session.call(removal(4, true))).await.unwrap_err();
    assert_eq!(reason(&refused), "STALE_GENERATION");
    session.client.remove_stack(session.call(removal(6, false))).await.unwrap();
    session.wait_for(ONE, 6, StackPhase::Removed, 60).await;
    assert_eq!(labelled("volume", &project).len(), 2, "volumes go only when asked");
    session.client.remove_stack(session.call(removal(6, true))).await.unwrap();
    session.wait_until(60, "volumes to go", |_| labelled("volume", &project).is_empty()).await;
    session.client.remove_stack(session.call(removal(6, true))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    for kind in ["container", "network", "volume"] {
        assert!(labelled(kind, &project).is_empty(), "{kind}");
    }
    assert!(!rules().contains(ONE));
    assert_eq!(fleet.files_with(ONE), [""; 0].map(std::path::PathBuf::from));
    let old = stack(&fleet, ONE, 1, 6, services);
    assert_eq!(reason(&session.client.apply_stack(session.call(old)).await.unwrap_err()), "STALE_GENERATION");
    fleet.terminate_agent();
}

async fn logs_and_tunnel(fleet: &mut Fleet, session: &mut Session) {
    let mut bulk = fleet.bulk(session).await;
    let read = |service: &str, follow| ReadLogsRequest {
        project_ref: ONE.into(),
        services: vec![service.into()],
        lines: 1000,
        follow,
        ..ReadLogsRequest::default()
    };
    let line = |message: Option<ReadLogsResponse>| match message?.item? {
        read_logs_response::Item::Line(line) => Some(line),
        read_logs_response::Item::Note(_) => None,
    };
    let mut lines = bulk.read_logs(read("postgres", false)).await.unwrap().into_inner();
    let mut all = Vec::new();
    while let Some(line) = line(lines.message().await.unwrap()) {
        assert!(line.time.is_some() && line.service == "postgres");
        all.push(line.text);
    }
    assert!(all.iter().any(|line| line.contains("ready to accept connections")), "{all:?}");
    assert_eq!(bulk.read_logs(read("nobody", false)).await.unwrap_err().code(), Code::NotFound);
    let mut following = bulk.read_logs(read("postgres", true)).await.unwrap().into_inner();
    assert!(line(following.message().await.unwrap()).is_some());

    let open = |port| TunnelRequest {
        part: Some(Part::Open(TunnelOpen { project_ref: ONE.into(), service: "gateway".into(), port })),
    };
    let data = TunnelRequest { part: Some(Part::Data(b"GET /health HTTP/1.0\r\n\r\n".to_vec())) };
    let mut answers = bulk.tunnel(tokio_stream::iter([open(8000), data])).await.unwrap().into_inner();
    let mut answer = Vec::new();
    while let Some(message) = answers.message().await.unwrap() {
        answer.extend(message.data);
    }
    assert!(String::from_utf8_lossy(&answer).contains("200 OK"));
    let closed = bulk.tunnel(tokio_stream::iter([open(9)])).await.unwrap_err();
    assert_eq!(closed.code(), Code::Unavailable);
}
