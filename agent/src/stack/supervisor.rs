//! Owner of all projects. In: accepted requests and the records on disk. Out: one running task per project, which gets its
//! newest desired state. A removed project is forgotten after a while; its removal can be requested again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::StreamExt as _;
use supalove_failpoints::failpoint;
use supalove_proto::node::v1::{ApplyStackRequest, RemoveStackRequest};
use supalove_tasks::{Ended, Tasks};
use tokio::sync::{Mutex, broadcast, watch};
use tokio::time::{MissedTickBehavior, sleep};

use super::context::{InFlight, Project, Shared, Truth};
use super::database_limits::DatabaseLimits;
use super::failure::StepFailure;
use super::lost_ports::LostPorts;
use super::project;
use super::view::View;
use crate::backoff::Backoff;
use crate::conditions::Conditions;
use crate::config::{HostSettings, Times};
use crate::docker::{Engine, EngineError, Hint};
use crate::images::Images;
use crate::network::{NftError, Rules};
use crate::reports::Reports;
use crate::state::{Accepted, Record, Refused, Removal, StateError, Store, fence_apply, fence_remove};

/// Hints kept for a service that is busy.
const HINTS_KEPT: usize = 64;

/// Why a request was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The slot belongs to another project.
    #[error("slot {slot} of this node belongs to project {holder}")]
    SlotTaken { slot: u32, holder: String },
    /// It could not be stored.
    #[error("cannot store the request: {0}")]
    Store(String),
}

/// Why the agent cannot run projects.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The records cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The packet filter cannot be set.
    #[error(transparent)]
    Rules(#[from] NftError),
    /// The engine does not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The folder of images that arrive cannot be used.
    #[error("cannot use the folder of images in the state directory: {0}")]
    Images(std::io::Error),
}

/// All projects of this host.
#[derive(Debug)]
pub struct Supervisor {
    shared: Arc<Shared>,
    reports: Reports,
    /// Held while a request is stored. A disk that hangs then keeps back the next request, and nothing else.
    accepting: Mutex<()>,
    projects: Mutex<HashMap<String, Entry>>,
}

#[derive(Debug)]
struct Entry {
    desired: watch::Sender<Arc<Record>>,
    hints: broadcast::Sender<Hint>,
}

impl Supervisor {
    /// Loads all records, isolates every project with packet rules, and starts working on each, with or without a
    /// controller.
    pub async fn start(
        tasks: Tasks,
        host: HostSettings,
        node_short: &str,
        engine: Engine,
        reports: Reports,
        conditions: Conditions,
        times: Times,
    ) -> Result<Arc<Self>, StartError> {
        let store = Store::open(&host.state_dir)?;
        let (records, broken) = store.load_all()?;
        failpoint!("agent.start.loaded");
        for error in broken {
            tracing::error!(%error, "cannot read a project's record; its containers are left as they are");
        }
        let present = present(&engine, &records).await?;
        let rules = Rules::start(&tasks, node_short, host.slots.network_range(), present, times).await?;
        failpoint!("agent.start.closed_in");
        let images = Images::open(&host.state_dir, engine.clone(), times).map_err(StartError::Images)?;
        let (truth_out, truth) = watch::channel(Arc::default());
        let database_limits = DatabaseLimits::open(&host.state_dir);
        let shared = Shared {
            tasks: tasks.clone(),
            node: node_short.into(),
            host,
            times,
            engine,
            images,
            rules,
            store,
            truth,
            lost_ports: LostPorts::new(conditions.clone()),
            database_limits,
            conditions,
        };
        let supervisor = Arc::new(Self {
            shared: Arc::new(shared),
            reports,
            accepting: Mutex::default(),
            projects: Mutex::default(),
        });
        supervisor.resume(records).await;
        failpoint!("agent.start.resumed");
        tasks.job("container list", supervisor.clone().list_forever(truth_out));
        tasks.job("engine events", supervisor.clone().listen_forever());
        Ok(supervisor)
    }

    async fn resume(&self, records: Vec<Record>) {
        let mut projects = self.projects.lock().await;
        for record in records {
            self.set_desired(&mut projects, record);
        }
    }

    /// What all projects share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Accepts a validated desired state; durable when this returns. True if it is new.
    pub async fn apply(self: &Arc<Self>, request: ApplyStackRequest) -> Result<bool, SuperviseError> {
        let this = self.clone();
        let taking = async move { this.take_apply(request).await };
        run_to_completion(&self.shared.tasks, taking).await
    }

    async fn take_apply(&self, request: ApplyStackRequest) -> Result<bool, SuperviseError> {
        let _one_at_a_time = self.accepting.lock().await;
        let Some(record) = self.fenced(request).await? else { return Ok(false) };
        failpoint!("agent.apply.received", &record.project_ref);
        self.put(&record).await?;
        failpoint!("agent.apply.stored", &record.project_ref);
        self.set_desired(&mut *self.projects.lock().await, record);
        failpoint!("agent.apply.begun");
        Ok(true)
    }

    /// The record to store; none if it is stored already.
    async fn fenced(&self, request: ApplyStackRequest) -> Result<Option<Record>, SuperviseError> {
        let projects = self.projects.lock().await;
        let stored = self.stored(&projects, &request.project_ref);
        let tombstone = self.shared.store.tombstone(&request.project_ref);
        if fence_apply(stored.as_deref(), tombstone, &request)? == Accepted::Known {
            return Ok(None);
        }
        let record = Record::applied(request);
        self.check_slot(&projects, &record)?;
        Ok(Some(record))
    }

    /// Accepts a removal; durable when this returns.
    pub async fn remove(self: &Arc<Self>, request: RemoveStackRequest) -> Result<(), SuperviseError> {
        let this = self.clone();
        let taking = async move { this.take_removal(&request).await };
        run_to_completion(&self.shared.tasks, taking).await
    }

    async fn take_removal(&self, request: &RemoveStackRequest) -> Result<(), SuperviseError> {
        let _one_at_a_time = self.accepting.lock().await;
        let stored = self.record(&request.project_ref).await;
        let tombstone = self.shared.store.tombstone(&request.project_ref);
        fence_remove(stored.as_deref(), tombstone, request.generation)?;
        let mut record = stored.map(|stored| (*stored).clone()).unwrap_or_default();
        record.project_ref.clone_from(&request.project_ref);
        let before = record.removal;
        record.removal = Some(Removal {
            generation: request.generation,
            // A repeated call does not take back a requested deletion of volumes.
            delete_volumes: request.delete_volumes || before.is_some_and(|removal| removal.delete_volumes),
        });
        if before == record.removal {
            return Ok(());
        }
        failpoint!("agent.removal.received", &request.project_ref);
        self.put(&record).await?;
        failpoint!("agent.removal.stored", &request.project_ref);
        self.set_desired(&mut *self.projects.lock().await, record);
        failpoint!("agent.removal.begun", &request.project_ref);
        Ok(())
    }

    /// Every record, for the inventory.
    pub async fn records(&self) -> Vec<Arc<Record>> {
        let projects = self.projects.lock().await;
        let live = projects.keys().filter_map(|name| self.stored(&projects, name));
        live.collect()
    }

    pub async fn record(&self, project_ref: &str) -> Option<Arc<Record>> {
        let projects = self.projects.lock().await;
        self.stored(&projects, project_ref)
    }

    /// A project's record as it changes; none where [`Self::record`] has none.
    pub async fn follow_record(&self, project_ref: &str) -> Option<watch::Receiver<Arc<Record>>> {
        let projects = self.projects.lock().await;
        self.stored(&projects, project_ref)?;
        Some(projects.get(project_ref)?.desired.subscribe())
    }

    /// The record in force; none for a removal that has ended, which left a tombstone.
    fn stored(&self, projects: &HashMap<String, Entry>, project_ref: &str) -> Option<Arc<Record>> {
        let record = projects.get(project_ref)?.desired.borrow().clone();
        let buried = self.shared.store.tombstone(project_ref);
        let ended = record.removal.is_some_and(|removal| Some(removal.generation) <= buried);
        (!ended || self.shared.store.has_record(project_ref)).then_some(record)
    }

    fn check_slot(&self, projects: &HashMap<String, Entry>, record: &Record) -> Result<(), SuperviseError> {
        let Some(slot) = record.slot() else { return Ok(()) };
        let others = projects.keys().filter(|name| **name != record.project_ref);
        match others.filter_map(|name| self.stored(projects, name)).find(|other| other.slot() == Some(slot)) {
            Some(holder) => Err(SuperviseError::SlotTaken { slot, holder: holder.project_ref.clone() }),
            None => Ok(()),
        }
    }

    async fn put(&self, record: &Record) -> Result<(), SuperviseError> {
        let shared = self.shared.clone();
        let record = record.clone();
        let put = tokio::task::spawn_blocking(move || shared.store.put(&record)).await;
        match put {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(SuperviseError::Store(error.to_string())),
            Err(error) => Err(SuperviseError::Store(error.to_string())),
        }
    }

    fn set_desired(&self, projects: &mut HashMap<String, Entry>, record: Record) {
        let record = Arc::new(record);
        match projects.get(&record.project_ref) {
            Some(entry) => {
                entry.desired.send_replace(record);
            }
            None => {
                projects.insert(record.project_ref.clone(), self.spawn(record));
            }
        }
    }

    fn spawn(&self, record: Arc<Record>) -> Entry {
        let hints = broadcast::Sender::new(HINTS_KEPT);
        let project = Project {
            project_ref: record.project_ref.as_str().into(),
            shared: self.shared.clone(),
            view: Arc::new(View::new(&record.project_ref, self.reports.clone())),
            hints: hints.clone(),
            in_flight: InFlight::new(self.shared.tasks.clone()),
        };
        let (desired, receiver) = watch::channel(record);
        self.shared.tasks.job(format!("project {}", project.project_ref), keep_working(project, receiver));
        Entry { desired, hints }
    }

    /// Forgets removed projects. Dropping the entry ends the project's task.
    async fn forget_removed(&self) {
        let mut projects = self.projects.lock().await;
        for project_ref in self.reports.removed_for(self.shared.times.removed_kept) {
            if self.stored(&projects, &project_ref).is_none() {
                projects.remove(&project_ref);
                self.reports.forget(&project_ref);
            }
        }
    }

    /// Lists all containers periodically: the truth behind the events. Never returns.
    async fn list_forever(self: Arc<Self>, out: watch::Sender<Arc<Truth>>) {
        let mut ticks = tokio::time::interval(self.shared.times.truth);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.shared.engine.containers().await {
                Ok(containers) => {
                    let mut truth = Truth::new();
                    for container in containers {
                        truth.entry(container.project_ref.clone()).or_default().push(container);
                    }
                    out.send_replace(Arc::new(truth));
                }
                Err(error) => tracing::warn!(%error, "cannot list containers"),
            }
            self.forget_removed().await;
        }
    }

    /// Passes the engine's events to the projects. Never returns.
    async fn listen_forever(self: Arc<Self>) {
        let times = &self.shared.times;
        let mut backoff = Backoff::new(times.retry_first, times.protocol.reconnect_cap);
        loop {
            let mut hints = std::pin::pin!(self.shared.engine.hints());
            while let Some(Ok(hint)) = hints.next().await {
                backoff.reset();
                let projects = self.projects.lock().await;
                if let Some(entry) = projects.get(&hint.project_ref) {
                    // Nobody may be listening.
                    let _ = entry.hints.send(hint);
                }
            }
            tokio::time::sleep(backoff.next_pause()).await;
        }
    }
}

/// Runs to completion even if the caller gives up: a record that is being written while the next request is judged could
/// be stored after that one's.
async fn run_to_completion<T: Send + 'static>(
    tasks: &Tasks,
    work: impl Future<Output = Result<T, SuperviseError>> + Send + 'static,
) -> Result<T, SuperviseError> {
    match tasks.operation("desired state", work).await {
        Ok(result) => result,
        Err(ended) => Err(SuperviseError::Store(ended.to_string())),
    }
}

/// Runs a project's work. Work that panics concerns this project alone: the failure is reported, and the work is started
/// again with back-off.
async fn keep_working(project: Project, desired: watch::Receiver<Arc<Record>>) {
    let times = &project.shared.times;
    let mut backoff = Backoff::new(times.retry_first, times.retry_cap);
    loop {
        let work = project::run(project.clone(), desired.clone());
        let name = format!("work on project {}", project.project_ref);
        match project.shared.tasks.connection(name, work).abort_on_drop().await {
            Ok(()) | Err(Ended::Stopped) => return,
            Err(Ended::Panicked) => {
                project
                    .view
                    .fail(StepFailure::new("AGENT_ERROR", "the agent's work on this project panicked"));
                sleep(backoff.next_pause()).await;
            }
        }
    }
}

/// Projects whose bridges may exist: those that should run, and those that still have a network.
async fn present(engine: &Engine, records: &[Record]) -> Result<BTreeSet<String>, EngineError> {
    let networks = engine.networks().await?;
    Ok(records
        .iter()
        .filter(|record| record.is_running())
        .map(|record| record.project_ref.clone())
        .chain(networks.into_iter().map(|network| network.project_ref))
        .filter(|name| supalove_spec::names::is_project_ref(name))
        .collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_request_is_taken_to_the_end_though_the_caller_gives_up() {
        let tasks = Tasks::default();
        let (stored, done) = oneshot::channel();
        let taking = run_to_completion(&tasks, async move {
            sleep(Duration::from_millis(50)).await;
            stored.send(()).map_err(|()| SuperviseError::Store("nobody waits".into()))
        });
        assert!(timeout(Duration::from_millis(10), taking).await.is_err());
        done.await.unwrap();
    }
}
