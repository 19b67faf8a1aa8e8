//! An agent double: a node of its own that dials the controller, takes every desired state, and reports what a test tells it
//! to. No engine.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use supalove_certs::tls::{NodeChannel, connect, node_client_config};
use supalove_proto::node::v1::{
    ApplyStackRequest, ApplyStackResponse, Capacity, GoodbyeRequest, GoodbyeResponse, HelloRequest,
    HelloResponse, HostDifference, InventoryRequest, InventoryResponse, ObservedService, ObservedStack,
    OpenBulkRequest, OpenBulkResponse, ProjectInventory, ProvideImageRequest, ProvideImageResponse,
    ReadLogsRequest, ReadLogsResponse, RemoveStackRequest, RemoveStackResponse, RunState, ServiceState,
    SetDatabaseLimitsRequest, SetDatabaseLimitsResponse, SetTrustRequest, SetTrustResponse, SnapshotEnd,
    StackError, StackPhase, StateDigest, StateDigests, StoredProject, StreamUsageRequest,
    StreamUsageResponse, TunnelRequest, TunnelResponse, WatchImagesRequest, WatchImagesResponse,
    WatchStateRequest, WatchStateResponse,
    node_agent_service_server::{NodeAgentService, NodeAgentServiceServer},
    node_bulk_service_server::{NodeBulkService, NodeBulkServiceServer},
    node_usage_service_server::{NodeUsageService, NodeUsageServiceServer},
    watch_state_response::Report,
};
use tokio::{net::TcpStream, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, service::Routes};

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
    /// Projects that never get healthy.
    pub unhealthy: BTreeSet<String>,
    /// What is wrong with projects that run: they are reported unhealthy for it.
    pub errors: BTreeMap<String, StackError>,
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
    /// What its host has; none: 64 cores, 64 GB and a disk of 1 TB.
    pub capacity: Option<Capacity>,
    /// First port that it tells; 0 = 5500.
    pub port_base: u32,
    /// Address that it advertises; empty = 127.0.0.1.
    pub advertise: String,
    /// Address of each project, as ApplyStack has told it last.
    pub told_hosts: BTreeMap<String, String>,
    /// Batches of usage that it still has to send; none: it knows no such service, as an older agent.
    pub usage: Option<VecDeque<StreamUsageResponse>>,
    /// What databases may hold by their plans, as the controller has said last; none: it has not.
    pub database_limits: Option<BTreeMap<String, u64>>,
    /// What the controller has said of usage: the cursors of its streams, and acknowledgements.
    pub usage_heard: Vec<StreamUsageRequest>,
    /// Images that it still has to need; none: it pulls from registries only, as an older agent.
    pub needs: Option<VecDeque<String>>,
    /// Number of the need that it has told last.
    needed: u64,
    /// What the controller has answered to its needs.
    pub images_heard: Vec<ProvideImageRequest>,
}

/// What the host of a double has, if a test sets nothing else.
const CAPACITY: Capacity = Capacity { cpu_millis: 64_000, memory_mib: 64_000, disk_mib: 1_000_000 };
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

    /// The same with an agent that reports what projects use.
    pub async fn join_metered(address: &str, token: &str, hostname: &str) -> Self {
        let state = DoubleState { usage: Some(VecDeque::new()), ..DoubleState::default() };
        Self::dial(Holder::enroll(address, token, hostname).await, address, state)
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
            let service = Service { state: state.clone(), holder: holder.clone(), address: address.clone() };
            let usage = NodeUsageServiceServer::new(service.clone());
            let service = NodeAgentServiceServer::new(service);
            let routes = Routes::new(service).add_service(usage);
            let service = TowerToHyperService::new(routes.prepare().into_axum_router());
            let builder = auto::Builder::new(TokioExecutor::new()).http2_only();
            // How it ends is the controller's matter.
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[derive(Clone)]
struct Service {
    state: Arc<Mutex<DoubleState>>,
    holder: Holder,
    address: String,
}

impl Service {
    fn state(&self) -> MutexGuard<'_, DoubleState> {
        self.state.lock().unwrap()
    }
}

/// Dials the connection that carries images, and takes what the controller answers to a need.
async fn serve_bulk(service: Service) {
    let holder = &service.holder;
    let tls = node_client_config(&holder.ca_pem, &holder.certificate_pem, &holder.key_pem, NodeChannel::Bulk);
    let stream = TcpStream::connect(&service.address).await.unwrap();
    let stream = connect(stream, tls.unwrap()).await.unwrap();
    let routes = Routes::new(NodeBulkServiceServer::new(service));
    let service = TowerToHyperService::new(routes.prepare().into_axum_router());
    let builder = auto::Builder::new(TokioExecutor::new()).http2_only();
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

/// Tells images that it needs, one after the other.
async fn need(state: Arc<Mutex<DoubleState>>, out: mpsc::Sender<Result<WatchImagesResponse, Status>>) {
    while !out.is_closed() {
        let told = {
            let mut state = state.lock().unwrap();
            let next = state.needs.as_mut().and_then(VecDeque::pop_front);
            next.map(|image| {
                state.needed += 1;
                WatchImagesResponse {
                    number: state.needed,
                    image,
                    os: "linux".into(),
                    architecture: "amd64".into(),
                }
            })
        };
        match told {
            Some(told) => drop(out.send(Ok(told)).await),
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

fn observed(state: &DoubleState, project_ref: &str, record: &DoubleRecord) -> ObservedStack {
    let error = state.errors.get(project_ref).filter(|_| record.phase == StackPhase::Healthy).cloned();
    let phase = if error.is_some() { StackPhase::Unhealthy } else { record.phase };
    let digest = digest(&SHA256, format!("{} {phase:?} {error:?}", record.generation).as_bytes());
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
        phase: phase.into(),
        services: vec![service],
        error,
        digest: digest.as_ref().to_vec(),
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
            let states: Vec<_> =
                state.records.iter().map(|(name, record)| observed(&state, name, record)).collect();
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
            capacity: state.capacity.or(Some(CAPACITY)),
            agent_run_id: "double".into(),
            advertise_address: match state.advertise.as_str() {
                "" => "127.0.0.1".into(),
                address => address.into(),
            },
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
        let phase = match asked.run_state() {
            RunState::Running if state.unhealthy.contains(&name) => StackPhase::Unhealthy,
            RunState::Running => StackPhase::Healthy,
            _ => StackPhase::Stopped,
        };
        let placement = asked.placement.unwrap_or_default();
        let slot = placement.slot;
        state.told_hosts.insert(name.clone(), placement.api_host);
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
        let states = state.records.iter().map(|(name, record)| observed(&state, name, record));
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
        tokio::spawn(feed(self.state.clone(), out));
        Ok(Response::new(ReceiverStream::new(reader)))
    }

    type WatchImagesStream = ReceiverStream<Result<WatchImagesResponse, Status>>;

    async fn watch_images(
        &self,
        _: Request<WatchImagesRequest>,
    ) -> Result<Response<Self::WatchImagesStream>, Status> {
        if self.state().needs.is_none() {
            return Err(Status::unimplemented("like an old agent, it pulls from registries only"));
        }
        let (out, reader) = mpsc::channel(1);
        tokio::spawn(need(self.state.clone(), out));
        Ok(Response::new(ReceiverStream::new(reader)))
    }

    async fn open_bulk(&self, _: Request<OpenBulkRequest>) -> Result<Response<OpenBulkResponse>, Status> {
        if self.state().needs.is_none() {
            return Err(Status::unimplemented("a double that needs no image has no bulk connection"));
        }
        tokio::spawn(serve_bulk(self.clone()));
        Ok(Response::new(OpenBulkResponse {}))
    }

    async fn set_trust(&self, _: Request<SetTrustRequest>) -> Result<Response<SetTrustResponse>, Status> {
        Err(Status::unimplemented("a double keeps its roots"))
    }
}

#[tonic::async_trait]
impl NodeUsageService for Service {
    type StreamUsageStream = ReceiverStream<Result<StreamUsageResponse, Status>>;

    async fn stream_usage(
        &self,
        request: Request<Streaming<StreamUsageRequest>>,
    ) -> Result<Response<Self::StreamUsageStream>, Status> {
        if self.state().usage.is_none() {
            return Err(Status::unimplemented("a double without usage"));
        }
        let (out, reader) = mpsc::channel(1);
        let state = self.state.clone();
        let mut heard = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(message)) = heard.message().await {
                state.lock().unwrap().usage_heard.push(message);
                let batch = loop {
                    let next = state.lock().unwrap().usage.as_mut().and_then(VecDeque::pop_front);
                    match next {
                        Some(batch) => break batch,
                        None if out.is_closed() => return,
                        None => tokio::time::sleep(Duration::from_millis(20)).await,
                    }
                };
                if out.send(Ok(batch)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(reader)))
    }

    async fn set_database_limits(
        &self,
        request: Request<SetDatabaseLimitsRequest>,
    ) -> Result<Response<SetDatabaseLimitsResponse>, Status> {
        if self.state().usage.is_none() {
            return Err(Status::unimplemented("a double without usage"));
        }
        let limits = request.into_inner().limits.into_iter().map(|limit| (limit.project_ref, limit.mib));
        self.state().database_limits = Some(limits.collect());
        Ok(Response::new(SetDatabaseLimitsResponse {}))
    }
}

#[tonic::async_trait]
impl NodeBulkService for Service {
    type ReadLogsStream = ReceiverStream<Result<ReadLogsResponse, Status>>;

    async fn read_logs(&self, _: Request<ReadLogsRequest>) -> Result<Response<Self::ReadLogsStream>, Status> {
        Err(Status::unimplemented("a double has no logs"))
    }

    type TunnelStream = ReceiverStream<Result<TunnelResponse, Status>>;

    async fn tunnel(
        &self,
        _: Request<Streaming<TunnelRequest>>,
    ) -> Result<Response<Self::TunnelStream>, Status> {
        Err(Status::unimplemented("a double has no services"))
    }

    type ProvideImageStream = ReceiverStream<Result<ProvideImageResponse, Status>>;

    /// Takes the first answer, and wants no content.
    async fn provide_image(
        &self,
        request: Request<Streaming<ProvideImageRequest>>,
    ) -> Result<Response<Self::ProvideImageStream>, Status> {
        let first = request.into_inner().message().await?;
        self.state().images_heard.extend(first);
        let (_, nothing) = mpsc::channel(1);
        Ok(Response::new(ReceiverStream::new(nothing)))
    }
}
