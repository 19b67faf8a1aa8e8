//! What the public port answers to clients that do not speak gRPC: the dashboard to a browser, a line of text to a misdirected JSON
//! POST. A file of the dashboard is a part of the program's memory, so an answer waits for nothing and copies nothing; what a
//! client may have open at once bounds its connection.

use axum::{
    body::Body,
    http::{HeaderValue, Method, Request, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use supalove_dashboard::Site;

/// For `GET /` of a controller without the dashboard.
const NO_DASHBOARD: &str = concat!(
    "Supalove ",
    env!("CARGO_PKG_VERSION"),
    ": this controller was built without the dashboard. To get it, run in a checkout of its sources\n\n",
    "  make up                                          which builds and starts everything, or\n",
    "  deploy/dev/dashboard.sh && cargo build --release -p supalove-controller\n\n",
    "This port serves the API supalove.v1 as gRPC and gRPC-web.\n\n",
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

/// Answers requests that are not gRPC; the gRPC layers would send an empty body.
pub async fn before_grpc(request: Request<Body>, next: Next) -> Response {
    let grpc = |value: &HeaderValue| is_grpc(value.as_bytes());
    match *request.method() {
        Method::POST if request.headers().get(header::CONTENT_TYPE).is_some_and(grpc) => {
            next.run(request).await
        }
        Method::POST => (StatusCode::UNSUPPORTED_MEDIA_TYPE, NO_GRPC).into_response(),
        // The CORS layer has answered preflights before this.
        Method::GET | Method::HEAD => page(supalove_dashboard::embedded(), &request),
        _ => (StatusCode::METHOD_NOT_ALLOWED, NO_GRPC).into_response(),
    }
}

fn page(dashboard: Option<&Site>, request: &Request<Body>) -> Response {
    match dashboard {
        Some(site) => site.answer(request.method(), request.uri(), request.headers()).map(Body::new),
        None if request.uri().path() == "/" => NO_DASHBOARD.into_response(),
        None => (StatusCode::NOT_FOUND, NO_GRPC).into_response(),
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

    /// Status, content type and text.
    async fn got(dashboard: Option<&Site>, target: &str) -> (u16, String, String) {
        let answer = page(dashboard, &Request::get(target).body(Body::empty()).unwrap());
        let kind = answer.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (status, kind, String::from_utf8(body.into()).unwrap())
    }

    #[tokio::test]
    async fn a_browser_gets_the_dashboard() {
        let files = [("index.html", &b"home"[..]), ("404.html", b"lost"), ("o/_.html", b"organization")];
        let site = Site::new(files).unwrap();
        let html = "text/html; charset=utf-8".to_owned();
        for (target, status, text) in
            [("/", 200, "home"), ("/o/acme", 200, "organization"), ("/x", 404, "lost")]
        {
            assert_eq!(got(Some(&site), target).await, (status, html.clone(), text.to_owned()));
        }
    }

    #[tokio::test]
    async fn without_a_dashboard_it_is_told_how_to_get_one() {
        let (status, kind, text) = got(None, "/").await;
        assert_eq!((status, &*kind), (200, "text/plain; charset=utf-8"));
        assert!(text.contains("built without the dashboard") && text.contains("make up"), "{text}");
        let (status, _, text) = got(None, "/o/acme").await;
        assert_eq!((status, text.contains("GET / says more")), (404, true));
    }

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
