//! Nodes that move, that are many, and that do not come back. They are doubles, so no engine is needed.

use std::{process::Command, time::Duration};

use supalove_proto::v1::{DeleteProjectRequest, OperationState, ProjectEventType, ProjectState};
use supalove_system_tests::{
    CORE, Controller, Double, DoubleState, Options, Process, SLACK, program, wait_for,
};

const SOON: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_ports_move_while_a_project_is_placed_on_it_is_refused() {
    let mut controller = Controller::start().await;
    let api = controller.operator().await;
    let double = Double::join(&controller.node_address, &api.join_token().await, "moving").await;
    api.wait_ready_nodes(1).await;
    let node = double.holder.uuid();
    let rows = controller.database.rows().await;
    assert_eq!(rows.port_base(node).await, 5500);

    // First the placement waits for the row, then the Hello of the agent with other ports.
    let lock = rows.lock_capacity(node).await;
    let placing = api.clone();
    let placing = tokio::spawn(async move { placing.create("placed", CORE).await });
    wait_for("the placement to wait", SOON * SLACK, async || (rows.waiting().await == 1).then_some(())).await;
    let holder = double.holder.clone();
    drop(double);
    let mut state = DoubleState::default();
    state.port_base = 7500;
    let _moved = Double::dial(holder, &controller.node_address, state);
    wait_for("Hello to wait", SOON * SLACK, async || (rows.waiting().await == 2).then_some(())).await;
    lock.rollback().await.unwrap();

    let project = placing.await.unwrap().project.unwrap().r#ref;
    let given = rows.placement(&project).await;
    controller.process.wait_for_log("run its agent with --port-base 5500", SOON * SLACK);
    assert_eq!(
        (given.1 - 8 * given.0, rows.port_base(node).await),
        (5500, 5500),
        "the ports of the placement"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_asked_to_spread_their_return_by_the_size_of_the_fleet() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let double = Double::join(&controller.node_address, &api.join_token().await, "one").await;
    api.wait_ready_nodes(1).await;
    assert!(double.state().reconnect_spread < Duration::from_millis(100), "it is alone");
    let holder = double.holder.clone();
    drop(double);
    let rows = controller.database.rows().await;
    // 250 nodes return in a second; none waits for longer than half of the time after which it counts as silent.
    for (more, seconds) in [(1000, 4), (20_000, 10)] {
        rows.add_bare_nodes(more).await;
        let spread = Duration::from_secs(seconds);
        wait_for("a Hello that knows of them", SOON * SLACK, async || {
            let double = Double::dial(holder.clone(), &controller.node_address, DoubleState::default());
            let limit = SOON * SLACK;
            wait_for("Hello", limit, async || (double.state().epoch > 0).then_some(())).await;
            let asked = double.state().reconnect_spread;
            (asked >= spread && asked < spread + Duration::from_millis(100)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_project_on_a_host_that_has_been_lost_for_a_day_ends_without_it() {
    const DAY: Duration = Duration::from_hours(24);
    let arguments = vec!["--nodes-return".into(), "1".into()];
    let controller = Controller::start_with(Options { arguments, ..Options::default() }).await;
    let api = controller.operator().await;
    let double = Double::join(&controller.node_address, &api.join_token().await, "lost").await;
    api.wait_ready_nodes(1).await;
    let project = api.create_healthy("left-behind", CORE).await.r#ref;
    let node = double.holder.uuid();
    drop(double);
    let rows = controller.database.rows().await;
    let undo_window = Some(prost_types::Duration::default());
    let delete = DeleteProjectRequest { project_ref: project.clone(), undo_window, ..Default::default() };
    let deleted = api.projects().delete_project(delete).await.unwrap().into_inner().operation.unwrap();
    assert_eq!(api.project(&project).await.state(), ProjectState::GoingDown, "the host has not removed it");

    rows.silence_and_lock(node, DAY + SOON).await.rollback().await.unwrap();
    api.wait_state(&project, ProjectState::Removed, SOON * SLACK).await;
    assert_eq!(api.wait(&deleted.id).await.state(), OperationState::Succeeded);
    let events = api.events(&project).await;
    let told = events.iter().find(|event| event.r#type() == ProjectEventType::ProjectAbandoned);
    let told = told.expect("an event about what is left on the host");
    assert!(told.message.contains("has been lost for a day"), "{}", told.message);
    assert_eq!(rows.held().await, (0, 0, 0), "it holds no quota and no room");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_says_for_whom_its_start_waits_and_goes_on_when_the_database_is_prepared() {
    let controller = Controller::start().await;
    controller.operator().await;
    let rows = controller.database.rows().await;
    let preparing = rows.prepare_for_ever().await;
    // Not as a replica of the test: its public port opens only after the wait.
    let mut command = Command::new(program("supalove-controller"));
    command.args(["run", "--public-listen", "127.0.0.1:0", "--node-listen", "127.0.0.1:0"]);
    for (option, file) in [("--database-url-file", "database-url"), ("--master-key-file", "master.key")] {
        command.arg(option).arg(controller.dir.path().join(file));
    }
    let mut replica = Process::start(&mut command, &controller.dir.path().join("replica.log"));
    replica.wait_for_log("another process prepares the control database", SOON * SLACK);
    let log = replica.log();
    assert!(log.contains("preparing, process "), "who it is: {log}");
    assert_eq!(rows.count("controllers").await, 1, "it has not started");
    preparing.rollback().await.unwrap();
    wait_for("the replica to start", SOON * SLACK, async || {
        (rows.count("controllers").await == 2).then_some(())
    })
    .await;
}
