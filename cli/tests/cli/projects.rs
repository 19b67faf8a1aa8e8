//! Changing projects and waiting for it, as a user sees it.

use std::time::Duration;

use crate::support::{Ran, World};
use supalove_proto::v1::{
    Operation, OperationError, OperationState, Project, ProjectEvent, ProjectRestriction,
    ProjectRestrictionReason, ProjectState, WatchEnd, WatchEvent, WatchProjectResponse, WatchResponse,
    WatchSnapshot, WatchSubscription, watch_event, watch_project_response::Message, watch_response,
    watch_snapshot, watch_subscription::Stream,
};
use tokio::{process::Command, time::timeout};
use tonic::Status;

const PROJECT: &str = "abcdefghijklmnopqrst";
const CREATE: &[&str] = &["projects", "create", "first", "--organization", "acme"];

#[tokio::test(flavor = "multi_thread")]
async fn create_waits_and_shows_the_project_as_it_is_then() {
    let world = World::signed_in().await;
    world.fake.state().ended = Some(ended(OperationState::Succeeded));
    world.fake.state().watches.push_back(vec![
        snapshot(ProjectState::ComingUp),
        event(1, "postgres", "pulling", 40),
        event(2, "postgres", "pulling", 43),
    ]);
    let ran = world.run(&[CREATE, &["--output", "json"]].concat()).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let answer: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(answer["project"]["state"], "PROJECT_STATE_ACTIVE_HEALTHY");
    assert_eq!(answer["operation"]["state"], "OPERATION_STATE_SUCCEEDED");
    assert!(ran.stderr.contains("postgres: pulling 40 %"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("postgres: postgres"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("43 %"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn create_without_waiting_answers_at_once() {
    let world = World::signed_in().await;
    let answer = world.json(&[CREATE, &["--no-wait"]].concat()).await;
    assert_eq!(answer["operation"]["state"], "OPERATION_STATE_RUNNING");
    assert!(world.fake.calls_of("WaitOperation").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_operation_is_exit_code_1_with_the_cause() {
    let world = World::signed_in().await;
    let mut operation = ended(OperationState::Failed);
    operation.error = Some(OperationError {
        reason: "SERVICE_EXITED".into(),
        message: "postgres exited with 1".into(),
        service: "postgres".into(),
        log_tail: vec!["FATAL: \x1b[31mno space left".into()],
    });
    world.fake.state().ended = Some(operation);
    let ran = world.run(CREATE).await;
    assert_eq!(ran.code, 1);
    for part in ["postgres exited with 1", "SERVICE_EXITED", "FATAL: [31mno space left"] {
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
    assert!(ran.stdout.is_empty(), "{}", ran.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_ends_with_both_releases() {
    let world = World::signed_in().await;
    world.fake.state().ended = Some(ended(OperationState::Succeeded));
    world.fake.state().shown = Some(Project {
        r#ref: PROJECT.into(),
        name: "first".into(),
        state: ProjectState::ActiveHealthy.into(),
        release: "core".into(),
        ..Default::default()
    });
    let ran = world.run(&["projects", "upgrade", PROJECT, "--release", "core-2"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("was upgraded from core to core-2"), "{}", ran.stdout);
    assert_eq!(world.fake.calls_of("UpgradeProject"), ["core-2"]);
    world.run(&["projects", "upgrade", PROJECT, "--no-wait"]).await;
    assert_eq!(world.fake.calls_of("UpgradeProject"), ["core-2", ""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_repeated_after_an_outage_keeps_its_request_id() {
    let world = World::signed_in().await;
    let away = || Status::unavailable("restarting");
    world.fake.state().failures.extend([away(), away()]);
    world.json(&[CREATE, &["--no-wait"]].concat()).await;
    let ids = world.fake.calls_of("CreateProject");
    assert_eq!(ids.len(), 3);
    assert!(ids[0].len() == 36 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    world.json(&[CREATE, &["--no-wait"]].concat()).await;
    assert_ne!(world.fake.calls_of("CreateProject")[3], ids[0], "a new invocation is a new request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_request_id_is_sent() {
    let world = World::signed_in().await;
    let id = "0192f3a4-5b6c-7d8e-9f00-112233445566";
    world.json(&[CREATE, &["--no-wait", "--request-id", id]].concat()).await;
    assert_eq!(world.fake.calls_of("CreateProject"), [id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_leaves_the_operation_running_and_says_how_to_follow_it() {
    let world = World::signed_in().await;
    let child = world.command(CREATE).spawn().unwrap();
    while world.fake.calls_of("WaitOperation").is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let pid = child.id().unwrap().to_string();
    let kill = Command::new("kill").args(["-INT", &pid]).status().await.unwrap();
    assert!(kill.success());
    let ran = timeout(Duration::from_secs(10), child.wait_with_output()).await.unwrap();
    let ran = Ran::from(ran.unwrap());
    assert_eq!(ran.code, 130, "{ran:?}");
    assert!(ran.stderr.contains("supalove operations wait opr_1"), "{}", ran.stderr);
    assert!(world.fake.calls_of("CancelOperation").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_has_a_limit_if_asked() {
    let world = World::signed_in().await;
    let ran = world.run(&["operations", "wait", "opr_1", "--wait-timeout", "1s"]).await;
    assert_eq!(ran.code, 8, "{ran:?}");
    assert!(ran.stderr.contains("supalove operations wait opr_1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_outlives_a_restart_of_the_controller() {
    let world = World::signed_in().await;
    world.fake.state().ended = Some(ended(OperationState::Succeeded));
    // More than one call's own retries: GetOperation is answered, then everything is away for a while.
    let child = world.command(&["operations", "wait", "opr_1", "--quiet"]).spawn().unwrap();
    while world.fake.calls_of("GetOperation").is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.fake.state().failures.extend((0..10).map(|_| Status::unavailable("away")));
    let ran = Ran::from(child.wait_with_output().await.unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_needs_a_yes_where_nobody_can_be_asked() {
    let world = World::signed_in().await;
    world.fake.state().ended = Some(ended(OperationState::Succeeded));
    let ran = world.run(&["projects", "delete", PROJECT]).await;
    assert_eq!(ran.code, 2);
    assert!(world.fake.calls_of("DeleteProject").is_empty());
    world.json(&["projects", "delete", PROJECT, "--yes"]).await;
    world.json(&["projects", "delete", PROJECT, "--yes", "--undo-window", "0"]).await;
    assert_eq!(world.fake.calls_of("DeleteProject"), ["-1", "0"], "without an option the controller decides");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_watch_goes_on_after_the_last_event_seen() {
    let world = World::signed_in().await;
    world.fake.state().watches.extend([
        vec![snapshot(ProjectState::ComingUp), event(7, "", "placed", 0)],
        vec![snapshot(ProjectState::ActiveHealthy)],
    ]);
    let watch = &["projects", "watch", PROJECT, "--until", "active-healthy", "--output", "json"];
    let ran = world.run(watch).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(world.fake.state().watched_after, [None, Some(7)]);
    let lines: Vec<serde_json::Value> =
        ran.stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1]["event"]["seq"], "7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_cannot_reach_its_state_ends() {
    let world = World::signed_in().await;
    world.fake.state().watches.push_back(vec![snapshot(ProjectState::ComingUp)]);
    let watch = ["projects", "watch", PROJECT, "--until", "ACTIVE_HEALTHY", "--for", "1s"];
    let ran = world.run(&watch).await;
    assert_eq!(ran.code, 8, "{ran:?}");
    world.fake.state().watches.push_back(vec![snapshot(ProjectState::InitFailed)]);
    let ran = world.run(&watch).await;
    assert_eq!(ran.code, 1, "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_its_project() {
    let world = World::signed_in().await;
    world.fake.state().watches.extend([vec![snapshot(ProjectState::Removed)], vec![]]);
    let ran = world.run(&["projects", "watch", PROJECT]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(world.fake.calls_of("WatchProject").len(), 1, "it is not opened again");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_projects_are_watched_in_one_call_that_goes_on_with_those_that_are_left() {
    const OTHER: &str = "bcdefghijklmnopqrstu";
    let subscribed = |project_ref: &str, after_seq| WatchSubscription {
        stream: Some(Stream::ProjectRef(project_ref.into())),
        after_seq,
    };
    let world = World::signed_in().await;
    world.fake.state().watches_of_many.extend([
        vec![
            shown(0, "shop", ProjectState::Removed),
            shown(1, "blog", ProjectState::ComingUp),
            happened(1, 7),
            end_of(0),
        ],
        vec![shown(0, "blog", ProjectState::Removed), end_of(0)],
    ]);
    let ran = world.run(&["projects", "watch", PROJECT, OTHER, PROJECT, "--after", "3"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let first = vec![subscribed(PROJECT, Some(3)), subscribed(OTHER, Some(3))];
    assert_eq!(world.fake.state().subscribed, [first, vec![subscribed(OTHER, Some(7))]]);
    let names: Vec<&str> = ran.stdout.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(names, ["shop", "blog", "blog", "shop", "blog", "blog"], "{}", ran.stdout);

    world.fake.state().watches_of_many.push_back(vec![
        shown(0, "shop", ProjectState::Inactive),
        shown(1, "blog", ProjectState::Pausing),
        shown(1, "blog", ProjectState::Inactive),
    ]);
    let ran = world.run(&["projects", "watch", PROJECT, OTHER, "--until", "inactive", "-o", "json"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<serde_json::Value> =
        ran.stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 3, "it ends when the last one is there");
    assert_eq!(lines[1]["subscription"], 1);
}

fn of_many(subscription: u32, resume_seq: u64, message: watch_response::Message) -> WatchResponse {
    WatchResponse { subscription, resume_seq, message: Some(message) }
}

fn shown(subscription: u32, name: &str, state: ProjectState) -> WatchResponse {
    let project = Project { name: name.into(), state: state.into(), ..Default::default() };
    let object = Some(watch_snapshot::Object::Project(project));
    of_many(subscription, 3, watch_response::Message::Snapshot(WatchSnapshot { object }))
}

fn happened(subscription: u32, seq: u64) -> WatchResponse {
    let event = Some(watch_event::Event::Project(ProjectEvent { seq, ..Default::default() }));
    of_many(subscription, seq, watch_response::Message::Event(WatchEvent { event }))
}

fn end_of(subscription: u32) -> WatchResponse {
    of_many(subscription, 9, watch_response::Message::End(WatchEnd::default()))
}

pub fn ended(state: OperationState) -> Operation {
    Operation { id: "opr_1".into(), project_ref: PROJECT.into(), state: state.into(), ..Default::default() }
}

fn snapshot(state: ProjectState) -> WatchProjectResponse {
    let project = Project { r#ref: PROJECT.into(), state: state.into(), ..Default::default() };
    WatchProjectResponse { message: Some(Message::Snapshot(project)) }
}

fn event(seq: u64, service: &str, message: &str, percent: u32) -> WatchProjectResponse {
    let event =
        ProjectEvent { seq, service: service.into(), message: message.into(), percent, ..Default::default() };
    WatchProjectResponse { message: Some(Message::Event(event)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_volume_is_replaced_with_an_empty_one_only_when_confirmed() {
    let world = World::signed_in().await;
    let start = ["projects", "start", "abcdefghijklmnopqrst", "--no-wait", "--new-volumes", "db_data"];
    // No terminal to confirm on.
    let unsure = world.run(&start).await;
    assert_eq!(unsure.code, 2, "{unsure:?}");
    assert!(world.fake.calls_of("StartProject").is_empty(), "{unsure:?}");
    let sure = world.run(&[&start[..], &["--yes"]].concat()).await;
    assert_eq!(sure.code, 0, "{sure:?}");
    assert_eq!(world.fake.calls_of("StartProject"), ["db_data"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_says_what_changes_and_asks() {
    let world = World::signed_in().await;
    let transfer = ["projects", "transfer", "abcdefghijklmnopqrst", "--to", "globex"];
    let dry = world.run(&[&transfer[..], &["--dry-run"]].concat()).await;
    assert_eq!(dry.code, 0, "{dry:?}");
    for part in [
        "from acme to globex",
        "bob@example.com",
        "no access",
        "and 8 more",
        "People come and go.",
        "Its data.",
    ] {
        assert!(dry.stdout.contains(part), "{part}: {}", dry.stdout);
    }
    let json = world.json(&[&transfer[..], &["--dry-run"]].concat()).await;
    assert_eq!((&json["etag"], &json["members"][0]["sourceRole"]), (&"7".into(), &"ROLE_DEVELOPER".into()));
    let asked = world.run(&transfer).await;
    assert!(
        asked.code == 2 && asked.stderr.contains("People come and go."),
        "no terminal to confirm: {asked:?}"
    );
    assert!(world.fake.calls_of("TransferProject").is_empty());

    // What is in the way is shown, and the API's refusal is the answer.
    let full = ["projects", "transfer", "abcdefghijklmnopqrst", "--to", "full"];
    let shown = world.run(&[&full[..], &["--dry-run"]].concat()).await;
    for part in ["in the way:\n- There is no room.", "3, over the limit"] {
        assert!(shown.stdout.contains(part), "{part}: {}", shown.stdout);
    }
    let moved = world.json(&[&transfer[..], &["--yes", "--etag", "5"]].concat()).await;
    assert_eq!(moved["project"]["organization"], "globex");
    assert_eq!(world.fake.calls_of("TransferProject"), ["abcdefghijklmnopqrst globex 5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rule_that_bounds_a_project_is_shown_with_its_remedy() {
    let world = World::signed_in().await;
    let bounded = Project {
        r#ref: PROJECT.into(),
        name: "first".into(),
        state: ProjectState::ActiveUnhealthy.into(),
        restriction: Some(ProjectRestriction {
            reason: ProjectRestrictionReason::DatabaseOverPlan.into(),
            message: "the database holds 510 MiB".into(),
            since: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            remedy: "Delete what is not needed.".into(),
        }),
        ..Default::default()
    };
    let free = Project { restriction: None, name: "second".into(), ..bounded.clone() };
    world.fake.state().shown = Some(bounded.clone());
    world.fake.state().projects = vec![bounded, free];
    let shown = world.run(&["projects", "get", PROJECT]).await.stdout;
    for part in [
        "DATABASE_OVER_PLAN since 2023-11-14 22:13:20Z: the database holds 510 MiB",
        "Delete what is not needed.",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let listed = world.run(&["projects", "list"]).await.stdout;
    assert!(
        listed.contains("restricted: first (DATABASE_OVER_PLAN); see: supalove projects get"),
        "{listed}"
    );
    let wide = world.run(&["projects", "list", "-o", "wide"]).await.stdout;
    assert!(wide.contains("RESTRICTED") && wide.contains("DATABASE_OVER_PLAN"), "{wide}");
    let json = world.json(&["projects", "list"]).await;
    assert_eq!(json["projects"][0]["restriction"]["reason"], "PROJECT_RESTRICTION_REASON_DATABASE_OVER_PLAN");
    assert_eq!(json["projects"][0]["restriction"]["since"], "2023-11-14T22:13:20Z");
    let json = world.json(&["projects", "get", PROJECT]).await;
    assert_eq!(json["project"]["restriction"]["message"], "the database holds 510 MiB");
}
