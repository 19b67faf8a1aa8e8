//! Projects: their life cycle, desired state, secrets, events, and the reconciler that brings nodes to it.
//!
//! What callers want is written by [`lifecycle`] and [`placement`]; what agents report is judged by [`observe`]; the
//! [`reconciler`] carries the first to the agents and the second back. Nobody else writes a project's row.

pub mod api;
mod changes;
mod create;
mod encode;
mod endpoints;
mod events;
#[cfg(test)]
mod fuzz;
mod janitor;
mod lifecycle;
mod observe;
mod operations;
pub mod operations_api;
mod placement;
mod placer;
mod reconciler;
mod removal;
mod reports;
mod secrets;
mod snapshot;
pub mod store;
mod transitions;
mod types;
mod verdict;
mod watch;

use std::sync::Arc;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

pub use api::ProjectApi;
pub use changes::Changes;
pub use operations_api::OperationApi;
pub use types::{Desired, OperationKind, OperationState, ProjectState};

use crate::{
    access::Access, clusters::Candidates, ids::ControllerId, stack::Releases, times::Times, vault::Vault,
};

/// What the room works with. Cheap to clone.
#[derive(Clone)]
pub struct Projects(Arc<Parts>);

/// See [`Projects`].
pub struct Parts {
    /// Control database.
    pub db: PgPool,
    /// This run of the controller.
    pub controller: ControllerId,
    /// Times.
    pub times: Arc<Times>,
    /// Seals secrets.
    pub vault: Vault,
    /// Stack releases.
    pub releases: Arc<Releases>,
    /// Release of projects that name none.
    pub default_release: String,
    /// The scheduler's view.
    pub candidates: Candidates,
    /// Wakes watchers and reconcilers.
    pub changes: Changes,
    /// Decides on objects.
    pub access: Access,
    /// The controller stops.
    pub stop: CancellationToken,
}

impl Projects {
    /// From its parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl std::ops::Deref for Projects {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
