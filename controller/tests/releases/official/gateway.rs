//! The gateway of the release supabase-2025.12-3 against the contract's tables: every route, key, forwarded header, path
//! encoding, limit and closed address, with services behind it that answer with what arrived.

use std::{fs, path::Path};

use serde_json::{Value, json};
use supalove_stack::{ProjectInput, ProjectSecrets, ProjectSettings, Releases, render};
use supalove_system_tests::{Answer, Fleet, Options, Tenant, core_image, docker, echo_releases};

use super::{NEWEST, RELEASE};

/// Who may pass.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Check {
    /// Everybody: links in mails, and services that check for themselves.
    Open,
    /// The anon key and the service key.
    Keys,
    /// The service key.
    Service,
}

/// Where a request ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// At a service: its name, port, and the path that it sees.
    At(&'static str, u16, &'static str),
    /// In the gateway: status and code.
    Refused(u16, &'static str),
}
use Check::{Keys, Open, Service};
use End::{At, Refused};

/// The route table of the contract (§10.1): its number, a request, the key check, where it goes.
#[rustfmt::skip]
const ROUTES: [(u8, &str, Check, End); 34] = [
    (1, "/auth/v1/verify?token=t&type=signup", Open, At("auth", 9999, "/verify?token=t&type=signup")),
    (2, "/auth/v1/callback?code=c", Open, At("auth", 9999, "/callback?code=c")),
    (3, "/auth/v1/authorize?provider=p", Open, At("auth", 9999, "/authorize?provider=p")),
    (4, "/auth/v1/.well-known/jwks.json", Open, At("auth", 9999, "/.well-known/jwks.json")),
    (5, "/sso/saml/acs", Open, At("auth", 9999, "/sso/saml/acs")),
    (5, "/sso/saml/metadata", Open, At("auth", 9999, "/sso/saml/metadata")),
    (6, "/.well-known/oauth-authorization-server", Open, At("auth", 9999, "/.well-known/oauth-authorization-server")),
    (6, "/.well-known/oauth-authorization-server/auth/v1", Open,
        At("auth", 9999, "/.well-known/oauth-authorization-server/auth/v1")),
    (7, "/auth/v1/token", Keys, At("auth", 9999, "/token")),
    (7, "/auth/v1/admin/users", Keys, At("auth", 9999, "/admin/users")),
    (7, "/auth/v1/", Keys, At("auth", 9999, "/")),
    (8, "/rest/v1/notes", Keys, At("api", 3000, "/notes")),
    (8, "/rest/v1/rpc/f", Keys, At("api", 3000, "/rpc/f")),
    (8, "/rest/v1/", Keys, At("api", 3000, "/")),
    (9, "/graphql/v1", Keys, At("api", 3000, "/rpc/graphql")),
    (10, "/realtime/v1/api/tenants", Open, Refused(403, "forbidden")),
    (10, "/realtime/v1/api/tenants/realtime-dev/health", Open, Refused(403, "forbidden")),
    (10, "/realtime/v1/api/openapi", Open, Refused(403, "forbidden")),
    (11, "/realtime/v1/api/broadcast", Keys, At("realtime", 4000, "/api/broadcast")),
    (11, "/realtime/v1/api", Keys, At("realtime", 4000, "/api")),
    (12, "/realtime/v1/websocket", Keys, At("realtime", 4000, "/socket/websocket")),
    (12, "/realtime/v1/longpoll", Keys, At("realtime", 4000, "/socket/longpoll")),
    (13, "/storage/v1/object/a/b.png", Open, At("storage", 5000, "/object/a/b.png")),
    (13, "/storage/v1/upload/resumable", Open, At("storage", 5000, "/upload/resumable")),
    (13, "/storage/v1/s3/a/b", Open, At("storage", 5000, "/s3/a/b")),
    (14, "/functions/v1/hello", Open, At("functions", 9000, "/hello")),
    (14, "/functions/v1/hello/deep/er", Open, At("functions", 9000, "/hello/deep/er")),
    (15, "/pg/tables", Service, Refused(503, "service_not_enabled")),
    (16, "/analytics/v1/x", Open, Refused(503, "service_not_enabled")),
    (17, "/mcp", Open, Refused(403, "forbidden")),
    (17, "/api/mcp", Open, Refused(403, "forbidden")),
    (18, "/", Open, Refused(404, "no_route")),
    (18, "/studio", Open, Refused(404, "no_route")),
    (18, "/reset/v1/notes", Open, Refused(404, "no_route")),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_the_contract_leads_where_it_should_and_no_further() {
    let releases = echo_releases(NEWEST);
    let arguments = vec!["--releases-dir".to_owned(), releases.path().display().to_string()];
    let fleet = Fleet::start(Options { arguments, ..Options::default() }).await;
    let tenant = fleet.project("echo", "echo").await;
    each_route_asks_for_the_key_that_it_should(&tenant);
    every_service_is_told_what_the_public_side_sees(&tenant);
    keys_and_tokens_are_passed_on_as_the_contract_says(&tenant);
    a_websocket_reaches_the_tenant_of_realtime(&tenant);
    a_websocket_reaches_the_routers_port_for_them(&tenant);
    the_tenants_of_realtime_are_closed_in_six_spellings_and_to_every_method(&tenant);
    ten_encodings_arrive_as_they_were_sent(&tenant);
    bodies_are_limited_where_the_service_does_not_do_it(&tenant);
    preflights_are_answered_on_every_route(&tenant);
    no_route_leads_to_an_admin_port(&tenant);
}

/// What a service is told about a request, or a readable refusal; with exactly one CORS header either way: a function's
/// own if there is one.
fn assert_end(answer: &Answer, end: End, what: &str) {
    let origin = if matches!(end, At("functions", ..)) { "http://upstream" } else { "*" };
    assert_eq!(answer.header("access-control-allow-origin"), [origin], "{what}: {answer:?}");
    match end {
        At(service, port, path) => {
            assert_eq!(answer.status, 200, "{what}: {answer:?}");
            let echo = answer.json();
            assert_eq!((&echo["service"], &echo["port"]), (&json!(service), &json!(port)), "{what}");
            assert_eq!(target(&echo), path, "{what}");
        }
        Refused(status, code) => {
            assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{what}");
            assert!(answer.json()["message"].as_str().is_some_and(|text| !text.is_empty()), "{what}");
        }
    }
}

/// The request target that the service saw. A character of `line` is a byte.
fn target(echo: &Value) -> String {
    let line = echo["line"].as_str().unwrap();
    let bytes: Vec<u8> = line.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    String::from_utf8(bytes).unwrap().split(' ').nth(1).unwrap().to_owned()
}

fn each_route_asks_for_the_key_that_it_should(tenant: &Tenant) {
    let missing = Refused(401, "missing_api_key");
    let wrong = Refused(401, "invalid_api_key");
    let swapped = tenant.service_role_key.to_ascii_uppercase();
    for (row, path, check, end) in ROUTES {
        for (key, end) in [
            (None, if check == Open { end } else { missing }),
            (Some("wrong"), if check == Open { end } else { wrong }),
            (Some(swapped.as_str()), if check == Open { end } else { wrong }),
            (Some(&tenant.anon_key), if check == Service { Refused(403, "forbidden") } else { end }),
            (Some(&tenant.service_role_key), end),
        ] {
            let what = format!("row {row}: {path}, key {key:?}");
            let Some(key) = key else {
                assert_end(&tenant.gateway.get(path, &[]), end, &what);
                // A token is no key: the service may know it, the gateway does not look at it.
                let token = format!("Bearer {}", tenant.service_role_key);
                assert_end(&tenant.gateway.get(path, &[("Authorization", &token)]), end, &what);
                continue;
            };
            assert_end(&tenant.gateway.get(path, &[("apikey", key)]), end, &what);
            let mark = if path.contains('?') { '&' } else { '?' };
            let in_query = tenant.gateway.get(&format!("{path}{mark}apikey={key}"), &[]);
            let seen = in_query_end(end, path, key);
            assert_end(&in_query, seen.as_end(), &format!("{what}, in the query"));
        }
    }
}

/// Where a request ends whose key stands in the query: auth, realtime and storage see it there; PostgREST, who would
/// take it for a filter, and functions do not.
enum Seen {
    As(End),
    Service(&'static str, u16, String),
}

impl Seen {
    fn as_end(&self) -> End {
        match self {
            Self::As(end) => *end,
            // Leaked: a few kilobytes, in a test.
            Self::Service(service, port, path) => At(service, *port, path.clone().leak()),
        }
    }
}

fn in_query_end(end: End, requested: &str, key: &str) -> Seen {
    match end {
        At(service @ ("auth" | "realtime" | "storage"), port, path) => {
            let mark = if requested.contains('?') { '&' } else { '?' };
            Seen::Service(service, port, format!("{path}{mark}apikey={key}"))
        }
        other => Seen::As(other),
    }
}

/// The headers that a service sees.
fn headers(tenant: &Tenant, method: &str, path: &str, sent: &[(&str, &str)]) -> Value {
    let with_key = [sent, &[("apikey", tenant.anon_key.as_str())]].concat();
    let answer = tenant.gateway.send(method, path, &with_key, &[]);
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()["headers"].clone()
}

/// §10.3
fn every_service_is_told_what_the_public_side_sees(tenant: &Tenant) {
    let (host, port) = tenant.gateway.address.split_once(':').unwrap();
    let claims = [
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Real-IP", "6.6.6.6"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.example.com"),
        ("X-Forwarded-Port", "1"),
        ("X-Forwarded-Prefix", "/evil"),
        ("X-Forwarded-Path", "/evil"),
        ("Forwarded", "for=6.6.6.6;host=evil.example.com"),
        ("Content-Profile", "private"),
    ];
    for (path, prefix, own_host, profile) in [
        ("/auth/v1/user", "/auth/v1", None, "private"),
        ("/rest/v1/notes", "/rest/v1", None, "private"),
        ("/graphql/v1", "/graphql/v1", None, "graphql_public"),
        ("/realtime/v1/api/broadcast", "/realtime/v1", Some("realtime-dev"), "private"),
        ("/realtime/v1/websocket", "/realtime/v1", Some("realtime-dev"), "private"),
        ("/storage/v1/object/a", "/storage/v1", None, "private"),
        ("/functions/v1/hello", "/functions/v1", None, "private"),
    ] {
        let seen = headers(tenant, "GET", path, &claims);
        for (name, value) in [
            ("host", own_host.unwrap_or(&tenant.gateway.address)),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", host),
            ("x-forwarded-port", port),
            ("x-forwarded-prefix", prefix),
            ("content-profile", profile),
        ] {
            assert_eq!(seen[name], value, "{path}: {name}");
        }
        let client = seen["x-real-ip"].as_str().unwrap();
        assert!(client.parse::<std::net::IpAddr>().is_ok() && client != "6.6.6.6", "{path}: {seen}");
        assert_eq!(seen["x-forwarded-for"], client, "{path}: overwritten, not appended to");
        for gone in ["forwarded", "x-forwarded-path"] {
            assert_eq!(seen[gone], Value::Null, "{path}: {gone}");
        }
    }
}

/// §10.2
fn keys_and_tokens_are_passed_on_as_the_contract_says(tenant: &Tenant) {
    for (path, sees_key) in [
        ("/auth/v1/user", true),
        ("/rest/v1/notes", false),
        ("/graphql/v1", false),
        ("/realtime/v1/api/broadcast", true),
        ("/realtime/v1/websocket", true),
        ("/storage/v1/object/a", true),
        ("/functions/v1/hello", true),
    ] {
        let key = if sees_key { json!(tenant.anon_key) } else { Value::Null };
        let without = headers(tenant, "GET", path, &[]);
        assert_eq!(without["apikey"], key, "{path}");
        assert_eq!(without["authorization"], Value::Null, "{path}: no token is made of the key");
        for token in ["Bearer user-token", "AWS4-HMAC-SHA256 Credential=a/b, Signature=c"] {
            let seen = headers(tenant, "GET", path, &[("Authorization", token)]);
            assert_eq!(seen["authorization"], token, "{path}");
        }
        // S3 requests fail on a header without a value.
        let seen = headers(tenant, "GET", path, &[("Authorization", "")]);
        assert_eq!(seen["authorization"], Value::Null, "{path}");
    }
}

fn a_websocket_reaches_the_tenant_of_realtime(tenant: &Tenant) {
    let sent = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13")];
    let path = format!("/realtime/v1/websocket?apikey={}&vsn=2.0.0", tenant.anon_key);
    let answer = tenant.gateway.get(&path, &sent);
    assert_eq!(answer.status, 200, "{answer:?}");
    let echo = answer.json();
    assert_eq!(target(&echo), format!("/socket/websocket?apikey={}&vsn=2.0.0", tenant.anon_key));
    for (name, value) in [
        ("host", "realtime-dev"),
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("sec-websocket-version", "13"),
    ] {
        assert_eq!(echo["headers"][name], value, "{name}");
    }
    let plain = headers(tenant, "GET", "/realtime/v1/websocket", &[]);
    assert_eq!((&plain["upgrade"], &plain["connection"]), (&Value::Null, &Value::Null));
}

/// The router takes connections there that it hands on byte by byte.
fn a_websocket_reaches_the_routers_port_for_them(tenant: &Tenant) {
    for (upgrade, port) in [("websocket", 9001), ("WebSocket", 9001), ("h2c", 9000)] {
        let sent = [("Upgrade", upgrade), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", "x")];
        let path = format!("/functions/v1/a%2Fb/c?x=1&apikey={}", tenant.anon_key);
        let answer = tenant.gateway.get(&path, &sent);
        assert_end(&answer, At("functions", port, "/a%2Fb/c?x=1"), upgrade);
        let headers = &answer.json()["headers"];
        assert_eq!((&headers["upgrade"], &headers["connection"]), (&json!(upgrade), &json!("upgrade")));
        assert_eq!(headers["sec-websocket-key"], "x");
        assert_eq!(headers["x-forwarded-prefix"], "/functions/v1");
    }
    let upgrade = [("Upgrade", "websocket"), ("Connection", "Upgrade")];
    let dots = tenant.gateway.get("/functions/v1/a/../b", &upgrade);
    assert_end(&dots, Refused(400, "bad_path"), "an upgrade with dot segments");
    let internal = tenant.gateway.get("/.functions-websocket", &upgrade);
    assert_end(&internal, Refused(404, "no_route"), "the gateway's own address");
}

/// §10.6: nginx matches the normalised path, so no spelling gets around the block.
fn the_tenants_of_realtime_are_closed_in_six_spellings_and_to_every_method(tenant: &Tenant) {
    for path in [
        "/realtime/v1/api/tenants",
        "/realtime/v1/api/%74enants",
        "/realtime/v1/api/x/../tenants",
        "/realtime/v1//api//tenants",
        "/realtime/v1/api/./tenants",
        "/realtime/v1/api%2Ftenants",
    ] {
        for key in [&tenant.anon_key, &tenant.service_role_key] {
            for method in ["GET", "POST", "PUT", "DELETE"] {
                let token = format!("Bearer {key}");
                let headers = [("apikey", key.as_str()), ("Authorization", &token)];
                let answer = tenant.gateway.send(method, path, &headers, &[]);
                assert_end(&answer, Refused(403, "forbidden"), &format!("{method} {path}"));
                assert_eq!(answer.json()["message"], "Access is forbidden.");
            }
        }
    }
}

/// §10.6: object names and S3 signatures live on the bytes that the client sent.
fn ten_encodings_arrive_as_they_were_sent(tenant: &Tenant) {
    let encodings = [
        "a%2Fb",
        "a%26%3Db",
        "a//b",
        "a%20b",
        "a+b",
        "%C3%BC%E2%82%AC.png",
        "100%25",
        "a%3Fb%23c",
        "a;b=1,c:d@e",
        "a%5cb%7E~",
    ];
    let key = ("apikey", tenant.service_role_key.as_str());
    for (prefix, upstream) in [
        ("/storage/v1/object/bucket/", "/object/bucket/"),
        ("/storage/v1/s3/bucket/", "/s3/bucket/"),
        ("/functions/v1/hello/", "/hello/"),
        ("/rest/v1/notes/", "/notes/"),
        ("/auth/v1/x/", "/x/"),
    ] {
        for encoding in encodings {
            for query in ["", "?x=%2F%26&y=a+b//"] {
                let answer = tenant.gateway.get(&format!("{prefix}{encoding}{query}"), &[key]);
                assert_eq!(answer.status, 200, "{prefix}{encoding}{query}: {answer:?}");
                assert_eq!(target(&answer.json()), format!("{upstream}{encoding}{query}"));
            }
        }
        // What the match saw is not what would be sent: refused.
        for path in
            [format!("{prefix}x/../y"), prefix.replacen('/', "//", 1), prefix.replacen("v1", "%761", 1)]
        {
            assert_end(&tenant.gateway.get(&path, &[key]), Refused(400, "bad_path"), &path);
        }
    }
}

/// §10.5. Lengths are announced and no body follows, where the gateway refuses by the length alone.
fn bodies_are_limited_where_the_service_does_not_do_it(tenant: &Tenant) {
    let key = ("apikey", tenant.anon_key.as_str());
    let too_large = ((100u32 << 20) + 1).to_string();
    for path in ["/rest/v1/notes", "/functions/v1/hello", "/auth/v1/token", "/realtime/v1/api/broadcast"] {
        let answer = tenant.gateway.send("POST", path, &[key, ("Content-Length", &too_large)], &[]);
        assert_end(&answer, Refused(413, "payload_too_large"), path);
    }
    for (path, mebibytes) in
        [("/rest/v1/notes", 12), ("/functions/v1/hello", 12), ("/storage/v1/object/a", 101)]
    {
        let body = vec![7; mebibytes << 20];
        let answer = tenant.gateway.send("POST", path, &[key], &body);
        assert_eq!((answer.status, &answer.json()["bytes"]), (200, &json!(body.len())), "{path}");
    }
    // 4 × 16k of headers: tokens in the query and cookies fit, a flood does not.
    let cookie = "c".repeat(12 << 10);
    let fits = headers(tenant, "GET", "/rest/v1/notes", &[("Cookie", &cookie)]);
    assert_eq!(fits["cookie"], cookie);
    let flood = "c".repeat(17 << 10);
    let answer = tenant.gateway.get("/rest/v1/notes", &[key, ("Cookie", &flood)]);
    assert_end(&answer, Refused(431, "headers_too_large"), "a flood of cookies");
}

/// §10.4
fn preflights_are_answered_on_every_route(tenant: &Tenant) {
    let asked =
        "authorization, apikey, x-client-info, content-type, prefer, tus-resumable, upload-offset, x-mine";
    let preflight = [
        ("Origin", "https://app.example.com"),
        ("Access-Control-Request-Method", "PATCH"),
        ("Access-Control-Request-Headers", asked),
    ];
    for (row, path, ..) in ROUTES {
        let answer = tenant.gateway.send("OPTIONS", path, &preflight, &[]);
        let what = format!("row {row}: {path}: {answer:?}");
        if path.starts_with("/functions/") {
            // It reached the function, which answers it.
            assert_end(&answer, At("functions", 9000, path.strip_prefix("/functions/v1").unwrap()), &what);
            assert!(answer.header("access-control-allow-methods").is_empty(), "{what}");
            continue;
        }
        assert!((200..300).contains(&answer.status), "{what}");
        assert_eq!(answer.header("access-control-allow-origin"), ["*"], "{what}");
        assert_eq!(answer.header("access-control-allow-headers"), [asked], "{what}");
        let methods = answer.header("access-control-allow-methods").join(",");
        for method in ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS"] {
            assert!(methods.split(", ").any(|one| one == method), "{what}");
        }
    }
    let exposed = tenant.gateway.get("/storage/v1/object/a", &[("Origin", "https://app.example.com")]);
    let exposed = exposed.header("access-control-expose-headers").join(",").to_ascii_lowercase();
    for name in [
        "content-range",
        "location",
        "upload-offset",
        "upload-length",
        "x-total-count",
        "link",
        "x-supabase-api-version",
    ] {
        assert!(exposed.split(", ").any(|one| one == name), "{name}: {exposed}");
    }
}

/// PostgREST's admin port prints its secrets, storage's is for many tenants: no spelling of a port in a path, a host
/// or a header leads there.
fn no_route_leads_to_an_admin_port(tenant: &Tenant) {
    let key = ("apikey", tenant.service_role_key.as_str());
    for (path, host) in [
        ("/rest/v1/config", "api:3001"),
        ("/rest/v1/ready", "rest:3001"),
        ("/rest/v1/:3001/config", "api:3001"),
        ("/storage/v1/tenants", "storage:5001"),
        ("http://api:3001/rest/v1/config", "api:3001"),
    ] {
        let answer = tenant.gateway.get(path, &[key, ("Host", host)]);
        if answer.status == 200 {
            let port = answer.json()["port"].clone();
            assert!(port == 3000 || port == 5000, "{path} with Host {host}: {answer:?}");
        } else {
            assert_eq!(answer.status, 400, "{path} with Host {host}: {answer:?}");
        }
    }
}

/// The whole rendered configuration, in the frame that the release puts around it, read by a real nginx that is as
/// closed as the release's container.
#[test]
fn nginx_accepts_the_configuration_of_the_official_releases() {
    for release in [RELEASE, NEWEST] {
        nginx_accepts(release);
    }
}

fn nginx_accepts(release: &str) {
    let reference = "abcdefghijklmnopqrst";
    let secrets = ProjectSecrets::generate(reference).unwrap();
    let settings = ProjectSettings::default();
    let releases = Releases::embedded().unwrap();
    let input = ProjectInput {
        project_ref: reference,
        project_name: "First",
        secrets: &secrets,
        settings: &settings,
    };
    let spec = render(releases.get(release).unwrap(), &input).unwrap();
    let gateway = spec.services.iter().find(|service| service.name == "gateway").unwrap();

    let dir = tempfile::Builder::new().prefix("supalove-test-nginx-").tempdir().unwrap();
    let mut arguments: Vec<String> = ["run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL"]
        .into_iter()
        .chain(["--security-opt", "no-new-privileges", "--user", "101:101", "--tmpfs", "/tmp:mode=1777"])
        .chain(["--label", "supalove.fleet=test-nginx"])
        .map(str::to_owned)
        .collect();
    for (number, mount) in gateway.config_mounts.iter().enumerate() {
        let source = dir.path().join(number.to_string());
        fs::create_dir(&source).unwrap();
        for file in &mount.files {
            let text = String::from_utf8(file.content.clone()).unwrap();
            let text = text.replace("${placement.api_url}", "https://abcdefghijklmnopqrst.example.com");
            fs::write(source.join(&file.path), text).unwrap();
        }
        let source = if mount.single_file { source.join(&mount.files[0].path) } else { source };
        arguments.extend(["--volume".to_owned(), format!("{}:{}:ro", source.display(), mount.path)]);
    }
    readable(dir.path());
    arguments.extend([core_image("gateway"), "nginx".to_owned(), "-t".to_owned(), "-q".to_owned()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Panics with nginx's own words if it refuses.
    docker(None, &arguments);
}

/// For the user that nginx runs as; the directory of a test is its owner's alone.
fn readable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
