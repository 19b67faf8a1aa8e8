//! Responses of the public port to clients that do not speak gRPC: a browser, a misdirected health check, a JSON POST.

use axum::{
    body::Body,
    http::{HeaderValue, Method, Request, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

/// For `GET /`.
const WELCOME: &str = concat!(
    "Supalove ",
    env!("CARGO_PKG_VERSION"),
    ": this port serves the API supalove.v1 as gRPC and gRPC-web.\n\n",
    "  command line   supalove status\n",
    "  methods        grpcurl -plaintext <this address> list\n",
    "  health         GET /healthz\n\n",
    "A project's own address is shown by: supalove projects get <name>\n",
);

/// For every other request that is not gRPC.
const NO_GRPC: &str = concat!(
    "This port serves gRPC and gRPC-web (content-type application/grpc…, method POST). GET / says more.\n",
    "For JSON use the command line, `supalove … -o json`, or grpcurl.\n",
);

/// `GET /`.
pub async fn welcome() -> &'static str {
    WELCOME
}

/// Answers requests that are not gRPC with a line of text; the gRPC layers would send an empty body.
pub async fn only_grpc(request: Request<Body>, next: Next) -> Response {
    let grpc = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    match *request.method() {
        Method::POST if request.headers().get(header::CONTENT_TYPE).is_some_and(grpc) => {
            next.run(request).await
        }
        Method::POST => (StatusCode::UNSUPPORTED_MEDIA_TYPE, NO_GRPC).into_response(),
        // The CORS layer has answered preflights before this.
        Method::GET | Method::HEAD => (StatusCode::NOT_FOUND, NO_GRPC).into_response(),
        _ => (StatusCode::METHOD_NOT_ALLOWED, NO_GRPC).into_response(),
    }
}
