//! Projects: their life cycle, desired state, secrets, events, and the reconciler that brings nodes to it.
//!
//! What callers want is written by [`lifecycle`] and [`placement`]; what agents report is judged by [`observe`]; the
//! [`reconciler`] carries the first to the agents and the second back. Nobody else writes a project's row.

pub mod api;
pub mod candidates;
mod create;
mod endpoints;
mod events;
#[cfg(test)]
mod fuzz;
mod intake;
mod janitor;
mod judge;
mod lifecycle;
mod objects;
mod operations;
pub mod operations_api;
mod placement;
mod placer;
mod reconciler;
mod removal;
mod rules;
mod secrets;
mod snapshot;
pub mod store;
mod transitions;
mod types;
mod verdict;
mod watch;
mod wire;

use std::sync::Arc;

use supalove_core::{Core, Room};
use supalove_fleet::SessionHandler;
use supalove_proto::v1::{
    operation_service_server::OperationServiceServer, project_service_server::ProjectServiceServer,
};
use supalove_stack::Releases;

pub use api::ProjectApi;
pub use candidates::Candidates;
pub use objects::{OperationKey, ProjectKey};
pub use operations_api::OperationApi;
pub use rules::RULES;
pub use types::{Desired, OperationKind, OperationState, ProjectState};

/// What the room works with. Cheap to clone.
#[derive(Clone)]
pub struct Projects(Arc<Parts>);

/// See [`Projects`].
pub struct Parts {
    core: Core,
    /// Stack releases.
    releases: Releases,
    /// Release of projects that name none.
    default_release: String,
    /// The scheduler's view.
    candidates: Candidates,
}

/// Opens the room. `default_release` is the release of projects that name none.
pub fn open(core: &Core, releases: Releases, default_release: &str) -> Projects {
    Projects(Arc::new(Parts {
        candidates: Candidates::new(core.db.clone(), core.times.clone()),
        core: core.clone(),
        releases,
        default_release: default_release.to_owned(),
    }))
}

impl Projects {
    /// What the server mounts.
    pub fn room(&self) -> Room {
        let mut room = Room::new("projects", RULES)
            .service(ProjectServiceServer::new(ProjectApi(self.clone())))
            .service(OperationServiceServer::new(OperationApi(self.clone())));
        room.jobs = self.jobs();
        room
    }

    /// Works with the sessions of nodes.
    pub fn session_handler(&self) -> Arc<dyn SessionHandler> {
        Arc::new(self.clone())
    }
}

impl std::ops::Deref for Projects {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl std::ops::Deref for Parts {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}
