//! The public listener: gRPC, gRPC-web, the rooms' HTTP routes and the dashboard on one port. Connections are bounded in all and per
//! address before a byte of them is read.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use axum::{Router, extract::ConnectInfo};
use http::{HeaderName, HeaderValue, Method};
use hyper::{Request, body::Incoming};
use ipnet::IpNet;
use supalove_core::{
    Core, Room,
    access::{Authenticator, Rules},
    call_layer::{Admission, CallLayer, Gate},
    limits::Limits,
};
use supalove_net::{
    Pings,
    allowance::{Allowance, Full, Taken, network},
    serve::{self, Connection, Ended, Http},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::ServiceExt as _;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::{config::Config, pages};

/// Builds the router of all rooms, behind the call layer.
pub fn router(
    core: &Core,
    config: &Config,
    authenticator: Arc<dyn Authenticator>,
    rooms: &mut [Room],
) -> anyhow::Result<Router> {
    let gate = Gate {
        db: core.db.clone(),
        rules: Rules::new(rooms.iter().map(|room| room.rules)),
        authenticator,
        times: core.times.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        origins: origins(&config.cors_origins)?,
        refused_calls: core.refused_calls.clone(),
        admission: Admission::new(&core.limits, &core.refusals),
    };
    let mut routes = Routes::builder();
    let mut http = Router::new();
    for room in rooms {
        room.mount(&mut routes);
        http = http.merge(std::mem::take(&mut room.http));
    }
    let grpc = routes
        .routes()
        .prepare()
        .into_axum_router()
        .layer(CallLayer(Arc::new(gate)))
        .layer(tonic_web::GrpcWebLayer::new())
        .layer(axum::middleware::from_fn(pages::before_grpc));
    Ok(http.fallback_service(grpc).layer(cors(origins(&config.cors_origins)?)))
}

/// Pause after a failed accept: most likely descriptors are short, and some connection will close.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The public port.
pub struct PublicPort {
    core: Core,
    router: Router,
    connections: Allowance<IpAddr>,
    trusted_proxies: Vec<IpNet>,
}

impl PublicPort {
    /// For the router of all rooms.
    pub fn new(core: &Core, config: &Config, router: Router) -> Self {
        let limits = &core.limits;
        let connections = Allowance::new(limits.public_connections, limits.public_connections_per_address);
        Self { core: core.clone(), router, connections, trusted_proxies: config.trusted_proxies.clone() }
    }

    /// Accepts until `stop`. Connections then end when their open calls have ended.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, peer)) => self.accept(stream, peer),
                Err(error) => {
                    self.core.refusals.note("connection to the public port: cannot accept", error);
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }

    fn accept(&self, stream: TcpStream, peer: SocketAddr) {
        let address = peer.ip().to_canonical();
        let proxy = self.trusted_proxies.iter().any(|net| net.contains(&address));
        let taken = if proxy {
            self.connections.take_for_many(network(address), 1)
        } else {
            self.connections.take(network(address), 1)
        };
        match taken {
            Ok(taken) => self.start(stream, peer, proxy, taken),
            // Nothing is sent: before the first byte it is not known which HTTP the peer speaks.
            Err(Full::All(_)) => self.core.refusals.note("connection to the public port: too many", peer),
            Err(Full::Key(_)) => {
                self.core.refusals.note("connection to the public port: too many from one address", peer);
            }
        }
    }

    fn start(&self, stream: TcpStream, peer: SocketAddr, proxy: bool, taken: Taken<IpAddr>) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
        }
        let router = self.router.clone();
        let service = tower::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request)
        });
        let limits = connection(&self.core.limits, proxy);
        let core = self.core.clone();
        self.core.tasks.connection_until("public connection", |stop| async move {
            let _counts = taken;
            match serve::serve(stream, service, &limits, &core.tasks, stop).await {
                Ended::NoRequest => {
                    core.refusals.note("connection to the public port: no request in time", peer);
                }
                Ended::Unread => {
                    core.refusals.note("connection to the public port: a response was not taken", peer);
                }
                Ended::Failed(error) => tracing::debug!(%peer, error, "a public connection failed"),
                Ended::Idle | Ended::Closed => {}
            }
        });
    }
}

/// What a connection to the public port may cost.
fn connection(limits: &Limits, proxy: bool) -> Connection {
    Connection {
        http: Http::Any,
        first_request: limits.first_request,
        idle: limits.idle,
        take: limits.take,
        least: 0,
        linger: Duration::from_secs(1),
        streams: if proxy { limits.streams_per_proxy_connection } else { limits.streams_per_connection },
        headers: limits.header_bytes,
        window: limits.window_bytes,
        pings: Pings { every: limits.ping, timeout: limits.ping },
    }
}

fn origins(origins: &[String]) -> anyhow::Result<Vec<HeaderValue>> {
    origins.iter().map(|origin| origin.parse()).collect::<Result<_, _>>().context("--cors-origin")
}

/// Allows browsers of the listed origins. No wildcard, because the refresh cookie needs credentials.
fn cors(origins: Vec<HeaderValue>) -> CorsLayer {
    let header = HeaderName::from_static;
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_credentials(true)
        .allow_methods([Method::POST, Method::OPTIONS])
        .allow_headers([
            header("authorization"),
            header("content-type"),
            header("x-grpc-web"),
            header("x-user-agent"),
            header("grpc-timeout"),
            header("traceparent"),
        ])
        .expose_headers([
            header("grpc-status"),
            header("grpc-message"),
            header("grpc-status-details-bin"),
            header("x-trace-id"),
            header("supalove-version"),
        ])
        .max_age(std::time::Duration::from_hours(1))
}
