//! Errors of callers return the field, the reason and the remedy.

use std::process::Output;

use supalove_proto::v1::{
    AuditFilter, CreateJoinTokenRequest, CreateOrganizationRequest, CreateProjectRequest,
    DeleteProjectRequest, GetClusterRequest, GetMeRequest, GetOperationRequest, GetProjectRequest, JoinToken,
    JoinTokenState, ListAuditEventsRequest, ListJoinTokensRequest, ListProjectsRequest, OperationState,
    RevokeJoinTokenRequest, SignInRequest, StartProjectRequest,
};
use supalove_system_tests::{Api, Controller, join};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Returns the one wrong field of a status.
fn field(status: &Status) -> String {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let violations = status.get_details_bad_request().unwrap().field_violations;
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert!(!violations[0].description.is_empty());
    violations[0].field.clone()
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

fn new_project(name: &str) -> CreateProjectRequest {
    CreateProjectRequest { organization: "acme".into(), name: name.into(), ..Default::default() }
}

async fn create(api: &Api, request: CreateProjectRequest) -> Result<String, Status> {
    Ok(api.projects().create_project(request).await?.into_inner().project.unwrap().r#ref)
}

#[tokio::test]
async fn names_are_checked_and_the_field_is_named() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    for name in ["", "   ", &"x".repeat(81), "bell\u{7}"] {
        assert_eq!(field(&create(&api, new_project(name)).await.unwrap_err()), "name", "{name:?}");
    }
    let request = CreateProjectRequest { release: "nonsense".into(), ..new_project("p") };
    let status = create(&api, request).await.unwrap_err();
    assert_eq!(field(&status), "release");
    assert!(status.message().contains("core"), "the remedy names what is known: {}", status.message());
    let request = CreateProjectRequest { request_id: "not-a-uuid".into(), ..new_project("p") };
    assert_eq!(field(&create(&api, request).await.unwrap_err()), "request_id");
    let request =
        CreateOrganizationRequest { name: "x".into(), slug: "Not A Slug".into(), ..Default::default() };
    assert_eq!(field(&api.organizations().create_organization(request).await.unwrap_err()), "slug");
    let request = ListProjectsRequest { page_token: "???".into(), ..Default::default() };
    assert_eq!(field(&api.projects().list_projects(request).await.unwrap_err()), "page_token");
    let ttl = Some(prost_types::Duration { seconds: 8 * 24 * 3600, nanos: 0 });
    let request = CreateJoinTokenRequest { ttl, ..Default::default() };
    assert_eq!(field(&api.clusters().create_join_token(request).await.unwrap_err()), "ttl");
}

#[tokio::test]
async fn unknown_ids_are_not_found_and_malformed_ones_are_named() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let get = |project_ref: &str| GetProjectRequest { project_ref: project_ref.into() };
    let unknown = api.projects().get_project(get("abcdefghijklmnopqrst")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert_eq!(unknown.get_details_resource_info().unwrap().resource_name, "abcdefghijklmnopqrst");
    assert_eq!(field(&api.projects().get_project(get("short")).await.unwrap_err()), "project_ref");
    let operation = GetOperationRequest { operation_id: "opr_1".into() };
    assert_eq!(field(&api.operations().get_operation(operation).await.unwrap_err()), "operation_id");
    let request = GetClusterRequest { cluster: "mars".into() };
    assert_eq!(api.clusters().get_cluster(request).await.unwrap_err().code(), Code::NotFound);
    let request = CreateProjectRequest { organization: "nobody".into(), ..new_project("p") };
    assert_eq!(create(&api, request).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn ten_megabytes_and_oversized_metadata_are_refused_and_cost_nobody_the_connection() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let large = "x".repeat(10 * 1024 * 1024);
    let too_large = |status: Status| {
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains("bytes"), "the remedy names the limit: {status}");
    };
    too_large(create(&api, new_project(&large)).await.unwrap_err());
    let request = SignInRequest { email: large.clone(), password: large.clone(), ..Default::default() };
    too_large(controller.api().auth().sign_in(request).await.unwrap_err());
    let request = ListAuditEventsRequest {
        organization: "acme".into(),
        filter: Some(AuditFilter { actor: large, ..Default::default() }),
        ..Default::default()
    };
    too_large(api.audit().list_audit_events(request).await.unwrap_err());

    for (name, value) in
        [("x-one", "x".repeat(64 * 1024)), ("authorization", format!("Bearer {}", "x".repeat(64 * 1024)))]
    {
        let mut request = tonic::Request::new(GetMeRequest {});
        request.metadata_mut().insert(name, value.parse().unwrap());
        let client =
            || supalove_proto::v1::auth_service_client::AuthServiceClient::new(controller.api().channel);
        let status = client().get_me(request).await.unwrap_err();
        // HTTP refuses it before there is a gRPC call: "Request Header Fields Too Large", which gRPC has no code for.
        assert_eq!(status.code(), Code::Unknown, "{name}: {status:?}");
        assert!(status.message().contains("431"), "{name}: {status:?}");
    }
    api.auth().get_me(GetMeRequest {}).await.unwrap();
}

#[tokio::test]
async fn a_request_id_answers_the_same_call_once_and_refuses_another_body() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let request =
        CreateProjectRequest { request_id: uuid::Uuid::new_v4().to_string(), ..new_project("once") };
    let first = create(&api, request.clone()).await.unwrap();
    assert_eq!(create(&api, request.clone()).await.unwrap(), first);
    let other = CreateProjectRequest { name: "twice".into(), ..request };
    assert_eq!(field(&create(&api, other).await.unwrap_err()), "request_id");
    assert_eq!(create(&api, new_project("once")).await.unwrap_err().code(), Code::AlreadyExists);

    let request =
        CreateProjectRequest { request_id: uuid::Uuid::new_v4().to_string(), ..new_project("parallel") };
    let calls = (0..8).map(|_| create(&api, request.clone()));
    let answers = futures::future::join_all(calls).await;
    let made: std::collections::BTreeSet<_> = answers.iter().filter_map(|a| a.as_ref().ok()).collect();
    assert_eq!(made.len(), 1, "{answers:?}");
    let refusals = answers.iter().filter_map(|a| a.as_ref().err());
    assert!(
        refusals.into_iter().all(|s| matches!(s.code(), Code::Aborted | Code::AlreadyExists)),
        "{answers:?}"
    );
}

#[tokio::test]
async fn the_quota_of_an_organization_holds_under_simultaneous_creates() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    rows.set_projects_limit(3).await;
    let calls = (0..10).map(|i| {
        let api = api.clone();
        async move { create(&api, new_project(&format!("p{i}"))).await }
    });
    let answers = futures::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|a| a.is_ok()).count(), 3);
    for status in answers.iter().filter_map(|a| a.as_ref().err()) {
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(!status.get_details_quota_failure().unwrap().violations.is_empty());
    }
    assert_eq!(rows.projects_used("acme").await, 3);
}

#[tokio::test]
async fn an_act_in_the_wrong_state_says_what_to_do() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let project_ref = create(&api, new_project("waiting")).await.unwrap();
    let start = StartProjectRequest { project_ref: project_ref.clone(), ..Default::default() };
    let status = api.projects().start_project(start).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "WRONG_STATE"));
    assert!(
        status.message().ends_with("wait for its operation to end, or cancel it"),
        "{}",
        status.message()
    );
    let window = Some(prost_types::Duration { seconds: 91 * 24 * 3600, nanos: 0 });
    let delete =
        DeleteProjectRequest { project_ref: project_ref.clone(), undo_window: window, ..Default::default() };
    assert_eq!(field(&api.projects().delete_project(delete).await.unwrap_err()), "undo_window");
}

#[tokio::test]
async fn a_project_that_fits_nowhere_waits_with_the_reason_and_can_be_cancelled() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let created = api.create("waiting", "").await;
    let project = created.project.unwrap();
    let operation = created.operation.unwrap();
    assert_eq!(operation.state(), OperationState::Pending);
    assert!(project.state_reason.contains("no nodes"), "{}", project.state_reason);
    let cancel = supalove_proto::v1::CancelOperationRequest { operation_id: operation.id.clone() };
    let cancelled = api.operations().cancel_operation(cancel).await.unwrap().into_inner().operation.unwrap();
    assert_eq!(cancelled.state(), OperationState::Cancelled);
    assert_eq!(api.project(&project.r#ref).await.state(), supalove_proto::v1::ProjectState::Removed);
    let organization = supalove_proto::v1::GetOrganizationRequest { organization: "acme".into() };
    let organization = api.organizations().get_organization(organization).await.unwrap().into_inner();
    assert_eq!(organization.organization.unwrap().projects_used, 0, "its quota is free again");
}

fn message(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_join_token_that_is_used_expired_foreign_or_malformed_says_so() {
    let controller = Controller::start().await;
    let other = Controller::start().await;
    let api = controller.operator().await;
    let state = || tempfile::tempdir().unwrap();
    let try_join = |token: &str, name: &str| join(state().path(), &controller.node_address, token, name, &[]);

    let token = api.join_token().await;
    let first = try_join(&token, "host-a");
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert!(message(&try_join(&token, "host-b")).contains("used"), "one use each");

    let expired = api.join_token().await;
    controller.database.rows().await.expire_join_tokens().await;
    assert!(message(&try_join(&expired, "host-c")).contains("expired"));

    let foreign = other.operator().await.join_token().await;
    let refusal = message(&try_join(&foreign, "host-d"));
    assert!(refusal.contains("CA"), "a controller with another CA is not trusted: {refusal}");

    let secret = api.join_token().await;
    let mut guessed: Vec<&str> = secret.split('.').collect();
    guessed[3] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert!(message(&try_join(&guessed.join("."), "host-e")).contains("not known"));
    assert!(message(&try_join("slj1.nonsense", "host-f")).contains("token"));

    let taken_back =
        api.clusters().create_join_token(CreateJoinTokenRequest::default()).await.unwrap().into_inner();
    let revoke = RevokeJoinTokenRequest { join_token_id: taken_back.id.clone() };
    for repeated in [revoke.clone(), revoke] {
        let answer = api.clusters().revoke_join_token(repeated).await.unwrap().into_inner();
        assert_eq!(answer.join_token.unwrap().state(), JoinTokenState::Revoked);
    }
    assert!(message(&try_join(&taken_back.join_token, "host-g")).contains("revoked"));
    let missing = RevokeJoinTokenRequest { join_token_id: format!("jtk_{}", "0".repeat(32)) };
    assert_eq!(api.clusters().revoke_join_token(missing).await.unwrap_err().code(), Code::NotFound);
    let malformed = RevokeJoinTokenRequest { join_token_id: "jtk_1".into() };
    assert_eq!(field(&api.clusters().revoke_join_token(malformed).await.unwrap_err()), "join_token_id");
    let listed = async |show_ended, page_size| {
        let request = ListJoinTokensRequest { show_ended, page_size, ..Default::default() };
        api.clusters().list_join_tokens(request).await.unwrap().into_inner()
    };
    assert_eq!(listed(true, 0).await.join_tokens[0].id, taken_back.id, "the newest first");
    let mut states: Vec<_> = listed(true, 0).await.join_tokens.iter().map(JoinToken::state).collect();
    states.sort_unstable_by_key(|state| *state as i32);
    let expected =
        [JoinTokenState::Usable, JoinTokenState::Used, JoinTokenState::Expired, JoinTokenState::Revoked];
    assert_eq!(states, expected);
    assert_eq!(listed(true, 1).await.join_tokens.len(), 1);
    assert_ne!(listed(true, 1).await.next_page_token, "");
    assert_eq!(listed(false, 0).await.join_tokens.len(), 1, "only the guessed one lets a host in");

    let again = api.join_token().await;
    assert_eq!(listed(false, 0).await.join_tokens.len(), 2);
    assert!(message(&try_join(&again, "host-a")).contains("exists"), "names are unique in a cluster");
    assert_eq!(api.nodes().await.len(), 1, "nothing half done");
}
