//! Faults of the control database: it fails over without a word, refuses writes for a while, keeps a row locked, or was restored from a backup. Nodes are
//! doubles, so no engine is needed. Faults of the whole database are in `faults/grey`.

use std::time::{Duration, Instant};

use sqlx::{Connection as _, Executor as _, PgConnection};
use supalove_proto::{
    node::v1::StackPhase,
    v1::{GetMeRequest, OperationState, ProjectState, RestartProjectRequest},
};
use supalove_system_tests::{Api, CORE, Controller, Database, Double, Options, SLACK, TcpProxy, wait_for};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The controller compares reports with rows this often, here.
const RESYNC: Duration = Duration::from_secs(2);
/// All loops work again after a silent failover, at the latest.
const WORKS_AGAIN: Duration = Duration::from_secs(15);
/// States are true again after a fault, at the latest, with `RESYNC`.
const TRUE_AGAIN: Duration = Duration::from_secs(10);
/// A statement of a call is given up after this time.
const GIVEN_UP: Duration = Duration::from_secs(15);

fn options() -> Options {
    Options { arguments: vec!["--resync".into(), RESYNC.as_secs().to_string()], ..Options::default() }
}

async fn up(controller: &Controller, api: &Api, hostname: &str) -> Double {
    let double = Double::join(&controller.node_address, &api.join_token().await, hostname).await;
    api.wait_ready_nodes(1).await;
    double
}

/// Status of `/healthz`; `None` if it does not answer in time.
async fn health(controller: &Controller) -> Option<u16> {
    let asked = reqwest::get(format!("http://127.0.0.1:{}/healthz", controller.public_port));
    let answer = tokio::time::timeout(Duration::from_secs(5), asked).await.ok()?;
    Some(answer.ok()?.status().as_u16())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_fails_over_silently_stops_no_loop() {
    let server = std::env::var("SUPALOVE_TEST_DATABASE_URL").unwrap();
    let address = server.split('@').nth(1).unwrap().split('/').next().unwrap();
    let cable = TcpProxy::to(address).await;
    let options = Options { database_server: Some(server.replace(address, &cable.address)), ..options() };
    let controller = Controller::start_with(options).await;
    let api = controller.operator().await;
    let double = up(&controller, &api, "steady").await;
    let direct = controller.database.url.replace(&cable.address, address);
    let mut stalling = PgConnection::connect(&direct).await.unwrap();
    let rows = Database { url: direct, name: controller.database.name.clone() }.rows().await;
    wait_for("health", WORKS_AGAIN * SLACK, async || (health(&controller).await == Some(200)).then_some(()))
        .await;

    // Statements are in flight when it happens: they wait for a lock, and what they get afterwards is lost.
    stalling.execute("BEGIN; LOCK TABLE nodes").await.unwrap();
    wait_for("statements in flight", WORKS_AGAIN * SLACK, async || (rows.waiting().await > 1).then_some(()))
        .await;
    cable.set_frozen(true);
    stalling.execute("ROLLBACK").await.unwrap();
    let frozen = Instant::now();
    wait_for("the fault to be shown", WORKS_AGAIN * SLACK, async || {
        (health(&controller).await == Some(503)).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(4).saturating_sub(frozen.elapsed())).await;
    cable.fail_over_silently();
    let failed_over = Instant::now();
    let since = rows.now().await;
    wait_for("all loops to work again", WORKS_AGAIN * SLACK, async || {
        let late = rows.loops_silent_since(since).await;
        (late.is_empty() && health(&controller).await == Some(200)).then_some(())
    })
    .await;
    println!("all loops work {:?} after the failover", failed_over.elapsed());
    let project = api.create_healthy("after", CORE).await.r#ref;
    assert_eq!(double.calls_of(&project), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_the_database_refuses_for_a_while_is_not_lost() {
    let controller = Controller::start_with(options()).await;
    let api = controller.operator().await;
    let double = up(&controller, &api, "steady").await;
    let project = api.create_healthy("steady", CORE).await.r#ref;
    let rows = controller.database.rows().await;

    double.report(&project, StackPhase::Unhealthy);
    api.wait_state(&project, ProjectState::ActiveUnhealthy, TRUE_AGAIN * SLACK).await;
    for code in ["53100", "57014", "40P01", "55P03", "XX000"] {
        rows.refuse_project_updates(code).await;
        double.report(&project, StackPhase::Healthy);
        // The controller has been told, and could not write it.
        let refused = format!("control {code}");
        wait_for("a refusal", TRUE_AGAIN * SLACK, async || (rows.refused_updates().await > 0).then_some(()))
            .await;
        assert_eq!(api.project(&project).await.state(), ProjectState::ActiveUnhealthy, "{refused}");
        rows.accept_project_updates().await;
        api.wait_state(&project, ProjectState::ActiveHealthy, TRUE_AGAIN * SLACK).await;
        double.report(&project, StackPhase::Unhealthy);
        api.wait_state(&project, ProjectState::ActiveUnhealthy, TRUE_AGAIN * SLACK).await;
    }
    api.assert_consistent(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_row_silences_no_other_node_and_its_own_state_comes_back() {
    let controller = Controller::start_with(options()).await;
    let api = controller.operator().await;
    let steady = up(&controller, &api, "steady").await;
    let project = api.create_healthy("steady", CORE).await.r#ref;
    let other = Double::join(&controller.node_address, &api.join_token().await, "other").await;
    api.wait_ready_nodes(2).await;
    let rows = controller.database.rows().await;

    // As if it had been locked for longer than a node may be silent.
    let lock = rows.silence_and_lock(steady.holder.uuid(), Duration::from_secs(25)).await;
    let locked = rows.now().await;
    wait_for("the other node's signs of life to go on", Duration::from_secs(5) * SLACK, async || {
        (rows.seen_at(other.holder.uuid()).await > locked).then_some(())
    })
    .await;
    let told = api.wait_state(&project, ProjectState::ActiveUnhealthy, Duration::from_secs(25) * SLACK).await;
    assert!(told.state_reason.contains("has been silent since"), "{told:?}");
    let session = rows.greeted_epoch_of(steady.holder.uuid()).await;
    lock.rollback().await.unwrap();
    api.wait_state(&project, ProjectState::ActiveHealthy, TRUE_AGAIN * SLACK).await;
    assert_eq!(rows.greeted_epoch_of(steady.holder.uuid()).await, session, "the session went on");
    api.assert_consistent(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_too_long_for_a_row_is_unavailable_and_the_controller_serves_on() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let lock = controller.database.rows().await.lock_user_sessions().await;
    let begun = Instant::now();
    let slow = api.auth().get_me(GetMeRequest {}).await.unwrap_err();
    assert!(begun.elapsed() < GIVEN_UP * SLACK, "{:?}", begun.elapsed());
    assert_eq!(slow.code(), Code::Unavailable, "{slow:?}");
    assert!(slow.message().contains("a row is locked for too long"), "{slow:?}");
    assert!(slow.get_details_retry_info().is_some(), "{slow:?}");
    assert_eq!(health(&controller).await, Some(200));
    lock.rollback().await.unwrap();
    api.auth().get_me(GetMeRequest {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_project_is_called_once_and_shows_why() {
    let controller = Controller::start_with(options()).await;
    let api = controller.operator().await;
    let double = up(&controller, &api, "steady").await;
    let project = api.create_healthy("refused", CORE).await.r#ref;
    let before = double.calls_of(&project);
    let refusal = Status::invalid_argument("spec.services[0].image: is no image reference");
    double.state().refusals.insert(project.clone(), refusal);
    let operation = restart(&api, &project).await;
    let failed = api.wait(&operation).await;
    assert_eq!(failed.state(), OperationState::Failed, "{failed:?}");
    let shown = api.project(&project).await;
    assert!(shown.state_reason.contains("is no image reference"), "{shown:?}");
    // Others have their turn meanwhile, and time passes.
    api.create_healthy("other", CORE).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(double.calls_of(&project), before + 1, "it is not called again");
    // Another generation is.
    double.state().refusals.clear();
    let operation = restart(&api, &project).await;
    assert_eq!(api.wait(&operation).await.state(), OperationState::Succeeded);
    api.wait_state(&project, ProjectState::ActiveHealthy, TRUE_AGAIN * SLACK).await;
    api.assert_consistent(1).await;
}

async fn restart(api: &Api, project_ref: &str) -> String {
    let request =
        RestartProjectRequest { project_ref: project_ref.to_owned(), ..RestartProjectRequest::default() };
    api.projects().restart_project(request).await.unwrap().into_inner().operation.unwrap().id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_control_database_learns_from_the_agents_what_it_has_forgotten() {
    let mut controller = Controller::start_with(options()).await;
    let api = controller.operator().await;
    let double = up(&controller, &api, "steady").await;
    let kept = api.create_healthy("kept", CORE).await.r#ref;
    let gone = api.create_healthy("gone", CORE).await.r#ref;
    let backup = controller.dir.path().join("backup");
    controller.database.dump(&backup);

    for _ in 0..2 {
        assert_eq!(api.wait(&restart(&api, &kept).await).await.state(), OperationState::Succeeded);
    }
    let unknown = api.create_healthy("unknown", CORE).await.r#ref;
    let operation = api.delete(&gone, 0).await;
    api.wait(&operation.id).await;
    let slot_of = |project: &str| double.state().records[project].slot;
    let ahead = double.state().records[&kept].generation;
    controller.process.kill();
    // The agent forgets a removed project after a while.
    double.state().records.remove(&gone);
    controller.database.restore(&backup);
    controller.restart().await;
    api.wait_ready_nodes(1).await;
    wait_for("the agent's generation to be taken up", TRUE_AGAIN * SLACK, async || {
        (double.state().records[&kept].generation > ahead).then_some(())
    })
    .await;

    assert_eq!(api.wait(&restart(&api, &kept).await).await.state(), OperationState::Succeeded);
    api.wait_state(&kept, ProjectState::ActiveHealthy, TRUE_AGAIN * SLACK).await;
    let shown = api.wait_state(&gone, ProjectState::ActiveUnhealthy, TRUE_AGAIN * SLACK).await;
    assert!(shown.state_reason.contains("removed it after the backup"), "{shown:?}");
    let node = wait_for("the unknown project", TRUE_AGAIN * SLACK, async || {
        let node = api.nodes().await.remove(0);
        format!("{node:?}").contains(&unknown).then_some(node)
    })
    .await;
    let blocked = format!("slot {}: project {unknown}", slot_of(&unknown));
    assert!(format!("{node:?}").contains(&blocked), "{node:?}");
    let next = api.create_healthy("next", CORE).await.r#ref;
    assert_ne!(slot_of(&next), slot_of(&unknown));

    // Nothing is purged before the restore is confirmed.
    let purged = api.create_healthy("purged", CORE).await.r#ref;
    let operation = api.delete(&purged, 1).await;
    api.wait(&operation.id).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(api.project(&purged).await.state(), ProjectState::GoingDown, "its data is kept");
    let confirmed = api.confirm_restores().await;
    assert!(confirmed.len() == 1 && !confirmed[0].is_empty(), "{confirmed:?}");
    api.wait_state(&purged, ProjectState::Removed, TRUE_AGAIN * SLACK).await;

    // The agent goes on to refuse the one that it has removed. That is the same sign, and does not undo the confirmation.
    let refused = double.calls_of(&gone);
    wait_for("another refusal", Duration::from_secs(20) * SLACK, async || {
        (double.calls_of(&gone) > refused).then_some(())
    })
    .await;
    assert_eq!(api.confirm_restore("").await.unwrap(), "", "nothing waits for a confirmation");
    let operation = api.delete(&gone, 0).await;
    assert_eq!(api.wait(&operation.id).await.state(), OperationState::Succeeded);
    // What the database has forgotten for good is all that differs.
    let found = api.check_consistency().await;
    let objects: Vec<_> = found.differences.iter().map(|one| one.check.as_str()).collect();
    assert_eq!(objects, ["fleet.unexplained", "projects.unexplained"], "{found:#?}");
    assert_eq!(found.differences[1].object, unknown);
}
