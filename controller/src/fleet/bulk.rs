//! Bulk connections: logs and tunnels, apart from control. Dialled by the agent when asked, one per node, kept while it lives.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use supalove_certs::NodeIdentity;
use supalove_proto::node::v1::{OpenBulkRequest, node_bulk_service_client::NodeBulkServiceClient};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tonic::transport::Channel;

use super::{Fleet, MAX_MESSAGE_BYTES, channel};
use crate::{
    error::{Error, Result},
    ids::NodeId,
};

/// A gRPC client of an agent's bulk service.
pub type BulkClient = NodeBulkServiceClient<Channel>;

/// By node: the newest bulk channel, and whoever waits for it.
#[derive(Debug, Default)]
pub struct BulkConnections(Mutex<HashMap<NodeId, watch::Sender<Option<Channel>>>>);

impl BulkConnections {
    fn subscribe(&self, node: NodeId) -> watch::Receiver<Option<Channel>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(node).or_insert_with(|| watch::Sender::new(None)).subscribe()
    }

    fn publish(&self, node: NodeId, channel: Option<Channel>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(node).or_insert_with(|| watch::Sender::new(None)).send_replace(channel);
    }
}

impl Fleet {
    /// Takes a bulk connection that an agent dialled.
    pub async fn serve_bulk<IO>(&self, identity: NodeIdentity, io: IO)
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let node = NodeId(identity.node_id);
        match channel::over(io, &self.0.times).await {
            Ok(channel) => self.0.bulk.publish(node, Some(channel)),
            Err(error) => tracing::warn!(%node, %error, "a bulk connection failed"),
        }
    }

    /// The bulk service of a connected node; asks the agent to dial if there is no live connection.
    pub async fn bulk(&self, node: NodeId) -> Result<BulkClient> {
        let mut session = self.session(node)?;
        let mut connection = self.0.bulk.subscribe(node);
        let current = connection.borrow_and_update().clone();
        if let Some(channel) = current
            && alive(&channel).await
        {
            return Ok(client(channel));
        }
        self.0.bulk.publish(node, None);
        connection.mark_unchanged();
        let dialled = async {
            session.client.open_bulk(OpenBulkRequest {}).await.map_err(Error::internal)?;
            let channel = connection.wait_for(Option::is_some).await.map_err(Error::internal)?.clone();
            channel.ok_or(Error::Aborted("the bulk connection was closed"))
        };
        let channel = tokio::time::timeout(self.0.times.agent_call, dialled).await.map_err(|_| {
            Error::Unavailable {
                message: format!("node {node} did not open a bulk connection in time"),
                retry_after: self.0.times.poll,
            }
        })??;
        Ok(client(channel))
    }
}

fn client(channel: Channel) -> BulkClient {
    NodeBulkServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

/// Whether the connection still stands: a channel whose connection is gone fails to become ready, since the connector
/// refuses a second one.
async fn alive(channel: &Channel) -> bool {
    let mut channel = channel.clone();
    let ready = std::future::poll_fn(|cx| {
        tower::Service::<http::Request<tonic::body::Body>>::poll_ready(&mut channel, cx)
    });
    ready.await.is_ok()
}
