//! The streams of projects, for the one watch: the project as it is, and its events.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use supalove_core::{
    Core,
    access::{Call, Permission::ReadProjects},
    error::Result,
    hints::Hint,
    ids::ProjectRef,
    watch::{Body, End, Event, Kind, Message, Now, Object, StreamSource, Watched},
};
use supalove_proto::v1::{ErrorReason, KeepAlive, WatchProjectResponse, watch_project_response};
use supalove_stack::Releases;

use crate::{
    ProjectKey,
    store::{events, projects},
    types::ProjectState,
    wire,
};

/// The streams of projects.
#[derive(Clone)]
pub struct ProjectStreams {
    core: Core,
    releases: Arc<Releases>,
}

impl ProjectStreams {
    /// On the control database.
    pub fn new(core: &Core, releases: &Arc<Releases>) -> Self {
        Self { core: core.clone(), releases: releases.clone() }
    }
}

impl StreamSource for ProjectStreams {
    fn kind(&self) -> Kind {
        Kind::Project
    }

    fn open<'a>(&'a self, call: &'a Call, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn Watched>>> {
        async move {
            let ProjectKey { project, .. } = self.core.access.allow_item(call, name, ReadProjects).await?;
            let core = self.core.clone();
            let releases = self.releases.clone();
            Ok(Arc::new(ProjectStream { core, releases, project }) as Arc<dyn Watched>)
        }
        .boxed()
    }
}

struct ProjectStream {
    core: Core,
    releases: Arc<Releases>,
    project: ProjectRef,
}

impl Watched for ProjectStream {
    fn hint(&self) -> Hint {
        Hint::Project(self.project.clone())
    }

    fn still_allow<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<()>> {
        async move {
            let access = &self.core.access;
            access.allow_item::<ProjectKey>(call, self.project.as_str(), ReadProjects).await.map(|_| ())
        }
        .boxed()
    }

    fn now(&self) -> BoxFuture<'_, Result<Now>> {
        async move {
            let project = projects::get(&self.core.db, &self.project).await?;
            Ok(Now {
                version: project.revision.to_be_bytes().to_vec(),
                last_seq: project.event_seq.unsigned_abs(),
                gone: (project.state == ProjectState::Removed).then_some(ErrorReason::ProjectRemoved),
                object: Object::Project(wire::project(&self.releases, project)),
            })
        }
        .boxed()
    }

    fn events(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<(u64, Event)>>> {
        async move {
            let after = i64::try_from(after).unwrap_or(i64::MAX);
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let found = events::after(&self.core.db, &self.project, after, limit).await?;
            let numbered = |event: events::Event| (event.seq.unsigned_abs(), Event::Project(event.into()));
            Ok(found.into_iter().map(numbered).collect())
        }
        .boxed()
    }
}

/// A message of a watch of one project, as `WatchProject` has it; `None` at the end of the project.
pub fn of_one_project(message: Message) -> Option<Result<WatchProjectResponse>> {
    let message = match message.body {
        Body::Snapshot(object) => match *object {
            Object::Project(project) => watch_project_response::Message::Snapshot(project),
            // They are not followed here.
            Object::Organization(_) | Object::Node(_) => return None,
        },
        Body::Event(Event::Project(event)) => watch_project_response::Message::Event(event),
        Body::KeepAlive => watch_project_response::Message::KeepAlive(KeepAlive {}),
        Body::End(End::Refused(error)) => return Some(Err(error)),
        // The numbers of the events show a gap; events of organizations are not followed here.
        Body::End(End::Gone(_)) | Body::Gap(_) | Body::Event(Event::Organization(_)) => return None,
    };
    Some(Ok(WatchProjectResponse { message: Some(message) }))
}
