//! Bulk connections: logs and tunnels, apart from control. The agent dials one per node when asked, and callers share
//! it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use supalove_net::{Observed, OneStream};
use supalove_proto::{
    node::v1::{OpenBulkRequest, node_bulk_service_client::NodeBulkServiceClient},
    v1::ErrorReason,
};
use supalove_spec::limits::MESSAGE_BYTES;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, transport::Channel};

use super::{Fleet, ORIGIN, Session, pings};
use supalove_core::{
    error::{Error, Result},
    ids::NodeId,
};

/// A gRPC client of an agent's bulk service.
pub type BulkClient = NodeBulkServiceClient<Channel>;

/// A bulk connection; cancelling the token closes it, even while callers hold the channel.
type Connection = (OneStream, CancellationToken);

/// By node: the newest bulk connection, and the callers that wait for it.
#[derive(Debug, Default)]
pub struct BulkConnections(Mutex<HashMap<NodeId, watch::Sender<Option<Connection>>>>);

impl BulkConnections {
    fn subscribe(&self, node: NodeId) -> watch::Receiver<Option<Connection>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(node).or_insert_with(|| watch::Sender::new(None)).subscribe()
    }

    /// Publishes a connection and closes the previous one: an agent dials a second one only if the first is unusable.
    fn publish(&self, node: NodeId, connection: Option<Connection>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.entry(node).or_insert_with(|| watch::Sender::new(None)).send_replace(connection);
        if let Some((_, cut)) = before {
            cut.cancel();
        }
    }

    /// Nodes that have a live connection.
    pub fn connected(&self) -> Vec<NodeId> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_live = |connection: &Option<Connection>| {
            connection.as_ref().is_some_and(|(stream, _)| stream.is_alive())
        };
        all.iter().filter(|(_, sender)| is_live(&sender.borrow())).map(|(node, _)| *node).collect()
    }

    /// Closes a node's connection.
    pub fn cut(&self, node: NodeId) {
        self.publish(node, None);
    }
}

impl Fleet {
    /// Serves a bulk connection that an agent dialled. Refuses it without a session on this replica: nobody has asked
    /// for it, and nobody has checked whether the node is revoked.
    pub async fn serve_bulk<IO>(&self, node: NodeId, io: IO)
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Ok(session) = self.session(node) else {
            return tracing::warn!(%node, "bulk connection refused: the node has no session here");
        };
        let cut = session.cut.child_token();
        match OneStream::open(Observed::new(io).cut_by(cut.clone()), ORIGIN, Some(pings(&self.0.core.times)))
            .await
        {
            Ok(stream) => self.publish_bulk(&session, stream, cut),
            Err(error) => tracing::warn!(%node, %error, "bulk connection failed"),
        }
    }

    /// Publishes a bulk connection unless its session has ended meanwhile, because the end of a session closes it.
    fn publish_bulk(&self, session: &Session, stream: OneStream, cut: CancellationToken) {
        let sessions = self.lock();
        if sessions.get(&session.node).is_some_and(|live| live.epoch == session.epoch) {
            self.0.bulk.publish(session.node, Some((stream, cut)));
        } else {
            cut.cancel();
        }
    }

    /// Returns the bulk service of a connected node; asks the agent to dial if there is no live connection.
    pub async fn bulk(&self, node: NodeId) -> Result<BulkClient> {
        let mut session = self.session(node)?;
        let mut connection = self.0.bulk.subscribe(node);
        let current = connection.borrow_and_update().clone();
        if let Some((stream, _)) = current
            && stream.is_alive()
        {
            return Ok(client(stream.channel));
        }
        let not_opened = |status: &Status| match status.code() {
            Code::Unimplemented => Error::FailedPrecondition {
                reason: ErrorReason::AgentTooOld,
                message: format!(
                    "the agent of node {node} is too old for logs and tunnels; ask the operator to install the newest agent on \
                     its host"
                ),
            },
            _ => Error::Unavailable {
                message: format!("node {node} opened no bulk connection: {}", status.message()),
                retry_after: self.0.core.times.poll,
            },
        };
        self.0.bulk.publish(node, None);
        connection.mark_unchanged();
        let dialled = async {
            let asked = session.client.open_bulk(OpenBulkRequest {}).await;
            asked.map_err(|status| not_opened(&status))?;
            let connection = connection.wait_for(Option::is_some).await.map_err(Error::internal)?.clone();
            connection
                .map(|(stream, _)| stream.channel)
                .ok_or(Error::Aborted("the bulk connection was closed"))
        };
        let channel = tokio::time::timeout(self.0.core.times.agent_call, dialled).await.map_err(|_| {
            Error::Unavailable {
                message: format!("node {node} did not open a bulk connection in time"),
                retry_after: self.0.core.times.poll,
            }
        })??;
        Ok(client(channel))
    }
}

fn client(channel: Channel) -> BulkClient {
    NodeBulkServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES)
}
