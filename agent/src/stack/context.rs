//! What every part of one project's work needs.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use supalove_tasks::Tasks;
use tokio::sync::{RwLock, RwLockWriteGuard, broadcast, watch};

use super::database_limits::DatabaseLimits;
use super::failure::StepFailure;
use super::lost_ports::LostPorts;
use super::view::View;
use crate::conditions::{CHAINS_ADVICE, Conditions, FIREWALL_CHAINS_MISSING};
use crate::config::{HostSettings, Times};
use crate::docker::{Container, Engine, Hint};
use crate::images::Images;
use crate::network::Rules;
use crate::state::Store;

/// What all projects share.
#[derive(Debug)]
pub struct Shared {
    pub tasks: Tasks,
    /// Which node this is: the short form of its id.
    pub node: Arc<str>,
    pub host: HostSettings,
    pub times: Times,
    pub engine: Engine,
    pub images: Images,
    pub rules: Rules,
    pub store: Store,
    /// The last full list of containers, by project: the truth, every now and then.
    pub truth: watch::Receiver<Arc<Truth>>,
    /// What is wrong with the node.
    pub conditions: Conditions,
    pub lost_ports: LostPorts,
    pub database_limits: DatabaseLimits,
}

impl Shared {
    /// Errs while the engine can start no container, so that none that runs is removed for one that cannot start.
    pub fn can_start(&self) -> Result<(), StepFailure> {
        if self.conditions.stands(FIREWALL_CHAINS_MISSING) {
            return Err(StepFailure::new(FIREWALL_CHAINS_MISSING, CHAINS_ADVICE));
        }
        Ok(())
    }
}

/// Every container of the fleet at one moment, by project.
pub type Truth = HashMap<String, Vec<Container>>;

#[derive(Debug, Clone)]
pub struct Project {
    #[expect(clippy::struct_field_names, reason = "the name that the wire has for it")]
    pub project_ref: Arc<str>,
    /// What all projects share.
    pub shared: Arc<Shared>,
    /// What is reported about it.
    pub view: Arc<View>,
    /// Events about its containers.
    pub hints: broadcast::Sender<Hint>,
    /// Operations that run to completion.
    pub in_flight: InFlight,
}

impl Project {
    pub fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    /// The project's own directory on the host.
    pub fn dir(&self) -> PathBuf {
        super::files::project_dir(&self.shared.host.state_dir, &self.project_ref)
    }
}

/// Operations that run to completion even if cancelled. Engine and file system end what was begun though nobody waits for
/// it any more; so the operation goes on when the project's task drops it for newer desired state, and teardown waits for
/// it.
#[derive(Debug, Clone)]
pub struct InFlight {
    tasks: Tasks,
    running: Arc<RwLock<()>>,
}

impl InFlight {
    pub fn new(tasks: Tasks) -> Self {
        Self { tasks, running: Arc::default() }
    }

    /// Runs an operation to completion, even if its caller gives up.
    pub async fn run_to_completion<T, E>(
        &self,
        operation: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, StepFailure>
    where
        T: Send + 'static,
        E: Send + 'static,
        StepFailure: From<E>,
    {
        let running = self.running.clone().read_owned().await;
        let task = self.tasks.operation("operation of a project", async move {
            let result = operation.await;
            drop(running);
            result
        });
        match task.await {
            Ok(result) => result.map_err(StepFailure::from),
            Err(ended) => Err(StepFailure::new("AGENT_ERROR", ended.to_string())),
        }
    }

    /// Returns when no operation runs any more; none starts while the returned guard is held.
    pub async fn drained(&self) -> RwLockWriteGuard<'_, ()> {
        self.running.write().await
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test]
    async fn an_operation_runs_to_completion_though_its_caller_gives_up() {
        let in_flight = InFlight::new(Tasks::default());
        let done = Arc::new(AtomicBool::new(false));
        let seen = done.clone();
        let call = in_flight.run_to_completion(async move {
            sleep(Duration::from_millis(100)).await;
            done.store(true, Ordering::SeqCst);
            Ok::<(), StepFailure>(())
        });
        assert!(timeout(Duration::from_millis(10), call).await.is_err());
        let drained = in_flight.drained().await;
        assert!(seen.load(Ordering::SeqCst));
        let next = in_flight.run_to_completion(async { Ok::<(), StepFailure>(()) });
        assert!(timeout(Duration::from_millis(20), next).await.is_err(), "none starts while it is drained");
        drop(drained);
        in_flight.run_to_completion(async { Ok::<(), StepFailure>(()) }).await.unwrap();
    }

    #[tokio::test]
    async fn an_operation_that_panics_fails_its_step_and_is_not_waited_for() {
        let in_flight = InFlight::new(Tasks::default());
        let broken = in_flight.run_to_completion(async {
            assert!(std::hint::black_box(false), "forced");
            Ok::<(), StepFailure>(())
        });
        assert_eq!(broken.await.unwrap_err().0.reason, "AGENT_ERROR");
        drop(in_flight.drained().await);
    }
}
