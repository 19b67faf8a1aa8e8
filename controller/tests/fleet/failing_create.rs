//! A create that cannot succeed says why: the engine's words, or the container's last lines.

use std::time::Duration;

use axum::{Router, http::StatusCode, routing::get};
use supalove_proto::v1::{OperationState, ProjectState};
use supalove_system_tests::{Agent, Api, Controller, Options, copy_core, core_image};

/// A fake registry: speaks enough of the distribution API to say that it has no image. Engines take registries on
/// loopback without TLS.
pub async fn fake_registry_without_images() -> u16 {
    let missing = || async {
        let error =
            serde_json::json!({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]});
        let headers =
            [("docker-distribution-api-version", "registry/2.0"), ("content-type", "application/json")];
        (StatusCode::NOT_FOUND, headers, error.to_string())
    };
    let router = Router::new()
        .route("/v2/", get(|| async { ([("docker-distribution-api-version", "registry/2.0")], "{}") }))
        .fallback(missing);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

/// A fleet whose controller also knows release `name`.
async fn fleet(
    name: &str,
    edit: impl FnOnce(String) -> String,
) -> (Controller, Api, Agent, tempfile::TempDir) {
    let releases = tempfile::tempdir().unwrap();
    copy_core(releases.path(), name, edit);
    let arguments = vec!["--releases-dir".to_owned(), releases.path().display().to_string()];
    let controller = Controller::start_with(Options { arguments, ..Default::default() }).await;
    let api = controller.operator().await;
    let agent = Agent::start(&controller, &api.join_token().await);
    api.wait_ready_nodes(1).await;
    (controller, api, agent, releases)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_the_local_set_is_never_pulled() {
    let image = "supalove/absent:1";
    let edit = |yaml: String| yaml.replacen(&core_image("functions"), image, 1);
    let (_controller, api, _agent, _releases) = fleet("local", edit).await;
    let created = api.create("local", "local").await;
    let operation = api.wait(&created.operation.unwrap().id).await;
    assert_eq!(operation.state(), OperationState::Failed, "{operation:#?}");
    let error = operation.error.unwrap();
    assert_eq!((error.reason.as_str(), error.service.as_str()), ("IMAGE_NOT_FOUND", "functions"));
    assert!(error.message.contains("never pulled"), "{}", error.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_does_not_exist_fails_the_operation_with_the_engines_message() {
    let image = format!("127.0.0.1:{}/absent:1", fake_registry_without_images().await);
    let edit = |yaml: String| yaml.replacen(&core_image("functions"), &image, 1);
    let (_controller, api, _agent, _releases) = fleet("absent", edit).await;
    let created = api.create("absent", "absent").await;
    let operation = api.wait(&created.operation.unwrap().id).await;
    assert_eq!(operation.state(), OperationState::Failed, "{operation:#?}");
    let error = operation.error.unwrap();
    assert_eq!((error.reason.as_str(), error.service.as_str()), ("IMAGE_NOT_FOUND", "functions"));
    assert!(
        error.message.contains(&image) && error.message.contains("manifest unknown"),
        "{}",
        error.message
    );
    let project = api.project(&created.project.unwrap().r#ref).await;
    assert_eq!(project.state(), ProjectState::InitFailed);
    assert!(project.state_reason.contains("manifest unknown"));
    assert_eq!(
        api.delete(&project.r#ref, 0).await.state(),
        OperationState::Succeeded,
        "and it can be deleted"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_ends_by_itself_is_named_with_its_last_lines() {
    // PostgreSQL refuses to initialise without a password.
    let edit = |yaml: String| {
        yaml.replace("POSTGRES_PASSWORD: \"{{ secrets.postgres_password }}\"", "POSTGRES_PASSWORD: \"\"")
    };
    let (controller, api, _agent, _releases) = fleet("broken", edit).await;
    let created = api.create("broken", "broken").await;
    let operation_id = created.operation.unwrap().id;
    let status = supalove_system_tests::wait_for("the reason", Duration::from_mins(1), async || {
        let request = supalove_proto::v1::GetOperationRequest { operation_id: operation_id.clone() };
        let operation =
            api.operations().get_operation(request).await.unwrap().into_inner().operation.unwrap();
        operation.status_message.contains("exit").then_some(operation)
    })
    .await;
    assert_eq!(status.state(), OperationState::Running, "the agent goes on trying until the deadline");
    assert_eq!(controller.database.rows().await.end_times().await, 1);
    let operation = api.wait(&operation_id).await;
    assert_eq!(operation.state(), OperationState::Failed);
    let error = operation.error.unwrap();
    assert_eq!((error.reason.as_str(), error.service.as_str()), ("SERVICE_EXITED", "postgres"));
    assert!(error.log_tail.iter().any(|line| line.contains("POSTGRES_PASSWORD")), "{error:#?}");
    assert_eq!(api.project(&created.project.unwrap().r#ref).await.state(), ProjectState::InitFailed);
}
