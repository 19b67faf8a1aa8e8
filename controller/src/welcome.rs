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
    let grpc = |value: &HeaderValue| is_grpc(value.as_bytes());
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

/// `application/grpc` and `application/grpc-web`, the latter also as text, each with a format or parameters behind. A page
/// can send none of them to another site without asking first (CORS).
fn is_grpc(content_type: &[u8]) -> bool {
    let end = content_type.iter().position(|byte| matches!(byte, b'+' | b';' | b' '));
    let essence = content_type.get(..end.unwrap_or(content_type.len())).unwrap_or_default();
    [&b"application/grpc"[..], b"application/grpc-web", b"application/grpc-web-text"].contains(&essence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grpc_is_grpc() {
        for good in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc-web-text+proto",
            "application/grpc-web; x=y",
        ] {
            assert!(is_grpc(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "application/grpcx",
            "application/x-www-form-urlencoded",
            "text/plain;application/grpc",
        ] {
            assert!(!is_grpc(bad.as_bytes()), "{bad}");
        }
    }
}
