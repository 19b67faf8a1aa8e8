//! Upgrades to another stack release as callers see them: which are legal, what they reserve, and what a failure returns to.

use supalove_proto::v1::{
    DeleteProjectRequest, ListOutdatedProjectsRequest, Operation, OperationState, ProjectState,
    UpgradeProjectRequest,
};
use supalove_system_tests::{Api, CORE, Controller, Options, Rows, accepts_upgrades_from, copy_core};
use tempfile::TempDir;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Bigger than core in cpu and memory, smaller in disk.
const NEXT: &str = "next";

struct World {
    _controller: Controller,
    api: Api,
    rows: Rows,
    _releases: TempDir,
}

impl World {
    async fn start(projects: i32) -> Self {
        let releases = TempDir::new().unwrap();
        let accepts = |yaml: String| accepts_upgrades_from(&yaml, CORE);
        copy_core(releases.path(), NEXT, |yaml| {
            let bigger = "reserve: { cpu_millis: 250, memory_mib: 300, disk_mib: 1100 }";
            accepts(yaml).replacen("reserve: { cpu_millis: 150, memory_mib: 256, disk_mib: 1024 }", bigger, 1)
        });
        copy_core(releases.path(), "forgetful", |yaml| {
            accepts(yaml)
                .replace("{ name: functions_cache,", "{ name: other,")
                .replace("{ volume: functions_cache, path: /deno-dir }", "{ volume: other, path: /deno-dir }")
        });
        copy_core(releases.path(), "huge", |yaml| {
            accepts(yaml)
                .replace("memory_mib: 512, pids", "memory_mib: 9000000, pids")
                .replace("memory_mib: 256,", "memory_mib: 8000000,")
        });
        let arguments = vec!["--releases-dir".to_owned(), releases.path().display().to_string()];
        let controller = Controller::start_with(Options { arguments, ..Options::default() }).await;
        let api = controller.operator().await;
        let rows = controller.database.rows().await;
        rows.add_node("roomy", projects, projects).await;
        Self { _controller: controller, api, rows, _releases: releases }
    }

    /// A placed project of the core release, as if it had come into this state.
    async fn project(&self, name: &str, state: &str) -> String {
        self.project_of(CORE, name, state).await
    }

    async fn project_of(&self, release: &str, name: &str, state: &str) -> String {
        let project_ref = self.api.create(name, release).await.project.unwrap().r#ref;
        self.rows.set_state(&project_ref, state).await;
        project_ref
    }

    async fn upgrade(&self, project_ref: &str, release: &str) -> Result<Operation, Status> {
        let request = UpgradeProjectRequest {
            project_ref: project_ref.into(),
            release: release.into(),
            ..Default::default()
        };
        Ok(self.api.projects().upgrade_project(request).await?.into_inner().operation.unwrap())
    }

    async fn refused(&self, project_ref: &str, release: &str) -> (Code, String) {
        let status = self.upgrade(project_ref, release).await.unwrap_err();
        (status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
    }
}

#[tokio::test]
async fn an_upgrade_is_legal_from_each_settled_state_and_from_no_other() {
    let world = World::start(10).await;
    let settled = ["ACTIVE_HEALTHY", "ACTIVE_UNHEALTHY", "INACTIVE", "INIT_FAILED"];
    for state in settled {
        let project_ref = world.project(state, state).await;
        let operation = world.upgrade(&project_ref, NEXT).await.unwrap();
        assert_eq!(operation.state(), OperationState::Running);
        let project = world.api.project(&project_ref).await;
        assert_eq!((project.state(), project.release.as_str()), (ProjectState::Upgrading, NEXT), "{state}");
        assert_eq!(project.generation, 2);
    }
    let project_ref = world.project("other", "ACTIVE_HEALTHY").await;
    for state in [
        "COMING_UP",
        "PAUSING",
        "RESTARTING",
        "RESIZING",
        "RESTORING",
        "UPGRADING",
        "GOING_DOWN",
        "PAUSE_FAILED",
        "RESTORE_FAILED",
        "UNKNOWN",
    ] {
        world.rows.set_state(&project_ref, state).await;
        let wrong = (Code::FailedPrecondition, "WRONG_STATE".to_owned());
        assert_eq!(world.refused(&project_ref, NEXT).await, wrong, "{state}");
    }
    assert_eq!(world.rows.misreserved_nodes().await, 0);
}

#[tokio::test]
async fn a_release_that_would_lose_something_or_does_not_fit_is_refused_with_its_reason() {
    let world = World::start(3).await;
    let project_ref = world.project("first", "ACTIVE_HEALTHY").await;
    let before = world.api.project(&project_ref).await;
    for (release, code, reason) in [
        ("nonsense", Code::InvalidArgument, "INVALID_ARGUMENT"),
        (CORE, Code::FailedPrecondition, "RELEASE_UNCHANGED"),
        ("supabase-2025.12", Code::FailedPrecondition, "UPGRADE_NOT_OFFERED"),
        ("forgetful", Code::FailedPrecondition, "UPGRADE_INCOMPATIBLE"),
        ("huge", Code::FailedPrecondition, "NODE_FULL"),
    ] {
        assert_eq!(world.refused(&project_ref, release).await, (code, reason.to_owned()), "{release}");
    }
    assert_eq!(world.api.project(&project_ref).await, before, "a refusal changes nothing");
    world.upgrade(&project_ref, NEXT).await.unwrap();
    world.rows.set_state(&project_ref, "ACTIVE_HEALTHY").await;
    let back = (Code::FailedPrecondition, "UPGRADE_NOT_OFFERED".to_owned());
    assert_eq!(
        world.refused(&project_ref, CORE).await,
        back,
        "no release accepts an upgrade from a later one"
    );
    assert_eq!(world.rows.misreserved_nodes().await, 0);
}

#[tokio::test]
async fn a_failed_upgrade_makes_the_old_content_the_newest_generation() {
    let world = World::start(4).await;
    let up = world.project("up", "ACTIVE_HEALTHY").await;
    let stopped = world.project("stopped", "INACTIVE").await;
    let request = UpgradeProjectRequest {
        project_ref: up.clone(),
        release: NEXT.into(),
        request_id: uuid::Uuid::new_v4().to_string(),
    };
    let first = world.api.projects().upgrade_project(request.clone()).await.unwrap().into_inner();
    let again = world.api.projects().upgrade_project(request).await.unwrap().into_inner();
    assert_eq!(first, again, "a repeated call is the first one");
    let other = world.upgrade(&stopped, NEXT).await.unwrap();
    assert_eq!(world.rows.misreserved_nodes().await, 0, "an upgrade holds what either release needs");

    world.rows.end_times().await;
    let failed = world.api.wait(&first.operation.unwrap().id).await;
    assert_eq!(failed.state(), OperationState::Failed);
    let error = failed.error.unwrap();
    assert_eq!(error.reason, "DEADLINE_EXCEEDED");
    assert!(
        error.message.ends_with(&format!("; the project returns to release {CORE}")),
        "{}",
        error.message
    );
    world.api.wait(&other.id).await;
    for (project_ref, state) in [(&up, ProjectState::ActiveUnhealthy), (&stopped, ProjectState::Inactive)] {
        let project = world.api.project(project_ref).await;
        assert_eq!((project.release.as_str(), project.generation), (CORE, 3));
        assert_eq!(project.state(), state, "{}", project.state_reason);
        assert!(project.state_reason.starts_with("the upgrade to next failed: "), "{}", project.state_reason);
    }
    assert_eq!(world.rows.misreserved_nodes().await, 0);

    // It can be tried again, and a delete replaces it.
    let second = world.upgrade(&up, NEXT).await.unwrap();
    let delete = DeleteProjectRequest { project_ref: up.clone(), ..Default::default() };
    world.api.projects().delete_project(delete).await.unwrap();
    let replaced = world.api.wait(&second.id).await;
    assert_eq!(replaced.state(), OperationState::Cancelled);
    assert_eq!(replaced.error.unwrap().reason, "OVERTAKEN");
    assert_eq!(world.rows.misreserved_nodes().await, 0);
}

#[tokio::test]
async fn projects_on_releases_with_known_holes_are_named() {
    let world = World::start(4).await;
    for name in ["one", "two", "three"] {
        world.project_of("core", name, "ACTIVE_HEALTHY").await;
    }
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListOutdatedProjectsRequest { page_size: 2, page_token };
        let page = world.api.projects().list_outdated_projects(request).await.unwrap().into_inner();
        found.extend(page.projects);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(found.len(), 3);
    let first = &found[0];
    assert_eq!(first.release, "core");
    assert!(
        first
            .known_holes
            .iter()
            .any(|hole| hole.id == "tenant-becomes-superuser" && hole.fixed_in == "core-2")
    );
    let shown = world.api.project(&first.project_ref).await;
    assert_eq!((&shown.known_holes, &shown.upgrade_to), (&first.known_holes, &first.upgrade_to));

    world.upgrade(&first.project_ref, "core-2").await.unwrap();
    let request = ListOutdatedProjectsRequest::default();
    let left = world.api.projects().list_outdated_projects(request).await.unwrap().into_inner().projects;
    assert_eq!(left.len(), 2, "the upgraded project is off the list");
    assert!(left.iter().all(|project| project.project_ref != first.project_ref));
}
