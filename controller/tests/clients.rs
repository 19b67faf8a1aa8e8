//! Clients that are not ours, and the SDKs: the examples of their READMEs, run as they stand against a real fleet, and
//! how they go on after an ended token, a flood and a killed controller.
//!
//! `deploy/dev/clients.sh` makes ready what is run here.

mod support;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use supalove_proto::v1::{
    CreateProjectRequest, ProjectState, SignInRequest, watch_project_response::Message,
};
use supalove_sdk::{Client, Tokens};
use support::{Api, Controller, Fleet, Options, PASSWORD, labelled};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
    sync::mpsc,
};

/// For one example: a project comes up and goes.
const LIMIT: Duration = Duration::from_mins(4);
/// For the next line of a client.
const LINE: Duration = Duration::from_mins(1);
const EMAIL: &str = "operator@example.com";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The one block of this language in a README.
fn example(readme: &str, language: &str) -> String {
    let text = std::fs::read_to_string(root().join(readme)).unwrap();
    let fence = format!("```{language}\n");
    let mut blocks = text.split(&fence).skip(1);
    let block = blocks.next().unwrap_or_else(|| panic!("{readme} has no example in {language}"));
    assert!(blocks.next().is_none(), "{readme} has more than one");
    block.split_once("\n```").unwrap().0.to_owned()
}

/// A program of the clients' folder.
fn client(name: &str) -> PathBuf {
    let path = root().join("target/clients").join(name);
    assert!(path.exists(), "{} is missing; run deploy/dev/clients.sh", path.display());
    path
}

fn python() -> Command {
    Command::new(client("venv/bin/python"))
}

fn grpcurl(script: &str) -> Command {
    let mut command = Command::new("bash");
    let path = std::env::var("PATH").unwrap();
    command.args(["-c", script]).env("PATH", format!("{}:{path}", client("bin").display()));
    command
}

/// Checks the types of an example, then runs what comes out. It lies in the package, whose own name leads to it.
async fn typescript(source: &str) -> Command {
    let package = root().join("sdk/typescript");
    let folder = package.join("dist/example");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("readme.mts"), source).unwrap();
    let mut tsc = Command::new(package.join("node_modules/.bin/tsc"));
    tsc.args(["--target", "es2022", "--module", "nodenext", "--strict", "--skipLibCheck", "--types", "node"])
        .arg(folder.join("readme.mts"))
        // Where it looks for node's types.
        .current_dir(package);
    run(tsc).await;
    let mut command = Command::new("node");
    command.arg(folder.join("readme.mjs"));
    command
}

/// The example of the Rust SDK's README, which cargo has built.
fn rust() -> Command {
    let program =
        Path::new(env!("CARGO_BIN_EXE_supalove-controller")).with_file_name("examples").join("readme");
    assert!(program.exists(), "{} is missing; run cargo build -p supalove-sdk --examples", program.display());
    Command::new(program)
}

/// What a program prints. It must end with 0, in time.
async fn run(command: Command) -> String {
    let shown = command.as_std().get_program().display().to_string();
    let mut lines = lines_of(command);
    let mut printed = String::new();
    let ended = async {
        while let Some(line) = lines.recv().await {
            printed.push_str(&line);
            printed.push('\n');
        }
    };
    let in_time = tokio::time::timeout(LIMIT, ended).await.is_ok();
    assert!(in_time, "{shown} does not end:\n{printed}");
    assert!(printed.ends_with("ended with 0\n"), "{shown}:\n{printed}");
    printed
}

/// The variables that the examples take.
fn with_user(mut command: Command, controller: &Controller) -> Command {
    command
        .env("SUPALOVE_API", format!("http://127.0.0.1:{}", controller.public_port))
        .env("SUPALOVE_EMAIL", EMAIL)
        .env("SUPALOVE_PASSWORD", PASSWORD)
        .env("SUPALOVE_ORGANIZATION", "acme");
    command
}

/// What each example must have done, by its own words and by the platform's.
async fn assert_lived(api: &Api, printed: &str) {
    let after = |start: &str| {
        printed
            .lines()
            .find_map(|line| line.strip_prefix(start))
            .unwrap_or_else(|| panic!("no {start:?} in:\n{printed}"))
    };
    assert_eq!(after("signed in as "), EMAIL);
    let (code, violation) = after("refused: ").split_once(", ").unwrap();
    // grpcurl gives the number.
    assert!(["invalidargument", "3"].contains(&code.replace('_', "").to_lowercase().as_str()), "{printed}");
    assert!(violation.starts_with("name must "), "the field is named: {printed}");
    assert!(printed.lines().any(|line| line == "healthy"), "{printed}");

    let project_ref = after("created ");
    assert_eq!(api.project(project_ref).await.state(), ProjectState::Removed);
    assert_eq!(labelled(None, &format!("supalove.project={project_ref}")), Vec::<String>::new());
    let seen: Vec<u64> = printed
        .lines()
        .filter_map(|line| line.strip_prefix("event "))
        .map(|event| event.split(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(seen.len() > 5, "{printed}");
    assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>(), "each event once, in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_readmes_live_a_projects_whole_life() {
    let fleet = Fleet::start(Options::default()).await;
    let mut in_python = python();
    in_python.args(["-c", &example("sdk/python/README.md", "python")]);
    let programs = [
        grpcurl(&example("sdk/README.md", "bash")),
        in_python,
        typescript(&example("sdk/typescript/README.md", "ts")).await,
        rust(),
    ];
    let runs = programs.map(|program| run(with_user(program, &fleet.controller)));
    for printed in futures::future::join_all(runs).await {
        assert_lived(&fleet.api, &printed).await;
    }
}

/// What a client says, line by line.
type Lines = mpsc::UnboundedReceiver<String>;

fn lines_of(mut command: Command) -> Lines {
    let (sender, lines) = mpsc::unbounded_channel();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    tokio::spawn(async move {
        while let Ok(Some(line)) = output.next_line().await {
            let _ = sender.send(line);
        }
        let status = child.wait().await.unwrap();
        let _ = sender.send(format!("ended with {}", status.code().unwrap_or(-1)));
    });
    lines
}

/// The Rust SDK, saying what the scripts of the others say.
fn lines_in_rust(address: String, refresh_token: String) -> Lines {
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
        // Both find the token ended; it must be traded once.
        let twice = [client.create_project(request.clone()), client.create_project(request.clone())];
        let made = futures::future::join_all(twice).await;
        let first = made.into_iter().find_map(Result::ok).unwrap().project.unwrap().r#ref;
        let again = client.create_project(request).await.unwrap().project.unwrap().r#ref;
        say(format!("created {first} {again}"));
        say(format!("busy {:?}", flooded(&address).await.as_secs_f64()));
        let mut watch = client.watch_project(&first, Some(0)).within(Duration::from_secs(100));
        while let Some(message) = watch.next().await.unwrap() {
            if let Message::Event(event) = message {
                say(format!("event {}", event.seq));
            }
        }
        say("removed".into());
        say("ended with 0".into());
    });
    lines
}

/// What RetryInfo says when more sign in than the server takes.
async fn flooded(address: &str) -> Duration {
    let stranger = Client::connect(address).unwrap();
    let calls = (0..100).map(|_| stranger.sign_in("nobody@example.com", "a wrong password"));
    let answers = futures::future::join_all(calls).await;
    let mut problems = answers.iter().filter_map(|answer| answer.as_ref().err()?.problem());
    problems.find(|problem| problem.reason == "BUSY").unwrap().retry_after.unwrap()
}

/// Lines up to the first that starts so.
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

#[tokio::test(flavor = "multi_thread")]
async fn an_sdk_goes_on_after_an_ended_token_a_flood_and_a_killed_controller() {
    let mut controller = Controller::start().await;
    let api = controller.operator().await;
    let mut clients = Vec::new();
    for (program, script) in [
        (client("venv/bin/python"), "python/tests/session.py"),
        ("node".into(), "typescript/tests/session.mjs"),
    ] {
        let mut command = with_user(Command::new(program), &controller);
        command.arg(root().join("sdk").join(script)).env("SUPALOVE_REFRESH_TOKEN", refresh_token(&api).await);
        clients.push(lines_of(command));
    }
    let address = format!("http://127.0.0.1:{}", controller.public_port);
    clients.push(lines_in_rust(address, refresh_token(&api).await));

    let mut heard = Vec::new();
    for lines in &mut clients {
        heard.push(until(lines, "event ").await);
    }
    controller.kill_and_restart().await;
    let mut later = controller.api();
    later.use_token(&api.token);
    for (lines, heard) in clients.iter_mut().zip(&mut heard) {
        let created: Vec<String> = heard[0].split(' ').map(str::to_owned).collect();
        assert!(created[0] == "created" && created[1] == created[2], "made once: {heard:?}");
        assert!(matches!(heard[1].as_str(), "busy 1" | "busy 1.0"), "{heard:?}");
        later.delete(&created[1], 0).await;
        heard.extend(until(lines, "ended with ").await);

        let seen: Vec<&str> = heard.iter().filter_map(|line| line.strip_prefix("event ")).collect();
        let happened = later.events(&created[1]).await;
        let all: Vec<String> = happened.iter().map(|event| event.seq.to_string()).collect();
        assert_eq!(seen, all, "each event once, over the break");
        assert_eq!(heard[heard.len() - 2..], ["removed", "ended with 0"]);
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
