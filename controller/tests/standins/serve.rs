//! What the stand-ins answer over HTTP, and how they end.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::{
    Router,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use serde_json::json;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::{End, keys};

/// Serves on all IPv4 addresses until the process ends.
pub async fn serve(port: u16, router: Router) -> Result<(), End> {
    listen((Ipv4Addr::UNSPECIFIED, port).into(), router).await
}

/// Serves on all addresses through one IPv6 socket, as realtime does (§7.2).
pub async fn serve_v6(port: u16, router: Router) -> Result<(), End> {
    listen((Ipv6Addr::UNSPECIFIED, port).into(), router).await
}

async fn listen(address: SocketAddr, router: Router) -> Result<(), End> {
    let failed = |error: std::io::Error| End::Away(format!("port {}: {error}", address.port()));
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    eprintln!("listening on {}", address.port());
    axum::serve(listener, router).await.map_err(failed)
}

/// Returns when the engine asks the container to end.
pub async fn asked_to_end() -> Result<(), End> {
    let failed = |error: std::io::Error| End::Away(format!("signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Err(End::Asked)
}

/// A JSON answer that says who gives it.
pub fn answer(status: StatusCode, service: &str, more: serde_json::Value) -> Response {
    let mut body = json!({ "stand_in": service });
    if let (Some(body), serde_json::Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// What a service makes of a request: its path as it arrived and the role of its token. 401 for a token that the
/// service's secret did not sign.
pub fn judged(service: &str, secret: &str, uri: &Uri, headers: &HeaderMap) -> Response {
    let role = match token(headers) {
        None => None,
        Some(token) => match keys::role(secret, token) {
            Some(role) => Some(role),
            None => return answer(StatusCode::UNAUTHORIZED, service, json!({ "message": "invalid JWT" })),
        },
    };
    answer(StatusCode::OK, service, json!({ "path": uri.path(), "role": role }))
}

/// The bearer token.
pub fn token(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}
