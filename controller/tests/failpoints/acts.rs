//! Acts of a user on a project, as calls that the test retries until it gets a response.

use std::time::{Duration, Instant};

use prost_types::{Duration as ProtoDuration, FieldMask};
use supalove_proto::v1::{
    CreateProjectRequest, DeleteProjectRequest, Operation, ProjectSettings, RestartProjectRequest,
    StartProjectRequest, StopProjectRequest, UndeleteProjectRequest, UpdateProjectRequest,
    UpdateProjectSettingsRequest, UpgradeProjectRequest,
};
use supalove_system_tests::Api;
use tonic::{Code, Status};

use super::rows::Scene;

/// Timeout of a call.
const LIMIT: Duration = Duration::from_mins(3);

/// What a user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// CreateProject.
    Create,
    /// StopProject.
    Stop,
    /// StartProject.
    Start,
    /// RestartProject.
    Restart,
    /// UpgradeProject.
    Upgrade,
    /// UpdateProjectSettings.
    Configure,
    /// UpdateProject to a larger size.
    Grow,
    /// The same back to the smallest.
    Shrink,
    /// The same to a size with which the project does not come up in time.
    Outgrow,
    /// DeleteProject that keeps the data.
    Delete,
    /// UndeleteProject.
    Undelete,
    /// DeleteProject with the data.
    Remove,
}

/// Acts that follow each other.
pub struct Stage {
    /// In order.
    pub acts: &'static [Act],
}

/// A whole life.
pub const LIFE: &[Stage] = &[
    Stage { acts: &[Act::Create] },
    Stage { acts: &[Act::Stop, Act::Start] },
    Stage { acts: &[Act::Restart] },
    Stage { acts: &[Act::Upgrade] },
    Stage { acts: &[Act::Configure] },
    Stage { acts: &[Act::Outgrow] },
    Stage { acts: &[Act::Grow, Act::Shrink] },
    Stage { acts: &[Act::Delete, Act::Undelete] },
    Stage { acts: &[Act::Remove] },
];

impl Stage {
    /// It ends where it began, so it can be left out.
    pub fn is_detour(&self) -> bool {
        !matches!(self.acts, [Act::Create | Act::Remove])
    }
}

impl Act {
    /// State of the project after it.
    pub fn state(self) -> &'static str {
        match self {
            Self::Create
            | Self::Start
            | Self::Restart
            | Self::Upgrade
            | Self::Configure
            | Self::Grow
            | Self::Shrink
            | Self::Outgrow
            | Self::Undelete => "ACTIVE_HEALTHY",
            Self::Stop => "INACTIVE",
            Self::Delete => "GOING_DOWN",
            Self::Remove => "REMOVED",
        }
    }

    /// Whether the project has containers after it.
    pub fn runs(self) -> bool {
        self.state() == "ACTIVE_HEALTHY"
    }
}

/// What a project consists of.
#[derive(Debug)]
pub struct Release {
    /// Its name.
    pub name: &'static str,
    /// A container each.
    pub services: &'static [&'static str],
    /// The test leaves something in the last.
    pub volumes: &'static [&'static str],
}

/// See `releases/steps`.
pub const STEPS: Release =
    Release { name: "steps", services: &["storage", "gateway"], volumes: &["files", "cache"] };
/// With PostgreSQL, and SQL that runs at each start.
pub const DATABASE: Release = Release {
    name: supalove_system_tests::CORE,
    services: &["postgres", "functions", "gateway"],
    volumes: &["db_data", "db_config", "functions_cache"],
};

/// A call with its idempotency key.
#[derive(Debug, Clone)]
pub struct Request {
    /// What.
    pub act: Act,
    /// On what; the name, for a create.
    pub project: String,
    /// Key: the same call, however often it is made.
    pub id: String,
    /// See [`Scene`].
    pub scene: Scene,
}

impl Request {
    /// A new one.
    pub fn new(act: Act, project: &str, scene: Scene) -> Self {
        Self { act, project: project.to_owned(), id: uuid::Uuid::new_v4().to_string(), scene }
    }

    /// What a project that it makes consists of.
    pub fn release(&self) -> &'static Release {
        if matches!(self.scene, Scene::Database | Scene::DatabaseDies) { &DATABASE } else { &STEPS }
    }

    /// Retries until there is a response, because a client cannot know whether a broken call took effect.
    pub async fn insist(&self, api: &Api) -> Operation {
        let until = Instant::now() + LIMIT;
        loop {
            let status = match self.call(api).await {
                Ok(operation) => return operation,
                Err(status) => status,
            };
            let passing = [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::Aborted];
            assert!(passing.contains(&status.code()), "{self:?}: {status:?}");
            assert!(Instant::now() < until, "{self:?} was not answered: {status:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn call(&self, api: &Api) -> Result<Operation, Status> {
        let project_ref = self.project.clone();
        let request_id = self.id.clone();
        let mut projects = api.projects();
        let operation = match self.act {
            Act::Create => {
                let request = CreateProjectRequest {
                    organization: "acme".into(),
                    name: self.project.clone(),
                    release: self.release().name.into(),
                    request_id,
                    ..Default::default()
                };
                projects.create_project(request).await?.into_inner().operation
            }
            Act::Stop => {
                let request = StopProjectRequest { project_ref, request_id };
                projects.stop_project(request).await?.into_inner().operation
            }
            Act::Start => {
                let request = StartProjectRequest { project_ref, request_id, ..Default::default() };
                projects.start_project(request).await?.into_inner().operation
            }
            Act::Restart => {
                let request = RestartProjectRequest { project_ref, request_id };
                projects.restart_project(request).await?.into_inner().operation
            }
            Act::Upgrade => {
                let request = UpgradeProjectRequest { project_ref, request_id, ..Default::default() };
                projects.upgrade_project(request).await?.into_inner().operation
            }
            Act::Configure => {
                // Another value each time, and the same one if the call is repeated.
                let site_url = format!("https://{request_id}.example.com");
                let request = UpdateProjectSettingsRequest {
                    project_ref,
                    settings: Some(ProjectSettings { site_url, ..Default::default() }),
                    update_mask: Some(FieldMask { paths: vec!["site_url".into()] }),
                    request_id,
                    ..Default::default()
                };
                projects.update_project_settings(request).await?.into_inner().operation
            }
            Act::Grow | Act::Shrink | Act::Outgrow => {
                let size = match self.act {
                    Act::Grow => "micro",
                    Act::Outgrow => "small",
                    _ => "nano",
                };
                let request =
                    UpdateProjectRequest { project_ref, size: size.into(), request_id, ..Default::default() };
                projects.update_project(request).await?.into_inner().operation
            }
            Act::Delete | Act::Remove => {
                let seconds = match (self.act, self.scene) {
                    (Act::Delete, _) => 3600,
                    (_, Scene::ShortWindow) => 1,
                    _ => 0,
                };
                let undo_window = Some(ProtoDuration { seconds, nanos: 0 });
                let request = DeleteProjectRequest { project_ref, undo_window, request_id };
                projects.delete_project(request).await?.into_inner().operation
            }
            Act::Undelete => {
                let request = UndeleteProjectRequest { project_ref, request_id };
                projects.undelete_project(request).await?.into_inner().operation
            }
        };
        Ok(operation.unwrap())
    }
}
