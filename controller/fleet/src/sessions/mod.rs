//! The sessions of connected agents on this replica.
//!
//! Input: an authenticated connection that an agent dialled. Output: a [`Session`] for the [`SessionHandler`]s.
//! The HTTP/2 roles are swapped: this side is the gRPC client. The newest session of a node wins.

mod bulk;
pub mod consistency;
mod dismissal;
mod known;
mod port;
mod store;
mod tunnel;

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use supalove_certs::{CaFingerprint, NodeIdentity};
use supalove_failpoints::failpoint;
use supalove_proto::{
    EPOCH_KEY, NODE_PROTOCOL,
    node::v1::{
        HelloRequest, HelloResponse, SetTrustRequest, Trust,
        node_agent_service_client::NodeAgentServiceClient, node_usage_service_client::NodeUsageServiceClient,
    },
    v1::ErrorReason,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

pub use bulk::BulkClient;
pub use port::NodePort;

use self::{dismissal::Dismissal, store::SessionStart};
use crate::{
    certificates::{Pki, Roots},
    clusters::{self, HelloValues, hello_values, named_roots},
    downloads::Downloads,
};
use supalove_core::{
    Core, SystemWrite,
    error::{Error, Result, chain},
    hints::Hint,
    ids::{ClusterId, NodeId},
    mutation::Mutation,
    restores::{self, Claim},
    times::Times,
};
use supalove_net::{
    LastHeard, Observed, OneStream, Pings,
    status::{metadata, reason},
};
use supalove_spec::limits::MESSAGE_BYTES;

/// A gRPC client of an agent; every call carries the session's epoch.
pub type AgentClient = NodeAgentServiceClient<InterceptedService<Channel, Epoch>>;

/// A gRPC client of what an agent reports of its projects' usage, under the same epoch.
pub type UsageClient = NodeUsageServiceClient<InterceptedService<Channel, Epoch>>;

/// Largest batch of usage: more than an agent sends, whose largest record has 1 MiB. What is in it takes many times that.
const USAGE_BYTES: usize = 3 * 512 * 1024;

/// Adds the epoch to calls.
#[derive(Debug, Clone)]
pub struct Epoch(MetadataValue<Ascii>);

impl Interceptor for Epoch {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(EPOCH_KEY, self.0.clone());
        Ok(request)
    }
}

/// One live connection of an agent.
#[derive(Debug, Clone)]
pub struct Session {
    pub node: NodeId,
    /// Epoch of the session, from the database.
    pub epoch: i64,
    /// Client of the agent.
    pub client: AgentClient,
    /// When a frame last came from the agent.
    heard: LastHeard,
    /// Cancelled when a newer session takes over, the operator revokes the node, or the controller stops.
    pub ended: CancellationToken,
    /// Run id of the agent.
    run_id: String,
    /// Boot id of its host.
    boot_id: String,
    /// Root that signed the certificate of the connection.
    issuer: Option<CaFingerprint>,
    channel: Channel,
    cut: CancellationToken,
}

impl Session {
    /// Returns a client of the agent's usage service, on the same connection.
    pub fn usage(&self) -> UsageClient {
        NodeUsageServiceClient::with_interceptor(self.channel.clone(), Epoch(MetadataValue::from(self.epoch)))
            .max_decoding_message_size(USAGE_BYTES)
    }
}

/// The peer of a connection, from its certificate.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    pub identity: NodeIdentity,
    /// Root that signed the certificate.
    pub issuer: Option<CaFingerprint>,
    /// Address from which it dialled.
    pub address: IpAddr,
}

/// Uses sessions, for example to reconcile a node's projects.
pub trait SessionHandler: Send + Sync + 'static {
    /// Stores a node's response to Hello; an error refuses the session. Default: nothing.
    fn greet<'a>(
        &'a self,
        _write: &'a mut SystemWrite,
        _node: NodeId,
        _hello: &'a HelloValues,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    /// Uses a session. Returns when the session has ended or failed.
    fn run(&self, session: Session) -> BoxFuture<'static, ()>;

    /// Recomputes what projects may reserve on the nodes of a cluster whose factors or reserve have changed. Returns the names of
    /// nodes on which they reserve more than that. Default: none, for handlers that reserve nothing.
    fn recompute<'a>(
        &'a self,
        _write: &'a mut Mutation,
        _cluster: ClusterId,
    ) -> BoxFuture<'a, Result<Vec<String>>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// The sessions of this replica.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

struct Inner {
    core: Core,
    pki: Pki,
    downloads: Downloads,
    sessions: Mutex<HashMap<NodeId, Session>>,
    bulk: bulk::BulkConnections,
    handlers: OnceLock<Vec<Arc<dyn SessionHandler>>>,
    /// Sessions that the handlers work on.
    worked: Mutex<BTreeSet<(NodeId, i64)>>,
    /// Nodes of the fleet, as of the last flush.
    nodes: AtomicU32,
    /// The last heartbeat of this replica that the database has confirmed.
    heartbeat: Mutex<Option<DateTime<Utc>>>,
}

impl Fleet {
    pub fn new(core: Core, pki: Pki, downloads: Downloads) -> Self {
        Self(Arc::new(Inner {
            core,
            pki,
            downloads,
            sessions: Mutex::default(),
            bulk: bulk::BulkConnections::default(),
            handlers: OnceLock::new(),
            worked: Mutex::default(),
            nodes: AtomicU32::new(0),
            heartbeat: Mutex::default(),
        }))
    }

    /// The shared parts of all rooms, for sessions.
    pub fn core(&self) -> &Core {
        &self.0.core
    }

    pub fn pki(&self) -> &Pki {
        &self.0.pki
    }

    /// What hosts without an agent get.
    pub fn downloads(&self) -> &Downloads {
        &self.0.downloads
    }

    /// Sets the handlers of sessions. Call it once, before the node port opens.
    pub fn handle_sessions(&self, handlers: Vec<Arc<dyn SessionHandler>>) {
        let first = self.0.handlers.set(handlers).is_ok();
        assert!(first, "session handlers were set twice");
    }

    /// Returns a client of a node's agent, on the control connection.
    ///
    /// Reaches nodes that have their session on this replica; fails for other nodes, until replicas can call each other
    /// (`supalove-peer/1`).
    pub fn agent(&self, node: NodeId) -> Result<AgentClient> {
        Ok(self.session(node)?.client)
    }

    /// Returns the live session of a node on this replica.
    pub fn session(&self, node: NodeId) -> Result<Session> {
        self.lock().get(&node).cloned().ok_or_else(|| Error::Unavailable {
            message: format!("node {node} is not connected"),
            retry_after: self.0.core.times.poll,
        })
    }

    /// Serves a control connection until it ends.
    pub async fn serve_control<IO>(&self, peer: Peer, io: IO)
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let node = NodeId(peer.identity.node_id);
        // Subscribes before Hello, so that no change of the roots is lost.
        let mut roots = self.0.pki.watch();
        match self.open_session(peer, io, &mut roots).await {
            Ok(session) => {
                let epoch = session.epoch;
                let _released = ReleaseOnPanic { fleet: self.clone(), session: session.clone() };
                tracing::info!(%node, epoch, "session began");
                tokio::select! {
                    () = self.work(&session) => {}
                    () = self.keep_trust(session.clone(), roots) => {}
                }
                self.close_session(node, epoch).await;
                tracing::info!(%node, epoch, "session ended");
            }
            Err(error) => {
                tracing::warn!(%node, error = chain(&error), "cannot begin a session with the node");
            }
        }
    }

    async fn open_session<IO>(
        &self,
        peer: Peer,
        io: IO,
        roots: &mut watch::Receiver<Arc<Roots>>,
    ) -> Result<Session>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let node = NodeId(peer.identity.node_id);
        let cut = CancellationToken::new();
        // Closes the connection if it does not become a session.
        let abandoned = cut.clone().drop_guard();
        let heard = LastHeard::now();
        let io = heard.observe(Observed::new(io).cut_by(cut.clone()));
        let channel = OneStream::open(io, ORIGIN, Some(pings(&self.0.core.times)))
            .await
            .map_err(Error::internal)?
            .channel;
        let epoch = self.begin(node, peer.address, &channel).await?;
        failpoint!("controller.session.numbered");
        let metadata = MetadataValue::try_from(epoch.to_string()).map_err(Error::internal)?;
        let mut client = NodeAgentServiceClient::with_interceptor(channel.clone(), Epoch(metadata))
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES);
        let told = roots.borrow_and_update().clone();
        let hello = self.hello(node, &mut client, epoch, told.trust()).await?;
        let values = hello_values(&hello)
            .map_err(|what| Error::internal(format!("the agent's response to Hello is invalid: {what}")))?;
        self.greet(node, epoch, &values).await?;
        failpoint!("controller.session.greeted");
        if !trusts(&values.trusted_ca, &told) {
            // The agent does not have these roots yet: `keep_trust` sends them and retries.
            roots.mark_changed();
        }
        let run_id = hello.agent_run_id;
        let boot_id = hello.boot_id;
        let issuer = peer.issuer;
        let ended = self.0.core.tasks.stopping();
        let session = Session { node, epoch, client, heard, ended, run_id, boot_id, issuer, channel, cut };
        let older = self.hold(&session)?;
        abandoned.disarm();
        if let Some(older) = older {
            let fleet = self.clone();
            let session = session.clone();
            self.0.core.tasks.connection("goodbye", async move {
                fleet.supersede(older, &session.run_id, &session.boot_id).await;
            });
        }
        Ok(session)
    }

    /// Stores the agent's response to Hello, in one transaction with the handlers' writes.
    async fn greet(&self, node: NodeId, epoch: i64, hello: &HelloValues) -> Result<()> {
        let mut write = self.0.core.system_write(node.to_string());
        if !clusters::store::save_hello(&mut write, node, epoch, hello).await? {
            return Err(Error::Aborted("a newer session of the node has begun"));
        }
        for handler in self.handlers() {
            handler.greet(&mut write, node, hello).await?;
        }
        // A session on another replica must end, and pending projects may fit on this node.
        write.commit([Hint::Sessions, Hint::Capacity, Hint::Node(node)]).await
    }

    /// See [`SessionHandler::recompute`].
    pub async fn recompute(&self, write: &mut Mutation, cluster: ClusterId) -> Result<Vec<String>> {
        let mut overfull = Vec::new();
        for handler in self.handlers() {
            overfull.extend(handler.recompute(write, cluster).await?);
        }
        Ok(overfull)
    }

    fn handlers(&self) -> &[Arc<dyn SessionHandler>] {
        self.0.handlers.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// Makes the session visible to callers. Returns the session that it replaces; an error if there is a newer one.
    fn hold(&self, session: &Session) -> Result<Option<Session>> {
        let mut sessions = self.lock();
        if sessions.get(&session.node).is_some_and(|held| held.epoch > session.epoch) {
            return Err(Error::Aborted("a newer session of the node has begun"));
        }
        let older = sessions.insert(session.node, session.clone());
        if let Some(older) = &older {
            self.0.bulk.cut(session.node);
            older.ended.cancel();
        }
        Ok(older)
    }

    /// Returns the session's epoch. If the node gets none, tells the agent why.
    /// Addresses from which the nodes of the fleet opened their newest sessions.
    pub(crate) async fn dialled_from(&self) -> Result<Vec<IpAddr>> {
        store::dialled_from(&self.0.core.db).await
    }

    async fn begin(&self, node: NodeId, address: IpAddr, channel: &Channel) -> Result<i64> {
        let times = &self.0.core.times;
        let mut write = self.0.core.system_write(node.to_string());
        let start = store::begin(&mut write, node, address, self.0.core.controller, times).await?;
        write.commit([]).await?;
        let (dismissal, error) = match start {
            SessionStart::Epoch(epoch) => return Ok(epoch),
            SessionStart::Unknown => return Err(Error::NotFound { kind: "node", name: node.to_string() }),
            SessionStart::Revoked => (Dismissal::revoked(times), "the node was revoked"),
            SessionStart::Held(left) => (
                Dismissal::duplicate(left),
                "two agents use the identity, and the controller serves the other one",
            ),
        };
        dismissal::tell(channel.clone(), &dismissal, times).await;
        Err(Error::Refused(error))
    }

    /// Pushes root changes to the agent while its session lasts, and retries until it confirms. Never returns.
    async fn keep_trust(&self, session: Session, mut roots: watch::Receiver<Arc<Roots>>) {
        while roots.changed().await.is_ok() {
            let mut pause = self.0.core.times.poll;
            while !self.tell_trust(&session, &mut roots).await {
                tracing::warn!(node = %session.node, ?pause, "agent did not confirm the fleet's roots; trying again");
                // A new change of the roots ends the pause.
                let _ = tokio::time::timeout(pause, roots.changed()).await;
                pause = (pause * 2).min(self.0.core.times.inventory);
            }
        }
        std::future::pending::<()>().await;
    }

    /// Sends the current roots to the agent; true if nothing is to be done until they change.
    async fn tell_trust(&self, session: &Session, roots: &mut watch::Receiver<Arc<Roots>>) -> bool {
        let told = roots.borrow_and_update().clone();
        let mut client = session.client.clone();
        let call = client.set_trust(SetTrustRequest { trust: Some(told.trust()) });
        let known = match tokio::time::timeout(self.0.core.times.agent_call, call).await {
            Ok(Ok(answer)) => named_roots(&answer.into_inner().trusted_ca_sha256),
            // An old agent trusts one root for good.
            Ok(Err(status)) if status.code() == Code::Unimplemented => return true,
            _ => return false,
        };
        let node = session.node;
        let epoch = session.epoch;
        if let Err(error) = self.save_trusted(node, epoch, &known).await {
            tracing::warn!(%node, error = chain(&error), "cannot record which roots a node trusts");
            return false;
        }
        trusts(&known, &told)
    }

    async fn save_trusted(&self, node: NodeId, epoch: i64, known: &[String]) -> Result<()> {
        let mut write = self.0.core.system_write(node.to_string());
        clusters::store::save_trusted(&mut write, node, epoch, known).await?;
        write.commit([]).await
    }

    async fn hello(
        &self,
        node: NodeId,
        client: &mut AgentClient,
        epoch: i64,
        trust: Trust,
    ) -> Result<HelloResponse> {
        let times = &self.0.core.times;
        let millis = |d: std::time::Duration| u32::try_from(d.as_millis()).unwrap_or(u32::MAX);
        let mut request = Request::new(HelloRequest {
            epoch: epoch.unsigned_abs(),
            silent_after_ms: millis(times.silent_after),
            heartbeat_ms: millis(times.heartbeat),
            protocol_min: NODE_PROTOCOL,
            protocol_max: NODE_PROTOCOL,
            fleet_id: self.0.core.fleet_id.clone(),
            controller_version: env!("CARGO_PKG_VERSION").to_owned(),
            trust: Some(trust),
            repeat_digests_ms: millis(times.repeat_digests),
            reconnect_spread_ms: millis(self.reconnect_spread()),
            incarnation: restores::incarnation(&self.0.core.db).await?.to_string(),
        });
        request.set_timeout(times.agent_call);
        let hello = match tokio::time::timeout(times.agent_call, client.hello(request)).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => {
                self.raise_epoch(node, &status).await?;
                return Err(Error::internal(status));
            }
            Err(_) => return Err(Error::internal("the agent did not answer Hello in time")),
        };
        if hello.protocol_min > NODE_PROTOCOL || hello.protocol_max < NODE_PROTOCOL {
            return Err(Error::internal(format!(
                "the agent speaks protocol {} to {}, this controller {NODE_PROTOCOL}",
                hello.protocol_min, hello.protocol_max
            )));
        }
        Ok(hello)
    }

    /// An agent that has seen a newer epoch than the database has ever given shows that the database was restored from a backup.
    /// The next session has a newer epoch than that.
    async fn raise_epoch(&self, node: NodeId, refused: &Status) -> Result<()> {
        let newest = metadata(refused, "newest_epoch").and_then(|text| text.parse::<i64>().ok());
        let Some(newest) =
            newest.filter(|_| reason(refused).as_deref() == Some(ErrorReason::StaleEpoch.text()))
        else {
            return Ok(());
        };
        let mut write = self.0.core.system_write(node.to_string());
        if store::raise_epoch(&mut write, node, newest).await? {
            let detail =
                format!("the agent of node {node} has seen epoch {newest}, which the database never gave");
            restores::note_claim(&mut write, Claim { node, subject: "epoch", newest }, &detail).await?;
        }
        write.commit([]).await
    }

    /// Over how long agents spread their return after their sessions were lost together: so many nodes come back in a second,
    /// but none so late that it looks silent.
    fn reconnect_spread(&self) -> Duration {
        let nodes = self.0.nodes.load(Ordering::Relaxed);
        Duration::from_secs_f64(f64::from(nodes) / RETURNS_PER_SECOND).min(self.0.core.times.silent_after / 2)
    }

    async fn close_session(&self, node: NodeId, epoch: i64) {
        self.forget(node, epoch);
        if let Err(error) = self.write_end(node, epoch).await {
            tracing::warn!(%node, error = chain(&error), "cannot record the end of a session");
        }
    }

    async fn write_end(&self, node: NodeId, epoch: i64) -> Result<()> {
        let mut write = self.0.core.system_write(node.to_string());
        store::end_session(&mut write, node, self.0.core.controller, epoch).await?;
        write.commit([]).await
    }

    /// Writes the heartbeat of this replica and `seen_at` of all live sessions. If the database has lost an earlier
    /// heartbeat, it has lost other writes, too: all sessions end, because agents tell at their next Hello what they have.
    pub(crate) async fn flush_seen(&self) -> Result<()> {
        let heard =
            self.lock().values().map(|live| (live.node.0, live.heard.silence().as_secs_f64())).unzip();
        let mut write = self.0.core.system_write("fleet.flush_seen");
        let heartbeats = store::seen(&mut write, &self.0.core, heard).await?;
        let nodes = store::count(&mut write).await?;
        self.0.nodes.store(u32::try_from(nodes).unwrap_or(u32::MAX), Ordering::Relaxed);
        let confirmed = *self.heartbeat();
        let lost = confirmed.filter(|confirmed| heartbeats.lack(*confirmed));
        if let Some(lost) = lost {
            let replica = self.0.core.controller.to_string();
            let detail = format!(
                "the database has lost what it confirmed: the heartbeat of controller {replica} at {}",
                lost.to_rfc3339()
            );
            restores::note_loss(&mut write, &replica, &detail).await?;
        }
        write.commit([]).await?;
        *self.heartbeat() = Some(heartbeats.written);
        if lost.is_some() {
            self.end_all("the control database has lost writes");
        }
        Ok(())
    }

    /// Ends all sessions of this replica; the agents dial again.
    fn end_all(&self, reason: &str) {
        let held: Vec<Session> = self.lock().values().cloned().collect();
        tracing::warn!(reason, sessions = held.len(), "all sessions end, so that agents say Hello again");
        for session in held {
            session.ended.cancel();
        }
    }

    fn heartbeat(&self) -> std::sync::MutexGuard<'_, Option<DateTime<Utc>>> {
        self.0.heartbeat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes sessions of replicas that are gone for good.
    pub(crate) async fn prune(&self) -> Result<()> {
        let mut write = self.0.core.system_write("fleet.prune");
        store::prune(&mut write).await?;
        write.commit([]).await
    }

    /// Runs all handlers on the session; returns when one of them returns.
    async fn work(&self, session: &Session) {
        let _noted = Worked::note(self, session);
        let work = self.handlers().iter().map(|handler| handler.run(session.clone()));
        futures::future::select_all(work.chain([Box::pin(std::future::pending()) as BoxFuture<'_, ()>]))
            .await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<NodeId, Session>> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes a session that is worked on, until it is dropped.
struct Worked {
    fleet: Fleet,
    session: (NodeId, i64),
}

impl Worked {
    fn note(fleet: &Fleet, session: &Session) -> Self {
        let noted = Self { fleet: fleet.clone(), session: (session.node, session.epoch) };
        noted.all().insert(noted.session);
        noted
    }

    fn all(&self) -> std::sync::MutexGuard<'_, BTreeSet<(NodeId, i64)>> {
        self.fleet.0.worked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Worked {
    fn drop(&mut self) {
        self.all().remove(&self.session);
    }
}

/// If the task of a session panics, hides the session from callers and closes the connection, so that the agent
/// redials.
struct ReleaseOnPanic {
    fleet: Fleet,
    session: Session,
}

impl Drop for ReleaseOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.fleet.forget(self.session.node, self.session.epoch);
            self.session.ended.cancel();
            self.session.cut.cancel();
        }
    }
}

/// Sessions that one replica can begin in a second, each with its handshake and some ten statements.
const RETURNS_PER_SECOND: f64 = 250.0;
/// Authority of the calls to an agent; no resolver sees it.
const ORIGIN: &str = "http://node.supalove.internal";

/// Pings that detect a dead peer within heartbeat + ping timeout.
fn pings(times: &Times) -> Pings {
    Pings { every: times.heartbeat, timeout: times.ping_timeout }
}

/// True if an agent that reports these roots has stored the current ones: all of them, and no retired one.
fn trusts(known: &[String], told: &Roots) -> bool {
    let told = told.fingerprints();
    told.len() == known.len() && told.iter().all(|root| known.contains(&root.to_string()))
}
