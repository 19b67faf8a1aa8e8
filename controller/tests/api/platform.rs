//! What an operator sees of the control plane's background jobs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use supalove_core::ids::ControllerId;
use supalove_proto::v1::{Job, JobReplicas, JobRhythm, JobState, ListJobsRequest, ListJobsResponse};
use supalove_system_tests::{Api, Controller, SLACK, wait_for};
use tonic::Code;

/// A result follows a run within this time.
const SOON: Duration = Duration::from_secs(10);

async fn list(api: &Api) -> ListJobsResponse {
    api.platform().list_jobs(ListJobsRequest {}).await.unwrap().into_inner()
}

/// The job, once it is in this state.
async fn in_state(api: &Api, name: &str, state: JobState) -> Job {
    wait_for(&format!("{name} to be {state:?}"), SOON * SLACK, async || {
        list(api).await.jobs.into_iter().find(|job| job.name == name && job.state() == state)
    })
    .await
}

/// Status and text of `/healthz`, which anybody may read.
async fn health(controller: &Controller) -> (u16, String) {
    let answer = reqwest::get(format!("http://127.0.0.1:{}/healthz", controller.public_port)).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Waits until the replica is healthy: the database may answer late on a loaded machine.
async fn is_healthy(controller: &Controller) {
    let healthy = (200, "ok\n".to_owned());
    wait_for("health", Duration::from_secs(5) * SLACK, async || {
        (health(controller).await == healthy).then_some(())
    })
    .await;
}

fn seconds(job: &Job) -> u64 {
    job.period.unwrap().seconds.try_into().unwrap()
}

#[tokio::test]
async fn the_operator_sees_the_jobs_of_all_rooms_succeed_in_their_rhythm() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let answer = wait_for("all jobs to have run", SOON * SLACK, async || {
        let answer = list(&api).await;
        answer.jobs.iter().all(|job| job.state() == JobState::Ok).then_some(answer)
    })
    .await;
    let rooms: BTreeSet<_> = answer.jobs.iter().map(|job| job.name.split('.').next().unwrap()).collect();
    let expected =
        ["core", "fleet", "health", "identity", "images", "organizations", "projects", "usage", "vault"];
    assert_eq!(Vec::from_iter(rooms), expected);
    let replica = answer.answering_replica.unwrap();
    assert_eq!(replica.connection_panics, 0);
    for job in &answer.jobs {
        assert_eq!(job.controller_id, replica.controller_id, "{job:?}");
        let success = SystemTime::try_from(job.last_success_time.unwrap()).unwrap();
        let ago = SystemTime::now().duration_since(success).unwrap_or_default();
        // An equal result is written every five seconds.
        let rhythm = Duration::from_secs(seconds(job).max(5));
        assert!(ago < rhythm * SLACK, "{} succeeded {ago:?} ago: {job:?}", job.name);
        assert!(!job.overdue && job.last_error.is_empty() && job.last_failure_time.is_none(), "{job:?}");
    }
    let jobs: BTreeMap<_, _> = answer.jobs.iter().map(|job| (job.name.as_str(), job)).collect();
    let said = |name: &str| (jobs[name].rhythm(), seconds(jobs[name]), jobs[name].replicas());
    assert_eq!(said("core.carry_hints"), (JobRhythm::Always, 5, JobReplicas::Each));
    assert_eq!(said("core.prune"), (JobRhythm::Every, 60, JobReplicas::One));
    assert_eq!(said("fleet.follow_roots"), (JobRhythm::Woken, 1, JobReplicas::Each));
    is_healthy(&controller).await;
}

#[tokio::test]
async fn a_stranger_is_refused_the_jobs() {
    let controller = Controller::start().await;
    controller.operator().await;
    controller.database.rows().await.add_user("stranger@example.com").await;
    let mut stranger = controller.api();
    let nobody = stranger.platform().list_jobs(ListJobsRequest {}).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
    stranger.sign_in("stranger@example.com").await;
    let refused = stranger.platform().list_jobs(ListJobsRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_job_that_fails_is_named_with_its_error_until_it_succeeds_again() {
    const JOB: &str = "fleet.follow_roots";
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    in_state(&api, JOB, JobState::Ok).await;

    rows.take_roots_away().await;
    let failing = in_state(&api, JOB, JobState::Failing).await;
    assert!(failing.last_error.contains("relation \"authorities\" does not exist"), "{failing:?}");
    assert!(failing.last_success_time.is_some() && failing.last_failure_time.is_some(), "{failing:?}");
    let others = list(&api).await.jobs.into_iter().filter(|job| job.state() == JobState::Failing);
    assert_eq!(others.map(|job| job.name).collect::<Vec<_>>(), [JOB]);
    let (status, text) = health(&controller).await;
    let ago = text.strip_prefix("ok\njob fleet.follow_roots: last success ");
    let ago = ago.and_then(|rest| rest.strip_suffix(" s ago\n")).map(str::parse::<u64>);
    assert!(status == 200 && matches!(ago, Some(Ok(_))), "{status} {text:?}");

    rows.bring_roots_back().await;
    let again = in_state(&api, JOB, JobState::Ok).await;
    assert!(again.last_error.contains("authorities"), "what it was stays to be seen: {again:?}");
    is_healthy(&controller).await;
}

#[tokio::test]
async fn the_jobs_of_a_replica_that_is_gone_are_shown_for_a_while_and_then_forgotten() {
    let mut controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    let mut other = controller.replica().await;
    let mut api_of_other = other.api();
    api_of_other.use_token(&api.token);
    let gone = list(&api_of_other).await.answering_replica.unwrap().controller_id;
    let of_other = |answer: &ListJobsResponse| -> Vec<Job> {
        answer.jobs.iter().filter(|job| job.controller_id == gone).cloned().collect()
    };
    let shown = wait_for("the jobs of both", SOON * SLACK, async || {
        let answer = list(&api).await;
        of_other(&answer).iter().any(|job| job.state() == JobState::Ok).then_some(answer)
    })
    .await;
    let leased: Vec<_> = shown.jobs.iter().filter(|job| job.replicas() == JobReplicas::One).collect();
    let names: BTreeSet<_> = leased.iter().map(|job| &job.name).collect();
    assert_eq!(leased.len(), names.len(), "a job of one replica at a time is listed once: {leased:#?}");

    other.process.kill();
    let id: ControllerId = gone.parse().unwrap();
    rows.let_replica_be_silent(id.0, Duration::from_secs(30)).await;
    let left = of_other(&list(&api).await);
    assert!(!left.is_empty() && left.iter().all(|job| job.state() == JobState::Gone), "{left:#?}");
    // Until its own jobs have all had their first turn it says so.
    let own = wait_for("the health of this replica", SOON * SLACK, async || {
        let (status, text) = health(&controller).await;
        (!text.contains("no success yet")).then_some((status, text))
    })
    .await;
    assert_eq!(own, (200, "ok\n".to_owned()), "another replica's end is nothing of this one's");

    // The job that forgets runs when a replica starts, if it gets the lease.
    rows.let_replica_be_silent(id.0, Duration::from_secs(700)).await;
    controller.process.kill();
    rows.end_leases().await;
    controller.restart().await;
    wait_for("the rows to be deleted", SOON * SLACK, async || {
        (rows.job_results_of(id.0).await == 0).then_some(())
    })
    .await;
    assert!(of_other(&list(&api).await).is_empty());
}
