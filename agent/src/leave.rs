//! `supalove-agent leave`: removes what the agent keeps on a host. In: the options with which it ran. Out: no state folder, no packet
//! rules; or why not. It never deletes data of a project: the controller does that, project by project.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::args::Run;
use crate::config::Times;
use crate::docker::{Engine, EngineError};
use crate::fsio;
use crate::identity::{Identity, IdentityError};
use crate::network::{NftError, remove_rules};
use crate::run::{RunError, take_state_dir};
use crate::state::{StateError, Store};

/// Why the agent's things stay.
#[derive(Debug, thiserror::Error)]
pub enum LeaveError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    State(#[from] StateError),
    /// Only the engine knows all containers.
    #[error("cannot look for containers of projects: {0}; start the Docker Engine first")]
    Engine(#[from] EngineError),
    #[error(
        "this host still has projects: {}; delete them first, or remove only the agent (--keep-projects of the join script): \
         they go on without it",
        .0.iter().cloned().collect::<Vec<_>>().join(", ")
    )]
    Projects(BTreeSet<String>),
    #[error(
        "{path} still has data of projects; delete the projects first, or move the folder away if they are gone"
    )]
    Data { path: PathBuf },
    #[error("cannot remove the packet rules: {0}")]
    Rules(#[from] NftError),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// Removes it; returns who this host was.
pub async fn leave(options: &Run, times: &Times) -> Result<Identity, LeaveError> {
    let (state_dir, _lock) = take_state_dir(&options.state.state_dir)?;
    let identity = Identity::load(&state_dir)?;
    let engine = Engine::connect(&options.docker_host, &identity.fleet_id, *times).await?;
    let mut projects = Store::open(&state_dir)?.records_on_disk()?;
    projects.extend(engine.containers().await?.into_iter().map(|container| container.project_ref));
    if !projects.is_empty() {
        return Err(LeaveError::Projects(projects));
    }
    let engine_dir = PathBuf::from(engine.info().await?.root_dir);
    let folders = [
        options.volumes_dir.clone().unwrap_or_else(|| state_dir.join("volumes")),
        engine_dir.join(format!("supalove-volumes-{}", identity.short())),
    ];
    for path in &folders {
        if let Some(path) = with_data(path).map_err(|source| LeaveError::Io { path: path.clone(), source })? {
            return Err(LeaveError::Data { path });
        }
    }
    remove_rules(&identity.short(), options.network_range, times.rules_call).await?;
    for path in folders.iter().chain([&state_dir]) {
        fsio::remove_tree(path).map_err(|source| LeaveError::Io { path: path.clone(), source })?;
    }
    Ok(identity)
}

/// The folder, if it has anything but the agent's own notes, whose names begin with a dot.
fn with_data(folder: &Path) -> io::Result<Option<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for entry in entries {
        if !entry?.file_name().to_string_lossy().starts_with('.') {
            return Ok(Some(folder.to_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_data_is_told_from_one_with_notes() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(with_data(&dir.path().join("absent")).unwrap(), None);
        std::fs::write(dir.path().join(".rate"), "1").unwrap();
        assert_eq!(with_data(dir.path()).unwrap(), None);
        std::fs::create_dir(dir.path().join("volume")).unwrap();
        assert_eq!(with_data(dir.path()).unwrap().as_deref(), Some(dir.path()));
    }
}
