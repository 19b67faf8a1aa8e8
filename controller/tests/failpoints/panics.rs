//! Panics of tasks: a panic in a job ends the process, so that its supervisor restarts it; one in a session ends only it.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use supalove_failpoints::{ARMED, DIRECTORY, FIRED};
use supalove_proto::v1::{JobState, ListJobsRequest, ListJobsResponse};
use supalove_system_tests::{Agent, Api, Controller, Holder, Options, SLACK, wait_for};
use tempfile::TempDir;

/// Maximum time after its end until the controller answers again.
pub const BACK: Duration = Duration::from_secs(5);

async fn controller(points: &TempDir) -> Controller {
    let environment = vec![(DIRECTORY.to_owned(), points.path().display().to_string())];
    Controller::start_with(Options { environment, ..Options::default() }).await
}

/// The task that passes the point next panics.
pub fn arm(points: &Path, point: &str) {
    let _ = fs::remove_file(points.join(FIRED));
    fs::write(points.join("draft"), format!("{point} 1 - panic")).unwrap();
    fs::rename(points.join("draft"), points.join(ARMED)).unwrap();
}

async fn jobs(api: &Api) -> ListJobsResponse {
    api.platform().list_jobs(ListJobsRequest {}).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_job_that_panics_ends_the_process_with_its_name_in_the_log_and_a_restart_brings_it_back() {
    let points = tempfile::tempdir().unwrap();
    let mut controller = controller(&points).await;
    arm(points.path(), "controller.jobs.sealed");
    // The set-up is audited, and the row is sealed.
    let api = controller.operator().await;
    let until = Instant::now() + Duration::from_secs(10) * SLACK;
    let status = loop {
        if let Some(status) = controller.process.ended() {
            break status;
        }
        assert!(Instant::now() < until, "the process goes on:\n{}", controller.process.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(status.code(), Some(70), "{}", controller.process.log());
    let log = controller.process.log();
    assert!(log.contains("job panicked") && log.contains("core.seal_audit"), "{log}");

    let restarted = Instant::now();
    controller.restart().await;
    let healthz = format!("http://127.0.0.1:{}/healthz", controller.public_port);
    wait_for("health", (BACK * SLACK).saturating_sub(restarted.elapsed()), async || {
        (reqwest::get(&healthz).await.unwrap().status() == 200).then_some(())
    })
    .await;

    // The lease that the panic left behind ends after 10 s.
    let sealing =
        wait_for("the job to succeed in the new process", Duration::from_secs(15) * SLACK, async || {
            let answer = jobs(&api).await;
            let replica = answer.answering_replica.unwrap().controller_id;
            answer.jobs.into_iter().find(|job| job.name == "core.seal_audit" && job.controller_id == replica)
        })
        .await;
    assert_eq!(sealing.state(), JobState::Ok, "{sealing:?}");
}

#[tokio::test]
async fn a_session_that_panics_ends_alone_and_its_node_comes_back_five_times_in_one_process() {
    let points = tempfile::tempdir().unwrap();
    let mut controller = controller(&points).await;
    let api = controller.operator().await;
    let mut agent = Agent::start(&controller, &api.join_token().await);
    let other = Agent::start(&controller, &api.join_token().await);
    api.wait_ready_nodes(2).await;
    let rows = controller.database.rows().await;
    let node = Holder::from_identity(&agent.identity()).uuid();
    let neighbour = Holder::from_identity(&other.identity()).uuid();
    let neighbours_session = rows.greeted_epoch_of(neighbour).await;
    for panics in 1..=5 {
        let before = rows.greeted_epoch_of(node).await;
        agent.process.kill();
        let ended = format!("session ended node=nod_{} epoch={before}", node.simple());
        wait_for("the end of its session", Duration::from_secs(10) * SLACK, async || {
            controller.process.log().contains(&ended).then_some(())
        })
        .await;
        // Its next session panics; the one after that lasts.
        arm(points.path(), "controller.session.inventory");
        agent.restart();
        wait_for("the session after the panic", Duration::from_secs(10) * SLACK, async || {
            let fired = points.path().join(FIRED).exists();
            (fired && rows.greeted_epoch_of(node).await >= before + 2).then_some(())
        })
        .await;
        let log = controller.process.log();
        assert_eq!(log.matches("connection task panicked").count(), panics, "{log}");
    }
    controller.process.assert_alive();
    let answer = jobs(&api).await;
    assert_eq!(answer.answering_replica.unwrap().connection_panics, 5, "an operator sees them");
    let failing: Vec<_> = answer.jobs.iter().filter(|job| job.state() == JobState::Failing).collect();
    assert!(failing.is_empty(), "no job was touched: {failing:?}");
    api.wait_ready_nodes(2).await;
    assert_eq!(rows.greeted_epoch_of(neighbour).await, neighbours_session, "the other node kept its session");
}
