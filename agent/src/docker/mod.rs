//! The only module that talks to the Docker Engine. In and out: our own types; no type of the client library leaves this
//! module. Every call has a time limit, and the number of concurrent changes is limited.

mod containers;
mod create;
mod error;
mod events;
mod exec;
#[cfg(test)]
mod fuzz;
mod images;
pub mod labels;
mod logs;
mod networks;
mod pull_progress;
mod unanswered;
mod volumes;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};
use supalove_spec::image::Platform;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use self::containers::{Container, HeldLimits, Inspected};
pub use self::create::{ContainerPlan, MountPlan, PortPlan, held_limits};
pub use self::error::EngineError;
pub use self::events::Hint;
pub use self::exec::Ended;
pub use self::images::PullError;
pub use self::logs::{LONGEST_LINE, LogLine, LogRange};
pub use self::networks::{HostNetwork, NetworkPlan, ProjectNetwork};
use self::unanswered::Unanswered;
pub use self::volumes::{ProjectVolume, VolumeFound, VolumeMaker};
use crate::config::Times;

/// Concurrent changes: all projects of a host that boots start at once, and must not overload its engine.
const CHANGES_AT_ONCE: usize = 16;

/// A Docker Engine as one fleet sees it: only objects with the fleet's label are shown and changed.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    fleet: Arc<str>,
    times: Times,
    changes: Arc<Semaphore>,
    unanswered: Unanswered,
}

/// What the engine says about itself.
#[derive(Debug, Clone)]
pub struct EngineInfo {
    /// Version, for people.
    pub version: String,
    /// What it runs on.
    pub platform: Platform,
    /// Where images and volumes lie on this host.
    pub root_dir: String,
    /// Whether containers outlive a restart of the engine.
    pub live_restore: bool,
    /// Version of the control groups, "1" or "2"; empty if the engine does not say.
    pub cgroups: String,
}

impl Engine {
    /// Connects and agrees on an API version. `host` is `unix:///path` or `tcp://host:port`.
    pub async fn connect(host: &str, fleet: &str, times: Times) -> Result<Self, EngineError> {
        let seconds = times.engine_call.as_secs();
        let docker = if host.starts_with("unix://") || host.starts_with('/') {
            Docker::connect_with_unix(host, seconds, API_DEFAULT_VERSION)
        } else {
            Docker::connect_with_http(host, seconds, API_DEFAULT_VERSION)
        }?;
        let limit = times.engine_silent;
        let negotiated = tokio::time::timeout(limit, docker.negotiate_version())
            .await
            .map_err(|_| EngineError::Timeout(limit))??;
        Ok(Self {
            docker: negotiated,
            fleet: fleet.into(),
            times,
            changes: Arc::new(Semaphore::new(CHANGES_AT_ONCE)),
            unanswered: Unanswered::default(),
        })
    }

    pub async fn info(&self) -> Result<EngineInfo, EngineError> {
        let info = self.ask(self.docker.info()).await?;
        Ok(EngineInfo {
            version: info.server_version.unwrap_or_default(),
            platform: Platform::of_host(
                info.os_type.as_deref().unwrap_or_default(),
                info.architecture.as_deref().unwrap_or_default(),
            ),
            root_dir: info.docker_root_dir.unwrap_or_default(),
            live_restore: info.live_restore_enabled.unwrap_or_default(),
            cgroups: info.cgroup_version.map(|version| version.to_string()).unwrap_or_default(),
        })
    }

    /// The kind of images that it runs.
    pub async fn platform(&self) -> Result<Platform, EngineError> {
        Ok(self.info().await?.platform)
    }

    /// A call that changes nothing.
    async fn ask<T>(
        &self,
        call: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, EngineError> {
        // Boxed: the client's own futures are large.
        self.watched(self.times.engine_call, Duration::ZERO, Box::pin(call)).await
    }

    /// A call that changes something.
    async fn change<T>(
        &self,
        call: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, EngineError> {
        // The semaphore is never closed; if it were, calls would go on without a limit.
        let _permit = self.changes.acquire().await.ok();
        // Boxed: the client's own futures are large.
        self.watched(self.times.engine_call, Duration::ZERO, Box::pin(call)).await
    }

    /// A call with a time limit. Its answer is late, for [`Self::late_calls`], long before that; `takes` is what the engine
    /// is expected to take.
    async fn watched<T>(
        &self,
        limit: Duration,
        takes: Duration,
        call: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, EngineError> {
        let _unanswered = self.unanswered.begin(Instant::now() + takes + self.times.engine_silent);
        limited(limit, call).await
    }

    /// Calls that the engine has left unanswered for longer than a call may take.
    pub fn late_calls(&self) -> usize {
        self.unanswered.late()
    }

    fn with_timeout(&self, timeout: Duration) -> Docker {
        self.docker.clone().with_timeout(timeout)
    }

    fn fleet_label(&self) -> String {
        format!("{}={}", labels::FLEET, self.fleet)
    }
}

async fn limited<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, bollard::errors::Error>>,
) -> Result<T, EngineError> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(EngineError::Timeout(limit)),
    }
}
