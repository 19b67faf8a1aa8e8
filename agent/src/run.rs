//! `supalove-agent run`: starts all tasks and keeps them until a signal comes. Containers outlive the agent.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use supalove_tasks::{JobPanicked, Tasks};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::args::{Run, SettingsError};
use crate::backoff::Backoff;
use crate::certificate::Certificate;
use crate::conditions::Conditions;
use crate::config::{HostSettings, Times};
use crate::docker::{Engine, EngineError, EngineInfo};
use crate::goodbye::LastGoodbye;
use crate::identity::{Identity, IdentityError, LiveIdentity};
use crate::node::{Epochs, Node};
use crate::reports::Reports;
use crate::stack::{StartError, Supervisor, quota_of_host};
use crate::status::{self, StatusBoard};
use crate::usage::{self, Spool};
use crate::{disk_watch, engine_watch, fsio, host, metrics, session};

/// Time for the tasks of an agent that ends because a job panicked: its supervisor is to start it again soon.
const PANIC_SHUTDOWN: Duration = Duration::from_secs(1);

/// Longest measurement of how fast the disk of the volumes is.
const DISK_RATE: Duration = Duration::from_secs(20);

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
    #[error("--metrics-listen {address}: {source}")]
    Metrics { address: SocketAddr, source: io::Error },
    #[error("an agent is running on {0}; stop it first")]
    AlreadyRunning(PathBuf),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    JobPanicked(#[from] JobPanicked),
}

/// Runs until `stop` is cancelled, or until a job panics.
pub async fn run(options: &Run, times: Times, stop: CancellationToken) -> Result<(), RunError> {
    let times = options.times(times);
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
    let mut host = options.settings(state_dir.clone())?;
    let reports = Reports::default();
    let board = StatusBoard::default();
    let conditions = Conditions::new(reports.clone());
    let live = LiveIdentity::new(identity.clone(), state_dir.clone());
    let spool_home = state_dir.clone();
    let listener = status::listen(&state_dir)
        .map_err(|source| RunError::StateDir { path: state_dir.clone(), source })?;
    tasks.job(
        "status socket",
        status::serve(
            tasks.clone(),
            listener,
            live.clone(),
            board.clone(),
            reports.clone(),
            conditions.clone(),
        ),
    );
    let waiting = wait_for_engine(&options.docker_host, &identity.fleet_id, times, &conditions, stop);
    let Some((engine, info)) = waiting.await else {
        return Ok(());
    };
    tracing::info!(node = identity.node_id, engine = info.version, "agent starts");
    settle_volumes(options, &mut host, Path::new(&info.root_dir), &identity.short())
        .await
        .map_err(|source| RunError::StateDir { path: host.volumes_dir.clone(), source })?;
    let volumes_dir = host.volumes_dir.to_string_lossy().into_owned();
    let rate = host::write_rate(&state_dir, &host.volumes_dir, DISK_RATE).await;
    let capacity = host::capacity(options.capacity(), &volumes_dir, rate);
    tasks.job("engine watch", engine_watch::signs_of_life(engine.clone(), conditions.clone(), *times));
    tasks.job("engine chains", engine_watch::chains(state_dir, conditions.clone(), *times));
    tasks.job("engine settings", engine_watch::live_restore(engine.clone(), conditions.clone(), *times));
    let disks = vec![Path::new(&info.root_dir).to_owned(), host.volumes_dir.clone()];
    let filling = disk_watch::fill_levels(disks, host.full_disk_percent, conditions.clone(), *times);
    tasks.job("disk watch", filling);
    let supervisor = Supervisor::start(
        tasks.clone(),
        host.clone(),
        &identity.short(),
        engine,
        reports.clone(),
        conditions,
        *times,
    )
    .await?;
    let spool = Spool::open(&spool_home)
        .map_err(|source| RunError::StateDir { path: spool_home.join("usage"), source })?;
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
        dialled: watch::Sender::new(String::new()),
        found_address: OnceLock::new(),
        status: board,
        usage: Arc::new(spool),
    });
    tasks.job("certificate renewal", async move { certificate.keep().await });
    if let Some(address) = options.metrics_listen {
        let listener =
            TcpListener::bind(address).await.map_err(|source| RunError::Metrics { address, source })?;
        let shown = node.clone();
        let page = move || std::future::ready(Ok(metrics::page(&shown)));
        tasks.job("metrics port", supalove_net::metrics::serve(tasks.clone(), listener, page));
        tracing::info!(%address, "metrics are shown");
    }
    let sampled = node.clone();
    tasks.job_until("samples of usage", |stop| usage::run(sampled, stop));
    tasks.job_until("session with the controller", |stop| session::run(node, stop));
    Ok(())
}

/// Chooses where volumes lie and what keeps them from growing, as far as the options do not say it.
async fn settle_volumes(
    options: &Run,
    host: &mut HostSettings,
    engine_dir: &Path,
    node: &str,
) -> io::Result<()> {
    if options.volumes_dir.is_none() && is_elsewhere(&host.state_dir, engine_dir) {
        // The engine's disk was chosen for data; the state directory's may be small.
        host.volumes_dir = engine_dir.join(format!("supalove-volumes-{node}"));
    }
    fsio::private_dir(&host.volumes_dir)?;
    host.volumes_dir = host.volumes_dir.canonicalize()?;
    if options.volume_quota.is_none() {
        let dir = host.volumes_dir.clone();
        host.volume_quota = tokio::task::spawn_blocking(move || quota_of_host(&dir)).await?;
    }
    tracing::info!(volumes = %host.volumes_dir.display(), quota = ?host.volume_quota, "volumes settled");
    Ok(())
}

/// Whether two directories lie on different file systems. An engine's that cannot be seen does not count.
fn is_elsewhere(state_dir: &Path, engine_dir: &Path) -> bool {
    match (std::fs::metadata(state_dir), std::fs::metadata(engine_dir)) {
        (Ok(state), Ok(engine)) => state.dev() != engine.dev(),
        _ => false,
    }
}

/// The engine may start after us; none if `stop` comes first.
async fn wait_for_engine(
    docker_host: &str,
    fleet: &str,
    times: &Times,
    conditions: &Conditions,
    stop: &CancellationToken,
) -> Option<(Engine, EngineInfo)> {
    let mut backoff = Backoff::new(times.retry_first, times.protocol.reconnect_cap);
    loop {
        let error = tokio::select! {
            connected = connect(docker_host, fleet, times) => match connected {
                Ok(connected) => return Some(connected),
                Err(error) => error,
            },
            () = stop.cancelled() => return None,
        };
        let pause: Duration = backoff.next_pause();
        tracing::warn!(%error, docker_host, ?pause, "Docker Engine cannot be used, trying again");
        engine_watch::tell_silent(conditions, &error);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return None,
        }
    }
}

async fn connect(docker_host: &str, fleet: &str, times: &Times) -> Result<(Engine, EngineInfo), EngineError> {
    let engine = Engine::connect(docker_host, fleet, *times).await?;
    let info = engine.info().await?;
    Ok((engine, info))
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
