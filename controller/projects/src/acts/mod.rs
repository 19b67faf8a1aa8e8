//! Acts of callers on projects: create, start, stop, restart, upgrade, resize, change of settings and secrets, delete,
//! undelete, cancel, transfer.

mod change;
mod create;
mod explain;
mod lifecycle;
mod resize;
mod transfer;
mod transitions;
mod upgrade;

use std::sync::Arc;

use supalove_core::Core;
use supalove_fleet::clusters::Target;
use supalove_stack::Releases;
use tokio::sync::OnceCell;

pub use change::{Asked, Changed};
pub use create::Created;
pub use lifecycle::{FORGOTTEN, purge_due};
pub use transfer::Parties;
pub use transitions::Act;

use crate::placer::Placer;

/// Performs the acts of callers. Cheap to clone.
#[derive(Clone)]
pub struct Acts {
    core: Core,
    placer: Placer,
    releases: Arc<Releases>,
    default_release: Arc<str>,
    /// Cluster of projects that name none. Cached, because it never changes.
    default_cluster: Arc<OnceCell<Target>>,
}

impl Acts {
    /// Creates the acts with the available stack releases.
    pub fn new(core: &Core, placer: &Placer, releases: Releases, default_release: &str) -> Self {
        Self {
            core: core.clone(),
            placer: placer.clone(),
            releases: Arc::new(releases),
            default_release: default_release.into(),
            default_cluster: Arc::default(),
        }
    }

    /// The available stack releases.
    pub fn releases(&self) -> &Arc<Releases> {
        &self.releases
    }
}
