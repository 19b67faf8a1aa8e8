//! Load from anyone: connections, bodies, joins and watches beyond the limits are refused, and neither agents nor the operator
//! notice.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use supalove_certs::{
    CaFingerprint,
    tls::{NodeChannel, connect, join_client_config},
};
use supalove_proto::v1::{GetMeRequest, WatchRequest, WatchSubscription, watch_subscription::Stream};
use supalove_system_tests::{
    Api, CORE, Controller, Heard, Holder, Options, SLACK, Server, Stub, join, turn_alone, wait_for,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Longest time of a call of the operator while the load lasts.
const CALL: Duration = Duration::from_secs(1);

/// A connection to a port of this machine from another of its addresses.
pub async fn connect_from(last: u8, port: u16) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))?;
    socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
}

/// How long a call of the operator takes.
async fn get_me(api: &Api) -> Duration {
    let began = Instant::now();
    // A call that is never answered is a failure, too.
    let answer = tokio::time::timeout(CALL * SLACK, api.auth().get_me(GetMeRequest {})).await;
    answer.expect("the operator has no answer").unwrap();
    began.elapsed()
}

/// A node with an identity and no agent.
async fn joined(controller: &Controller, api: &Api) -> Holder {
    let state = tempfile::tempdir().unwrap();
    let output = join(state.path(), &controller.node_address, &api.join_token().await, "stub", &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let identity = std::fs::read(state.path().join("identity.json")).unwrap();
    Holder::from_identity(&serde_json::from_slice(&identity).unwrap())
}

/// Resident memory of the controller in KiB.
fn memory(controller: &Controller) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", controller.process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn start(arguments: &[&str]) -> Controller {
    turn_alone();
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    Controller::start_with(Options { arguments, ..Options::default() }).await
}

#[tokio::test]
async fn half_sent_requests_are_closed_in_time_and_neither_operator_nor_agent_notices() {
    let first_request = Duration::from_secs(2);
    let controller = start(&["--first-request", "2", "--max-connections-per-address", "64"]).await;
    let api = controller.operator().await;
    let node = joined(&controller, &api).await;
    let mut stub = Stub::dial(&node, &controller.node_address).await;
    stub.answer_hello();
    assert_eq!(stub.hears().await, Heard::Hello);
    let rows = controller.database.rows().await;
    let epoch =
        wait_for("the session", Duration::from_secs(10) * SLACK, async || rows.live_epoch().await).await;

    let mut half_sent = Vec::new();
    for number in 0..300u16 {
        // 200 from one address, the others from several.
        let last = if number < 200 { 9 } else { 10 + u8::try_from(number % 4).unwrap() };
        let mut stream = connect_from(last, controller.public_port).await.unwrap();
        // One above its address' limit is closed at once.
        let _ = stream.write_all(b"POST /supalove.v1.AuthService/SignIn HTTP/1.1\r\nhost: x\r\n").await;
        half_sent.push(stream);
    }
    let began = Instant::now();
    let slowest = {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            slowest = slowest.max(get_me(&api).await);
        }
        slowest
    };
    assert!(slowest < CALL * SLACK, "the operator waited {slowest:?}");
    for mut stream in half_sent {
        let mut rest = Vec::new();
        let limit = first_request * SLACK + Duration::from_secs(3);
        let closed =
            tokio::time::timeout(limit.saturating_sub(began.elapsed()), stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "still open after {:?}", began.elapsed());
    }
    assert_eq!(rows.live_epoch().await, Some(epoch), "the agent has its session");
    let log = controller.process.log();
    assert!(log.contains("too many from one address") && log.contains("no request in time"), "{log}");
    let lines = log.lines().filter(|line| line.contains("refused")).count();
    assert!(lines <= 4, "{lines} lines for some 300 refusals:\n{log}");
}

/// The first bytes of a gRPC message of this length.
fn frame(length: u32) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(length.to_be_bytes());
    bytes
}

#[tokio::test]
async fn bodies_of_open_methods_take_little_memory_however_many_and_slow_they_are() {
    let controller = start(&[]).await;
    let api = controller.operator().await;
    let rest = memory(&controller);
    let large = 4 * 1024 * 1024u32;
    let mut peers = Vec::new();
    for number in 0..60u8 {
        let mut stream = connect_from(20 + number % 3, controller.public_port).await.unwrap();
        let head = "POST /supalove.v1.AuthService/SignIn HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc-web+proto\r\n";
        let length = large + 4;
        stream.write_all(format!("{head}content-length: {length}\r\n\r\n").as_bytes()).await.unwrap();
        peers.push(tokio::spawn(async move {
            let mut body = frame(large);
            body.resize(usize::try_from(large).unwrap() + 4, 1);
            // All but the last byte; a refusal in between may close the connection.
            let _ = stream.write_all(&body[..body.len() - 1]).await;
            stream
        }));
    }
    let mut highest = rest;
    for _ in 0..20 {
        assert!(get_me(&api).await < CALL * SLACK);
        highest = highest.max(memory(&controller));
    }
    let grown = highest.saturating_sub(rest) / 1024;
    assert!(grown < 64, "{grown} MiB more for bodies that were never complete");
    for peer in peers {
        peer.abort();
    }
    assert!(get_me(&api).await < CALL * SLACK);
}

/// The status of a gRPC-web call with exactly these bytes as its body: code and message.
fn call_with(controller: &Controller, path: &str, token: &str, body: &[u8]) -> (String, String) {
    let server = Server::new(&format!("http://127.0.0.1:{}", controller.public_port));
    let bearer = format!("Bearer {token}");
    let length = body.len().to_string();
    let headers = [
        ("content-type", "application/grpc-web+proto"),
        ("authorization", bearer.as_str()),
        ("content-length", length.as_str()),
    ];
    // An empty body has no length of its own in this client.
    let headers = if body.is_empty() { &headers[..] } else { &headers[..2] };
    let answer = server.send("POST", path, headers, body);
    let header =
        |name| answer.header(name).first().map(|value| value.replace("%20", " ")).unwrap_or_default();
    (header("grpc-status"), header("grpc-message"))
}

fn message(bytes: &[u8]) -> Vec<u8> {
    let mut body = frame(u32::try_from(bytes.len()).unwrap());
    body.extend_from_slice(bytes);
    body
}

#[tokio::test]
async fn malformed_and_oversized_requests_are_invalid_and_no_internal_errors() {
    let controller = start(&[]).await;
    let api = controller.operator().await;
    let watch = "/supalove.v1.WatchService/Watch";
    let sign_in = "/supalove.v1.AuthService/SignIn";
    for (path, body, says) in [
        (watch, message(&[0xff; 20]), "malformed"),
        (watch, message(&[0x0a, 0x7f]), "malformed"),
        (sign_in, message(&[0x0a, 0x02, 0xff, 0xff]), "malformed"),
        (sign_in, Vec::new(), "no message"),
        (sign_in, frame(9), "ends within"),
        (sign_in, message(&vec![0; 16 * 1024 + 1]), "16384"),
        // An item takes two bytes on the wire.
        (watch, message(&[0x0a, 0x00].repeat(200 * 1024)), "262144"),
    ] {
        let (code, text) = call_with(&controller, path, &api.token, &body);
        assert_eq!(code, (Code::InvalidArgument as i32).to_string(), "{path}: {text}");
        assert!(text.contains(says), "{path}: {says} is not in {text:?}");
    }
}

#[tokio::test]
async fn strangers_who_want_to_join_do_not_delay_a_node() {
    let controller = start(&[]).await;
    let api = controller.operator().await;
    let node = joined(&controller, &api).await;
    let port = controller.node_address.rsplit_once(':').unwrap().1.parse().unwrap();
    let ca: CaFingerprint = supalove_certs::TrustBundle::from_pem(&node.ca_pem).unwrap().fingerprints()[0];
    let strangers = (0..256u16).map(|number| async move {
        let stream = connect_from(30 + u8::try_from(number % 16).unwrap(), port).await.unwrap();
        // Those above the limit are closed at once; the others are silent after their handshake.
        connect(stream, join_client_config(&ca).unwrap()).await.ok()
    });
    let strangers: Vec<_> = futures::future::join_all(strangers).await;
    let silent: Vec<_> = strangers.into_iter().flatten().collect();
    assert!(silent.len() >= 64, "only {} handshakes", silent.len());
    let began = Instant::now();
    let stream = node.dial(&controller.node_address, NodeChannel::Renewal).await;
    let took = began.elapsed();
    assert!(took < CALL * SLACK, "a node's handshake took {took:?}");
    drop(stream);
    // A join connection without a call is closed after 2 s.
    let began = Instant::now();
    for mut stream in silent {
        let limit = (Duration::from_secs(2) * SLACK + Duration::from_secs(3)).saturating_sub(began.elapsed());
        let read = tokio::time::timeout(limit, stream.read_to_end(&mut Vec::new())).await;
        assert!(read.is_ok(), "still open after {:?}", began.elapsed());
    }
}

/// Connections that send nothing, from so many addresses.
async fn silent_strangers(port: u16, addresses: u8, each: u16) -> Vec<TcpStream> {
    let connects = (0..u16::from(addresses) * each).map(|number| {
        let last = 60 + u8::try_from(number / each).unwrap();
        async move { connect_from(last, port).await.ok() }
    });
    futures::future::join_all(connects).await.into_iter().flatten().collect()
}

#[tokio::test]
async fn strangers_who_say_nothing_do_not_keep_a_known_node_out() {
    // 896 descriptors for both ports: 112 for hellos, of which 28 are for addresses of known nodes, and 28 for one address.
    let under = ["prlimit", "--nofile=1024:1024"].map(str::to_owned).to_vec();
    let mut controller = Controller::start_with(Options { under, ..Options::default() }).await;
    let api = controller.operator().await;
    let node = joined(&controller, &api).await;
    let port = controller.node_address.rsplit_once(':').unwrap().1.parse().unwrap();
    let mut stub = Stub::dial(&node, &controller.node_address).await;
    stub.answer_hello();
    assert_eq!(stub.hears().await, Heard::Hello);
    drop(stub);

    // A replica that has just started knows the address, too.
    for restart in [false, true] {
        if restart {
            controller.process.kill();
            controller.restart().await;
        }
        let strangers = silent_strangers(port, 8, 30).await;
        let began = Instant::now();
        let stream = node.dial(&controller.node_address, NodeChannel::Renewal).await;
        let took = began.elapsed();
        assert!(took < CALL * SLACK, "a node's handshake took {took:?}");
        let log = controller.process.log();
        assert!(log.contains("too many hellos\""), "the strangers have not taken all: {log}");
        drop((stream, strangers));
    }
}

async fn watch(
    api: &Api,
    project: &str,
) -> Result<tonic::Streaming<supalove_proto::v1::WatchResponse>, Status> {
    let stream = Some(Stream::ProjectRef(project.to_owned()));
    let subscriptions = vec![WatchSubscription { stream, after_seq: None }];
    Ok(api.watches().watch(WatchRequest { subscriptions }).await?.into_inner())
}

#[tokio::test]
async fn a_thousand_watches_of_a_project_cost_what_one_costs() {
    let controller = start(&[]).await;
    let api = controller.operator().await;
    let node = joined(&controller, &api).await;
    let mut stub = Stub::dial(&node, &controller.node_address).await;
    stub.answer_hello();
    assert_eq!(stub.hears().await, Heard::Hello);
    let rows = controller.database.rows().await;
    let epoch =
        wait_for("the session", Duration::from_secs(10) * SLACK, async || rows.live_epoch().await).await;
    let project = api.create("watched", CORE).await.project.unwrap().r#ref;

    let mut watches = Vec::new();
    for _ in 0..10 {
        let mut another = api.clone();
        another.channel = controller.api().channel;
        let opened = futures::future::join_all((0..100).map(|_| watch(&another, &project))).await;
        for opened in opened {
            let mut messages = opened.unwrap();
            messages.message().await.unwrap().unwrap();
            watches.push(messages);
        }
    }
    let refused = watch(&api, &project).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(
        refused.message().contains("watched streams") && refused.message().contains("1000"),
        "{refused:?}"
    );
    assert!(refused.get_details_retry_info().is_some());

    let before = rows.transactions().await;
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let rate =
        f64::from(u32::try_from(rows.transactions().await - before).unwrap()) / began.elapsed().as_secs_f64();
    // Without watches it is some 15: jobs look once a second. Each watch for itself would add 200.
    assert!(rate < 60.0, "{rate} transactions a second");
    assert!(get_me(&api).await < CALL * SLACK);
    assert_eq!(rows.live_epoch().await, Some(epoch), "the agent has its session");
}
