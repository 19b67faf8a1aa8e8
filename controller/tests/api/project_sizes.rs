//! Sizes of projects as callers see them: the rows, what a plan allows, what a resize reserves on the node, and what a failure
//! returns to. The agent is a double: what it takes is up at once, and what it refuses fails when its time is up.

use std::time::Duration;

use futures::future::join_all;
use prost_types::FieldMask;
use supalove_proto::v1::{
    AssignPlanRequest, ClearEntitlementRequest, CreateProjectRequest, DeleteProjectRequest, Entitlement,
    EntitlementValue, ListProjectSizesRequest, OperationKind, OperationState, Project, ProjectEventType,
    ProjectResources, ProjectSize, ProjectSizes, ProjectState, SetEntitlementRequest, StartProjectRequest,
    StopProjectRequest, UndeleteProjectRequest, UpdateProjectRequest, UpdateProjectResponse,
    UpdateProjectSizeRequest, entitlement_value::Kind,
};
use supalove_system_tests::{Api, CORE, SLACK, turn_alone};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::one_node::World;

/// What is reserved on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Resources {
    cpu_millis: u32,
    memory_mib: u32,
    disk_mib: u64,
}

/// What a project of core reserves with the smallest size.
const NANO: Resources = Resources { cpu_millis: 250, memory_mib: 448, disk_mib: 1280 };

impl World {
    async fn create(&self, name: &str, size: &str) -> Result<Project, Status> {
        let request = CreateProjectRequest {
            organization: "acme".into(),
            name: name.into(),
            size: size.into(),
            ..Default::default()
        };
        Ok(self.api.projects().create_project(request).await?.into_inner().project.unwrap())
    }

    async fn resize(&self, project_ref: &str, size: &str) -> Result<UpdateProjectResponse, Status> {
        resize(&self.api, project_ref, size).await
    }

    /// Resizes and waits until the project is up, or stopped, with the size.
    async fn resized(&self, project_ref: &str, size: &str) -> Project {
        let resized = self.resize(project_ref, size).await.unwrap();
        let operation = self.api.wait(&resized.operation.unwrap().id).await;
        assert_eq!(operation.state(), OperationState::Succeeded, "{operation:#?}");
        let project = self.api.project(project_ref).await;
        assert_eq!(project.size, size);
        project
    }

    async fn used(&self) -> Resources {
        let used = self.api.nodes().await[0].used.unwrap();
        Resources { cpu_millis: used.cpu_millis, memory_mib: used.memory_mib, disk_mib: used.disk_mib }
    }

    async fn sizes(&self) -> Vec<ProjectSize> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListProjectSizesRequest { page_size: 2, page_token };
            let page = self.api.plans().list_project_sizes(request).await.unwrap().into_inner();
            all.extend(page.sizes);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return all;
            }
        }
    }

    /// Sizes that the organization of the projects may have, whatever its plan says.
    async fn allow(&self, names: &[&str]) -> Result<(), Status> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let request = SetEntitlementRequest {
            organization: "acme".into(),
            entitlement: Entitlement::ProjectSizes.into(),
            value: Some(EntitlementValue { kind: Some(Kind::Sizes(ProjectSizes { names })) }),
            reason: "a pilot".into(),
            etag: String::new(),
        };
        self.api.plans().set_entitlement(request).await.map(drop)
    }
}

async fn resize(api: &Api, project_ref: &str, size: &str) -> Result<UpdateProjectResponse, Status> {
    let request = UpdateProjectRequest {
        project_ref: project_ref.into(),
        size: size.into(),
        update_mask: Some(FieldMask { paths: vec!["size".into()] }),
        ..Default::default()
    };
    Ok(api.projects().update_project(request).await?.into_inner())
}

fn plus(one: Resources, cpu_millis: u32, memory_mib: u32, disk_mib: u64) -> Resources {
    Resources {
        cpu_millis: one.cpu_millis + cpu_millis,
        memory_mib: one.memory_mib + memory_mib,
        disk_mib: one.disk_mib + disk_mib,
    }
}

fn reason(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
}

fn field(status: &Status) -> String {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    status.get_details_bad_request().unwrap().field_violations[0].field.clone()
}

fn quota(status: &Status) -> String {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    status.get_details_quota_failure().unwrap().violations[0].subject.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_are_rows_that_the_operator_edits_and_projects_keep_what_they_got() {
    let world = World::start().await;
    let sizes = world.sizes().await;
    let names: Vec<&str> = sizes.iter().map(|size| size.name.as_str()).collect();
    assert_eq!(names, ["nano", "micro", "small", "medium", "large"]);
    assert!(sizes.is_sorted_by_key(|size| size.memory_mib) && sizes.is_sorted_by_key(|size| size.disk_mib));
    assert_eq!(sizes[0].plans, ["free", "pro", "premium"]);
    assert_eq!(sizes[4].plans, ["premium"]);

    let project_ref = world.project("first", CORE).await;
    let before = world.resized(&project_ref, "small").await;
    let update = async |size: &str, memory_mib: u32, etag: &str, reason: &str| {
        let request = UpdateProjectSizeRequest {
            size: size.into(),
            memory_mib,
            reason: reason.into(),
            etag: etag.into(),
            update_mask: Some(FieldMask { paths: vec!["memory_mib".into()] }),
            ..Default::default()
        };
        Ok::<_, Status>(world.api.plans().update_project_size(request).await?.into_inner().size.unwrap())
    };
    assert_eq!(field(&update("small", 31, "", "why").await.unwrap_err()), "memory_mib");
    assert_eq!(field(&update("small", 2048, "", " ").await.unwrap_err()), "reason");
    assert_eq!(field(&update("", 2048, "", "why").await.unwrap_err()), "size");
    assert_eq!(update("huge", 2048, "", "why").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(update("small", 2048, "999", "why").await.unwrap_err().code(), Code::Aborted);
    let small = update("small", 2048, &sizes[2].etag, "larger hosts").await.unwrap();
    assert_eq!((small.memory_mib, small.cpu_millis), (2048, sizes[2].cpu_millis));
    assert_ne!(small.etag, sizes[2].etag);
    let edits = world.rows.audited("UpdateProjectSize").await;
    let edits: Vec<_> = edits.iter().filter(|one| one.outcome == "OK").map(|one| &one.target).collect();
    assert_eq!(edits, ["small: larger hosts"]);

    assert_eq!(world.api.project(&project_ref).await.resources, before.resources, "it keeps what it got");
    let used = world.used().await;
    let after = world.resized(&project_ref, "small").await;
    assert_eq!(after.resources.unwrap().memory_mib, 2048, "until it is resized");
    assert_eq!(world.used().await, plus(used, 0, 1024, 0));
    let again = world.resize(&project_ref, "small").await.unwrap();
    assert!(again.operation.is_none() && again.project == Some(after), "there is nothing to change");
    world.assert_rows_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_which_sizes_a_project_may_have() {
    let world = World::start().await;
    assert_eq!(world.create("default", "").await.unwrap().size, "nano");
    assert_eq!(field(&world.create("wrong", "huge").await.unwrap_err()), "size");
    let large = world.create("large", "large").await.unwrap();
    let gave = ProjectResources { cpu_millis: 2000, memory_mib: 4096, disk_mib: 24576, connections: 160 };
    assert_eq!((large.size.as_str(), large.resources), ("large", Some(gave)));
    assert_eq!(world.api.project(&large.r#ref).await.resources, Some(gave));

    // A downgrade that does not fit names the projects that are in the way.
    let refused = world.allow(&["micro", "small"]).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "USE_OVER_LIMITS".to_owned()));
    assert!(refused.message().contains("acme has 2 projects of a size that would not be allowed"));
    let request = AssignPlanRequest {
        organization: "acme".into(),
        plan: "pro".into(),
        reason: "asked for it".into(),
        etag: String::new(),
    };
    let refused = world.api.plans().assign_plan(request.clone()).await.unwrap_err();
    let violations = refused.get_details_precondition_failure().unwrap().violations;
    assert_eq!(violations[0].subject, "acme:project_sizes", "{violations:?}");
    world.api.wait_state(&large.r#ref, ProjectState::ActiveHealthy, Duration::from_secs(30) * SLACK).await;
    world.resized(&large.r#ref, "medium").await;
    world.api.plans().assign_plan(request).await.unwrap();

    world.allow(&["nano", "micro", "medium"]).await.unwrap();
    for refused in [
        world.create("other", "large").await.unwrap_err(),
        world.resize(&large.r#ref, "large").await.unwrap_err(),
        world.resize(&large.r#ref, "small").await.unwrap_err(),
    ] {
        assert_eq!(quota(&refused), "organization:project_sizes");
        assert!(refused.message().contains("only nano, micro, medium"), "{}", refused.message());
    }
    assert_eq!(world.api.project(&large.r#ref).await.size, "medium", "a refusal changes nothing");
    assert_eq!(world.rows.projects_used("acme").await, 2, "a refused create takes no quota");
    world.resized(&large.r#ref, "micro").await;
    let request = ClearEntitlementRequest {
        organization: "acme".into(),
        entitlement: Entitlement::ProjectSizes.into(),
        reason: "the pilot has ended".into(),
        etag: String::new(),
    };
    world.api.plans().clear_entitlement(request).await.unwrap();
    world.assert_rows_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_smallest_size_of_a_plan_is_that_of_projects_that_name_none() {
    let world = World::start().await;
    world.allow(&["micro", "small"]).await.unwrap();
    assert_eq!(world.create("first", "").await.unwrap().size, "micro");
    assert_eq!(quota(&world.create("second", "nano").await.unwrap_err()), "organization:project_sizes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resize_holds_what_either_size_needs_and_gives_back_when_it_has_ended() {
    let world = World::start().await;
    let project_ref = world.project("first", CORE).await;
    assert_eq!(world.used().await, NANO);

    world.hold(&project_ref);
    let grown = world.resize(&project_ref, "micro").await.unwrap();
    assert_eq!(grown.restarted_services, ["postgres"]);
    let operation = grown.operation.unwrap();
    assert_eq!(
        (operation.kind(), operation.status_message.as_str()),
        (OperationKind::ResizeProject, "from nano to micro; restarting postgres")
    );
    let project = grown.project.unwrap();
    assert_eq!((project.state(), project.size.as_str()), (ProjectState::Resizing, "micro"));
    assert_eq!(project.generation, 2);
    let micro = plus(NANO, 100, 256, 1024);
    assert_eq!(world.used().await, micro, "a larger size takes its room at once");
    world.assert_rows_hold().await;
    let request = StopProjectRequest { project_ref: project_ref.clone(), ..Default::default() };
    let refused = world.api.projects().stop_project(request).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "WRONG_STATE".to_owned()));
    let refused = world.resize(&project_ref, "small").await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "WRONG_STATE".to_owned()));
    world.let_go(&project_ref);
    assert_eq!(world.api.wait(&operation.id).await.state(), OperationState::Succeeded);
    assert_eq!(world.used().await, micro);

    world.hold(&project_ref);
    let shrunk = world.resize(&project_ref, "nano").await.unwrap().operation.unwrap();
    assert_eq!(world.used().await, micro, "a smaller size gives nothing back before it is confirmed");
    world.assert_rows_hold().await;
    world.let_go(&project_ref);
    assert_eq!(world.api.wait(&shrunk.id).await.state(), OperationState::Succeeded);
    assert_eq!(world.used().await, plus(NANO, 0, 0, 1024), "the disk stays");
    let nano = world.api.project(&project_ref).await;
    let has = ProjectResources { cpu_millis: 150, memory_mib: 256, disk_mib: 2048, connections: 60 };
    assert_eq!((nano.size.as_str(), nano.resources), ("nano", Some(has)));

    // A stopped project holds only its disk, and starts with the new size.
    let request = StopProjectRequest { project_ref: project_ref.clone(), ..Default::default() };
    let stopping = world.api.projects().stop_project(request).await.unwrap().into_inner().operation.unwrap();
    world.api.wait(&stopping.id).await;
    let resized = world.resize(&project_ref, "small").await.unwrap();
    assert_eq!(resized.restarted_services, [""; 0]);
    let resized = world.api.wait(&resized.operation.unwrap().id).await;
    assert_eq!(resized.state(), OperationState::Succeeded);
    assert_eq!(world.api.project(&project_ref).await.state(), ProjectState::Inactive);
    assert_eq!(world.used().await, Resources { cpu_millis: 0, memory_mib: 0, disk_mib: 1280 + 3072 });
    let request = StartProjectRequest { project_ref: project_ref.clone(), ..Default::default() };
    let starting = world.api.projects().start_project(request).await.unwrap().into_inner().operation.unwrap();
    assert_eq!(world.api.wait(&starting.id).await.state(), OperationState::Succeeded);
    assert_eq!(world.used().await, plus(NANO, 350, 768, 3072));
    world.assert_rows_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_resize_returns_to_the_size_before_with_what_it_reserved_and_the_grown_disk() {
    let world = World::start().await;
    let project_ref = world.project("first", CORE).await;
    let before = world.api.project(&project_ref).await;
    for (size, disk_mib) in [("micro", 2048), ("large", 24_576)] {
        world.hold(&project_ref);
        let resized = world.resize(&project_ref, size).await.unwrap().operation.unwrap();
        let said = world.fail(&resized, ProjectState::ActiveHealthy).await;
        assert!(said.ends_with("; the project returns to the size nano"), "{said}");
        let after = world.api.project(&project_ref).await;
        // The volume has grown, and may be full.
        let kept = Some(ProjectResources { disk_mib, ..before.resources.unwrap() });
        assert_eq!((&after.size, after.resources), (&before.size, kept));
        assert_eq!(world.used().await, plus(NANO, 0, 0, u64::from(disk_mib) - 1024));
        world.assert_rows_hold().await;
    }
    let events = world.api.events(&project_ref).await;
    let returned = events.iter().rfind(|event| event.r#type() == ProjectEventType::ProjectReturned).unwrap();
    assert_eq!(returned.message, "the size nano is desired again");

    // A smaller size returns as well, with the larger one's reservation, which it never gave back.
    world.resized(&project_ref, "small").await;
    let small = world.used().await;
    world.hold(&project_ref);
    let resized = world.resize(&project_ref, "nano").await.unwrap().operation.unwrap();
    world.fail(&resized, ProjectState::ActiveHealthy).await;
    assert_eq!((world.used().await, world.api.project(&project_ref).await.size.as_str()), (small, "small"));

    // A delete replaces a resize and keeps the new size, which an undelete brings up.
    world.hold(&project_ref);
    let resized = world.resize(&project_ref, "micro").await.unwrap().operation.unwrap();
    let request = DeleteProjectRequest { project_ref: project_ref.clone(), ..Default::default() };
    let deleting =
        world.api.projects().delete_project(request).await.unwrap().into_inner().operation.unwrap();
    world.let_go(&project_ref);
    let replaced = world.api.wait(&resized.id).await;
    assert_eq!(replaced.state(), OperationState::Cancelled, "{replaced:#?}");
    world.api.wait(&deleting.id).await;
    let request = UndeleteProjectRequest { project_ref: project_ref.clone(), ..Default::default() };
    let undeleting =
        world.api.projects().undelete_project(request).await.unwrap().into_inner().operation.unwrap();
    world.api.wait(&undeleting.id).await;
    assert_eq!(world.api.project(&project_ref).await.size, "micro");
    assert_eq!(world.used().await, plus(NANO, 100, 256, 24_576 - 1024));
    world.assert_rows_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_made_once_and_only_of_what_the_caller_has_read() {
    let world = World::start().await;
    let project_ref = world.project("first", CORE).await;
    world.project("second", CORE).await;
    let before = world.api.project(&project_ref).await;
    let both = |name: &str, etag: &str| UpdateProjectRequest {
        project_ref: project_ref.clone(),
        name: name.into(),
        size: "micro".into(),
        etag: etag.into(),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let update = async |request: UpdateProjectRequest| {
        Ok::<_, Status>(world.api.projects().update_project(request).await?.into_inner())
    };
    assert_eq!(update(both("other", "999")).await.unwrap_err().code(), Code::Aborted);
    assert_eq!(update(both("second", "")).await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(world.api.project(&project_ref).await, before, "a refusal changes nothing");
    assert_eq!(world.used().await, plus(NANO, 250, 448, 1280));
    let nothing = UpdateProjectRequest { project_ref: project_ref.clone(), ..Default::default() };
    assert_eq!(field(&update(nothing).await.unwrap_err()), "update_mask");

    let asked = both("other", &before.etag);
    let first = update(asked.clone()).await.unwrap().operation.unwrap();
    let again = update(asked).await.unwrap();
    assert_eq!(again.operation.unwrap().id, first.id, "a repeated call is the first one");
    assert_eq!(world.api.wait(&first.id).await.state(), OperationState::Succeeded);
    let after = world.api.project(&project_ref).await;
    assert_eq!((after.name.as_str(), after.size.as_str()), ("other", "micro"));
    assert_eq!(update(both("third", &before.etag)).await.unwrap_err().code(), Code::Aborted);

    // A project that waits for room has to be created with the other size.
    world.rows.set_memory(1).await;
    let pending = world.create("pending", "").await.unwrap();
    let refused = world.resize(&pending.r#ref, "micro").await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "WRONG_STATE".to_owned()));
    world.rows.set_state(&pending.r#ref, "INIT_FAILED").await;
    let refused = world.resize(&pending.r#ref, "micro").await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "NOT_PLACED".to_owned()));
    world.rows.set_state(&pending.r#ref, "COMING_UP").await;
    world.assert_rows_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_resizes_never_overcommit_their_node() {
    const PROJECTS: usize = 16;
    turn_alone();
    let world = World::start().await;
    let mut projects = Vec::new();
    for number in 0..PROJECTS {
        projects.push(world.project(&format!("p{number}"), CORE).await);
    }
    let used = world.used().await;
    // Room for five of them, and a bit.
    let room = i32::try_from(used.memory_mib).unwrap() + 5 * 256 + 100;
    world.rows.set_memory(room).await;
    let connections: Vec<Api> = projects
        .iter()
        .map(|_| {
            let mut api = world.controller.api();
            api.use_token(&world.api.token);
            api
        })
        .collect();
    let calls = connections.iter().zip(&projects).map(|(api, project_ref)| resize(api, project_ref, "micro"));
    let (placed, refused): (Vec<_>, Vec<_>) = join_all(calls).await.into_iter().partition(Result::is_ok);
    assert_eq!((placed.len(), refused.len()), (5, PROJECTS - 5));
    for refused in refused.into_iter().filter_map(Result::err) {
        assert_eq!(reason(&refused), (Code::FailedPrecondition, "NODE_FULL".to_owned()));
        for part in ["1 lacks 156 MiB memory", "free there are", "100 MiB memory"] {
            assert!(refused.message().contains(part), "{part}: {}", refused.message());
        }
    }
    assert_eq!(world.rows.misreserved_nodes().await, 0);
    for operation in placed.into_iter().filter_map(Result::ok).filter_map(|one| one.operation) {
        assert_eq!(world.api.wait(&operation.id).await.state(), OperationState::Succeeded);
    }
    assert_eq!(world.used().await.memory_mib, used.memory_mib + 5 * 256);
    world.assert_rows_hold().await;

    // Up and down at once, each many times: the counters stay the sum of what is placed.
    let walks = connections.iter().zip(&projects).map(async |(api, project_ref)| {
        for size in ["small", "nano", "micro", "nano"] {
            match resize(api, project_ref, size).await {
                Ok(UpdateProjectResponse { operation: Some(operation), .. }) => {
                    api.wait(&operation.id).await;
                }
                Ok(_) => {}
                Err(refused) => assert_eq!(reason(&refused).1, "NODE_FULL", "{refused:?}"),
            }
            assert_eq!(world.rows.overcommitted_nodes().await, 0);
        }
    });
    join_all(walks).await;
    assert_eq!(world.used().await.memory_mib, used.memory_mib, "all are as small as at first");
    world.assert_rows_hold().await;
}
