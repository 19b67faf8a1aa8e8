//! The node port: accepts connections and by their ALPN serves control sessions, bulk connections, enrolments, renewals or
//! downloads of the agent.
//!
//! Strangers and nodes have budgets of their own, and nothing waits for room: what is above a limit is closed at once, so
//! that an agent dials again soon. A connection takes a part of `hellos` until its hello is read, then one of `joins`, of
//! `downloads` or of `node_handshakes`, and once its certificate is verified one of its own node. Addresses from which a node has dialled have a
//! part of both that nobody else can take.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hyper::{Request, body::Incoming};
use supalove_certs::tls::{AcceptError, Accepted, NodePortTls, Purpose, ServerTlsStream};
use supalove_net::{
    Observed, Pings,
    allowance::{Allowance, Full, Taken, network},
    serve::{self, Connection, Ended, Http},
};
use supalove_proto::node::v1::{
    enrollment_service_server::EnrollmentServiceServer, renewal_service_server::RenewalServiceServer,
};
use supalove_spec::limits::SHORT_MESSAGE_BYTES;
use tokio::net::{TcpListener, TcpStream};
use tonic::service::Routes;
use tower::ServiceExt as _;

use super::{
    Fleet, Peer,
    known::{KnownAddresses, Shared},
};
use crate::clusters::enrolment::EnrolmentApi;
use supalove_core::{ids::NodeId, limits::Limits};

/// Pause after a failed accept: most likely descriptors are short, and some connection will close.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Bytes of a request on a join or renewal connection that may be buffered unread.
const WINDOW: u32 = 64 * 1024;

/// The node port, and the services behind it.
#[derive(Clone)]
pub struct NodePort {
    /// Control and bulk connections.
    pub fleet: Fleet,
    /// Join, recovery and renewal.
    pub enrolment: EnrolmentApi,
    admission: Arc<Admission>,
}

/// What is open, by what is known of the peer.
struct Admission {
    /// Addresses from which nodes have dialled.
    known: KnownAddresses,
    /// Nothing is known yet but the address.
    hellos: Shared,
    /// Handshakes and calls of peers without a certificate.
    joins: Allowance<IpAddr>,
    /// Handshakes and downloads of peers without a certificate.
    downloads: Allowance<IpAddr>,
    /// Handshakes of peers that say that they are nodes.
    handshakes: Shared,
    /// Connections of nodes.
    nodes: Allowance<NodeId>,
}

impl Admission {
    fn new(limits: &Limits) -> Self {
        Self {
            known: KnownAddresses::new(limits.known_addresses),
            hellos: Shared::new(limits.hellos, limits.hellos_of_known, limits.hellos_per_address),
            joins: Allowance::new(limits.joins, limits.joins_per_address),
            downloads: Allowance::new(limits.downloads, limits.downloads_per_address),
            handshakes: Shared::new(
                limits.node_handshakes,
                limits.node_handshakes_of_known,
                limits.node_handshakes_per_address,
            ),
            nodes: Allowance::new(limits.node_connections, limits.connections_per_node),
        }
    }
}

/// Why a connection is closed.
enum Refused {
    /// A limit is reached: this kind of connection, and which limit.
    Full(&'static str),
    /// The peer itself is the reason.
    Peer(AcceptError),
}

impl NodePort {
    /// For these services, with the limits of the core. In: addresses from which nodes dialled before this replica started.
    pub fn new(fleet: Fleet, enrolment: EnrolmentApi, dialled_from: Vec<IpAddr>) -> Self {
        let admission = Arc::new(Admission::new(&fleet.core().limits));
        for address in dialled_from {
            admission.known.add(network(address));
        }
        Self { fleet, enrolment, admission }
    }

    /// Serves until the controller stops.
    pub async fn serve(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.accept(stream, peer),
                Err(error) => {
                    self.fleet.core().refusals.note("connection to the node port: cannot accept", error);
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }

    fn accept(&self, stream: TcpStream, peer: SocketAddr) {
        let core = self.fleet.core();
        let admission = &self.admission;
        let counts = match admission.hellos.take(network(peer.ip()), &admission.known) {
            Ok(counts) => counts,
            Err(Full::All(_)) => {
                return core.refusals.note("connection to the node port: too many hellos", peer);
            }
            Err(Full::Key(_)) => {
                return core
                    .refusals
                    .note("connection to the node port: too many hellos from one address", peer);
            }
        };
        let port = self.clone();
        core.tasks.connection(format!("connection of {peer}"), async move {
            match Box::pin(port.connection(stream, peer, counts)).await {
                Ok(()) => {}
                Err(Refused::Full(kind)) => port.fleet.core().refusals.note(kind, peer),
                Err(Refused::Peer(error)) => {
                    let error = supalove_core::error::chain(&error);
                    // Each refused peer is counted; its reason is of use to whoever looks for that one peer.
                    tracing::debug!(%peer, error, "node port refused a connection");
                    let newest = format!("{peer}: {error}");
                    port.fleet
                        .core()
                        .refusals
                        .note("connection to the node port: no agent of this fleet", newest);
                }
            }
        });
    }

    async fn connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        hello: Taken<IpAddr>,
    ) -> Result<(), Refused> {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
        }
        let tls = self.fleet.pki().tls();
        let greeted = tls.hello(stream, self.fleet.core().limits.hello).await.map_err(Refused::Peer)?;
        let admission = &self.admission;
        let address = network(peer.ip());
        let handshake = match greeted.purpose() {
            Purpose::Join => admission.joins.take(address, 1).map_err(|full| full_of(full, JOINS))?,
            Purpose::Download => {
                admission.downloads.take(address, 1).map_err(|full| full_of(full, DOWNLOADS))?
            }
            Purpose::Node | Purpose::Bulk | Purpose::Renew => admission
                .handshakes
                .take(address, &admission.known)
                .map_err(|full| full_of(full, HANDSHAKES))?,
        };
        drop(hello);
        let accepted = greeted.handshake().await.map_err(Refused::Peer)?;
        Box::pin(self.serve_accepted(&tls, accepted, handshake, peer.ip())).await
    }

    /// Serves a connection after its handshake. A join connection counts as a join and a download as a download to its end, any
    /// other as one of its node.
    async fn serve_accepted(
        &self,
        tls: &NodePortTls,
        accepted: Accepted<TcpStream>,
        handshake: Taken<IpAddr>,
        address: IpAddr,
    ) -> Result<(), Refused> {
        let identity = match &accepted {
            Accepted::Join(_) | Accepted::Download(_) => None,
            Accepted::Node(identity, _) | Accepted::Bulk(identity, _) | Accepted::Renew(identity, _) => {
                Some(*identity)
            }
        };
        let of_node = match identity {
            None => None,
            Some(identity) => {
                let node = NodeId(identity.node_id);
                self.admission.known.add(network(address));
                Some(self.admission.nodes.take(node, 1).map_err(|full| full_of(full, NODES))?)
            }
        };
        // What a node has taken replaces what it took as a stranger.
        let handshake = if of_node.is_some() {
            drop(handshake);
            None
        } else {
            Some(handshake)
        };
        match accepted {
            Accepted::Node(identity, io) => {
                let peer = Peer { identity, issuer: tls.issuer(&io), address };
                self.fleet.serve_control(peer, io).await;
            }
            Accepted::Bulk(identity, io) => {
                // The connection outlives this call, and counts as long as its stream lives.
                let io = Observed::new(io).on_read(move |_| {
                    let _counts = &of_node;
                });
                self.fleet.serve_bulk(NodeId(identity.node_id), io).await;
                return Ok(());
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
            Accepted::Download(io) => self.serve_download(io).await,
        }
        drop(handshake);
        Ok(())
    }

    /// Serves a connection for one GET.
    async fn serve_download(&self, io: ServerTlsStream<TcpStream>) {
        let core = self.fleet.core();
        let downloads = self.fleet.downloads().clone();
        let service = tower::service_fn(move |request: Request<Incoming>| {
            let downloads = downloads.clone();
            async move { Ok::<_, Infallible>(downloads.answer(&request).await) }
        });
        let limits = download_connection(&core.limits);
        let serving = serve::serve(io, service, &limits, &core.tasks, core.tasks.stopping());
        match tokio::time::timeout(core.limits.download, serving).await {
            Ok(Ended::Failed(error)) => tracing::debug!(error, "a download failed"),
            Ok(ended) => tracing::debug!(?ended, "a download ended"),
            Err(_) => tracing::debug!("a download took too long"),
        }
    }

    /// Serves a connection for one or two calls; on it the controller is the gRPC server.
    async fn serve_short(&self, io: ServerTlsStream<TcpStream>, routes: Routes) {
        let core = self.fleet.core();
        let app = routes.prepare().into_axum_router();
        let service = tower::service_fn(move |request: Request<Incoming>| {
            let answer = app.clone().oneshot(request);
            async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
        });
        let limits = short_connection(&core.limits);
        let serving = serve::serve(io, service, &limits, &core.tasks, core.tasks.stopping());
        match tokio::time::timeout(core.times.enrolment, serving).await {
            Ok(Ended::Failed(error)) => tracing::debug!(error, "a join connection failed"),
            Ok(Ended::NoRequest | Ended::Idle | Ended::Unread) => {
                tracing::debug!("a join connection was closed: it had no call in time, or took no response");
            }
            Ok(Ended::Closed) => {}
            Err(_) => tracing::debug!("a join connection took too long"),
        }
    }
}

/// What a connection for one download may cost.
fn download_connection(limits: &Limits) -> Connection {
    Connection {
        http: Http::One,
        take: limits.download_take,
        least: limits.download_least,
        ..short_connection(limits)
    }
}

/// Kinds of refusals: the limit of all, and that of one peer.
type Kinds = [&'static str; 2];

const JOINS: Kinds = [
    "connection to the node port: too many joins",
    "connection to the node port: too many joins from one address",
];
const DOWNLOADS: Kinds = [
    "connection to the node port: too many downloads",
    "connection to the node port: too many downloads from one address",
];
const HANDSHAKES: Kinds = [
    "connection to the node port: too many handshakes",
    "connection to the node port: too many handshakes from one address",
];
const NODES: Kinds =
    ["connection to the node port: too many nodes", "connection to the node port: too many of one node"];

fn full_of(full: Full, [of_all, of_one]: Kinds) -> Refused {
    Refused::Full(match full {
        Full::All(_) => of_all,
        Full::Key(_) => of_one,
    })
}

/// What a join or renewal connection may cost.
fn short_connection(limits: &Limits) -> Connection {
    Connection {
        http: Http::Two,
        first_request: limits.join_idle,
        idle: limits.join_idle,
        take: limits.body,
        least: 0,
        linger: Duration::from_secs(1),
        streams: 4,
        headers: limits.header_bytes,
        window: WINDOW,
        pings: Pings { every: limits.ping, timeout: limits.ping },
    }
}
