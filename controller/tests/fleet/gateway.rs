//! What a client meets at a project's one public address: functions, keys, CORS, refusals, and paths and bodies that
//! arrive as they were sent.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use supalove_system_tests::{Answer, CORE, Fleet, Options, Tenant, echo_releases};

/// Routes behind the key check, and the service that each belongs to.
const CHECKED: [(&str, &str); 6] = [
    ("/rest/v1/notes", "api"),
    ("/rest/v1/", "api"),
    ("/graphql/v1", "api"),
    ("/auth/v1/user", "auth"),
    ("/realtime/v1/websocket", "realtime"),
    ("/realtime/v1/api/broadcast", "realtime"),
];

#[tokio::test(flavor = "multi_thread")]
async fn functions_answer_and_only_the_projects_keys_open_the_gateway() {
    let fleet = Fleet::start(Options::default()).await;
    let tenant = fleet.project("first", CORE).await;
    hello_answers_everyone_also_with_three_megabytes(&tenant);
    whoami_runs_only_with_a_token_of_the_project(&tenant);
    a_route_behind_the_key_check_refuses_every_other_key(&tenant);
    both_keys_open_a_route_and_it_names_the_service_that_is_missing(&tenant);
    preflights_need_no_key_on_any_prefix(&tenant);
    an_unknown_prefix_is_not_found(&tenant);
    the_admin_api_of_realtime_is_closed_in_every_spelling(&tenant);
    dot_segments_are_refused_on_every_route(&tenant);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_through_the_gateway_arrives_byte_for_byte() {
    let releases = echo_releases(CORE);
    let arguments = vec!["--releases-dir".to_owned(), releases.path().display().to_string()];
    let fleet = Fleet::start(Options { arguments, ..Options::default() }).await;
    let tenant = fleet.project("echo", "echo").await;
    awkward_paths_arrive_as_they_were_sent(&tenant);
    each_prefix_reaches_its_service(&tenant);
    links_in_mails_open_without_a_key(&tenant);
    a_key_in_the_query_opens_the_route_and_stays_out_of_filters(&tenant);
    large_bodies_arrive_whole(&tenant);
    a_browser_sees_one_origin_header_whatever_the_service_adds(&tenant);
    a_client_cannot_say_where_it_comes_from(&tenant);
}

/// The CORS header that every answer has, refusals too: without it a browser hides the reason.
fn assert_one_origin(answer: &Answer, what: &str) {
    assert_eq!(answer.header("access-control-allow-origin"), ["*"], "{what}: {answer:?}");
}

/// A refusal that a program can read.
fn assert_refused(answer: &Answer, status: u16, code: &str, what: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    assert_eq!(answer.json()["code"], code, "{what}");
    assert!(answer.json()["message"].as_str().is_some_and(|text| !text.is_empty()), "{what}: {answer:?}");
    assert_one_origin(answer, what);
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn swap_case(text: &str) -> String {
    let swap = |c: char| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
    text.chars().map(swap).collect()
}

fn hello_answers_everyone_also_with_three_megabytes(tenant: &Tenant) {
    let answer = tenant.gateway.get("/functions/v1/hello?name=Ada", &[]);
    assert_eq!((answer.status, answer.json()), (200, json!({"message": "Hello, Ada!"})));
    assert_one_origin(&answer, "hello");

    let name = "x".repeat(3 << 20);
    let body = json!({ "name": name }).to_string();
    let headers = [("Content-Type", "application/json")];
    let answer = tenant.gateway.send("POST", "/functions/v1/hello", &headers, body.as_bytes());
    assert_eq!(answer.status, 200);
    assert!(answer.json()["message"] == format!("Hello, {name}!"), "the 3 MiB came back changed");

    assert_refused(&tenant.gateway.get("/functions/v1/none", &[]), 404, "NOT_FOUND", "unknown function");
}

fn whoami_runs_only_with_a_token_of_the_project(tenant: &Tenant) {
    let call = |token: &str| {
        tenant.gateway.get("/functions/v1/whoami", &[("Authorization", bearer(token).as_str())])
    };
    let without = tenant.gateway.get("/functions/v1/whoami", &[]);
    assert_refused(&without, 401, "UNAUTHORIZED_NO_AUTH_HEADER", "no token");
    for (key, role) in [(&tenant.anon_key, "anon"), (&tenant.service_role_key, "service_role")] {
        let answer = call(key);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["role"], role);
    }
    let parts: Vec<&str> = tenant.anon_key.split('.').collect();
    let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    let promoted = URL_SAFE_NO_PAD.encode(claims.replace("\"anon\"", "\"service_role\""));
    let unsigned = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let forgeries = [
        ("claims changed", format!("{}.{promoted}.{}", parts[0], parts[2])),
        ("alg none", format!("{unsigned}.{}.", parts[1])),
        ("no signature", format!("{}.{}", parts[0], parts[1])),
        ("no token at all", "x".to_owned()),
    ];
    for (what, token) in forgeries {
        assert_refused(&call(&token), 401, "UNAUTHORIZED_INVALID_JWT", what);
    }
}

fn a_route_behind_the_key_check_refuses_every_other_key(tenant: &Tenant) {
    let wrong = [&tenant.anon_key, &tenant.service_role_key].map(|key| {
        [
            ("case swapped", swap_case(key)),
            ("dot replaced", key.replacen('.', "x", 1)),
            ("one more character", format!("{key}x")),
            ("one character less", key[..key.len() - 1].to_owned()),
            ("one character before", format!("x{key}")),
        ]
    });
    let mut wrong: Vec<_> = wrong.into_iter().flatten().collect();
    wrong.push(("any word", "nonsense".to_owned()));
    for (path, _) in CHECKED {
        assert_refused(&tenant.gateway.get(path, &[]), 401, "missing_api_key", path);
        let authorization = bearer(&tenant.anon_key);
        let elsewhere = tenant.gateway.get(path, &[("Authorization", &authorization)]);
        assert_refused(&elsewhere, 401, "missing_api_key", &format!("{path}, the key as a token only"));
        for (what, key) in &wrong {
            let what = format!("{path}, {what}");
            assert_refused(&tenant.gateway.get(path, &[("apikey", key)]), 401, "invalid_api_key", &what);
            let in_query = tenant.gateway.get(&format!("{path}?apikey={key}"), &[]);
            assert_refused(&in_query, 401, "invalid_api_key", &format!("{what}, in the query"));
        }
        let both = tenant.gateway.get(&format!("{path}?apikey={}", tenant.anon_key), &[("apikey", "x")]);
        assert_refused(&both, 401, "invalid_api_key", &format!("{path}, the header counts first"));
    }
}

fn both_keys_open_a_route_and_it_names_the_service_that_is_missing(tenant: &Tenant) {
    let not_enabled = |answer: &Answer, service: &str, what: &str| {
        assert_refused(answer, 503, "service_not_enabled", what);
        assert_eq!(answer.json()["service"], service, "{what}");
    };
    for key in [&tenant.anon_key, &tenant.service_role_key] {
        for (path, service) in CHECKED {
            not_enabled(&tenant.gateway.get(path, &[("apikey", key)]), service, path);
            not_enabled(&tenant.gateway.get(&format!("{path}?apikey={key}"), &[]), service, path);
        }
    }
    not_enabled(&tenant.gateway.get("/auth/v1/verify?token=x", &[]), "auth", "open route");
    not_enabled(&tenant.gateway.get("/storage/v1/object/a", &[]), "storage", "storage checks keys itself");
    let key = ("apikey", tenant.anon_key.as_str());
    assert_refused(&tenant.gateway.get("/pg/x", &[key]), 403, "forbidden", "needs the service key");
    let key = ("apikey", tenant.service_role_key.as_str());
    not_enabled(&tenant.gateway.get("/pg/x", &[key]), "meta", "/pg/");
}

fn preflights_need_no_key_on_any_prefix(tenant: &Tenant) {
    let open = [
        "/storage/v1/object/a",
        "/functions/v1/hello",
        "/functions/v1/whoami",
        "/auth/v1/verify",
        "/sso/saml/acs",
        "/pg/x",
        "/nothing",
    ];
    let headers = [
        ("Origin", "http://app.example.com"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization,apikey,x-custom"),
    ];
    for path in CHECKED.iter().map(|(path, _)| *path).chain(open) {
        let answer = tenant.gateway.send("OPTIONS", path, &headers, &[]);
        assert!((200..300).contains(&answer.status), "{path}: {answer:?}");
        assert_one_origin(&answer, path);
        assert_eq!(
            answer.header("access-control-allow-headers"),
            ["authorization,apikey,x-custom"],
            "{path}"
        );
        let methods = answer.header("access-control-allow-methods").join(",");
        let methods: BTreeSet<&str> = methods.split(", ").collect();
        assert!(["GET", "POST", "PUT", "PATCH", "DELETE"].iter().all(|m| methods.contains(m)), "{path}");
    }
}

fn an_unknown_prefix_is_not_found(tenant: &Tenant) {
    let key = ("apikey", tenant.anon_key.as_str());
    for path in
        ["/", "/nope", "/rest", "/rest/v2/notes", "/restx/v1/", "/REST/v1/notes", "/rest/v1/../../etc"]
    {
        assert_refused(&tenant.gateway.get(path, &[key]), 404, "no_route", path);
    }
}

fn the_admin_api_of_realtime_is_closed_in_every_spelling(tenant: &Tenant) {
    let spellings = [
        "/realtime/v1/api/tenants",
        "/realtime/v1/api/%74enants",
        "/realtime/v1/api/x/../tenants",
        "/realtime/v1//api//tenants",
        "/realtime/v1/api/./tenants/realtime-dev",
        "/realtime/v1/api%2ftenants",
        "/realtime/v1/api/TENANTS/x/reload",
        "/realtime/v1/api/openapi",
    ];
    for path in spellings {
        for key in [&tenant.anon_key, &tenant.service_role_key] {
            assert_refused(&tenant.gateway.get(path, &[("apikey", key)]), 403, "forbidden", path);
        }
    }
}

fn dot_segments_are_refused_on_every_route(tenant: &Tenant) {
    let key = ("apikey", tenant.service_role_key.as_str());
    for prefix in ["/storage/v1", "/functions/v1", "/rest/v1", "/auth/v1", "/realtime/v1"] {
        for rest in ["/a/../b", "/a/./b", "/a/%2e%2e/b", "/a/.%2E", "/a%2f..%2fb", "/%2e/a", "/a/..?x=1"] {
            let path = format!("{prefix}{rest}");
            assert_refused(&tenant.gateway.get(&path, &[key]), 400, "bad_path", &path);
        }
    }
    // A route that is open, and one behind the key check that its normalised path would be.
    for path in ["/auth/v1/verify%2F..%2Fadmin/users", "/%72est/v1/notes", "//rest/v1/notes"] {
        assert_refused(&tenant.gateway.get(path, &[key]), 400, "bad_path", path);
    }
}

/// What the echo says of a request that must reach it.
fn echoed(tenant: &Tenant, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Value {
    let key = ("apikey", tenant.anon_key.as_str());
    let with_key = [headers, &[key]].concat();
    let answer = tenant.gateway.send(method, target, &with_key, body);
    assert_eq!(answer.status, 200, "{method} {target}: {answer:?}");
    // What the echo sets. Only functions decide for themselves.
    let origin = if target.starts_with("/functions/") { "http://upstream" } else { "*" };
    assert_eq!(answer.header("access-control-allow-origin"), [origin], "{target}");
    answer.json()
}

/// Bytes of the request target that arrived.
fn arrived(echo: &Value) -> Vec<u8> {
    let line = echo["line"].as_str().unwrap().chars().map(|c| u8::try_from(u32::from(c)).unwrap());
    line.skip_while(|byte| *byte != b' ').skip(1).take_while(|byte| *byte != b' ').collect()
}

fn assert_arrives(tenant: &Tenant, target: &str, expected: &str) {
    let arrived = arrived(&echoed(tenant, "GET", target, &[], &[]));
    assert_eq!(String::from_utf8_lossy(&arrived), expected, "{target}");
}

fn awkward_paths_arrive_as_they_were_sent(tenant: &Tenant) {
    let awkward = [
        "a%2Fb",
        "a%26%3Db",
        "a//b",
        "a%20b+c",
        "%C3%BC%E2%82%AC",
        "ü€",
        "a%25b",
        "a%3Fb%23c",
        "x;y=1,2:3@4",
        "a%2fb%5Cc",
        "..a/b..c/...",
        "(a)'*!~$",
    ];
    let routes = [
        ("/storage/v1/object/", "/object/"),
        ("/functions/v1/f/", "/f/"),
        ("/rest/v1/notes/", "/notes/"),
        ("/auth/v1/x/", "/x/"),
        ("/realtime/v1/api/x/", "/api/x/"),
    ];
    for (prefix, upstream) in routes {
        for path in awkward {
            for query in ["", "?x=%2F&y=a+b&z=//", "?"] {
                let target = format!("{prefix}{path}{query}");
                assert_arrives(tenant, &target, &format!("{upstream}{path}{query}"));
            }
        }
    }
}

fn each_prefix_reaches_its_service(tenant: &Tenant) {
    let routes = [
        ("/rest/v1/notes?select=a", "api", 3000, "/notes?select=a"),
        ("/graphql/v1", "api", 3000, "/rpc/graphql"),
        ("/auth/v1/user", "auth", 9999, "/user"),
        ("/realtime/v1/websocket?vsn=2.0.0", "realtime", 4000, "/socket/websocket?vsn=2.0.0"),
        ("/realtime/v1/api/broadcast", "realtime", 4000, "/api/broadcast"),
        ("/storage/v1/object/a", "storage", 5000, "/object/a"),
        ("/functions/v1/hello/a?b=c", "functions", 9000, "/hello/a?b=c"),
    ];
    for (target, service, port, upstream) in routes {
        let echo = echoed(tenant, "POST", target, &[], b"{}");
        assert_eq!((&echo["service"], &echo["port"]), (&json!(service), &json!(port)), "{target}");
        assert_eq!(arrived(&echo), upstream.as_bytes(), "{target}");
        assert!(echo["line"].as_str().unwrap().starts_with("POST "));
    }
    let graphql = echoed(tenant, "POST", "/graphql/v1", &[], b"{}");
    assert_eq!(graphql["headers"]["content-profile"], "graphql_public");
    let upgrade = [("Upgrade", "websocket"), ("Connection", "Upgrade")];
    let socket = &echoed(tenant, "GET", "/realtime/v1/websocket", &upgrade, &[])["headers"];
    assert_eq!(
        (&socket["host"], &socket["upgrade"], &socket["connection"]),
        (&json!("realtime-dev"), &json!("websocket"), &json!("upgrade"))
    );
    let profile = [("Accept-Profile", "private"), ("Authorization", "Bearer user")];
    let rest = &echoed(tenant, "GET", "/rest/v1/notes", &profile, &[])["headers"];
    assert_eq!((&rest["accept-profile"], &rest["authorization"]), (&json!("private"), &json!("Bearer user")));
}

fn links_in_mails_open_without_a_key(tenant: &Tenant) {
    let links = [
        ("/auth/v1/verify?token=x", "/verify?token=x"),
        ("/auth/v1/callback?code=x", "/callback?code=x"),
        ("/auth/v1/authorize?provider=x", "/authorize?provider=x"),
        ("/auth/v1/.well-known/jwks.json", "/.well-known/jwks.json"),
        ("/sso/saml/acs", "/sso/saml/acs"),
        ("/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server"),
    ];
    for (target, upstream) in links {
        let answer = tenant.gateway.get(target, &[]);
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        assert_eq!(arrived(&answer.json()), upstream.as_bytes());
    }
    assert_refused(&tenant.gateway.get("/auth/v1/verifyx", &[]), 401, "missing_api_key", "verifyx");
}

fn a_key_in_the_query_opens_the_route_and_stays_out_of_filters(tenant: &Tenant) {
    let key = &tenant.anon_key;
    let targets = [
        (format!("/rest/v1/a%2Fb?select=a&apikey={key}&b=1"), "/a%2Fb?select=a&b=1".to_owned()),
        (format!("/rest/v1/notes?apikey={key}"), "/notes".to_owned()),
        (format!("/functions/v1/f?apikey={key}&x=1"), "/f?x=1".to_owned()),
        ("/functions/v1/f?a=apikey&x=apikey2".to_owned(), "/f?a=apikey&x=apikey2".to_owned()),
        (format!("/auth/v1/user?apikey={key}"), format!("/user?apikey={key}")),
    ];
    for (target, upstream) in targets {
        let answer = tenant.gateway.get(&target, &[]);
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        assert_eq!(String::from_utf8_lossy(&arrived(&answer.json())), upstream);
    }
    let rest = echoed(tenant, "GET", "/rest/v1/notes", &[], &[]);
    assert_eq!(rest["headers"]["apikey"], Value::Null, "PostgREST does not see the key");
    let auth = echoed(tenant, "GET", "/auth/v1/user", &[], &[]);
    assert_eq!(auth["headers"]["apikey"], key.as_str());
}

fn large_bodies_arrive_whole(tenant: &Tenant) {
    for (target, mebibytes) in
        [("/functions/v1/f", 3), ("/rest/v1/notes", 3), ("/auth/v1/x", 2), ("/storage/v1/object/a", 20)]
    {
        let body: Vec<u8> =
            (0u32..mebibytes << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let checksum = body.iter().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
        let echo = echoed(tenant, "POST", target, &[], &body);
        assert_eq!((&echo["bytes"], &echo["checksum"]), (&json!(body.len()), &json!(checksum)), "{target}");
    }
    let key = ("apikey", tenant.anon_key.as_str());
    let too_large = tenant.gateway.send("POST", "/auth/v1/x", &[key], &vec![b'x'; 5 << 20]);
    assert_refused(&too_large, 413, "payload_too_large", "a body that auth does not take");
}

fn a_browser_sees_one_origin_header_whatever_the_service_adds(tenant: &Tenant) {
    for (path, _) in CHECKED.into_iter().chain([("/storage/v1/object/a", "")]) {
        let headers = [("apikey", tenant.anon_key.as_str()), ("Origin", "http://app.example.com")];
        let answer = tenant.gateway.get(path, &headers);
        assert_eq!(answer.status, 200, "{path}");
        assert_one_origin(&answer, path);
        assert!(answer.header("access-control-allow-credentials").is_empty(), "{path}: {answer:?}");
    }
}

fn a_client_cannot_say_where_it_comes_from(tenant: &Tenant) {
    let claims = [
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Real-IP", "6.6.6.6"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.example.com"),
        ("Forwarded", "host=evil.example.com"),
    ];
    let headers = &echoed(tenant, "GET", "/storage/v1/object/a", &claims, &[])["headers"];
    let (host, port) = tenant.gateway.address.split_once(':').unwrap();
    let expected = [
        ("host", tenant.gateway.address.as_str()),
        ("x-forwarded-host", host),
        ("x-forwarded-port", port),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-prefix", "/storage/v1"),
    ];
    for (name, value) in expected {
        assert_eq!(headers[name], value, "{name}");
    }
    for name in ["x-forwarded-for", "x-real-ip"] {
        assert!(headers[name].is_string() && headers[name] != "6.6.6.6", "{name}: {headers}");
    }
    assert_eq!(headers["forwarded"], Value::Null);
}
