//! What every part of one project's work needs.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use super::view::View;
use crate::config::{HostSettings, Times};
use crate::docker::{Container, Engine, Hint};
use crate::network::Rules;
use crate::state::Store;

/// What all projects share.
#[derive(Debug)]
pub struct Shared {
    /// The host's settings.
    pub host: HostSettings,
    /// All times.
    pub times: Times,
    /// The Docker Engine.
    pub engine: Engine,
    /// The packet rules.
    pub rules: Rules,
    /// The records.
    pub store: Store,
    /// The last full list of containers, by project: the truth, every now and then.
    pub truth: watch::Receiver<Arc<Truth>>,
}

/// Every container of the fleet at one moment, by project.
pub type Truth = HashMap<String, Vec<Container>>;

/// One project.
#[derive(Debug, Clone)]
pub struct Project {
    /// Its ref.
    #[expect(clippy::struct_field_names, reason = "the name that the wire has for it")]
    pub project_ref: Arc<str>,
    /// What all projects share.
    pub shared: Arc<Shared>,
    /// What is reported about it.
    pub view: Arc<View>,
    /// Events about its containers.
    pub hints: broadcast::Sender<Hint>,
}

impl Project {
    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    /// The project's own directory on the host.
    pub fn dir(&self) -> PathBuf {
        super::files::project_dir(&self.shared.host.state_dir, &self.project_ref)
    }
}

/// Runs file work where blocking is allowed.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(std::io::Error::other(error)),
    }
}
