//! The dashboard on the public port: its pages if the controller was built with it, else how to get it; and gRPC beside it. What each
//! path gets is tested in the crate of the dashboard; these tests hold for both builds.

use supalove_proto::v1::GetMeRequest;
use supalove_system_tests::{Answer, Controller, Server};

/// From HTTP/1.1, as it goes over the wire.
fn asked(controller: &Controller, method: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
    let server = Server::new(&format!("http://127.0.0.1:{}", controller.public_port));
    tokio::task::block_in_place(|| server.send(method, target, fields, &[]))
}

fn text(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.body).unwrap()
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.header(name).first().copied().unwrap_or_default()
}

fn has_dashboard() -> bool {
    supalove_dashboard::embedded().is_some()
}

/// What a browser relies on, of a page.
fn assert_headers(answer: &Answer) {
    assert_eq!(header(answer, "content-type"), "text/html; charset=utf-8");
    assert_eq!(header(answer, "cache-control"), "no-cache");
    assert_eq!(header(answer, "x-content-type-options"), "nosniff");
    assert_eq!(header(answer, "referrer-policy"), "same-origin");
    assert!(header(answer, "permissions-policy").contains("camera=()"));
    let policy = header(answer, "content-security-policy");
    for part in ["default-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.split("; ").any(|one| one == part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_gets_the_dashboard_or_is_told_how_to_get_it() {
    let controller = Controller::start().await;
    let home = asked(&controller, "GET", "/", &[]);
    let lost = asked(&controller, "GET", "/nothing/here", &[]);
    assert_eq!((home.status, lost.status), (200, 404));
    if has_dashboard() {
        assert_headers(&home);
        assert_headers(&lost);
        assert!(
            header(&home, "content-security-policy").contains("'sha256-"),
            "Next's scripts are in the page"
        );
    } else {
        assert!(header(&home, "content-type").starts_with("text/plain"));
        for words in ["Supalove", "built without the dashboard", "make up", "gRPC", "/healthz"] {
            assert!(text(&home).contains(words), "{}", text(&home));
        }
        assert!(text(&lost).contains("GET / says more"), "{}", text(&lost));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_that_are_built_in_are_served_compressed_and_kept_by_browsers() {
    // Whether there are any is the other test's matter.
    if !has_dashboard() {
        return;
    }
    let controller = Controller::start().await;
    let whole = asked(&controller, "GET", "/", &[]);
    for encoding in ["br", "gzip"] {
        let answer = asked(&controller, "GET", "/", &[("accept-encoding", encoding)]);
        assert_eq!(header(&answer, "content-encoding"), encoding);
        assert!(answer.body.len() < whole.body.len() / 2, "{encoding}: {} bytes", answer.body.len());
        let tag = header(&answer, "etag").to_owned();
        let again = asked(&controller, "GET", "/", &[("accept-encoding", encoding), ("if-none-match", &tag)]);
        assert_eq!((again.status, again.body.len()), (304, 0));
    }
    let head = asked(&controller, "HEAD", "/", &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(header(&head, "content-length"), whole.body.len().to_string());

    let page = text(&whole);
    // Not those in strings of Next's scripts, whose quotes are escaped.
    let named = |part: &&str| part.starts_with("/_next/static/") && !part.ends_with('\\');
    let scripts: Vec<_> = page.split('"').filter(named).collect();
    assert!(!scripts.is_empty(), "{page}");
    for script in scripts {
        let answer = asked(&controller, "GET", script, &[("accept-encoding", "br")]);
        assert_eq!(answer.status, 200, "{script}");
        assert_eq!(header(&answer, "cache-control"), "public, max-age=31536000, immutable", "{script}");
    }
    for target in ["/sign-in", "/set-up", "/o/acme"] {
        let page = asked(&controller, "GET", target, &[]);
        assert_eq!(page.status, 200, "{target}");
        assert_headers(&page);
        let payload = asked(&controller, "GET", &format!("{target}.txt?_rsc=1"), &[]);
        assert_eq!(
            (payload.status, header(&payload, "content-type")),
            (200, "text/plain; charset=utf-8"),
            "{target}"
        );
    }
    for target in ["/o/acme/nothing", "/x/acme", "/_next/static/gone.js", "/o/..%2f..%2fetc", "/404.html"] {
        assert_eq!(asked(&controller, "GET", target, &[]).status, 404, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_goes_on_beside_the_dashboard() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    assert!(api.auth().get_me(GetMeRequest {}).await.is_ok());
    let method = "/supalove.v1.AuthService/GetMe";
    let web = asked(&controller, "POST", method, &[("content-type", "application/grpc-web+proto")]);
    assert_eq!(header(&web, "grpc-status"), "16");
    assert_eq!(asked(&controller, "POST", "/", &[("content-type", "application/json")]).status, 415);
    assert_eq!(asked(&controller, "PUT", "/", &[]).status, 405);
    assert_eq!(asked(&controller, "GET", method, &[]).status, 404);
    assert_ne!(
        asked(&controller, "GET", "/.well-known/jwks.json", &[]).status,
        404,
        "rooms keep their routes"
    );
}
