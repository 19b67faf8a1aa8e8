//! What callers do to projects: create, start, stop, restart, delete, undelete, cancel.

mod create;
mod lifecycle;
mod transitions;

use std::sync::Arc;

use supalove_core::Core;
use supalove_fleet::clusters::Target;
use supalove_stack::Releases;
use tokio::sync::OnceCell;

pub use create::Created;
pub use lifecycle::purge_due;
pub use transitions::Act;

use crate::placer::Placer;

/// Does what callers ask. Cheap to clone.
#[derive(Clone)]
pub struct Acts {
    core: Core,
    placer: Placer,
    releases: Arc<Releases>,
    default_release: Arc<str>,
    /// Of projects that name no cluster; it is never replaced.
    default_cluster: Arc<OnceCell<Target>>,
}

impl Acts {
    /// With the stack releases that projects may have.
    pub fn new(core: &Core, placer: &Placer, releases: Releases, default_release: &str) -> Self {
        Self {
            core: core.clone(),
            placer: placer.clone(),
            releases: Arc::new(releases),
            default_release: default_release.into(),
            default_cluster: Arc::default(),
        }
    }
}
