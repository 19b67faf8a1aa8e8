//! `supalove-agent run`: puts the rooms together and keeps them until a signal comes. Containers outlive the agent.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::args::{Run, SettingsError};
use crate::backoff::Backoff;
use crate::config::Times;
use crate::docker::Engine;
use crate::identity::{Identity, IdentityError, LiveIdentity};
use crate::node::{Epochs, Node};
use crate::renewal::{self, Wishes};
use crate::reports::Reports;
use crate::stack::{StartError, Supervisor};
use crate::standing::Standing;
use crate::status::{self, StatusBoard};
use crate::{fsio, host, session};

/// Why the agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Not joined.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Settings that do not fit together.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The state directory cannot be used.
    #[error("{path}: {source}")]
    StateDir {
        /// Which directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another agent runs on the same directory.
    #[error("an agent is running on {0}; stop it first")]
    AlreadyRunning(PathBuf),
    /// The rooms cannot be opened.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Runs until `stop` is cancelled.
pub async fn run(options: &Run, times: Times, stop: CancellationToken) -> Result<(), RunError> {
    let (state_dir, _lock) = take_state_dir(&options.state.state_dir)?;
    let identity = Identity::load(&state_dir)?;
    let host = options.settings(state_dir.clone())?;
    let reports = Reports::default();
    let board = StatusBoard::default();
    let live = LiveIdentity::new(identity.clone(), state_dir.clone());
    let listener = status::listen(&state_dir)
        .map_err(|source| RunError::StateDir { path: state_dir.clone(), source })?;
    tokio::spawn(status::serve(listener, live.clone(), board.clone(), reports.clone()));
    let Some(engine) = wait_for_engine(&options.docker_host, &identity.fleet_id, &times, &stop).await else {
        return Ok(());
    };
    let info = engine.info().await.map_err(StartError::from)?;
    if !info.live_restore {
        tracing::warn!("the Docker Engine runs without live-restore: a restart of it stops every project");
    }
    tracing::info!(node = identity.node_id, engine = info.version, "agent starts");
    let capacity = host::capacity(options.capacity(), &info.root_dir);
    let supervisor =
        Supervisor::start(host.clone(), &identity.short(), engine, reports.clone(), times).await?;
    let node = Arc::new(Node {
        identity: live,
        wishes: Wishes::default(),
        standing: Standing::default(),
        host,
        times,
        capacity,
        engine_version: info.version,
        boot_id: host::boot_id(),
        run_id: Uuid::new_v4().to_string(),
        supervisor,
        reports,
        epochs: Epochs::default(),
        status: board,
    });
    tokio::spawn(renewal::run(node.clone(), stop.clone()));
    session::run(node, stop).await;
    tracing::info!("agent stops; containers keep running");
    Ok(())
}

/// The engine may start after us; none if `stop` comes first.
async fn wait_for_engine(
    docker_host: &str,
    fleet: &str,
    times: &Times,
    stop: &CancellationToken,
) -> Option<Engine> {
    let mut backoff = Backoff::new(times.retry_first, times.reconnect_cap);
    loop {
        let error = tokio::select! {
            connected = Engine::connect(docker_host, fleet, *times) => match connected {
                Ok(engine) => return Some(engine),
                Err(error) => error,
            },
            () = stop.cancelled() => return None,
        };
        let pause: Duration = backoff.next_pause();
        tracing::warn!(%error, docker_host, "waiting for the Docker Engine");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return None,
        }
    }
}

/// Made private, and absolute: the engine mounts from it.
fn open_state_dir(path: &Path) -> Result<PathBuf, RunError> {
    fsio::private_dir(path)
        .and_then(|()| path.canonicalize())
        .map_err(|source| RunError::StateDir { path: path.to_owned(), source })
}

/// Takes the state directory for as long as the answer lives; for whoever changes the identity of an agent that does not
/// run.
pub fn take_state_dir(path: &Path) -> Result<(PathBuf, File), RunError> {
    let state_dir = open_state_dir(path)?;
    let lock = lock(&state_dir)?;
    Ok((state_dir, lock))
}

/// Two agents on one directory would fight over its records. The lock ends with the process, however it ends.
fn lock(state_dir: &Path) -> Result<File, RunError> {
    let path = state_dir.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|source| RunError::StateDir { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(RunError::AlreadyRunning(state_dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(RunError::StateDir { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_agent_runs_on_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        assert!(matches!(lock(dir.path()), Err(RunError::AlreadyRunning(_))));
        drop(first);
        lock(dir.path()).unwrap();
    }
}
