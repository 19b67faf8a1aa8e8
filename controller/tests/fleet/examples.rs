//! The examples of the SDKs' READMEs, run as they stand against a real fleet.

use std::time::Duration;

use supalove_proto::v1::ProjectState;
use supalove_system_tests::{
    Api, EMAIL, Fleet, Options, client, example as built, labelled, lines_of, root, with_user,
};
use tokio::process::Command;

/// For one example: a project comes up and goes.
const LIMIT: Duration = Duration::from_mins(4);

/// The one block of this language in a README.
fn example(readme: &str, language: &str) -> String {
    let text = std::fs::read_to_string(root().join(readme)).unwrap();
    let fence = format!("```{language}\n");
    let mut blocks = text.split(&fence).skip(1);
    let block = blocks.next().unwrap_or_else(|| panic!("{readme} has no example in {language}"));
    assert!(blocks.next().is_none(), "{readme} has more than one");
    block.split_once("\n```").unwrap().0.to_owned()
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
    Command::new(built("readme"))
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
