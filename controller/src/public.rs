//! The public listener: gRPC, gRPC-web and the rooms' HTTP routes on one port.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use axum::{Router, routing::get};
use http::{HeaderName, HeaderValue, Method};
use supalove_core::{
    Core, Room,
    access::{Authenticator, Rules},
    call_layer::{CallLayer, Gate},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::{config::Config, welcome};

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
        refusals: core.refusals.clone(),
    };
    let mut routes = Routes::builder();
    let mut http = Router::new().route("/", get(welcome::welcome));
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
        .layer(axum::middleware::from_fn(welcome::only_grpc));
    Ok(http.fallback_service(grpc).layer(cors(origins(&config.cors_origins)?)))
}

/// Serves until `stop`, then waits for open calls to end.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = serving.await {
        tracing::error!(%error, "the public listener ended");
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
