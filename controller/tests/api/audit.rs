//! Calls that show a secret or take something away leave their row in the audit log, also when they are refused.

use supalove_proto::v1::{
    CreateJoinTokenRequest, CreateProjectRequest, GetMeRequest, RevealProjectSecretsRequest,
    RevokeJoinTokenRequest,
};
use supalove_system_tests::{Api, Controller, Rows};
use tonic::Code;
use uuid::Uuid;

/// A user's client and id.
async fn user(controller: &Controller, rows: &Rows, email: &str) -> (Api, String) {
    rows.add_user(email).await;
    let mut api = controller.api();
    api.sign_in(email).await;
    let id = id(&api).await;
    (api, id)
}

async fn id(api: &Api) -> String {
    api.auth().get_me(GetMeRequest {}).await.unwrap().into_inner().user.unwrap().id
}

/// Actor, target and outcome of each call on record, in order.
async fn on_record(rows: &Rows, rpc: &str) -> Vec<(String, String, String)> {
    rows.audited(rpc).await.into_iter().map(|call| (call.actor, call.target, call.outcome)).collect()
}

fn row(actor: &str, target: &str, outcome: &str) -> (String, String, String) {
    (actor.to_owned(), target.to_owned(), outcome.to_owned())
}

#[tokio::test]
async fn each_reveal_of_secrets_is_audited_and_so_is_each_refused_one() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    let (owner, owner_id) = user(&controller, &rows, "owner@example.com").await;
    let (stranger, stranger_id) = user(&controller, &rows, "stranger@example.com").await;
    let (reader, reader_id) = user(&controller, &rows, "reader@example.com").await;
    owner.create_organization("target").await;
    rows.add_member("target", "reader@example.com", "READ_ONLY").await;
    let request = CreateProjectRequest {
        organization: "target".into(),
        name: "secretive".into(),
        ..Default::default()
    };
    let created = owner.projects().create_project(request).await.unwrap().into_inner();
    let project = created.project.unwrap().r#ref;
    let reveal = async |api: &Api| {
        let request = RevealProjectSecretsRequest { project_ref: project.clone() };
        let answer = api.projects().reveal_project_secrets(request).await;
        answer.map_or_else(|status| status.code(), |_| Code::Ok)
    };

    assert_eq!(reveal(&owner).await, Code::Ok);
    assert_eq!(reveal(&operator).await, Code::PermissionDenied);
    assert_eq!(reveal(&reader).await, Code::PermissionDenied);
    assert_eq!(reveal(&stranger).await, Code::NotFound);
    assert_eq!(reveal(&controller.api()).await, Code::Unauthenticated);
    assert_eq!(reveal(&owner).await, Code::Ok);

    let expected = [
        row(&owner_id, &project, "OK"),
        row(&id(&operator).await, "", "PermissionDenied"),
        row(&reader_id, "", "PermissionDenied"),
        row(&stranger_id, "", "NotFound"),
        // Nobody's call leaves no row, so that nobody can flood the table.
        row(&owner_id, &project, "OK"),
    ];
    assert_eq!(on_record(&rows, "RevealProjectSecrets").await, expected);
}

#[tokio::test]
async fn each_revocation_of_a_join_token_is_audited_also_a_repeated_or_a_refused_one() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    let (stranger, stranger_id) = user(&controller, &rows, "stranger@example.com").await;
    let made = operator.clusters().create_join_token(CreateJoinTokenRequest::default()).await.unwrap();
    let token = made.into_inner().id;
    let revoke = async |api: &Api, token: &str| {
        let request = RevokeJoinTokenRequest { join_token_id: token.to_owned() };
        let answer = api.clusters().revoke_join_token(request).await;
        answer.map_or_else(|status| status.code(), |_| Code::Ok)
    };

    assert_eq!(revoke(&stranger, &token).await, Code::PermissionDenied);
    assert_eq!(revoke(&operator, &token).await, Code::Ok);
    assert_eq!(revoke(&operator, &token).await, Code::Ok);
    let unknown = format!("jtk_{}", Uuid::now_v7().simple());
    assert_eq!(revoke(&operator, &unknown).await, Code::NotFound);

    let operator_id = id(&operator).await;
    let expected = [
        row(&stranger_id, "", "PermissionDenied"),
        row(&operator_id, &token, "OK"),
        row(&operator_id, &token, "OK"),
        row(&operator_id, "", "NotFound"),
    ];
    assert_eq!(on_record(&rows, "RevokeJoinToken").await, expected);
}
