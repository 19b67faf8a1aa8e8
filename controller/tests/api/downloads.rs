//! What a host without an agent gets from the node port, and what nobody gets there. `curl` is what the printed command uses.

use std::{
    process::{Command, Output},
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{SHA256, digest};
use supalove_certs::{
    CaFingerprint, JoinToken,
    tls::{NodeChannel, connect, download_client_config},
};
use supalove_proto::v1::{CreateJoinTokenRequest, CreateJoinTokenResponse};
use supalove_system_tests::{Api, Controller, Holder, Options, SLACK, program, wait_for};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A call of a node beside the load of strangers.
const CALL: Duration = Duration::from_secs(1);

async fn join_command(api: &Api) -> CreateJoinTokenResponse {
    api.clusters().create_join_token(CreateJoinTokenRequest::default()).await.unwrap().into_inner()
}

/// The pin in a printed command.
fn pin(command: &str) -> &str {
    command.split_whitespace().find(|word| word.starts_with("sha256//")).unwrap()
}

fn curl(pin: &str, address: &str, path: &str) -> Output {
    let url = format!("https://{address}{path}");
    let arguments = ["-sSfk", "--http1.1", "--path-as-is", "--pinnedpubkey", pin, &url];
    Command::new("curl").args(arguments).output().unwrap()
}

/// Runs a printed command as root would, with an option that changes nothing.
fn run(command: &str) -> (Option<i32>, String, String) {
    let output = Command::new("sh").args(["-c", &format!("{command} --help")]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn the_command_fails_if_its_script_cannot_be_downloaded() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let command = join_command(&api).await.join_command;
    let (code, said, _) = run(&command);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("Makes this host a node of a Supalove fleet"), "{said}");

    // Nobody listens there; and another key than the one that the command pins.
    let nowhere = command.replace(&controller.node_address, "127.0.0.1:9");
    let foreign = command.replace(pin(&command), &format!("sha256//{}=", "A".repeat(43)));
    // With `curl -f` a page that is not there is an error, too.
    let missing = command.replace("/join)", "/nothing)");
    for (command, code) in [(nowhere, 7), (foreign, 90), (missing, 22)] {
        let (found, said, wrong) = run(&command);
        assert_eq!(found, Some(code), "{wrong}");
        assert!(said.is_empty() && wrong.starts_with(&format!("curl: ({code}) ")), "{said}{wrong}");
    }
}

#[tokio::test]
async fn a_host_gets_script_digests_and_program_from_the_port_whose_key_the_command_pins() {
    let arguments = ["--join-address=127.0.0.1:9", "--join-address=[::1]:9"].map(str::to_owned).to_vec();
    let mut controller = Controller::start_with(Options { arguments, ..Options::default() }).await;
    let api = controller.operator().await;
    let created = join_command(&api).await;
    let command = &created.join_command;
    assert!(command.contains(" https://127.0.0.1:9/join) && SUPALOVE_JOIN_TOKEN=slj1."), "{command}");
    assert!(created.agent_join_command.ends_with("--controller 127.0.0.1:9,[::1]:9"));
    assert_eq!(created.architectures, [std::env::consts::ARCH]);
    let pin = pin(command).to_owned();
    let get = |path: &str| {
        let output = curl(&pin, &controller.node_address, path);
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };

    let script = String::from_utf8(get("/join")).unwrap();
    assert!(script.starts_with("#!/bin/sh\n") && script.ends_with("\nmain \"$@\"\n"));
    assert!(script.contains(&format!("PIN='{pin}'")) && script.contains("CONTROLLERS='127.0.0.1:9,[::1]:9'"));
    let content = std::fs::read(program("supalove-agent")).unwrap();
    let sha256 = hex::encode(digest(&SHA256, &content));
    let name = format!("supalove-agent-{}", std::env::consts::ARCH);
    assert_eq!(String::from_utf8(get("/join/sha256")).unwrap(), format!("{sha256}  {name}\n"));
    let program = get(&format!("/join/agent/{}", std::env::consts::ARCH));
    assert_eq!(hex::encode(digest(&SHA256, &program)), sha256);

    // Another key is refused by curl itself, before anything is sent.
    let other = curl(&pin.replace("sha256//", "sha256//A"), &controller.node_address, "/join");
    assert_eq!(other.status.code(), Some(90), "{}", String::from_utf8_lossy(&other.stderr));
    // The key is the same on every replica and after a restart, so the command works as long as its token.
    let replica = controller.replica().await;
    assert!(curl(&pin, &replica.node_address, "/join").status.success());
    controller.kill_and_restart().await;
    assert!(curl(&pin, &controller.node_address, "/join").status.success());
}

/// Sends bytes on a connection for downloads; returns what comes until its end.
async fn raw(address: &str, ca: &CaFingerprint, sent: &[u8]) -> String {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream = connect(stream, download_client_config(ca).unwrap()).await.unwrap();
    // A controller that has read enough closes while more is sent.
    let _ = stream.write_all(sent).await;
    let mut answer = Vec::new();
    // A connection that is cut has no orderly end.
    let _ =
        tokio::time::timeout(Duration::from_secs(10) * SLACK, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn nobody_gets_anything_else() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "canary").unwrap();
    let arguments = vec![format!("--agents-dir={}", dir.path().display())];
    let controller = Controller::start_with(Options { arguments, ..Options::default() }).await;
    let api = controller.operator().await;
    let created = join_command(&api).await;
    assert!(created.architectures.is_empty());
    let ca = created.join_token.parse::<JoinToken>().unwrap().ca();
    let address = &controller.node_address;
    let refused = async |request: &str, status: &str, words: &str| {
        let answer = raw(address, &ca, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer:?}");
        assert!(answer.contains(words) && !answer.contains("canary"), "{request:?}: {answer:?}");
        assert!(answer.len() < 1000, "{request:?}: {answer:?}");
        assert!(answer.contains("connection: close\r\n"), "{request:?}: {answer:?}");
    };
    for path in [
        "/",
        "/join/",
        "//join",
        "/join/agent",
        "/secret",
        "/join/../secret",
        "/join/agent/../secret",
        "/join/agent/..%2fsecret",
        "/join/agent/x86_64/",
        "/join/agent/%78",
        "/supalove.v1.AuthService/SignIn",
        "/JOIN",
        "/join/agent/secret",
    ] {
        refused(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"), "404", "").await;
    }
    refused("GET /join/agent/mips HTTP/1.1\r\nhost: x\r\n\r\n", "404", "it is made for x86_64 and aarch64")
        .await;
    for architecture in ["x86_64", "aarch64"] {
        let request = format!("GET /join/agent/{architecture} HTTP/1.1\r\nhost: x\r\n\r\n");
        let remedy = format!("into --agents-dir, as supalove-agent-{architecture}");
        refused(&request, "404", &remedy).await;
    }
    for method in ["POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PRI"] {
        refused(&format!("{method} /join HTTP/1.1\r\nhost: x\r\n\r\n"), "405", "allow: GET\r\n").await;
    }
    refused("GET /join HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc", "400", "no body").await;
    refused("GET /join HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "400", "no body")
        .await;
    let long = format!("GET /join HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(64 * 1024));
    // The close may overtake the answer, because not all was read.
    let answer = raw(address, &ca, long.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer:?}");

    // One request for each connection, and HTTP/1.1 only.
    let two = "GET /join/sha256 HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2);
    assert_eq!(raw(address, &ca, two.as_bytes()).await.matches("HTTP/1.1 200 ").count(), 1);
    let second = raw(address, &ca, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(!second.starts_with('\0'), "no HTTP/2: {second:?}");
    // Whoever says nothing is cut off.
    let began = Instant::now();
    assert_eq!(raw(address, &ca, b"GET /join HTTP/1.1\r\n").await, "");
    assert!(began.elapsed() < Duration::from_secs(4) * SLACK, "{:?}", began.elapsed());
}

#[tokio::test]
async fn hosts_that_download_do_not_delay_a_node_and_have_their_number() {
    let mut controller = Controller::start().await;
    let api = controller.operator().await;
    let node = Holder::enroll(&controller.node_address, &api.join_token().await, "steady").await;
    let ca = supalove_certs::TrustBundle::from_pem(&node.ca_pem).unwrap().fingerprints()[0];
    let port = controller.node_address.rsplit_once(':').unwrap().1.parse().unwrap();
    let request = format!("GET /join/agent/{} HTTP/1.1\r\nhost: x\r\n\r\n", std::env::consts::ARCH);
    // They take the head of the answer, and then nothing.
    let strangers = (0..64u8).map(|number| {
        let request = &request;
        async move {
            let stream = crate::load::connect_from(100 + number % 8, port).await.ok()?;
            let mut stream = connect(stream, download_client_config(&ca).unwrap()).await.ok()?;
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut head = [0; 64];
            (stream.read(&mut head).await.ok()? > 0).then_some(stream)
        }
    });
    let strangers: Vec<_> = futures::future::join_all(strangers).await.into_iter().flatten().collect();
    assert!((16..=32).contains(&strangers.len()), "{} downloads at once", strangers.len());
    let refused = wait_for("refused downloads in the log", Duration::from_secs(5) * SLACK, async || {
        controller.process.log().contains("too many downloads").then_some(())
    });
    refused.await;
    let began = Instant::now();
    drop(node.dial(&controller.node_address, NodeChannel::Renewal).await);
    let other = Holder::enroll(&controller.node_address, &api.join_token().await, "late").await;
    let took = began.elapsed();
    assert!(took < CALL * SLACK, "a node's handshake and a host's enrolment took {took:?}");
    assert_ne!(other.uuid(), node.uuid());
    // They take some of it now and then, but less than a host that joins would: soon others have their place.
    for mut stranger in strangers {
        tokio::spawn(async move {
            let mut taken = vec![0; 16 << 10];
            while stranger.read_exact(&mut taken).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
    }
    let command = join_command(&api).await.join_command;
    wait_for("room for a download", Duration::from_secs(45) * SLACK, async || {
        curl(pin(&command), &controller.node_address, "/join").status.success().then_some(())
    })
    .await;
    controller.process.assert_alive();
}
