//! A project moves to another organization: what the preview says, who may do it, what is in the way, what stays, and what happens
//! when other calls come at the same time. The agent is a double, which counts what it is asked for.

use std::time::Duration;

use futures::future::join_all;
use prost_types::FieldMask;
use supalove_proto::v1::{
    CreatePersonalAccessTokenRequest, CreateProjectRequest, DeleteProjectRequest, Entitlement,
    GetProjectRequest, ListAuditEventsRequest, PersonalAccessTokenScope, PreviewTransferRequest,
    PreviewTransferResponse, Project, ProjectEventType, ProjectSettings, ProjectState,
    RevealProjectSecretsRequest, Role, StopProjectRequest, TransferProjectRequest,
    UpdateProjectSettingsRequest, WatchProjectRequest,
};
use supalove_system_tests::{Api, CORE, Controller, Double, Rows, SLACK, wait_for};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const LIMIT: Duration = Duration::from_secs(20);

/// Alice owns "acme-2", where bob is a developer, and is a developer of carol's "globex".
struct World {
    controller: Controller,
    operator: Api,
    alice: Api,
    bob: Api,
    carol: Api,
    rows: Rows,
    double: Double,
}

impl World {
    async fn start() -> Self {
        let controller = Controller::start().await;
        let operator = controller.operator().await;
        let rows = controller.database.rows().await;
        let double = Double::join(&controller.node_address, &operator.join_token().await, "steady").await;
        operator.wait_ready_nodes(1).await;
        let mut people = Vec::new();
        for name in ["alice", "bob", "carol"] {
            let email = format!("{name}@example.com");
            rows.add_user(&email).await;
            let mut api = controller.api();
            api.sign_in(&email).await;
            people.push(api);
        }
        let [alice, bob, carol] = people.try_into().unwrap_or_else(|_| panic!("three"));
        alice.create_organization("acme-2").await;
        carol.create_organization("globex").await;
        rows.add_member("acme-2", "bob@example.com", "DEVELOPER").await;
        rows.add_member("globex", "alice@example.com", "DEVELOPER").await;
        Self { controller, operator, alice, bob, carol, rows, double }
    }

    /// A project that is up.
    async fn project(&self, by: &Api, organization: &str, name: &str) -> String {
        let created = create(by, organization, name).await.unwrap();
        by.wait_state(&created.r#ref, ProjectState::ActiveHealthy, LIMIT * SLACK).await;
        created.r#ref
    }

    async fn used(&self) -> (i32, i32) {
        (self.rows.projects_used("acme-2").await, self.rows.projects_used("globex").await)
    }

    async fn assert_rows_hold(&self) {
        let broken = self.rows.broken_of_all().await;
        let of_projects = |line: &&String| line.starts_with("projects.") || line.starts_with("plans.");
        let broken: Vec<_> = broken.iter().filter(of_projects).collect();
        assert!(broken.is_empty(), "{broken:#?}");
    }
}

async fn create(by: &Api, organization: &str, name: &str) -> Result<Project, Status> {
    let request = CreateProjectRequest {
        organization: organization.into(),
        name: name.into(),
        release: CORE.into(),
        ..Default::default()
    };
    Ok(by.projects().create_project(request).await?.into_inner().project.unwrap())
}

fn request(project_ref: &str, target: &str) -> TransferProjectRequest {
    TransferProjectRequest {
        project_ref: project_ref.into(),
        target_organization: target.into(),
        ..Default::default()
    }
}

async fn transfer(by: &Api, project_ref: &str, target: &str) -> Result<Project, Status> {
    let moved = by.projects().transfer_project(request(project_ref, target)).await?;
    Ok(moved.into_inner().project.unwrap())
}

async fn preview(by: &Api, project_ref: &str, target: &str) -> Result<PreviewTransferResponse, Status> {
    let request =
        PreviewTransferRequest { project_ref: project_ref.into(), target_organization: target.into() };
    Ok(by.projects().preview_transfer(request).await?.into_inner())
}

async fn get(by: &Api, project_ref: &str) -> Result<Project, Code> {
    let request = GetProjectRequest { project_ref: project_ref.into() };
    let found = by.projects().get_project(request).await.map_err(|status| status.code())?;
    Ok(found.into_inner().project.unwrap())
}

async fn reveal(by: &Api, project_ref: &str) -> Result<String, Code> {
    let request = RevealProjectSecretsRequest { project_ref: project_ref.into() };
    let found = by.projects().reveal_project_secrets(request).await.map_err(|status| status.code())?;
    Ok(format!("{:?}", (found.get_ref().db_password.clone(), found.get_ref().service_role_key.clone())))
}

/// Calls about a project in the log of an organization, with their outcomes.
async fn log(by: &Api, organization: &str, project_ref: &str) -> Vec<String> {
    let request =
        ListAuditEventsRequest { organization: organization.into(), page_size: 100, ..Default::default() };
    let events = by.audit().list_audit_events(request).await.unwrap().into_inner().events;
    let about = events.iter().filter(|event| event.target == project_ref);
    about.map(|event| format!("{} {}", event.method.rsplit('/').next().unwrap(), event.outcome)).collect()
}

fn reason(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
}

fn reasons(preview: &PreviewTransferResponse) -> Vec<&'static str> {
    preview.obstacles.iter().map(|one| one.reason().as_str_name()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_does_what_its_preview_says_and_touches_no_container() {
    let world = World::start().await;
    let World { alice, bob, carol, .. } = &world;
    let project_ref = world.project(alice, "acme-2", "shop").await;
    let before = get(alice, &project_ref).await.unwrap();
    let secrets = reveal(alice, &project_ref).await.unwrap();
    let keys = alice.keys(&project_ref).await;
    let calls = world.double.calls_of(&project_ref);

    let said = preview(alice, &project_ref, "globex").await.unwrap();
    assert_eq!((said.source_organization.as_str(), said.target_organization.as_str()), ("acme-2", "globex"));
    assert!(said.obstacles.is_empty(), "{:?}", said.obstacles);
    let projects = said.limits.iter().find(|one| one.entitlement() == Entitlement::Projects).unwrap();
    assert_eq!((projects.used, projects.over, said.limits.len()), (Some(1), false, 9));
    let people: Vec<_> =
        said.members.iter().map(|one| (one.email.as_str(), one.source_role(), one.target_role())).collect();
    let expected = [
        ("alice@example.com", Role::Owner, Role::Developer),
        ("bob@example.com", Role::Developer, Role::Unspecified),
        ("carol@example.com", Role::Unspecified, Role::Owner),
    ];
    assert_eq!((people, said.members_total), (expected.to_vec(), 3));
    for part in ["the log of acme-2, for 365 days", "no longer as one of acme-2", "Nothing is rotated"] {
        assert!(said.changes.iter().any(|line| line.contains(part)), "{part}: {:?}", said.changes);
    }
    assert!(said.stays.iter().any(|line| line.contains("nothing restarts")));
    assert_eq!((world.used().await, get(alice, &project_ref).await.unwrap()), ((1, 0), before.clone()));

    let watch = WatchProjectRequest { project_ref: project_ref.clone(), after_seq: None };
    let mut watched = bob.projects().watch_project(watch).await.unwrap().into_inner();
    watched.message().await.unwrap().expect("the project as it is");
    let asked = TransferProjectRequest { etag: said.etag, ..request(&project_ref, "globex") };
    let moved = alice.projects().transfer_project(asked).await.unwrap().into_inner().project.unwrap();
    assert_eq!((moved.organization.as_str(), moved.name.as_str()), ("globex", "shop"));
    assert_eq!((moved.generation, moved.state()), (before.generation, ProjectState::ActiveHealthy));
    assert_eq!((&moved.endpoints, &moved.node_id), (&before.endpoints, &before.node_id));
    assert_eq!(world.used().await, (0, 1));

    // Who has no role in the target sees it no more, not even in a watch that was open.
    assert_eq!(get(bob, &project_ref).await, Err(Code::NotFound));
    let end = tokio::time::timeout(LIMIT * SLACK, async {
        loop {
            match watched.message().await {
                Ok(Some(_)) => {}
                end => return end,
            }
        }
    })
    .await
    .expect("the watch ends");
    assert_eq!(end.unwrap_err().code(), Code::NotFound);
    assert_eq!(get(carol, &project_ref).await.unwrap().organization, "globex");
    assert_eq!(reveal(carol, &project_ref).await.unwrap(), secrets, "they still open");
    assert_eq!(carol.keys(&project_ref).await, keys);

    let transferred = "TransferProject OK".to_owned();
    let old = log(alice, "acme-2", &project_ref).await;
    assert!(old.contains(&transferred) && old.contains(&"CreateProject OK".to_owned()), "{old:?}");
    let new = log(carol, "globex", &project_ref).await;
    assert_eq!(new.iter().filter(|line| **line == transferred).count(), 1, "{new:?}");
    assert!(new.contains(&"RevealProjectSecrets OK".to_owned()), "what comes now is in the new log: {new:?}");
    let events = carol.events(&project_ref).await;
    let last = events.last().unwrap();
    assert_eq!(last.r#type(), ProjectEventType::ProjectTransferred);
    assert_eq!(last.message, "transferred from the organization acme-2 to globex");

    // The content can still be changed, and only that reaches the node.
    assert_eq!(world.double.calls_of(&project_ref), calls);
    let asked = UpdateProjectSettingsRequest {
        project_ref: project_ref.clone(),
        settings: Some(ProjectSettings { max_rows: 7, ..Default::default() }),
        update_mask: Some(FieldMask { paths: vec!["max_rows".into()] }),
        ..Default::default()
    };
    let changed = carol.projects().update_project_settings(asked).await.unwrap().into_inner();
    carol.wait(&changed.operation.unwrap().id).await;
    assert_eq!(world.double.calls_of(&project_ref), calls + 1);
    world.assert_rows_hold().await;
    world.operator.assert_consistent(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_takes_a_right_in_each_of_the_two_organizations() {
    let world = World::start().await;
    let World { alice, bob, carol, operator, rows, .. } = &world;
    let project_ref = world.project(alice, "acme-2", "shop").await;
    carol.create_organization("foreign").await;
    for by in [bob, operator] {
        let refused = transfer(by, &project_ref, "globex").await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "a developer, the operator");
        assert!(refused.message().contains("owner, administrator"), "{}", refused.message());
    }
    assert_eq!(transfer(carol, &project_ref, "globex").await.unwrap_err().code(), Code::NotFound);
    // An organization that one is no member of is as if it did not exist.
    let unknown = transfer(alice, &project_ref, "nowhere").await.unwrap_err();
    let foreign = transfer(alice, &project_ref, "foreign").await.unwrap_err();
    assert_eq!((unknown.code(), foreign.code()), (Code::NotFound, Code::NotFound));
    assert_eq!(foreign.message(), unknown.message().replace("nowhere", "foreign"));
    let kind = |status: &Status| status.get_details_resource_info().unwrap().resource_type;
    assert_eq!(kind(&foreign), kind(&unknown));
    assert_eq!(preview(alice, &project_ref, "foreign").await.unwrap_err().code(), Code::NotFound);
    rows.add_member("globex", "alice@example.com", "READ_ONLY").await;
    let refused = transfer(alice, &project_ref, "globex").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("developer"), "who may: {}", refused.message());
    rows.add_member("globex", "alice@example.com", "DEVELOPER").await;
    let same = transfer(alice, &project_ref, "acme-2").await.unwrap_err();
    let violations = same.get_details_bad_request().unwrap().field_violations;
    assert_eq!(violations[0].field, "target_organization");
    let asked = TransferProjectRequest { etag: "999".into(), ..request(&project_ref, "globex") };
    assert_eq!(alice.projects().transfer_project(asked).await.unwrap_err().code(), Code::Aborted);
    // A token for projects moves none; one for organizations does.
    let token = async |scope: PersonalAccessTokenScope| {
        let request =
            CreatePersonalAccessTokenRequest { name: "robot".into(), scopes: vec![scope.into()], ttl: None };
        let mut tokens = alice.personal_access_tokens();
        let token = tokens.create_personal_access_token(request).await.unwrap().into_inner().token;
        let mut api = world.controller.api();
        api.use_token(&token);
        api
    };
    let projects = token(PersonalAccessTokenScope::Projects).await;
    assert_eq!(transfer(&projects, &project_ref, "globex").await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(world.used().await, (1, 0));

    // A repeated call is the first one, although the caller has fewer rights on the project now.
    let organizations = token(PersonalAccessTokenScope::Organizations).await;
    let asked = TransferProjectRequest {
        request_id: "0197a1b2-0000-7000-8000-000000000000".into(),
        ..request(&project_ref, "globex")
    };
    for _ in 0..2 {
        let moved = organizations.projects().transfer_project(asked.clone()).await.unwrap().into_inner();
        assert_eq!(moved.project.unwrap().organization, "globex");
    }
    let other = TransferProjectRequest { target_organization: "acme-2".into(), ..asked };
    assert_eq!(
        organizations.projects().transfer_project(other).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let back = transfer(alice, &project_ref, "acme-2").await.unwrap_err();
    assert_eq!(back.code(), Code::PermissionDenied, "she is a developer there");
    assert_eq!((world.used().await, rows.done("TransferProject").await), ((0, 1), 2), "a row in each log");
    world.assert_rows_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_in_the_way_is_in_the_preview_and_refused() {
    let world = World::start().await;
    let World { alice, carol, rows, .. } = &world;
    let project_ref = world.project(alice, "acme-2", "shop").await;
    world.project(carol, "globex", "shop").await;
    rows.add_private_cluster("of-acme-2", Some("acme-2")).await;
    rows.set_cluster(&project_ref, "of-acme-2").await;
    rows.set_projects_limit(1).await;
    let said = preview(alice, &project_ref, "globex").await.unwrap();
    let expected = ["CLUSTER_NOT_ALLOWED", "ALREADY_EXISTS", "QUOTA_EXCEEDED"]
        .map(|name| format!("ERROR_REASON_{name}"));
    assert_eq!(reasons(&said), expected);
    assert!(said.obstacles[0].message.contains("of-acme-2"), "{:?}", said.obstacles);
    assert!(said.limits.iter().any(|one| one.entitlement() == Entitlement::Projects && one.over));

    let refused = transfer(alice, &project_ref, "globex").await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "CLUSTER_NOT_ALLOWED".to_owned()));
    rows.set_cluster(&project_ref, "default").await;
    let refused = transfer(alice, &project_ref, "globex").await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    let namesake = rows.project_named("globex", "shop").await;
    let delete = DeleteProjectRequest { project_ref: namesake.clone(), ..Default::default() };
    carol.projects().delete_project(delete).await.unwrap();
    let refused = transfer(alice, &project_ref, "globex").await.unwrap_err();
    assert_eq!(reason(&refused), (Code::AlreadyExists, "NAME_HELD_BY_DELETED_PROJECT".to_owned()));
    rows.rename(&namesake, "another").await;
    let refused = transfer(alice, &project_ref, "globex").await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let quota = refused.get_details_quota_failure().unwrap();
    assert_eq!(quota.violations[0].subject, "organization:projects");

    // While something is in progress, and when it is deleted.
    rows.set_projects_limit(9).await;
    let held = Status::unavailable("the test holds it");
    world.double.state().refusals.insert(project_ref.clone(), held);
    let stop = StopProjectRequest { project_ref: project_ref.clone(), ..Default::default() };
    let stop = alice.projects().stop_project(stop).await.unwrap().into_inner().operation.unwrap();
    assert_eq!(reasons(&preview(alice, &project_ref, "globex").await.unwrap()), ["ERROR_REASON_WRONG_STATE"]);
    let refused = transfer(alice, &project_ref, "globex").await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "WRONG_STATE".to_owned()));
    assert!(refused.message().contains("wait for its operation to end"), "{}", refused.message());
    world.double.state().refusals.clear();
    alice.wait(&stop.id).await;
    transfer(alice, &project_ref, "globex").await.unwrap();
    assert_eq!(
        get(carol, &project_ref).await.unwrap().state(),
        ProjectState::Inactive,
        "stopped ones move too"
    );
    let refused = transfer(carol, &namesake, "acme-2").await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "carol is no member there");
    rows.add_member("acme-2", "carol@example.com", "DEVELOPER").await;
    let refused = transfer(carol, &namesake, "acme-2").await.unwrap_err();
    assert!(refused.message().contains("undelete it"), "{}", refused.message());
    world.assert_rows_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_transfers_at_once_as_many_succeed_as_the_quota_has_room_for() {
    let world = World::start().await;
    let World { alice, .. } = &world;
    let mut refs = Vec::new();
    for number in 0..10 {
        refs.push(world.project(alice, "acme-2", &format!("shop-{number}")).await);
    }
    world.project(&world.carol, "globex", "only").await;
    world.rows.limit_projects_of("globex", 2).await;
    let answers = join_all(refs.iter().map(|one| transfer(alice, one, "globex"))).await;
    let codes: Vec<_> =
        answers.iter().map(|one| one.as_ref().map_or_else(Status::code, |_| Code::Ok)).collect();
    assert_eq!(codes.iter().filter(|code| **code == Code::Ok).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == Code::ResourceExhausted).count(), 9, "{codes:?}");
    assert_eq!(world.used().await, (9, 2));
    world.assert_rows_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_of_one_project_and_in_both_directions_come_one_after_the_other() {
    let world = World::start().await;
    let World { alice, carol, rows, .. } = &world;
    for (slug, email) in [("globex", "alice@example.com"), ("acme-2", "carol@example.com")] {
        rows.add_member(slug, email, "ADMINISTRATOR").await;
    }
    alice.create_organization("third").await;
    let project_ref = world.project(alice, "acme-2", "shop").await;
    let (one, other) =
        tokio::join!(transfer(alice, &project_ref, "globex"), transfer(alice, &project_ref, "third"));
    let lost = match (one, other) {
        (Ok(_), Err(lost)) | (Err(lost), Ok(_)) => lost.code(),
        // One came when the other was done.
        (Ok(_), Ok(_)) => Code::Aborted,
        both => panic!("{both:?}"),
    };
    assert_eq!(lost, Code::Aborted);
    assert_eq!(rows.projects_used("globex").await + rows.projects_used("third").await, 1);

    let mut there = Vec::new();
    let mut back = Vec::new();
    for number in 0..5 {
        there.push(world.project(alice, "acme-2", &format!("there-{number}")).await);
        back.push(world.project(carol, "globex", &format!("back-{number}")).await);
    }
    let forth = there.iter().map(|one| transfer(alice, one, "globex"));
    let back = back.iter().map(|one| transfer(carol, one, "acme-2"));
    let (forth, back) = tokio::join!(join_all(forth), join_all(back));
    for moved in forth.into_iter().chain(back) {
        moved.expect("no two of them wait for each other");
    }
    assert_eq!(rows.projects_used("acme-2").await, 5);
    world.assert_rows_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_or_a_change_at_the_same_time_is_before_the_transfer_or_refused() {
    let world = World::start().await;
    let World { alice, rows, .. } = &world;
    for number in 0..6 {
        let project_ref = world.project(alice, "acme-2", &format!("shop-{number}")).await;
        let deletes = number % 2 == 0;
        let other = async || {
            if deletes {
                let undo_window = Some(prost_types::Duration::default());
                let request = DeleteProjectRequest {
                    project_ref: project_ref.clone(),
                    undo_window,
                    ..Default::default()
                };
                alice.projects().delete_project(request).await.map(drop)
            } else {
                let request = UpdateProjectSettingsRequest {
                    project_ref: project_ref.clone(),
                    settings: Some(ProjectSettings { max_rows: 7, ..Default::default() }),
                    update_mask: Some(FieldMask { paths: vec!["max_rows".into()] }),
                    ..Default::default()
                };
                alice.projects().update_project_settings(request).await.map(drop)
            }
        };
        let (moved, done) = tokio::join!(transfer(alice, &project_ref, "globex"), other());
        let owner = rows.organization_of(&project_ref).await;
        match &moved {
            Ok(_) => assert_eq!(owner, "globex"),
            Err(refused) => {
                assert!(matches!(refused.code(), Code::FailedPrecondition | Code::Aborted), "{refused:?}");
                assert_eq!(owner, "acme-2");
            }
        }
        if let Err(refused) = &done {
            assert_eq!(refused.code(), Code::Aborted, "decided before the transfer: {refused:?}");
        }
        assert!(moved.is_ok() || done.is_ok(), "{moved:?} {done:?}");
        wait_for("the operation to end", LIMIT * SLACK, async || {
            let state = rows.standing(&project_ref).await.state;
            ["ACTIVE_HEALTHY", "REMOVED"].contains(&state.as_str()).then_some(())
        })
        .await;
        world.assert_rows_hold().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_before_a_transfer_is_not_done_after_it() {
    let world = World::start().await;
    let World { alice, bob, rows, .. } = &world;
    let project_ref = world.project(alice, "acme-2", "shop").await;
    let request_id = uuid::Uuid::now_v7();
    let method = "/supalove.v1.ProjectService/StopProject";
    let held = rows.hold_request("bob@example.com", method, request_id).await;
    let asked = StopProjectRequest { project_ref: project_ref.clone(), request_id: request_id.to_string() };
    let stop = async { bob.projects().stop_project(asked).await.map(drop) };
    let meanwhile = async {
        wait_for("the stop to wait", LIMIT * SLACK, async || {
            (rows.waiting_for_locks().await > 0).then_some(())
        })
        .await;
        transfer(alice, &project_ref, "globex").await.unwrap();
        held.rollback().await.unwrap();
    };
    let (stopped, ()) = tokio::join!(stop, meanwhile);
    let refused = stopped.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted, "{refused:?}");
    assert!(refused.message().contains("transferred"), "{}", refused.message());
    assert_eq!(get(alice, &project_ref).await.unwrap().state(), ProjectState::ActiveHealthy);
    let again = StopProjectRequest { project_ref, ..Default::default() };
    assert_eq!(bob.projects().stop_project(again).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_a_role_while_the_transfer_waits_transfers_nothing() {
    let world = World::start().await;
    let World { alice, rows, .. } = &world;
    let project_ref = world.project(alice, "acme-2", "shop").await;
    for (slug, role, expected) in [
        ("globex", None, Code::NotFound),
        ("globex", Some("READ_ONLY"), Code::PermissionDenied),
        ("acme-2", Some("DEVELOPER"), Code::PermissionDenied),
    ] {
        rows.add_member("globex", "alice@example.com", "DEVELOPER").await;
        let change = rows.change_role(slug, "alice@example.com", role).await;
        let meanwhile = async {
            wait_for("the transfer to wait", LIMIT * SLACK, async || {
                (rows.waiting_for_locks().await > 0).then_some(())
            })
            .await;
            change.commit().await.unwrap();
        };
        let (moved, ()) = tokio::join!(transfer(alice, &project_ref, "globex"), meanwhile);
        assert_eq!(moved.unwrap_err().code(), expected, "{slug} {role:?}");
    }
    assert_eq!((world.used().await, rows.organization_of(&project_ref).await.as_str()), ((1, 0), "acme-2"));
    world.assert_rows_hold().await;
}
