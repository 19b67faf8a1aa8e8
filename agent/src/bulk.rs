//! Bulk connections: dialled when the control session asks, so that no transfer stalls control. They end with the
//! session that asked for them.

use std::sync::{Arc, Mutex, PoisonError};

use supalove_certs::tls::{NodeChannel, node_client_config};
use supalove_proto::node::v1::node_bulk_service_server::NodeBulkServiceServer;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::dial::dial;
use crate::node::Node;
use crate::service::NodeBulk;

/// The bulk connection of one session.
#[derive(Debug)]
pub struct Bulk {
    node: Arc<Node>,
    session: CancellationToken,
    current: Mutex<Option<Connection>>,
}

#[derive(Debug)]
struct Connection {
    began: Instant,
    /// Cancelled to close the connection; also cancelled when the connection has ended.
    stop: CancellationToken,
}

impl Bulk {
    /// No connection yet. All end when `session` is cancelled.
    pub fn new(node: Arc<Node>, session: CancellationToken) -> Self {
        Self { node, session, current: Mutex::default() }
    }

    /// Dials, unless a connection was opened just now. A controller asks only when it has none, so an older one is
    /// of no use to it and is closed.
    pub fn open(&self) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = current.as_ref() {
            let fresh = connection.began.elapsed() < self.node.times.protocol.dial;
            if fresh && !connection.stop.is_cancelled() {
                return;
            }
            connection.stop.cancel();
        }
        let stop = self.session.child_token();
        *current = Some(Connection { began: Instant::now(), stop: stop.clone() });
        let node = self.node.clone();
        self.node.tasks.connection_until("bulk connection", |_| async move {
            // Also if it panics: the next request then dials again.
            let _end = stop.clone().drop_guard();
            connection(&node, &stop).await;
        });
    }
}

async fn connection(node: &Arc<Node>, stop: &CancellationToken) {
    let identity = node.identity.get();
    let config = match node_client_config(
        &identity.ca_pem,
        &identity.certificate_pem,
        &identity.key_pem,
        NodeChannel::Bulk,
    ) {
        Ok(config) => config,
        Err(error) => return tracing::error!(%error, "bulk connection failed: the identity cannot be used"),
    };
    let address = node.dialled.borrow().clone();
    match dial(&address, config, node.times.protocol.dial).await {
        Ok(dialled) => {
            let liveness = *node.liveness.borrow();
            let routes = Routes::new(NodeBulkServiceServer::new(NodeBulk::new(node.clone())));
            let closed = dialled.serve(&node.tasks, routes, liveness, node.times.shutdown, stop).await;
            tracing::debug!(reason = closed.reason, "bulk connection ended");
        }
        Err(error) => tracing::warn!(%error, "bulk connection failed"),
    }
}
