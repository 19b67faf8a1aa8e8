//! The node port: accepts connections and by their ALPN serves control sessions, bulk connections, enrolments or
//! renewals.

use std::{net::SocketAddr, sync::Arc};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use supalove_certs::tls::{Accepted, NodePortTls};
use supalove_proto::node::v1::{
    enrollment_service_server::EnrollmentServiceServer, renewal_service_server::RenewalServiceServer,
};
use supalove_spec::limits::SHORT_MESSAGE_BYTES;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tonic::service::Routes;

use super::{Fleet, Peer};
use crate::clusters::enrolment::EnrolmentApi;
use supalove_core::ids::NodeId;

/// Maximum number of concurrent handshakes and enrolments; more wait in the listen queue.
const UNAUTHENTICATED: usize = 256;

/// The node port, and the services behind it.
#[derive(Clone)]
pub struct NodePort {
    /// Control and bulk connections.
    pub fleet: Fleet,
    /// Join, recovery and renewal.
    pub enrolment: EnrolmentApi,
}

impl NodePort {
    /// Serves until the controller stops.
    pub async fn serve(self, listener: TcpListener) {
        let admission = Arc::new(Semaphore::new(UNAUTHENTICATED));
        loop {
            let Ok(permit) = admission.clone().acquire_owned().await else {
                return;
            };
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Probably out of file descriptors: wait until some connections have closed.
                    tracing::warn!(%error, "node port cannot accept a connection");
                    tokio::time::sleep(self.fleet.core().times.poll).await;
                    continue;
                }
            };
            let port = self.clone();
            let name = format!("connection of {peer}");
            self.fleet
                .core()
                .tasks
                .connection(name, async move { port.connection(stream, peer, permit).await });
        }
    }

    /// Serves a connection. It holds `permit` until the peer is authenticated; short connections hold it to their end.
    async fn connection(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let tls = self.fleet.pki().tls();
        let Some(accepted) = handshake(&tls, stream, peer).await else {
            return;
        };
        match accepted {
            Accepted::Node(identity, io) => {
                drop(permit);
                let peer = Peer { identity, issuer: tls.issuer(&io) };
                self.fleet.serve_control(peer, io).await;
            }
            Accepted::Bulk(identity, io) => {
                drop(permit);
                self.fleet.serve_bulk(NodeId(identity.node_id), io).await;
            }
            Accepted::Renew(identity, io) => {
                let service = RenewalServiceServer::new(self.enrolment.renewal_of(identity));
                self.serve_short(io, Routes::new(service.max_decoding_message_size(SHORT_MESSAGE_BYTES)))
                    .await;
            }
            Accepted::Join(io) => {
                let service = EnrollmentServiceServer::new(self.enrolment.clone());
                self.serve_short(io, Routes::new(service.max_decoding_message_size(SHORT_MESSAGE_BYTES)))
                    .await;
            }
        }
    }

    /// Serves a connection for one or two calls; on it the controller is the gRPC server.
    async fn serve_short<IO>(&self, io: IO, routes: Routes)
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let service = TowerToHyperService::new(routes.prepare().into_axum_router());
        let builder = auto::Builder::new(TokioExecutor::new()).http2_only();
        let serving = builder.serve_connection(TokioIo::new(io), service);
        match tokio::time::timeout(self.fleet.core().times.enrolment, serving).await {
            Ok(Err(error)) => tracing::debug!(error, "a join connection ended"),
            Ok(Ok(())) => {}
            Err(_) => tracing::debug!("a join connection took too long"),
        }
    }
}

async fn handshake(tls: &NodePortTls, stream: TcpStream, peer: SocketAddr) -> Option<Accepted<TcpStream>> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    match tls.accept(stream).await {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!(%peer, error = supalove_core::error::chain(&error), "node port refused a connection");
            None
        }
    }
}
