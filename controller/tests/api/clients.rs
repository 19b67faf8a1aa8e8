//! Foreign clients, and the SDKs: how they continue after an expired token, a wrong password, a lost response, a
//! flood and a killed controller. `deploy/dev/clients.sh` installs the clients.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use prost_reflect::DescriptorPool;
use sqlx::{Postgres, Transaction};
use supalove_proto::v1::{
    CreateProjectRequest, GetMeRequest, GetMeResponse, ListProjectsRequest, RequestPasswordResetRequest,
    SignInRequest, WaitOperationRequest, WatchEvent, WatchSubscription, watch_event::Event,
    watch_project_response::Message, watch_response, watch_subscription::Stream,
};
use supalove_sdk::{Client, Tokens};
use supalove_system_tests::{
    Api, Controller, EMAIL, Lines, LossyProxy, Options, PASSWORD, Rows, TcpProxy, client, lines_of, root,
    turn_alone, wait_for, with_user,
};
use tokio::{process::Command, sync::mpsc, task::JoinHandle};
use tonic::{Code, Request, Response, Status};

/// Timeout of the next line of a client.
const LINE: Duration = Duration::from_mins(1);

/// Drives the Rust SDK and prints the same lines as the scripts of the other clients.
fn lines_in_rust(address: String, lossy: String, refresh_token: String) -> Lines {
    let (sender, lines) = mpsc::unbounded_channel();
    let say = move |line: String| sender.send(line).unwrap();
    tokio::spawn(async move {
        let tokens = Tokens { access_token: "ended".into(), refresh_token };
        let client = Client::connect(&address).unwrap().with_tokens(tokens);
        let request = CreateProjectRequest {
            organization: "acme".into(),
            name: "rust-session".into(),
            request_id: uuid::Uuid::new_v4().to_string(),
            ..Default::default()
        };
        // Both calls find the token expired; the SDK must exchange the refresh token only once.
        let twice = [client.create_project(request.clone()), client.create_project(request.clone())];
        let made = futures::future::join_all(twice).await;
        let first = made.into_iter().find_map(Result::ok).unwrap().project.unwrap().r#ref;
        let again = client.create_project(request).await.unwrap().project.unwrap().r#ref;
        say(format!("created {first} {again}"));
        let before = client.tokens();
        client.sign_in(EMAIL, "a wrong password").await.unwrap_err();
        assert_eq!(client.tokens(), before, "a wrong password leaves the session as it is");
        let lost = CreateProjectRequest {
            organization: "acme".into(),
            name: "rust-lost".into(),
            ..Default::default()
        };
        let once = Client::connect(&lossy).unwrap().with_tokens(before).create_project(lost).await.unwrap();
        say(format!("lost {}", once.project.unwrap().r#ref));
        say(format!("busy {:?}", flooded(&address).await.as_secs_f64()));
        let mut watch = client.watch_project(&first, Some(0)).within(Duration::from_secs(100));
        let others = tokio::spawn(watched_with_others(client.clone(), first.clone()));
        while let Some(message) = watch.next().await.unwrap() {
            if let Message::Event(event) = message {
                say(format!("event {}", event.seq));
            }
        }
        say(format!("with others {}", others.await.unwrap()));
        say("removed".into());
        say("ended with 0".into());
    });
    lines
}

/// Returns the project's events from a watch that also follows its organization, then the reason of its end.
async fn watched_with_others(client: Client, project_ref: String) -> String {
    let mut seen = Vec::new();
    let acme = WatchSubscription { stream: Some(Stream::Organization("acme".into())), after_seq: None };
    let project = WatchSubscription { stream: Some(Stream::ProjectRef(project_ref)), after_seq: Some(0) };
    let mut watch = client.watch(vec![acme, project]).within(Duration::from_secs(100));
    while let Some(answer) = watch.next().await.unwrap() {
        match answer.message.unwrap() {
            watch_response::Message::Event(WatchEvent { event: Some(Event::Project(event)) }) => {
                seen.push(event.seq.to_string());
            }
            watch_response::Message::End(end) => {
                assert_eq!(answer.subscription, 1);
                seen.push(end.reason().as_str_name().to_owned());
                return seen.join(" ");
            }
            _ => {}
        }
    }
    panic!("the organization is still there")
}

/// Returns the RetryInfo when more callers ask for a new password than the server accepts; each answer takes its time.
async fn flooded(address: &str) -> Duration {
    let stranger = Client::connect(address).unwrap();
    let calls = (0..100).map(|_| async {
        let request = RequestPasswordResetRequest { email: "nobody@example.com".into() };
        let refused = stranger.auth().request_password_reset(request).await.unwrap_err();
        supalove_sdk::Error::from(refused)
    });
    let answers = futures::future::join_all(calls).await;
    let mut problems = answers.iter().filter_map(|answer| answer.problem());
    problems.find(|problem| problem.reason == "BUSY").unwrap().retry_after.unwrap()
}

/// Reads lines up to the first one with this prefix.
async fn until(lines: &mut Lines, start: &str) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let line = tokio::time::timeout(LINE, lines.recv()).await;
        let Ok(Some(line)) = line else { panic!("no {start:?} after {heard:#?}") };
        heard.push(line);
        if heard.last().unwrap().starts_with(start) {
            return heard;
        }
    }
}

/// A second session's refresh token.
async fn refresh_token(api: &Api) -> String {
    let request = SignInRequest { email: EMAIL.into(), password: PASSWORD.into(), ..Default::default() };
    api.auth().sign_in(request).await.unwrap().into_inner().tokens.unwrap().refresh_token
}

/// The refs of the projects with this name.
async fn named(api: &Api, name: &str) -> Vec<String> {
    let request = ListProjectsRequest { organization: "acme".into(), ..Default::default() };
    let projects = api.projects().list_projects(request).await.unwrap().into_inner().projects;
    projects.into_iter().filter(|project| project.name == name).map(|project| project.r#ref).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sdk_goes_on_after_an_ended_token_a_lost_answer_a_flood_and_a_killed_controller() {
    turn_alone();
    let mut controller = Controller::start().await;
    let api = controller.operator().await;
    let public = ([127, 0, 0, 1], controller.public_port).into();
    let mut clients = Vec::new();
    let mut proxies = Vec::new();
    let mut heard = Vec::new();
    // One after the other: all come from one address, whose calls each of them floods for a moment.
    for (program, script, lost) in [
        (client("venv/bin/python"), "python/tests/session.py", "python-lost"),
        ("node".into(), "typescript/tests/session.mjs", "typescript-lost"),
    ] {
        let proxy = LossyProxy::to(public, lost).await;
        let mut command = with_user(Command::new(program), &controller);
        command
            .arg(root().join("sdk").join(script))
            .env("SUPALOVE_LOSSY_API", format!("http://{}", proxy.address))
            .env("SUPALOVE_REFRESH_TOKEN", refresh_token(&api).await);
        let mut lines = lines_of(command);
        heard.push(until(&mut lines, "event ").await);
        clients.push(lines);
        proxies.push((lost, proxy));
    }
    let proxy = LossyProxy::to(public, "rust-lost").await;
    let lossy = format!("http://{}", proxy.address);
    let mut lines = lines_in_rust(format!("http://{public}"), lossy, refresh_token(&api).await);
    heard.push(until(&mut lines, "event ").await);
    clients.push(lines);
    proxies.push(("rust-lost", proxy));

    for ((name, proxy), heard) in proxies.iter().zip(&heard) {
        assert!(proxy.has_lost(), "{name}");
        assert_eq!(heard[1], format!("lost {}", named(&api, name).await.join(" ")), "made once");
    }
    controller.kill_and_restart().await;
    let mut later = controller.api();
    later.use_token(&api.token);
    for (lines, heard) in clients.iter_mut().zip(&mut heard) {
        let created: Vec<String> = heard[0].split(' ').map(str::to_owned).collect();
        assert!(created[0] == "created" && created[1] == created[2], "made once: {heard:?}");
        assert!(matches!(heard[2].as_str(), "busy 1" | "busy 1.0"), "{heard:?}");
        later.delete(&created[1], 0).await;
        heard.extend(until(lines, "ended with ").await);

        let seen: Vec<&str> = heard.iter().filter_map(|line| line.strip_prefix("event ")).collect();
        let happened = later.events(&created[1]).await;
        let all: Vec<String> = happened.iter().map(|event| event.seq.to_string()).collect();
        assert_eq!(seen, all, "each event once, over the break");
        let with_others = format!("with others {} ERROR_REASON_PROJECT_REMOVED", all.join(" "));
        assert_eq!(heard[heard.len() - 3..], [with_others.as_str(), "removed", "ended with 0"]);
    }
}

type Call = JoinHandle<Result<Response<GetMeResponse>, Status>>;

/// A call with an expired token, while a lock blocks the exchange of the refresh token.
async fn call_under_a_trade(rows: &Rows, client: &Client) -> (Call, Transaction<'static, Postgres>) {
    let lock = rows.lock_user_sessions().await;
    let mut auth = client.auth();
    let call = tokio::spawn(async move { auth.get_me(GetMeRequest {}).await });
    wait_for("the trade to begin", Duration::from_secs(10), async || {
        rows.is_a_refresh_waiting().await.then_some(())
    })
    .await;
    (call, lock)
}

#[tokio::test]
async fn the_tokens_of_a_trade_are_kept_if_its_call_is_given_up_but_not_over_newer_ones() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    let address = format!("http://127.0.0.1:{}", controller.public_port);
    let ended = |refresh_token| Tokens { access_token: "ended".into(), refresh_token };
    let old = ended(refresh_token(&api).await);
    let client = Client::connect(&address).unwrap().with_tokens(old.clone());
    let (call, lock) = call_under_a_trade(&rows, &client).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    lock.rollback().await.unwrap();
    wait_for("new tokens", Duration::from_secs(10), async || (client.tokens() != old).then_some(())).await;
    client.auth().get_me(GetMeRequest {}).await.unwrap();

    let newer = Client::connect(&address).unwrap();
    newer.sign_in(EMAIL, PASSWORD).await.unwrap();
    let traded = client.tokens().refresh_token;
    let client = client.with_tokens(ended(traded));
    let (call, lock) = call_under_a_trade(&rows, &client).await;
    let client = client.with_tokens(newer.tokens());
    lock.rollback().await.unwrap();
    call.await.unwrap().unwrap();
    assert_eq!(client.tokens(), newer.tokens());
}

#[tokio::test]
async fn a_wait_in_rust_lasts_as_its_request_says_and_a_silent_server_is_given_up_in_time() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let tokens = Tokens { access_token: api.token.clone(), ..Default::default() };
    let address = format!("127.0.0.1:{}", controller.public_port);
    let proxy = TcpProxy::to(&address).await;
    let silent = Client::connect(&format!("http://{}", proxy.address)).unwrap().with_tokens(tokens.clone());
    proxy.set_cut(true);
    let mut request = Request::new(GetMeRequest {});
    request.set_timeout(Duration::from_millis(500));
    assert_eq!(silent.auth().get_me(request).await.unwrap_err().code(), Code::DeadlineExceeded);

    // There is no node, so it does not end. The wait is longer than other calls may take.
    let operation_id = api.create("waits", "").await.operation.unwrap().id;
    let timeout = Some(prost_types::Duration { seconds: 32, nanos: 0 });
    let client = Client::connect(&format!("http://{address}")).unwrap().with_tokens(tokens);
    let started = Instant::now();
    let request = WaitOperationRequest { operation_id, timeout };
    let operation = client.operations().wait_operation(request).await.unwrap().into_inner().operation;
    assert_eq!(operation.unwrap().end_time, None);
    assert!(started.elapsed() >= Duration::from_secs(32), "{:?}", started.elapsed());
}

#[test]
fn every_sdk_offers_every_service() {
    let read = |path: &str| std::fs::read_to_string(root().join("sdk").join(path)).unwrap();
    let [rust, python] = ["rust/src/client.rs", "python/supalove/client.py"].map(read);
    let [typescript, exported] = ["typescript/src/client.ts", "typescript/src/v1.ts"].map(read);
    let pool = DescriptorPool::decode(supalove_proto::DESCRIPTORS).unwrap();
    for file in pool.files().filter(|file| file.package_name() == "supalove.v1") {
        let module = Path::new(file.name()).file_stem().unwrap().display();
        assert!(exported.contains(&format!("/{module}_pb.js")), "v1.ts does not export {module}");
        for service in file.services() {
            let name = service.name();
            assert!(rust.contains(&format!("{name}Client::new(self.session.clone())")), "Rust: {name}");
            assert!(typescript.contains(&format!("createClient({name}, transport)")), "TypeScript: {name}");
            assert!(python.contains(&format!("{module}_pb2_grpc.{name}Stub(")), "Python: {name}");
        }
    }
}

#[tokio::test]
async fn a_page_of_a_listed_origin_may_call_and_see_the_status() {
    let origin = "https://dashboard.example.com";
    let arguments = ["--cors-origin", origin].map(str::to_owned).to_vec();
    let controller = Controller::start_with(Options { arguments, ..Default::default() }).await;
    let url = format!("http://127.0.0.1:{}/supalove.v1.AuthService/GetMe", controller.public_port);
    let browser = reqwest::Client::new();
    let preflight = |origin: &str| {
        browser
            .request(reqwest::Method::OPTIONS, &url)
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            // What Connect-ES sends.
            .header(
                "access-control-request-headers",
                "authorization,content-type,grpc-timeout,x-grpc-web,x-user-agent",
            )
            .send()
    };
    let value = |answer: &reqwest::Response, name: &str| {
        answer.headers().get(name).map(|value| value.to_str().unwrap().to_lowercase()).unwrap_or_default()
    };
    let allowed = preflight(origin).await.unwrap();
    assert_eq!(value(&allowed, "access-control-allow-origin"), origin);
    for header in ["authorization", "content-type", "grpc-timeout", "x-grpc-web", "x-user-agent"] {
        assert!(value(&allowed, "access-control-allow-headers").contains(header), "{header}");
    }
    let stranger = preflight("https://elsewhere.example.com").await.unwrap();
    assert_eq!(value(&stranger, "access-control-allow-origin"), "");

    let call = browser.post(&url).header("origin", origin).header("x-grpc-web", "1");
    let refused =
        call.header("content-type", "application/grpc-web+proto").body(vec![0; 5]).send().await.unwrap();
    assert_eq!(value(&refused, "access-control-allow-origin"), origin);
    assert_eq!(value(&refused, "grpc-status"), "16");
    for header in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
        assert!(value(&refused, "access-control-expose-headers").contains(header), "{header}");
        assert_ne!(value(&refused, header), "", "{header}");
    }
}
