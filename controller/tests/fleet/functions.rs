//! What functions may say to browsers and sockets, and what neither they nor a client can take from others.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use supalove_proto::v1::ProjectState;
use supalove_system_tests::{Answer, Fleet, Options, Tenant, docker, web_releases};

const FUNCTIONS: [(&str, &str); 3] = [
    ("cors", include_str!("functions/cors.ts")),
    ("plain", include_str!("functions/plain.ts")),
    ("chat", include_str!("functions/chat.ts")),
];
/// Times that a test cannot wait for: the router's limit of an answer, of an idle worker and between two looks, and the
/// gateway's limit behind the router's.
const EDITS: [(&str, &str, &str); 4] = [
    ("config.ts", "answerMs: 150_000", "answerMs: 8_000"),
    ("config.ts", "idleMs: 300_000", "idleMs: 4_000"),
    ("router.ts", "SWEEP_MS = 15_000", "SWEEP_MS = 1_000"),
    ("gateway.conf", "155s", "9s"),
];
/// Longer than all of these.
const SILENCE_MS: &str = "10000";
/// More than the gateway has connections, and than its predecessor had.
const FLOOD: &str = "9000";

#[tokio::test(flavor = "multi_thread")]
async fn functions_decide_about_cors_and_speak_websocket_and_take_nothing_from_others() {
    let releases = web_releases(&FUNCTIONS, &EDITS);
    let arguments = vec!["--releases-dir".to_owned(), releases.path().display().to_string()];
    let fleet = Fleet::start(Options { arguments, ..Options::default() }).await;
    let tenant = fleet.project("web", "web").await;
    for path in ["cors", "plain", "chat"] {
        warm(&tenant, &format!("/functions/v1/{path}"));
    }
    a_function_decides_about_cors(&tenant);
    preflights_reach_the_function_and_have_a_default(&tenant);
    the_routers_health_is_no_function(&tenant);
    every_status_of_the_gateway_is_json_that_a_browser_may_read(&tenant);
    let functions = container(&tenant, "functions");
    let mut socket = Inside::start(&functions, SOCKET_CLIENT, SILENCE_MS, "silent");
    a_frozen_service_is_said_to_be_late(&tenant);
    warm(&tenant, "/functions/v1/plain");
    a_function_that_fills_tmp_leaves_room_for_others(&tenant);
    let arrived: serde_json::Value = serde_json::from_str(&socket.line()).unwrap();
    assert_eq!(arrived, json!(["open chat", "text", "200000 bytes", "closed 4001 bye"]));
    assert_eq!(tenant.gateway.get("/functions/v1/chat", &[]).json(), json!(["4001 bye"]));
    a_function_that_takes_all_memory_is_ended_alone(&tenant);
    unfinished_headers_take_nothing_from_others(&tenant);
    let project = fleet.api.project(&tenant.project_ref).await;
    assert_eq!(project.state(), ProjectState::ActiveHealthy, "{project:?}");
    let events = fleet.api.events(&tenant.project_ref).await;
    assert!(!events.iter().any(|event| event.state() == ProjectState::ActiveUnhealthy), "{events:?}");
    for service in ["functions", "gateway"] {
        let inspected =
            docker(None, &["inspect", "--format", "{{.RestartCount}}", &container(&tenant, service)]);
        assert_eq!(inspected, "0", "{service} was restarted");
    }
}

const SOCKET_CLIENT: &str = include_str!("functions/socket_client.js");
const FLOODER: &str = include_str!("functions/flood.js");

fn container(tenant: &Tenant, service: &str) -> String {
    format!("supalove_{}_{service}", tenant.project_ref)
}

/// A first call may take longer than the scaled limits allow.
fn warm(tenant: &Tenant, path: &str) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while tenant.gateway.get(path, &[]).status != 200 {
        assert!(Instant::now() < deadline, "{path} does not begin to answer");
    }
}

fn assert_headers(answer: &Answer, expected: &[(&str, &str)], what: &str) {
    for (name, value) in expected {
        let value: &[&str] = if value.is_empty() { &[] } else { &[*value] };
        assert_eq!(answer.header(name), value, "{what}: {name}: {answer:?}");
    }
}

fn a_function_decides_about_cors(tenant: &Tenant) {
    let other = [("Origin", "https://other.example")];
    let own = [
        ("access-control-allow-origin", "https://only.example"),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "x-mine"),
        ("access-control-allow-methods", ""),
        ("vary", "Origin"),
    ];
    assert_headers(&tenant.gateway.get("/functions/v1/cors", &other), &own, "own headers");
    let exposed = [("access-control-allow-origin", "*"), ("access-control-expose-headers", "x-mine")];
    assert_headers(
        &tenant.gateway.get("/functions/v1/plain/expose", &other),
        &exposed,
        "only exposed headers",
    );
    let answer = tenant.gateway.get("/functions/v1/plain", &other);
    let default = [("access-control-allow-origin", "*"), ("access-control-allow-credentials", "")];
    assert_headers(&answer, &default, "none of its own");
    assert!(answer.header("access-control-expose-headers").join("").contains("Content-Range"), "{answer:?}");
}

const PREFLIGHT: [(&str, &str); 3] = [
    ("Origin", "https://only.example"),
    ("Access-Control-Request-Method", "PUT"),
    ("Access-Control-Request-Headers", "x-asked"),
];

fn preflights_reach_the_function_and_have_a_default(tenant: &Tenant) {
    let own = tenant.gateway.send("OPTIONS", "/functions/v1/cors", &PREFLIGHT, &[]);
    assert_eq!(own.status, 204, "{own:?}");
    let expected = [
        ("access-control-allow-origin", "https://only.example"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "PUT"),
        ("access-control-allow-headers", "x-own"),
        ("access-control-max-age", "7"),
        ("vary", "Origin"),
    ];
    assert_headers(&own, &expected, "the function's preflight");
    for path in ["/functions/v1/plain", "/functions/v1/none"] {
        assert_default_preflight(tenant, path);
    }
    let bare = tenant.gateway.send("OPTIONS", "/functions/v1/plain", &[], &[]);
    assert_eq!(bare.status, 405, "without a preflight's headers it is a call: {bare:?}");
}

fn assert_default_preflight(tenant: &Tenant, path: &str) {
    let answer = tenant.gateway.send("OPTIONS", path, &PREFLIGHT, &[]);
    assert_eq!(answer.status, 204, "{path}: {answer:?}");
    let expected = [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", ""),
        ("access-control-allow-headers", "x-asked"),
        ("access-control-max-age", "3600"),
    ];
    assert_headers(&answer, &expected, path);
    assert!(answer.header("access-control-allow-methods").join(",").contains("PUT"), "{path}: {answer:?}");
}

fn the_routers_health_is_no_function(tenant: &Tenant) {
    let unknown = tenant.gateway.get("/functions/v1/unknown", &[]);
    assert_eq!(unknown.status, 404);
    for path in [
        "_internal/health",
        "_internal/health?x=1",
        "%5Finternal/health",
        "_internal%2Fhealth",
        "_INTERNAL/health",
    ] {
        let answer = tenant.gateway.get(&format!("/functions/v1/{path}"), &[]);
        assert_eq!((answer.status, answer.json()), (404, unknown.json()), "{path}");
    }
    for path in ["/_internal/health", "_internal\\health", "/_internal//health"] {
        let answer = tenant.gateway.get(&format!("/functions/v1/{path}"), &[]);
        assert!([400, 404].contains(&answer.status), "{path}: {answer:?}");
        assert!(answer.json()["workers"].is_null(), "{path}: {answer:?}");
    }
}

fn assert_json_error(answer: &Answer, status: u16, code: &str, what: &str) {
    assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{what}: {answer:?}");
    assert!(answer.json()["message"].as_str().is_some_and(|text| !text.is_empty()), "{what}: {answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), ["*"], "{what}: {answer:?}");
}

/// Method, path, headers; status and code of the answer.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], u16, &'a str);

fn every_status_of_the_gateway_is_json_that_a_browser_may_read(tenant: &Tenant) {
    let long = "x".repeat(20_000);
    let long_path = format!("/functions/v1/{long}");
    let too_large = ((100u32 << 20) + 1).to_string();
    let cases: [Case<'_>; 9] = [
        ("GET", "/functions/v1/plain", &[("Host", "a b")], 400, "bad_request"),
        ("GET", "/functions/v1/plain", &[("Content-Length", "nine")], 400, "bad_request"),
        ("GET", "/nothing", &[], 404, "no_route"),
        ("TRACE", "/functions/v1/plain", &[], 405, "method_not_allowed"),
        ("POST", "/functions/v1/plain", &[("Content-Length", &too_large)], 413, "payload_too_large"),
        ("GET", &long_path, &[], 414, "uri_too_long"),
        ("GET", "/functions/v1/plain", &[("X-Long", &long)], 431, "headers_too_large"),
        ("POST", "/functions/v1/plain", &[("Transfer-Encoding", "gzip")], 501, "not_implemented"),
        // The line ends with the version that the client adds.
        ("GET", "/functions/v1/plain HTTP/7.0\r\nX-Line:", &[], 505, "http_version_not_supported"),
    ];
    for (method, target, headers, status, code) in cases {
        let answer = tenant.gateway.send(method, target, headers, &[]);
        assert_json_error(&answer, status, code, &format!("{method} {}", &target[..target.len().min(60)]));
    }
}

fn a_frozen_service_is_said_to_be_late(tenant: &Tenant) {
    let functions = container(tenant, "functions");
    docker(None, &["pause", &functions]);
    thread::scope(|scope| {
        let call = scope.spawn(|| tenant.gateway.get("/functions/v1/plain", &[]));
        // Else a browser would not show the 504 of the call itself.
        let preflight = scope.spawn(|| assert_default_preflight(tenant, "/functions/v1/plain"));
        let call = call.join().unwrap();
        preflight.join().unwrap();
        docker(None, &["unpause", &functions]);
        assert_json_error(&call, 504, "service_timeout", "a call");
    });
}

fn a_function_that_fills_tmp_leaves_room_for_others(tenant: &Tenant) {
    let full = tenant.gateway.get("/functions/v1/plain/tmp", &[]);
    let said = String::from_utf8_lossy(&full.body).into_owned();
    assert!(full.status == 200 && said.contains("No space left"), "{full:?}");
    // Within one look of the router, and its time to look.
    warm(tenant, "/functions/v1/plain/write");
    assert_logged(tenant, "functions: /tmp holds");
}

fn a_function_that_takes_all_memory_is_ended_alone(tenant: &Tenant) {
    thread::scope(|scope| {
        let filling = scope.spawn(|| tenant.gateway.get("/functions/v1/plain/fill", &[]));
        let mut others = 0;
        while !filling.is_finished() {
            let other = tenant.gateway.get("/functions/v1/cors", &[]);
            assert_eq!(other.status, 200, "another function: {other:?}");
            others += 1;
        }
        assert!(others > 1, "others were not called meanwhile");
        let ended = filling.join().unwrap();
        assert_json_error(&ended, 546, "WORKER_LIMIT", "the function that takes all memory");
    });
    assert_logged(tenant, "it used more than 300 MiB of memory");
    warm(tenant, "/functions/v1/plain");
}

/// What the router says of a function that it bounds.
fn assert_logged(tenant: &Tenant, text: &str) {
    let log = Command::new("docker").args(["logs", &container(tenant, "functions")]).output().unwrap();
    let log = String::from_utf8_lossy(&log.stderr).into_owned();
    assert!(log.contains(text), "not in the log: {text:?}: {log}");
}

/// A program in a project's container, which says when it has begun; ended when dropped.
struct Inside {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Inside {
    /// Returns when it has said `begun`.
    fn start(container: &str, code: &str, argument: &str, begun: &str) -> Self {
        let mut child = Command::new("docker")
            .args(["exec", "--interactive", container, "deno", "eval", code, argument])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), begun, "what it says first");
        Self { child, out }
    }

    /// The next line that it says.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // It ends with its stdin, in the container too.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// One address of the project's network opens more than the gateway holds. Others get answers, and so does the probe,
/// which looks each second and gives up after three: the caller asks for the project's state afterwards.
fn unfinished_headers_take_nothing_from_others(tenant: &Tenant) {
    let _flood = Inside::start(&container(tenant, "functions"), FLOODER, FLOOD, "full");
    let deadline = Instant::now() + Duration::from_secs(6);
    while Instant::now() < deadline {
        let answer = tenant.gateway.get("/functions/v1/cors", &[]);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}
