//! What goes wrong is told with its cause, and closed projects stay closed, on a real Docker Engine.

mod support;

use supalove_proto::node::v1::{ApplyStackRequest, InventoryRequest, Launch, RemoveStackRequest, StackPhase};
use support::Fleet;
use support::docker::{address, container, gateway_address, reaches};
use support::spec::{gateway, stack};
use tokio::net::TcpListener;

const ONE: &str = "failaaaaaaaaaaaaaaaa";
const TWO: &str = "doorbbbbbbbbbbbbbbbb";
const THREE: &str = "doorcccccccccccccccc";

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
    broken.config_mounts[0].files[0].content = b"this is no configuration;".to_vec();
    session.client.apply_stack(session.call(stack(&fleet, ONE, 0, 2, vec![broken]))).await.unwrap();
    let error = session.wait_for(ONE, 2, StackPhase::Failed, 30).await.error.unwrap();
    assert_eq!(error.reason, "SERVICE_EXITED");
    assert!(error.log_tail.iter().any(|line| line.contains("unknown directive")), "{error:?}");
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
    let inventory = session.client.inventory(session.call(InventoryRequest {})).await.unwrap().into_inner();
    assert_eq!(inventory.blocked_slots[0].reason, format!("port {port} is in use"));
    session.client.apply_stack(session.call(request)).await.unwrap();
    let error = session.wait_for(ONE, 4, StackPhase::Failed, 30).await.error.unwrap();
    assert_eq!(error.reason, "PORT_IN_USE");
    assert!(error.message.contains(&port.to_string()), "{}", error.message);
    drop(holder);
    session.wait_for(ONE, 4, StackPhase::Healthy, 60).await;
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
    let tables = support::docker::rules();
    let table = tables.lines().find_map(|line| {
        let name = line.strip_prefix("table inet ")?.strip_suffix(" {")?;
        let body = tables.split(line).nth(1)?.split("\n}\n").next()?;
        body.contains(&format!("p_{TWO}")).then(|| name.to_owned())
    });
    let table = table.expect("the node's table");
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
    assert!(!support::docker::rules().contains(&table), "the last project takes the table with it");
}
