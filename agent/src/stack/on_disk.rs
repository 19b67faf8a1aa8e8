//! What the state directory has of each project, for the comparison with what the agent believes.

use std::collections::{BTreeMap, BTreeSet};

use supalove_spec::names;

use super::context::Shared;
use super::volumes::list_folders;
use crate::state::StateError;

/// What was found.
#[derive(Debug, Default)]
pub struct OnDisk {
    /// Projects that have a folder of configuration.
    pub folders: BTreeSet<String>,
    /// Projects that have a record.
    pub records: BTreeSet<String>,
    /// Full names of the volumes that are known of each project.
    pub volumes: BTreeMap<String, BTreeSet<String>>,
}

/// Reads the directory; only where blocking is allowed. `projects`: whose volumes are read.
pub fn on_disk(shared: &Shared, projects: &BTreeSet<String>) -> Result<OnDisk, StateError> {
    let configuration = shared.host.state_dir.join("projects");
    let folders = list_folders(&configuration)
        .map_err(|source| StateError::Io { path: configuration.clone(), source })?;
    let mut volumes = BTreeMap::new();
    for project in projects.iter().filter(|project| names::is_project_ref(project)) {
        let known = shared.store.volumes(project)?.volumes.into_iter().map(|volume| volume.name).collect();
        volumes.insert(project.clone(), known);
    }
    Ok(OnDisk { folders: folders.into_iter().collect(), records: shared.store.records_on_disk()?, volumes })
}
