//! `supalove-agent run`: starts all tasks and keeps them until a signal comes. Containers outlive the agent.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use supalove_tasks::{JobPanicked, Tasks};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::args::{Run, SettingsError};
use crate::backoff::Backoff;
use crate::certificate::Certificate;
use crate::config::Times;
use crate::docker::Engine;
use crate::goodbye::LastGoodbye;
use crate::identity::{Identity, IdentityError, LiveIdentity};
use crate::node::{Epochs, Node};
use crate::reports::Reports;
use crate::stack::{StartError, Supervisor};
use crate::status::{self, StatusBoard};
use crate::{fsio, host, session};

/// Time for the tasks of an agent that ends because a job panicked: its supervisor is to start it again soon.
const PANIC_SHUTDOWN: Duration = Duration::from_secs(1);

/// Why the agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The state directory cannot be used.
    #[error("{path}: {source}")]
    StateDir { path: PathBuf, source: io::Error },
    #[error("an agent is running on {0}; stop it first")]
    AlreadyRunning(PathBuf),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    JobPanicked(#[from] JobPanicked),
}

/// Runs until `stop` is cancelled, or until a job panics.
pub async fn run(options: &Run, times: Times, stop: CancellationToken) -> Result<(), RunError> {
    // Held until every task has ended.
    let (state_dir, _lock) = take_state_dir(&options.state.state_dir)?;
    let tasks = Tasks::default();
    let result = tokio::select! {
        result = start(options, state_dir, &times, &stop, &tasks) => result,
        failed = tasks.failed() => Err(failed.into()),
    };
    if let Err(error) = result {
        tasks.stop(PANIC_SHUTDOWN).await;
        return Err(error);
    }
    tokio::select! {
        () = stop.cancelled() => {}
        failed = tasks.failed() => {
            tasks.stop(PANIC_SHUTDOWN).await;
            return Err(failed.into());
        }
    }
    // Calls of the session may end first; then what cannot be cut off.
    tasks.stop(times.shutdown * 2).await;
    tracing::info!("agent stopped; containers keep running");
    Ok(())
}

/// Starts every task of the agent.
async fn start(
    options: &Run,
    state_dir: PathBuf,
    times: &Times,
    stop: &CancellationToken,
    tasks: &Tasks,
) -> Result<(), RunError> {
    let identity = Identity::load(&state_dir)?;
    let host = options.settings(state_dir.clone())?;
    let reports = Reports::default();
    let board = StatusBoard::default();
    let live = LiveIdentity::new(identity.clone(), state_dir.clone());
    let listener = status::listen(&state_dir)
        .map_err(|source| RunError::StateDir { path: state_dir.clone(), source })?;
    tasks.job(
        "status socket",
        status::serve(tasks.clone(), listener, live.clone(), board.clone(), reports.clone()),
    );
    let Some(engine) = wait_for_engine(&options.docker_host, &identity.fleet_id, times, stop).await else {
        return Ok(());
    };
    let info = engine.info().await.map_err(StartError::from)?;
    if !info.live_restore {
        tracing::warn!("Docker Engine runs without live-restore: its restart stops every project");
    }
    tracing::info!(node = identity.node_id, engine = info.version, "agent starts");
    let capacity = host::capacity(options.capacity(), &info.root_dir);
    let supervisor =
        Supervisor::start(tasks.clone(), host.clone(), &identity.short(), engine, reports.clone(), *times)
            .await?;
    let last_goodbye = LastGoodbye::default();
    let certificate = Arc::new(Certificate::new(live.clone(), last_goodbye.clone(), *times));
    let node = Arc::new(Node {
        tasks: tasks.clone(),
        identity: live,
        certificate: certificate.clone(),
        last_goodbye,
        host,
        times: *times,
        capacity,
        engine_version: info.version,
        boot_id: host::boot_id(),
        run_id: Uuid::new_v4().to_string(),
        supervisor,
        reports,
        epochs: Epochs::default(),
        liveness: watch::Sender::new(times.protocol.liveness()),
        repeat_digests: watch::Sender::new(None),
        reconnect_spread: watch::Sender::new(std::time::Duration::ZERO),
        status: board,
    });
    tasks.job("certificate renewal", async move { certificate.keep().await });
    tasks.job_until("session with the controller", |stop| session::run(node, stop));
    Ok(())
}

/// The engine may start after us; none if `stop` comes first.
async fn wait_for_engine(
    docker_host: &str,
    fleet: &str,
    times: &Times,
    stop: &CancellationToken,
) -> Option<Engine> {
    let mut backoff = Backoff::new(times.retry_first, times.protocol.reconnect_cap);
    loop {
        let error = tokio::select! {
            connected = Engine::connect(docker_host, fleet, *times) => match connected {
                Ok(engine) => return Some(engine),
                Err(error) => error,
            },
            () = stop.cancelled() => return None,
        };
        let pause: Duration = backoff.next_pause();
        tracing::warn!(%error, docker_host, ?pause, "Docker Engine cannot be used, trying again");
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

/// Locks the state directory for as long as the returned file lives: for `run`, and for whoever changes the identity of an
/// agent that does not run.
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
