//! A double of the agent, without an engine: it enrols, keeps what the controller applies, and reports it done after a
//! short while. It keeps an agent's rules (epochs, generations, tombstones), so that a test can compare what it holds with
//! what the controller believes. Its manners can be bad: late, deaf now and then, or full of nonsense.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use prost::Message as _;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use supalove_certs::tls::NodeChannel;
use supalove_proto::{
    EPOCH_KEY,
    node::v1::{
        ApplyStackRequest, ApplyStackResponse, Capacity, GoodbyeRequest, GoodbyeResponse, HelloRequest,
        HelloResponse, InventoryRequest, InventoryResponse, ObservedService, ObservedStack, OpenBulkRequest,
        OpenBulkResponse, Progress, ProjectInventory, RemoveStackRequest, RemoveStackResponse, RunState,
        ServiceState, SetTrustRequest, SetTrustResponse, SnapshotEnd, StackError, StackPhase, VolumeUsage,
        WatchStateRequest, WatchStateResponse,
        node_agent_service_server::{NodeAgentService, NodeAgentServiceServer},
        watch_state_response::Report,
    },
};
use tokio::{
    sync::{broadcast, mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, service::Routes};

use super::{Controller, Holder};

/// How a double behaves.
#[derive(Debug, Clone, Copy)]
pub struct Manners {
    /// Longest time that a piece of work takes it.
    pub work: Duration,
    /// Of so many calls one is answered UNAVAILABLE; 0 = none.
    pub deaf_every: u64,
    /// It also sends reports that no agent sends: on foreign projects, with wild numbers, with junk in them.
    pub nonsense: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self { work: Duration::from_millis(20), deaf_every: 0, nonsense: false }
    }
}

/// What a double holds of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Of the desired state that it stored last.
    pub generation: u64,
    /// How far it is.
    pub phase: StackPhase,
    run_state: RunState,
    content: Vec<u8>,
    services: Vec<String>,
}

/// A joined node whose agent is this.
pub struct BusyDouble {
    /// Its identity.
    pub node: Holder,
    world: Arc<World>,
    cut: watch::Sender<u64>,
    dialling: JoinHandle<()>,
}

struct World {
    manners: Manners,
    stacks: Mutex<BTreeMap<String, Held>>,
    changes: broadcast::Sender<Report>,
    epoch: AtomicU64,
    calls: AtomicU64,
    dice: Mutex<SmallRng>,
    run: String,
}

impl BusyDouble {
    /// Enrols under a name and keeps dialling until it is dropped. The same seed makes the same choices.
    pub async fn join(controller: &Controller, token: &str, name: &str, seed: u64, manners: Manners) -> Self {
        let node = Holder::enroll(&controller.node_address, token, name).await;
        let world = Arc::new(World {
            manners,
            stacks: Mutex::default(),
            changes: broadcast::channel(4096).0,
            epoch: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            dice: Mutex::new(SmallRng::seed_from_u64(seed)),
            run: format!("double-{name}"),
        });
        let cut = watch::Sender::new(0);
        let dialling =
            tokio::spawn(dial(node.clone(), controller.node_address.clone(), world.clone(), cut.subscribe()));
        Self { node, world, cut, dialling }
    }

    /// Breaks the connection; it dials again soon.
    pub fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }

    /// Tells nothing of removed projects any more, as an agent after a while.
    pub fn forget_removed(&self) {
        self.world.stacks().retain(|_, held| held.phase != StackPhase::Removed);
    }

    /// What it holds of each project, removed ones excluded.
    pub fn held(&self) -> BTreeMap<String, Held> {
        let stacks = self.world.stacks();
        stacks.iter().filter(|(_, held)| held.phase != StackPhase::Removed).map(clone).collect()
    }
}

fn clone((name, held): (&String, &Held)) -> (String, Held) {
    (name.clone(), held.clone())
}

impl Drop for BusyDouble {
    fn drop(&mut self) {
        self.dialling.abort();
    }
}

async fn dial(node: Holder, address: String, world: Arc<World>, mut cut: watch::Receiver<u64>) {
    loop {
        if let Ok(stream) = node.try_dial(&address, NodeChannel::Control).await {
            let (told, ended) = mpsc::channel(1);
            let service = NodeAgentServiceServer::new(Session { world: world.clone(), _alive: told });
            let service = TowerToHyperService::new(Routes::new(service).prepare().into_axum_router());
            let builder = auto::Builder::new(TokioExecutor::new()).http2_only();
            tokio::select! {
                _ = builder.serve_connection(TokioIo::new(stream), service) => {}
                _ = cut.changed() => {}
            }
            drop(ended);
        }
        let pause = world.roll(20..200);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

impl World {
    fn stacks(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        self.stacks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn roll(&self, range: std::ops::Range<u64>) -> u64 {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner).random_range(range)
    }

    /// Refuses callers of older sessions, and every n-th call if the manners say so.
    fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let epoch = request.metadata().get(EPOCH_KEY).and_then(|text| text.to_str().ok()?.parse().ok());
        if epoch != Some(self.epoch.load(Ordering::SeqCst)) {
            return Err(Status::failed_precondition("STALE_EPOCH"));
        }
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if self.manners.deaf_every > 0 && call.is_multiple_of(self.manners.deaf_every) {
            return Err(Status::unavailable("the double does not listen"));
        }
        Ok(())
    }

    /// Ends the work on a generation a moment later, unless a newer one has come.
    fn work_on(self: &Arc<Self>, project: String, generation: u64, end: StackPhase) {
        let world = self.clone();
        let longest = u64::try_from(self.manners.work.as_millis()).unwrap_or(u64::MAX).max(1);
        let takes = Duration::from_millis(self.roll(0..longest));
        tokio::spawn(async move {
            tokio::time::sleep(takes).await;
            let mut stacks = world.stacks();
            let Some(held) = stacks.get_mut(&project).filter(|held| held.generation == generation) else {
                return;
            };
            if held.phase == StackPhase::Removed {
                return;
            }
            held.phase = end;
            let report = observed(&project, held);
            drop(stacks);
            let _ = world.changes.send(Report::Observed(report));
        });
    }

    /// A report that no agent sends.
    fn nonsense(&self) -> Report {
        let known: Vec<String> = self.stacks().keys().cloned().collect();
        let some = self.roll(0..u64::MAX);
        let project = match some % 4 {
            0 if !known.is_empty() => known[usize::try_from(some).unwrap_or(0) % known.len()].clone(),
            1 => "abcdefghijklmnopqrst".into(),
            2 => "\u{202e}../../etc\0".into(),
            _ => String::new(),
        };
        if some.is_multiple_of(5) {
            let message = "x".repeat(5_000);
            let progress = Progress {
                project_ref: project,
                generation: some,
                step: 99,
                percent: 4_000_000,
                message,
                ..Default::default()
            };
            return Report::Progress(progress);
        }
        Report::Observed(ObservedStack {
            project_ref: project,
            // Never the generation that it holds: that would be a lie about its work, and no nonsense.
            generation: some | (1 << 63),
            phase: i32::try_from(some % 40).unwrap_or(0),
            services: vec![
                ObservedService {
                    name: "postgres\u{0}\u{202e}".into(),
                    state: 77,
                    message: "y".repeat(5_000),
                    restarts: u32::MAX
                };
                usize::try_from(some % 50).unwrap_or(0)
            ],
            error: Some(StackError {
                reason: "\n\nNO SUCH".into(),
                permanent: true,
                ..StackError::default()
            }),
            observed_at: Some(prost_types::Timestamp { seconds: i64::MIN, nanos: -1 }),
            digest: vec![0xff; 100],
            volumes: vec![VolumeUsage { name: "db_data".into(), used_mib: u64::MAX, limit_mib: 1 }],
        })
    }
}

fn observed(project: &str, held: &Held) -> ObservedStack {
    let state = match held.phase {
        StackPhase::Healthy => ServiceState::Healthy,
        StackPhase::Stopped => ServiceState::Stopped,
        _ => ServiceState::Pending,
    };
    let service = |name: &String| ObservedService {
        name: name.clone(),
        state: state.into(),
        ..ObservedService::default()
    };
    ObservedStack {
        project_ref: project.into(),
        generation: held.generation,
        phase: held.phase.into(),
        services: held.services.iter().map(service).collect(),
        ..ObservedStack::default()
    }
}

struct Session {
    world: Arc<World>,
    _alive: mpsc::Sender<()>,
}

#[tonic::async_trait]
impl NodeAgentService for Session {
    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        let epoch = request.get_ref().epoch;
        if self.world.epoch.fetch_max(epoch, Ordering::SeqCst) > epoch {
            return Err(Status::failed_precondition("STALE_EPOCH"));
        }
        Ok(Response::new(HelloResponse {
            protocol_min: 1,
            protocol_max: 1,
            capacity: Some(Capacity { cpu_millis: 64_000, memory_mib: 16_000, disk_mib: 400_000 }),
            boot_id: self.world.run.clone(),
            agent_run_id: self.world.run.clone(),
            advertise_address: "127.0.0.1".into(),
            port_base: 5500,
            slots: 32,
            network_range: "10.213.0.0/16".into(),
            ..HelloResponse::default()
        }))
    }

    async fn goodbye(&self, _: Request<GoodbyeRequest>) -> Result<Response<GoodbyeResponse>, Status> {
        Ok(Response::new(GoodbyeResponse {}))
    }

    async fn apply_stack(
        &self,
        request: Request<ApplyStackRequest>,
    ) -> Result<Response<ApplyStackResponse>, Status> {
        self.world.admit(&request)?;
        let wanted = request.into_inner();
        let content = wanted.encode_to_vec();
        let run_state = wanted.run_state();
        let services =
            wanted.spec.iter().flat_map(|spec| &spec.services).map(|one| one.name.clone()).collect();
        let mut stacks = self.world.stacks();
        if let Some(held) = stacks.get(&wanted.project_ref) {
            if held.generation > wanted.generation {
                return Err(Status::failed_precondition("OLDER_GENERATION"));
            }
            if held.generation == wanted.generation {
                if held.content != content {
                    return Err(Status::failed_precondition("OTHER_CONTENT"));
                }
                return Ok(Response::new(ApplyStackResponse { changed: false }));
            }
        }
        let held = Held {
            generation: wanted.generation,
            phase: StackPhase::Converging,
            run_state,
            content,
            services,
        };
        let report = observed(&wanted.project_ref, &held);
        stacks.insert(wanted.project_ref.clone(), held);
        drop(stacks);
        let _ = self.world.changes.send(Report::Observed(report));
        let end = if run_state == RunState::Stopped { StackPhase::Stopped } else { StackPhase::Healthy };
        self.world.work_on(wanted.project_ref, wanted.generation, end);
        Ok(Response::new(ApplyStackResponse { changed: true }))
    }

    async fn remove_stack(
        &self,
        request: Request<RemoveStackRequest>,
    ) -> Result<Response<RemoveStackResponse>, Status> {
        self.world.admit(&request)?;
        let wanted = request.into_inner();
        let mut stacks = self.world.stacks();
        if stacks.get(&wanted.project_ref).is_some_and(|held| held.generation > wanted.generation) {
            return Err(Status::failed_precondition("OLDER_GENERATION"));
        }
        let gone = Held {
            generation: wanted.generation,
            phase: StackPhase::Removed,
            run_state: RunState::Stopped,
            content: Vec::new(),
            services: Vec::new(),
        };
        let report = observed(&wanted.project_ref, &gone);
        stacks.insert(wanted.project_ref, gone);
        drop(stacks);
        let _ = self.world.changes.send(Report::Observed(report));
        Ok(Response::new(RemoveStackResponse {}))
    }

    async fn inventory(
        &self,
        request: Request<InventoryRequest>,
    ) -> Result<Response<InventoryResponse>, Status> {
        self.world.admit(&request)?;
        let stacks = self.world.stacks();
        let there = stacks.iter().filter(|(_, held)| held.phase != StackPhase::Removed);
        let projects = there.map(|(project, held)| ProjectInventory {
            project_ref: project.clone(),
            generation: held.generation,
            containers: held.services.iter().map(|name| format!("supalove_{project}_{name}")).collect(),
            ..ProjectInventory::default()
        });
        let compared = request.get_ref().compare;
        let states = stacks.iter().filter(|_| compared).map(|(project, held)| observed(project, held));
        Ok(Response::new(InventoryResponse {
            projects: projects.collect(),
            compared,
            states: states.collect(),
            ..InventoryResponse::default()
        }))
    }

    type WatchStateStream = ReceiverStream<Result<WatchStateResponse, Status>>;

    async fn watch_state(
        &self,
        request: Request<WatchStateRequest>,
    ) -> Result<Response<Self::WatchStateStream>, Status> {
        self.world.admit(&request)?;
        let (send, stream) = mpsc::channel(64);
        let world = self.world.clone();
        tokio::spawn(async move {
            let mut changes = world.changes.subscribe();
            let all: Vec<_> = world.stacks().iter().map(|(project, held)| observed(project, held)).collect();
            let first = all.into_iter().map(Report::Observed).chain([Report::SnapshotEnd(SnapshotEnd {})]);
            for report in first {
                if say(&send, report).await.is_none() {
                    return;
                }
            }
            let mut nonsense = tokio::time::interval(Duration::from_millis(20));
            loop {
                let report = tokio::select! {
                    change = changes.recv() => match change {
                        Ok(change) => change,
                        // An agent never loses a state: it says all again.
                        Err(_) => return,
                    },
                    _ = nonsense.tick(), if world.manners.nonsense => world.nonsense(),
                    () = send.closed() => return,
                };
                if say(&send, report).await.is_none() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type WatchImagesStream =
        tokio_stream::Pending<Result<supalove_proto::node::v1::WatchImagesResponse, Status>>;

    async fn watch_images(
        &self,
        _: Request<supalove_proto::node::v1::WatchImagesRequest>,
    ) -> Result<Response<Self::WatchImagesStream>, Status> {
        Err(Status::unimplemented("like an old agent, it pulls from registries only"))
    }

    async fn open_bulk(&self, _: Request<OpenBulkRequest>) -> Result<Response<OpenBulkResponse>, Status> {
        Err(Status::unavailable("a double has no bulk connection"))
    }

    async fn set_trust(&self, _: Request<SetTrustRequest>) -> Result<Response<SetTrustResponse>, Status> {
        Err(Status::unavailable("a double trusts what it enrolled with"))
    }
}

async fn say(send: &mpsc::Sender<Result<WatchStateResponse, Status>>, report: Report) -> Option<()> {
    send.send(Ok(WatchStateResponse { report: Some(report) })).await.ok()
}
