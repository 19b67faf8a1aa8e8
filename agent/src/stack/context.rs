//! What every part of one project's work needs.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{RwLock, RwLockWriteGuard, broadcast, watch};

use super::failure::Failure;
use super::view::View;
use crate::config::{HostSettings, Times};
use crate::docker::{Container, Engine, Hint};
use crate::network::Rules;
use crate::state::Store;

/// What all projects share.
#[derive(Debug)]
pub struct Shared {
    /// Which node this is: the short form of its id.
    pub node: Arc<str>,
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
    /// Work that makes something.
    pub making: Making,
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

/// Work under way that makes something. Engine and file system end what was begun even if nobody waits any more; so this
/// goes on, too, when the project's task drops it for newer desired state, and who takes away can wait for it.
#[derive(Debug, Clone, Default)]
pub struct Making(Arc<RwLock<()>>);

impl Making {
    /// Work that goes on though its caller may not.
    pub async fn uncut<T, E>(
        &self,
        call: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        E: Send + 'static,
        Failure: From<E>,
    {
        let making = self.0.clone().read_owned().await;
        let called = tokio::spawn(async move {
            let result = call.await;
            drop(making);
            result
        });
        match called.await {
            Ok(result) => result.map_err(Failure::from),
            Err(error) => Err(Failure::new("ENGINE_ERROR", error.to_string())),
        }
    }

    /// Returns when nothing is being made any more; nothing is while the answer is held.
    pub async fn quiet(&self) -> RwLockWriteGuard<'_, ()> {
        self.0.write().await
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
    async fn what_was_asked_for_is_waited_for_though_its_caller_is_gone() {
        let making = Making::default();
        let made = Arc::new(AtomicBool::new(false));
        let seen = made.clone();
        let call = making.uncut(async move {
            sleep(Duration::from_millis(100)).await;
            made.store(true, Ordering::SeqCst);
            Ok::<(), Failure>(())
        });
        assert!(timeout(Duration::from_millis(10), call).await.is_err());
        let quiet = making.quiet().await;
        assert!(seen.load(Ordering::SeqCst));
        let next = making.uncut(async { Ok::<(), Failure>(()) });
        assert!(timeout(Duration::from_millis(20), next).await.is_err(), "nothing is made while it is quiet");
        drop(quiet);
        making.uncut(async { Ok::<(), Failure>(()) }).await.unwrap();
    }
}
