//! Projects: their life cycle, desired state, secrets, events, and the reconciler that brings nodes to it.
//!
//! Callers change the desired state through [`acts`]; the [`placer`] finds a node for it; the [`reconciler`] applies it
//! through the agents and judges their reports; [`jobs`] run in the background. All of them decide on a
//! [`store::snapshot`] of a project and write a [`verdict`], or a new generation, guarded by the project's revision.

#![allow(missing_docs, reason = "a room's crate: a comment is written where it says something")]

mod acts;
mod api;
mod capacity;
mod certificates;
mod consistency;
mod content;
pub mod counts;
mod decide;
mod endpoints;
mod first_failure;
#[cfg(test)]
mod fuzz;
mod jobs;
mod leftovers;
mod logs;
mod objects;
mod placer;
mod reconciler;
mod restriction;
mod retention;
mod rules;
mod secret_rules;
mod settings;
mod store;
mod transfer;
mod types;
mod verdict;
mod watch;
mod wire;

use std::sync::Arc;

use supalove_core::{Core, Room};
use supalove_fleet::{Fleet, SessionHandler};
use supalove_proto::v1::{
    leftover_service_server::LeftoverServiceServer, operation_service_server::OperationServiceServer,
    project_service_server::ProjectServiceServer,
};
use supalove_stack::Releases;

pub use acts::{Acts, Created};
pub use consistency::ROW_CHECKS;
pub use objects::{OperationKey, ProjectKey};
pub use placer::Placer;
pub use rules::RULES;
pub use store::secrets::SEALED;
pub use types::{Desired, OperationKind, OperationState, ProjectState};

use crate::{
    api::{LeftoverApi, OperationApi, ProjectApi},
    jobs::Housekeeper,
    reconciler::{Reconciler, consistency::NodeCheck},
    watch::ProjectStreams,
};

/// The room. Cheap to clone.
#[derive(Clone)]
pub struct Projects {
    core: Core,
    acts: Acts,
    placer: Placer,
}

/// Opens the room. `default_release` is the release of projects that name none.
pub fn open(core: &Core, releases: Releases, default_release: &str) -> Projects {
    let placer = Placer::new(core);
    Projects { acts: Acts::new(core, &placer, releases, default_release), core: core.clone(), placer }
}

impl Projects {
    /// What the server mounts. `fleet`: whose nodes are compared with the rows.
    pub fn room(&self, fleet: &Fleet) -> Room {
        let mut room = Room::new("projects", RULES)
            .service(ProjectServiceServer::new(ProjectApi::new(&self.core, &self.acts, fleet)))
            .service(LeftoverServiceServer::new(LeftoverApi::new(&self.core, &self.acts)))
            .service(OperationServiceServer::new(OperationApi::new(&self.core, &self.acts)))
            .stream(ProjectStreams::new(&self.core, self.acts.releases()))
            .check(NodeCheck::new(&self.core, fleet));
        room.jobs = Housekeeper::new(&self.core).jobs();
        room.jobs.push(self.placer.job());
        room.jobs.push(certificates::job(&self.core, self.acts.releases()));
        room
    }

    /// Returns the handler of nodes' sessions.
    pub fn session_handler(&self) -> Arc<dyn SessionHandler> {
        Arc::new(Reconciler::new(&self.core))
    }

    /// What callers do to projects.
    pub fn acts(&self) -> &Acts {
        &self.acts
    }

    /// Finds room for projects.
    pub fn placer(&self) -> &Placer {
        &self.placer
    }
}
