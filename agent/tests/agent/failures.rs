//! What goes wrong is told with its cause, and closed projects stay closed, on a real Docker Engine.

use std::path::Path;

use crate::support::Fleet;
use crate::support::docker::{
    address, answered, container, docker, gateway_address, reaches, rules, table_of,
};
use crate::support::neighbour::Neighbour;
use crate::support::spec::{PASSWORD, gateway, stack};
use supalove_proto::node::v1::{
    ApplyStackRequest, EnvVar, Exposure, InventoryRequest, Launch, RemoveStackRequest, StackPhase,
};
use tokio::net::{TcpListener, TcpStream};

const ONE: &str = "failaaaaaaaaaaaaaaaa";
const TWO: &str = "doorbbbbbbbbbbbbbbbb";
const THREE: &str = "doorcccccccccccccccc";
const HELD: &str = "failffffffffffffffff";
const OPEN: &str = "nextdddddddddddddddd";
const LATER: &str = "laterhhhhhhhhhhhhhhh";
const STUCK: &str = "stuckggggggggggggggg";
const SHUT: &str = "nexteeeeeeeeeeeeeeee";

#[tokio::test(flavor = "multi_thread")]
async fn failures_name_their_cause_and_are_tried_again() {
    let mut fleet = Fleet::start(2).await;
    fleet.run_agent();
    let mut session = fleet.session().await;

    // The image does not exist, or its registry cannot be reached: the engine's own words arrive.
    let mut missing = gateway();
    missing.image = "localhost:1/supalove/nowhere:1".into();
    session.client.apply_stack(session.call(stack(&fleet, ONE, 0, 1, vec![missing]))).await.unwrap();
    let error = session.wait_for(ONE, 1, StackPhase::Failed, 60).await.error.unwrap();
    assert_eq!((error.reason.as_str(), error.service.as_str()), ("IMAGE_PULL_FAILED", "gateway"));
    assert!(error.message.contains("localhost:1"), "{}", error.message);

    // A program that ends at its start.
    let mut broken = gateway();
    broken.config_mounts[0].files[0].content = format!("no{PASSWORD}configuration;\n").into_bytes();
    broken.env = vec![EnvVar { name: "KEY".into(), value: PASSWORD.into(), bind_placement: false }];
    session.client.apply_stack(session.call(stack(&fleet, ONE, 0, 2, vec![broken]))).await.unwrap();
    let error = session.wait_for(ONE, 2, StackPhase::Failed, 30).await.error.unwrap();
    assert_eq!(error.reason, "SERVICE_EXITED");
    // Its secrets are not told, whatever the program prints.
    let told = |line: &String| line.contains("unknown directive \"no[redacted]configuration\"");
    assert!(error.log_tail.iter().any(told), "{error:?}");
    session.wait_until(30, "another try", |seen| seen.services.iter().any(|s| s.restarts >= 2)).await;

    // A program that never gets ready.
    let mut silent = gateway();
    silent.probe.as_mut().unwrap().ready_within_seconds = 2;
    if let Some(supalove_proto::node::v1::probe::Check::Http(http)) =
        &mut silent.probe.as_mut().unwrap().check
    {
        http.path = "/nothing".into();
    }
    session.client.apply_stack(session.call(stack(&fleet, ONE, 0, 3, vec![silent]))).await.unwrap();
    let error = session.wait_for(ONE, 3, StackPhase::Failed, 30).await.error.unwrap();
    assert_eq!(error.reason, "SERVICE_NOT_READY");
    assert!(error.message.contains("404"), "{}", error.message);

    // Somebody else holds the port; when it is free again, the project comes up by itself.
    let request: ApplyStackRequest = stack(&fleet, ONE, 0, 4, vec![gateway()]);
    let port = u16::try_from(request.placement.as_ref().unwrap().port_base).unwrap();
    let mut session = {
        session
            .client
            .remove_stack(session.call(RemoveStackRequest {
                project_ref: ONE.into(),
                generation: 3,
                delete_volumes: true,
            }))
            .await
            .unwrap();
        session.wait_for(ONE, 3, StackPhase::Removed, 30).await;
        session
    };
    let holder = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let inventory =
        session.client.inventory(session.call(InventoryRequest::default())).await.unwrap().into_inner();
    assert_eq!(inventory.blocked_slots[0].reason, format!("port {port} is in use"));
    session.client.apply_stack(session.call(request)).await.unwrap();
    let error = session.wait_for(ONE, 4, StackPhase::Failed, 30).await.error.unwrap();
    assert_eq!(error.reason, "PORT_IN_USE");
    assert!(error.message.contains(&port.to_string()), "{}", error.message);
    drop(holder);
    session.wait_for(ONE, 4, StackPhase::Healthy, 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_is_somebody_elses_is_left_alone() {
    let mut fleet = Fleet::start(8).await;
    fleet.run_agent();
    let mut session = fleet.session().await;
    let volume = format!("supalove_{HELD}_db_data");
    docker(&["volume", "create", &volume]);
    let witness =
        Path::new(&docker(&["volume", "inspect", "--format", "{{.Mountpoint}}", &volume])).join("dear");
    std::fs::write(&witness, "").unwrap();
    session.client.apply_stack(session.call(stack(&fleet, HELD, 0, 1, vec![gateway()]))).await.unwrap();
    let error = session.wait_for(HELD, 1, StackPhase::Failed, 60).await.error.unwrap();
    assert_eq!(error.reason, "VOLUME_FOREIGN");

    // Empty, and without a label: the engine made it while its disk was full.
    std::fs::remove_file(&witness).unwrap();
    session.wait_for(HELD, 1, StackPhase::Healthy, 60).await;
    let labels = docker(&["volume", "inspect", "--format", "{{.Labels}}", &volume]);
    assert!(labels.contains(HELD), "{labels}");
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_cannot_reach_each_other_or_the_host() {
    let mut fleet = Fleet::start(3).await;
    fleet.run_agent();
    let mut session = fleet.session().await;
    for (project, slot) in [(TWO, 0), (THREE, 1)] {
        let mut gateway = gateway();
        gateway.launch = Launch::ImageDefault.into();
        let request = stack(&fleet, project, slot, 1, vec![gateway]);
        session.client.apply_stack(session.call(request)).await.unwrap();
    }
    for project in [TWO, THREE] {
        session.wait_for(project, 1, StackPhase::Healthy, 60).await;
    }
    let inside = container(TWO, "gateway");
    let other = address(THREE, "gateway");
    let host = gateway_address(TWO, "gateway");
    let listener = TcpListener::bind(("0.0.0.0", 0)).await.unwrap();
    let listening = listener.local_addr().unwrap().port();
    assert!(reaches(&inside, "gateway", 8000), "its own names and ports");
    assert!(reaches(&inside, "kong", 8000));
    assert!(!reaches(&inside, &other, 8000), "another project's container");
    assert!(!reaches(&inside, &host, listening), "a port of the host");
    assert!(!reaches(&inside, &host, fleet.port_base + 8), "another project's published port");
    assert!(!reaches(&inside, &container(THREE, "gateway"), 8000), "by name");

    // Without the rules the same doors are open: it is the rules that close them.
    let table = table_of(TWO);
    std::process::Command::new("nft").args(["delete", "table", "inet", &table]).status().unwrap();
    assert!(reaches(&inside, &host, listening), "open without rules");
    assert!(reaches(&inside, &host, fleet.port_base + 8), "open without rules");

    // Any change makes the agent load the whole table again.
    let removal = RemoveStackRequest { project_ref: THREE.into(), generation: 1, delete_volumes: true };
    session.client.remove_stack(session.call(removal)).await.unwrap();
    session.wait_for(THREE, 1, StackPhase::Removed, 30).await;
    assert!(!reaches(&inside, &host, listening), "closed again");
    let removal = RemoveStackRequest { project_ref: TWO.into(), generation: 1, delete_volumes: true };
    session.client.remove_stack(session.call(removal)).await.unwrap();
    session.wait_for(TWO, 1, StackPhase::Removed, 30).await;
    assert!(!rules().contains(&table), "the last project takes the table with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn outsiders_enter_by_published_ports_only_and_rules_outlive_the_agent() {
    let mut fleet = Fleet::start(4).await;
    fleet.run_agent();
    let mut session = fleet.session().await;
    for (project, slot, exposure) in [(OPEN, 0, Exposure::Published), (SHUT, 1, Exposure::Loopback)] {
        let mut gateway = gateway();
        gateway.ports[0].exposure = exposure.into();
        let request = stack(&fleet, project, slot, 1, vec![gateway]);
        session.client.apply_stack(session.call(request)).await.unwrap();
        session.wait_for(project, 1, StackPhase::Healthy, 60).await;
    }
    // A machine next door that routes to the projects' networks through this host.
    let neighbour = Neighbour::new(4);
    let open = address(OPEN, "gateway");
    let shut = address(SHUT, "gateway");
    assert!(neighbour.reaches(&neighbour.host, fleet.port_base), "a published port");
    assert!(!neighbour.reaches(&neighbour.host, fleet.port_base + 8), "a port on loopback");
    assert!(!neighbour.reaches(&open, 8000), "a container's own address");
    assert!(!neighbour.reaches(&shut, 8000), "the same, with its port on loopback");
    for port in [fleet.port_base, fleet.port_base + 8] {
        TcpStream::connect(("127.0.0.1", port)).await.expect("loopback reaches both");
    }
    TcpStream::connect((shut.as_str(), 8000)).await.expect("the host itself reaches containers");
    assert!(answered(&container(SHUT, "gateway"), &neighbour.address, 9), "projects reach the outside");

    // The agent stops as its service manager asks: containers run on, closed in.
    fleet.terminate_agent();
    assert!(!neighbour.reaches(&shut, 8000), "closed without the agent");
    for project in [OPEN, SHUT] {
        assert!(rules().contains(&format!("p_{project}")));
        let running = docker(&["inspect", "--format", "{{.State.Running}}", &container(project, "gateway")]);
        assert_eq!(running, "true");
    }
    let table = table_of(SHUT);
    std::process::Command::new("nft").args(["delete", "table", "inet", &table]).status().unwrap();
    assert!(neighbour.reaches(&shut, 8000), "open without rules: it is the rules that close it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_does_not_take_the_session_along() {
    let mut fleet = Fleet::start(11).await;
    // One thread serves everything: whoever blocks it blocks all.
    fleet.run_agent_in(&[], &[("TOKIO_WORKER_THREADS", "1")]);
    let mut session = fleet.session().await;
    // Whoever opens this to write waits for a reader, as for a disk that does not answer.
    let stuck = fleet.state.path().join("tombstones.sealed.tmp");
    assert!(std::process::Command::new("mkfifo").arg(&stuck).status().unwrap().success());
    let removal = RemoveStackRequest { project_ref: STUCK.into(), generation: 3, delete_volumes: false };
    session.client.remove_stack(session.call(removal)).await.unwrap();
    let hangs = format!("/proc/{}/task", fleet.agent_pid());
    let began = std::time::Instant::now();
    while !waits_for_a_reader(Path::new(&hangs)) {
        assert!(began.elapsed() < std::time::Duration::from_secs(30), "nobody writes the tombstone");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // A request that waits for the disk, too, must keep back nothing else.
    let later = session.call(stack(&fleet, LATER, 0, 1, vec![gateway()]));
    let mut client = session.client.clone();
    #[expect(clippy::disallowed_methods, reason = "the test waits for it below")]
    let later = tokio::spawn(async move { client.apply_stack(later).await });
    // Each asks whether the project is removed by now.
    for _ in 0..3 {
        session.assert_alive().await;
        session.client.inventory(session.call(InventoryRequest::default())).await.unwrap();
    }
    assert!(!later.is_finished(), "the disk did not hang");
    std::fs::File::open(&stuck).unwrap();
    std::fs::remove_file(&stuck).unwrap();
    session.wait_for(STUCK, 3, StackPhase::Removed, 60).await;
    later.await.unwrap().unwrap();
}

/// True if a thread waits in the kernel for somebody to read the pipe that it opens.
fn waits_for_a_reader(threads: &Path) -> bool {
    let waits = |thread: std::fs::DirEntry| {
        let at = std::fs::read_to_string(thread.path().join("wchan")).unwrap_or_default();
        at.contains("wait_for_partner") || at.contains("fifo_open")
    };
    std::fs::read_dir(threads).unwrap().flatten().any(waits)
}
