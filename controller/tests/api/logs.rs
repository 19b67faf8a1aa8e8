//! Logs that cannot be read: the project has no node, the node's agent is too old, or the node is away. What is read, and by whom,
//! is in `fleet/logs.rs` and in the table of authorization.

use std::time::Duration;

use supalove_proto::v1::{ProjectState, TailLogsRequest};
use supalove_system_tests::{Api, CORE, Controller, Double, SLACK, wait_for};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

async fn refusal(api: &Api, project_ref: &str) -> (Code, String) {
    let request = TailLogsRequest { project_ref: project_ref.into(), ..TailLogsRequest::default() };
    let status: Status = api.projects().tail_logs(request).await.unwrap_err();
    (status.code(), status.get_details_error_info().unwrap().reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_without_a_node_an_old_agent_and_a_node_that_is_away_are_told_apart() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let project_ref = api.create("first", CORE).await.project.unwrap().r#ref;
    let expected = |code, reason: &str| (code, reason.to_owned());
    assert_eq!(refusal(&api, &project_ref).await, expected(Code::FailedPrecondition, "NOT_PLACED"));
    let double = Double::join(&controller.node_address, &api.join_token().await, "old").await;
    api.wait_state(&project_ref, ProjectState::ActiveHealthy, Duration::from_secs(30) * SLACK).await;
    assert_eq!(refusal(&api, &project_ref).await, expected(Code::FailedPrecondition, "AGENT_TOO_OLD"));
    drop(double);
    wait_for("the end of the session", Duration::from_secs(30) * SLACK, async || {
        (refusal(&api, &project_ref).await == expected(Code::Unavailable, "UNAVAILABLE")).then_some(())
    })
    .await;
}
