//! The node port: accepts connections, and by their ALPN makes them control sessions, bulk connections or enrolments.

use std::{net::SocketAddr, sync::Arc};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use supalove_certs::tls::{Accepted, NodePortTls};
use supalove_proto::node::v1::enrollment_service_server::EnrollmentServiceServer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::Fleet;
use crate::{clusters::enrolment::EnrolmentApi, times::Times};

/// Handshakes and enrolments at the same time; more wait in the listen queue.
const UNAUTHENTICATED: usize = 256;

/// Serves the node port until `stop`.
pub async fn serve_node_port(
    listener: TcpListener,
    tls: NodePortTls,
    fleet: Fleet,
    enrolment: EnrolmentApi,
    times: Arc<Times>,
    stop: CancellationToken,
) {
    let tls = Arc::new(tls);
    let admission = Arc::new(Semaphore::new(UNAUTHENTICATED));
    loop {
        let Ok(permit) = admission.clone().acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: let some connections end.
                tracing::warn!(%error, "accept failed on the node port");
                tokio::time::sleep(times.poll).await;
                continue;
            }
        };
        let (tls, fleet, enrolment, times) = (tls.clone(), fleet.clone(), enrolment.clone(), times.clone());
        tokio::spawn(async move {
            let Some(accepted) = handshake(&tls, stream, peer).await else {
                return;
            };
            match accepted {
                Accepted::Node(identity, io) => {
                    drop(permit);
                    fleet.serve_control(identity, io).await;
                }
                Accepted::Bulk(identity, io) => {
                    drop(permit);
                    fleet.serve_bulk(identity, io).await;
                }
                Accepted::Join(io) => serve_join(io, enrolment, &times).await,
            }
        });
    }
}

async fn handshake(tls: &NodePortTls, stream: TcpStream, peer: SocketAddr) -> Option<Accepted<TcpStream>> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "no TCP_NODELAY");
    }
    match tls.accept(stream).await {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!(%peer, error = crate::error::chain(&error), "a connection to the node port was refused");
            None
        }
    }
}

async fn serve_join<IO>(io: IO, enrolment: EnrolmentApi, times: &Times)
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = EnrollmentServiceServer::new(enrolment).max_decoding_message_size(64 * 1024);
    let router = Routes::new(service).prepare().into_axum_router();
    let builder = auto::Builder::new(TokioExecutor::new()).http2_only();
    let serving = builder.serve_connection(TokioIo::new(io), TowerToHyperService::new(router));
    match tokio::time::timeout(times.enrolment, serving).await {
        Ok(Err(error)) => tracing::debug!(error, "a join connection ended"),
        Ok(Ok(())) => {}
        Err(_) => tracing::debug!("a join connection took too long"),
    }
}
