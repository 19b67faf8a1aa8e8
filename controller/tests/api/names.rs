//! Names that look like others, or turn a line of text round, are refused where they come in. A delete can be repeated.

use supalove_proto::v1::{
    CreateOrganizationRequest, CreateProjectRequest, DeleteProjectRequest, ListOperationsRequest,
    SetUpRequest, SignInRequest, UndeleteProjectRequest,
};
use supalove_system_tests::{Api, Controller, PASSWORD};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const DECEPTIVE: [&str; 7] =
    ["rtl\u{202e}gnp.exe", "a\u{2028}b", "a\u{2029}b", "a\u{200b}b", "\u{2067}a", "a\u{feff}", "a\u{e0041}b"];

/// The one wrong field.
fn field(status: &Status) -> String {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    status.get_details_bad_request().unwrap().field_violations[0].field.clone()
}

#[tokio::test]
async fn names_with_invisible_or_turning_characters_are_refused_everywhere() {
    let controller = Controller::start().await;
    let token = std::fs::read_to_string(controller.dir.path().join("setup-token")).unwrap();
    for name in DECEPTIVE {
        let request = SetUpRequest {
            setup_token: token.trim().to_owned(),
            email: "operator@example.com".into(),
            password: PASSWORD.into(),
            display_name: name.into(),
        };
        assert_eq!(
            field(&controller.api().auth().set_up(request).await.unwrap_err()),
            "display_name",
            "{name:?}"
        );
        let request = SignInRequest {
            email: format!("{name}@example.com"),
            password: PASSWORD.into(),
            ..Default::default()
        };
        assert_eq!(field(&controller.api().auth().sign_in(request).await.unwrap_err()), "email", "{name:?}");
    }
    let api = controller.operator().await;
    for name in DECEPTIVE {
        let project =
            CreateProjectRequest { organization: "acme".into(), name: name.into(), ..Default::default() };
        assert_eq!(field(&api.projects().create_project(project).await.unwrap_err()), "name", "{name:?}");
        let organization =
            CreateOrganizationRequest { name: name.into(), slug: "x1".into(), ..Default::default() };
        let refused = api.organizations().create_organization(organization).await.unwrap_err();
        assert_eq!(field(&refused), "name", "{name:?}");
    }
    for name in ["Ångström", "日本語", "مشروع", "❤\u{fe0f}"] {
        api.create(name, "").await;
    }
}

async fn delete(api: &Api, project_ref: &str, seconds: Option<i64>) -> Result<String, Status> {
    let undo_window = seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
    let request = DeleteProjectRequest { project_ref: project_ref.into(), undo_window, ..Default::default() };
    Ok(api.projects().delete_project(request).await?.into_inner().operation.unwrap().id)
}

#[tokio::test]
async fn a_repeated_delete_changes_nothing_and_answers_the_first() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    controller.database.rows().await.add_node("a", 10, 10).await;
    let project_ref = api.create("twice", "").await.project.unwrap().r#ref;

    let first = delete(&api, &project_ref, Some(3600)).await.unwrap();
    let before = api.project(&project_ref).await;
    for seconds in [Some(3600), None] {
        assert_eq!(delete(&api, &project_ref, seconds).await.unwrap(), first);
    }
    assert_eq!(api.project(&project_ref).await, before, "no new generation, and the same end of the window");
    let other = delete(&api, &project_ref, Some(7200)).await.unwrap_err();
    assert_eq!(other.get_details_error_info().unwrap().reason, "WRONG_STATE");
    assert!(other.message().contains("3600 s"), "{}", other.message());

    let now = delete(&api, &project_ref, Some(0)).await.unwrap();
    assert_ne!(now, first, "a window of 0 ends it");
    for seconds in [Some(0), Some(3600), None] {
        assert_eq!(delete(&api, &project_ref, seconds).await.unwrap(), now);
    }
    let request = ListOperationsRequest { project_ref: project_ref.clone(), ..Default::default() };
    let operations = api.operations().list_operations(request).await.unwrap().into_inner().operations;
    assert_eq!(operations.len(), 3, "one create, two deletes: {operations:#?}");

    let again = api.create("again", "").await.project.unwrap().r#ref;
    let first = delete(&api, &again, Some(60)).await.unwrap();
    let request = UndeleteProjectRequest { project_ref: again.clone(), ..Default::default() };
    api.projects().undelete_project(request).await.unwrap();
    assert_ne!(
        delete(&api, &again, Some(7200)).await.unwrap(),
        first,
        "after an undelete it is another delete"
    );
}
