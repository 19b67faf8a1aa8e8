//! Live agents: the sessions this replica holds.
//!
//! In comes an authenticated connection that an agent dialled; out goes a [`Session`] to whoever reconciles its projects.
//! The HTTP/2 roles are swapped: this side is the gRPC client. The newest session of a node wins.

mod bulk;
mod channel;
mod heard;
mod port;
mod store;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::BoxFuture;
use sqlx::PgPool;
use supalove_certs::NodeIdentity;
use supalove_failpoints::failpoint;
use supalove_proto::{
    EPOCH_KEY, NODE_PROTOCOL,
    node::v1::{HelloRequest, HelloResponse, node_agent_service_client::NodeAgentServiceClient},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use self::heard::Heard;
pub use bulk::BulkClient;
pub use port::serve_node_port;

use crate::{
    clusters::{self, hello_values},
    error::{Error, Result, chain},
    ids::{ControllerId, NodeId},
    times::Times,
};

/// A gRPC client of an agent; every call carries the session's epoch.
pub type AgentClient = NodeAgentServiceClient<InterceptedService<Channel, Epoch>>;

/// Largest message either side takes: a stack with its configuration.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

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
    /// Whose.
    pub node: NodeId,
    /// Number of the session, from the database.
    pub epoch: i64,
    /// Calls the agent.
    pub client: AgentClient,
    /// When the agent was last heard.
    heard: Heard,
    /// Cancelled when a newer session takes over or the controller stops.
    pub ended: CancellationToken,
}

/// Whoever works with sessions. Returns when the session is of no more use.
pub trait SessionHandler: Send + Sync + 'static {
    /// Works with a session until it ends.
    fn run(&self, session: Session) -> BoxFuture<'static, ()>;
}

/// The sessions of this replica.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

struct Inner {
    db: PgPool,
    controller: ControllerId,
    fleet_id: String,
    times: Arc<Times>,
    sessions: Mutex<HashMap<NodeId, Session>>,
    bulk: bulk::BulkConnections,
    handler: Box<dyn SessionHandler>,
    stop: CancellationToken,
}

impl Fleet {
    /// No sessions yet. `stop` ends them all.
    pub fn new(
        db: PgPool,
        controller: ControllerId,
        fleet_id: String,
        times: Arc<Times>,
        handler: Box<dyn SessionHandler>,
        stop: CancellationToken,
    ) -> Self {
        let (sessions, bulk) = (Mutex::default(), bulk::BulkConnections::default());
        Self(Arc::new(Inner { db, controller, fleet_id, times, sessions, bulk, handler, stop }))
    }

    /// The live session of a node.
    pub fn session(&self, node: NodeId) -> Result<Session> {
        self.lock().get(&node).cloned().ok_or_else(|| Error::Unavailable {
            message: format!("node {node} is not connected"),
            retry_after: self.0.times.poll,
        })
    }

    /// Serves a control connection until it ends.
    pub async fn serve_control<IO>(&self, identity: NodeIdentity, io: IO)
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let node = NodeId(identity.node_id);
        match self.open_session(node, io).await {
            Ok(session) => {
                let epoch = session.epoch;
                tracing::info!(%node, epoch, "session began");
                self.0.handler.run(session).await;
                self.close_session(node, epoch).await;
                tracing::info!(%node, epoch, "session ended");
            }
            Err(error) => tracing::warn!(%node, error = chain(&error), "no session with the node"),
        }
    }

    async fn open_session<IO>(&self, node: NodeId, io: IO) -> Result<Session>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let times = &self.0.times;
        let heard = Heard::now();
        let channel = channel::over(heard.on(io), times).await.map_err(Error::internal)?;
        let epoch = store::next_epoch(&self.0.db, node, self.0.controller)
            .await?
            .ok_or(Error::NotFound { kind: "node", name: node.to_string() })?;
        failpoint!("controller.session.numbered");
        let metadata = MetadataValue::try_from(epoch.to_string()).map_err(Error::internal)?;
        let mut client = NodeAgentServiceClient::with_interceptor(channel, Epoch(metadata))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let hello = self.hello(&mut client, epoch).await?;
        let values = hello_values(&hello)
            .map_err(|what| Error::internal(format!("the agent's Hello makes no sense: {what}")))?;
        if !clusters::store::save_hello(&self.0.db, node, epoch, &values).await? {
            return Err(Error::Aborted("a newer session of the node has begun"));
        }
        failpoint!("controller.session.greeted");
        let session = Session { node, epoch, client, heard, ended: self.0.stop.child_token() };
        if let Some(older) = self.lock().insert(node, session.clone()) {
            older.ended.cancel();
        }
        Ok(session)
    }

    async fn hello(&self, client: &mut AgentClient, epoch: i64) -> Result<HelloResponse> {
        let times = &self.0.times;
        let millis = |d: std::time::Duration| u32::try_from(d.as_millis()).unwrap_or(u32::MAX);
        let mut request = Request::new(HelloRequest {
            epoch: epoch.unsigned_abs(),
            silent_after_ms: millis(times.silent_after),
            heartbeat_ms: millis(times.heartbeat),
            protocol_min: NODE_PROTOCOL,
            protocol_max: NODE_PROTOCOL,
            fleet_id: self.0.fleet_id.clone(),
            controller_version: env!("CARGO_PKG_VERSION").to_owned(),
        });
        request.set_timeout(times.agent_call);
        let hello = tokio::time::timeout(times.agent_call, client.hello(request))
            .await
            .map_err(|_| Error::internal("the agent did not answer Hello in time"))?
            .map_err(Error::internal)?
            .into_inner();
        if hello.protocol_min > NODE_PROTOCOL || hello.protocol_max < NODE_PROTOCOL {
            return Err(Error::internal(format!(
                "the agent speaks protocol {} to {}, this controller {NODE_PROTOCOL}",
                hello.protocol_min, hello.protocol_max
            )));
        }
        Ok(hello)
    }

    async fn close_session(&self, node: NodeId, epoch: i64) {
        {
            let mut sessions = self.lock();
            if sessions.get(&node).is_some_and(|live| live.epoch == epoch) {
                sessions.remove(&node);
            }
        }
        if let Err(error) = store::end_session(&self.0.db, node, self.0.controller, epoch).await {
            tracing::warn!(%node, %error, "the end of a session was not written");
        }
    }

    /// Writes `seen_at` of all live sessions every few seconds: one statement for the whole replica.
    pub async fn flush_seen(&self) {
        let mut tick = tokio::time::interval(self.0.times.seen_flush);
        while self.0.stop.run_until_cancelled(tick.tick()).await.is_some() {
            let heard =
                self.lock().values().map(|live| (live.node.0, live.heard.ago().as_secs_f64())).unzip();
            if let Err(error) = store::seen(&self.0.db, self.0.controller, heard).await {
                tracing::warn!(%error, "signs of life were not written");
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<NodeId, Session>> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
