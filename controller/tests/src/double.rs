//! An agent double: a node of its own that dials the controller, takes every desired state, and reports what a test tells it
//! to. No engine.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use supalove_certs::tls::{NodeChannel, connect, node_client_config};
use supalove_proto::node::v1::{
    ApplyStackRequest, ApplyStackResponse, Capacity, GoodbyeRequest, GoodbyeResponse, HelloRequest,
    HelloResponse, HostDifference, InventoryRequest, InventoryResponse, ObservedService, ObservedStack,
    OpenBulkRequest, OpenBulkResponse, ProjectInventory, RemoveStackRequest, RemoveStackResponse, RunState,
    ServiceState, SetTrustRequest, SetTrustResponse, SnapshotEnd, StackPhase, StateDigest, StateDigests,
    StoredProject, WatchStateRequest, WatchStateResponse,
    node_agent_service_server::{NodeAgentService, NodeAgentServiceServer},
    watch_state_response::Report,
};
use tokio::{net::TcpStream, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, service::Routes};

use super::Holder;

/// A record of a project.
#[derive(Debug, Clone)]
pub struct DoubleRecord {
    /// Generation that was applied or removed last.
    pub generation: u64,
    /// Its slot.
    pub slot: u32,
    /// What it is reported to be.
    pub phase: StackPhase,
}

/// What the double has and does.
#[derive(Debug, Default)]
pub struct DoubleState {
    /// Its projects.
    pub records: BTreeMap<String, DoubleRecord>,
    /// Generations of removed projects.
    pub tombstones: BTreeMap<String, u64>,
    /// Refuses each ApplyStack for these projects so.
    pub refusals: BTreeMap<String, Status>,
    /// Calls of ApplyStack and RemoveStack: ref and generation.
    pub calls: Vec<(String, u64)>,
    /// Newest epoch that said Hello.
    pub epoch: u64,
    /// What it finds on its host that is not as it believes.
    pub differences: Vec<HostDifference>,
    /// Repeats digests as often as the controller asked.
    repeat: Duration,
    /// Over how long the controller asked it to spread its return.
    pub reconnect_spread: Duration,
    /// First port that it tells; 0 = 5500.
    pub port_base: u32,
}

/// First port of a double, if a test sets no other one.
const PORT_BASE: u32 = 5500;

/// A node that plays an agent; it dials again until it is dropped.
pub struct Double {
    /// What it has.
    state: Arc<Mutex<DoubleState>>,
    /// Its identity.
    pub holder: Holder,
    dialling: JoinHandle<()>,
}

impl Drop for Double {
    fn drop(&mut self) {
        self.dialling.abort();
    }
}

impl Double {
    /// Joins a controller's fleet and dials it.
    pub async fn join(address: &str, token: &str, hostname: &str) -> Self {
        Self::dial(Holder::enroll(address, token, hostname).await, address, DoubleState::default())
    }

    /// Dials with what an earlier double had.
    pub fn dial(holder: Holder, address: &str, mut state: DoubleState) -> Self {
        if state.port_base == 0 {
            state.port_base = PORT_BASE;
        }
        let state = Arc::new(Mutex::new(state));
        let dialling = tokio::spawn(keep_dialling(holder.clone(), address.to_owned(), state.clone()));
        Self { state, holder, dialling }
    }

    /// What it has; to be changed.
    pub fn state(&self) -> MutexGuard<'_, DoubleState> {
        self.state.lock().unwrap()
    }

    /// How often a project was called.
    pub fn calls_of(&self, project_ref: &str) -> usize {
        self.state().calls.iter().filter(|(called, _)| called == project_ref).count()
    }

    /// Reports another phase of a project.
    pub fn report(&self, project_ref: &str, phase: StackPhase) {
        self.state().records.get_mut(project_ref).expect("it was applied").phase = phase;
    }
}

async fn keep_dialling(holder: Holder, address: String, state: Arc<Mutex<DoubleState>>) {
    loop {
        let tls = node_client_config(
            &holder.ca_pem,
            &holder.certificate_pem,
            &holder.key_pem,
            NodeChannel::Control,
        );
        if let Ok(stream) = TcpStream::connect(&address).await
            && let Ok(stream) = connect(stream, tls.unwrap()).await
        {
            let service = NodeAgentServiceServer::new(Service(state.clone()));
            let service = TowerToHyperService::new(Routes::new(service).prepare().into_axum_router());
            let builder = auto::Builder::new(TokioExecutor::new()).http2_only();
            // How it ends is the controller's matter.
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

struct Service(Arc<Mutex<DoubleState>>);

impl Service {
    fn state(&self) -> MutexGuard<'_, DoubleState> {
        self.0.lock().unwrap()
    }
}

fn observed(project_ref: &str, record: &DoubleRecord) -> ObservedStack {
    let state = match record.phase {
        StackPhase::Healthy => ServiceState::Healthy,
        StackPhase::Unhealthy => ServiceState::Exited,
        _ => ServiceState::Stopped,
    };
    let service =
        ObservedService { name: "postgres".into(), state: state.into(), ..ObservedService::default() };
    ObservedStack {
        project_ref: project_ref.to_owned(),
        generation: record.generation,
        phase: record.phase.into(),
        services: vec![service],
        digest: format!("{} {:?}", record.generation, record.phase).into_bytes(),
        ..ObservedStack::default()
    }
}

/// Tells every state, then what changes, and digests.
async fn feed(state: Arc<Mutex<DoubleState>>, out: mpsc::Sender<Result<WatchStateResponse, Status>>) {
    let send = async |report| out.send(Ok(WatchStateResponse { report: Some(report) })).await.is_ok();
    let mut told: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut first = true;
    let mut repeated = tokio::time::Instant::now();
    loop {
        let (states, repeat) = {
            let state = state.lock().unwrap();
            let states: Vec<_> = state.records.iter().map(|(name, record)| observed(name, record)).collect();
            (states, state.repeat)
        };
        for now in &states {
            if told.insert(now.project_ref.clone(), now.digest.clone()).as_ref() != Some(&now.digest)
                && !send(Report::Observed(now.clone())).await
            {
                return;
            }
        }
        if first && !send(Report::SnapshotEnd(SnapshotEnd {})).await {
            return;
        }
        first = false;
        if !repeat.is_zero() && repeated.elapsed() >= repeat {
            repeated = tokio::time::Instant::now();
            let digests = states.into_iter().map(|now| StateDigest {
                project_ref: now.project_ref,
                generation: now.generation,
                digest: now.digest,
            });
            if !send(Report::Digests(StateDigests { digests: digests.collect() })).await {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tonic::async_trait]
impl NodeAgentService for Service {
    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        let hello = request.into_inner();
        let mut state = self.state();
        if hello.epoch < state.epoch {
            let newest = [("newest_epoch", state.epoch.to_string())];
            let code = tonic::Code::FailedPrecondition;
            return Err(supalove_net::status::with_metadata(code, "STALE_EPOCH", "older", newest));
        }
        state.epoch = hello.epoch;
        state.repeat = Duration::from_millis(hello.repeat_digests_ms.into());
        state.reconnect_spread = Duration::from_millis(hello.reconnect_spread_ms.into());
        let stored = state.records.iter().map(|(name, record)| StoredProject {
            project_ref: name.clone(),
            generation: record.generation,
            slot: Some(record.slot),
            removing: false,
        });
        Ok(Response::new(HelloResponse {
            protocol_min: 1,
            protocol_max: 1,
            capacity: Some(Capacity { cpu_millis: 64_000, memory_mib: 64_000, disk_mib: 1_000_000 }),
            agent_run_id: "double".into(),
            advertise_address: "127.0.0.1".into(),
            port_base: state.port_base,
            slots: 64,
            network_range: "10.213.0.0/16".into(),
            stored: stored.collect(),
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
        let asked = request.into_inner();
        let mut state = self.state();
        let name = asked.project_ref.clone();
        state.calls.push((name.clone(), asked.generation));
        if let Some(refusal) = state.refusals.get(&name) {
            return Err(refusal.clone());
        }
        let known = state.records.get(&name).map(|record| record.generation);
        let removed = state.tombstones.get(&name).copied();
        if let Some(stored) = known.max(removed).filter(|stored| asked.generation < *stored) {
            let facts = [
                ("stored_generation", stored.to_string()),
                ("removed", (removed == Some(stored)).to_string()),
            ];
            let code = tonic::Code::FailedPrecondition;
            return Err(supalove_net::status::with_metadata(code, "STALE_GENERATION", "older", facts));
        }
        let phase =
            if asked.run_state() == RunState::Running { StackPhase::Healthy } else { StackPhase::Stopped };
        let slot = asked.placement.unwrap_or_default().slot;
        state.records.insert(name, DoubleRecord { generation: asked.generation, slot, phase });
        Ok(Response::new(ApplyStackResponse { changed: true }))
    }

    async fn remove_stack(
        &self,
        request: Request<RemoveStackRequest>,
    ) -> Result<Response<RemoveStackResponse>, Status> {
        let asked = request.into_inner();
        let mut state = self.state();
        state.calls.push((asked.project_ref.clone(), asked.generation));
        state.tombstones.insert(asked.project_ref.clone(), asked.generation);
        let slot = state.records.get(&asked.project_ref).map(|record| record.slot).unwrap_or_default();
        let record = DoubleRecord { generation: asked.generation, slot, phase: StackPhase::Removed };
        state.records.insert(asked.project_ref, record);
        Ok(Response::new(RemoveStackResponse {}))
    }

    async fn inventory(
        &self,
        request: Request<InventoryRequest>,
    ) -> Result<Response<InventoryResponse>, Status> {
        let state = self.state();
        let projects = state.records.iter().filter(|(_, record)| record.phase != StackPhase::Removed);
        let projects = projects.map(|(name, record)| ProjectInventory {
            project_ref: name.clone(),
            generation: record.generation,
            slot: Some(record.slot),
            volumes: vec![format!("supalove_{name}_db_data")],
            ..ProjectInventory::default()
        });
        let projects = projects.collect();
        let compared = request.get_ref().compare;
        let states = state.records.iter().map(|(name, record)| observed(name, record));
        Ok(Response::new(InventoryResponse {
            projects,
            compared,
            states: if compared { states.collect() } else { Vec::new() },
            differences: if compared { state.differences.clone() } else { Vec::new() },
            ..InventoryResponse::default()
        }))
    }

    type WatchStateStream = ReceiverStream<Result<WatchStateResponse, Status>>;

    async fn watch_state(
        &self,
        _: Request<WatchStateRequest>,
    ) -> Result<Response<Self::WatchStateStream>, Status> {
        let (out, reader) = mpsc::channel(64);
        tokio::spawn(feed(self.0.clone(), out));
        Ok(Response::new(ReceiverStream::new(reader)))
    }

    async fn open_bulk(&self, _: Request<OpenBulkRequest>) -> Result<Response<OpenBulkResponse>, Status> {
        Err(Status::unimplemented("a double has no bulk connection"))
    }

    async fn set_trust(&self, _: Request<SetTrustRequest>) -> Result<Response<SetTrustResponse>, Status> {
        Err(Status::unimplemented("a double keeps its roots"))
    }
}
