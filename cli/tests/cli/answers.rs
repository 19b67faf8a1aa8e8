//! Answers and refusals: exit codes, error details, pages, deadlines, completions.

use std::{collections::HashMap, time::Duration};

use crate::support::World;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_exit_code() {
    let world = World::signed_in().await;
    let expected = [
        (Code::PermissionDenied, 4),
        (Code::NotFound, 5),
        (Code::FailedPrecondition, 6),
        (Code::AlreadyExists, 6),
        (Code::Aborted, 6),
        (Code::InvalidArgument, 7),
        (Code::DeadlineExceeded, 8),
        (Code::ResourceExhausted, 9),
        (Code::Internal, 1),
    ];
    for (code, exit) in expected {
        world.fake.state().failures.push_back(Status::new(code, "because"));
        let ran = world.run(&["whoami"]).await;
        assert_eq!(ran.code, exit, "{code:?}: {ran:?}");
        assert!(ran.stderr.contains("because"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_details_of_a_refusal_are_told() {
    let world = World::signed_in().await;
    let mut details = ErrorDetails::new();
    details
        .add_bad_request_violation("name", "1 to 80 characters")
        .set_error_info(
            "NAME_TOO_LONG",
            "supalove",
            HashMap::from([("remedy".into(), "take a shorter one".into())]),
        )
        .set_retry_info(Some(Duration::from_secs(3)))
        .set_request_info("trace-1", "");
    let status = Status::with_error_details(Code::InvalidArgument, "the name is too long", details);
    world.fake.state().failures.push_back(status);
    let ran = world.run(&["whoami"]).await;
    assert_eq!(ran.code, 7);
    let parts = [
        "error: the name is too long",
        "field name: 1 to 80 characters",
        "reason: NAME_TOO_LONG",
        "remedy: take a shorter one",
        "retry in: 3 s",
        "request: trace-1",
    ];
    for part in parts {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert!(ran.stdout.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_says_each_thing_once() {
    let world = World::signed_in().await;
    let mut details = ErrorDetails::new();
    details.set_error_info("INVALID_ARGUMENT", "supalove", HashMap::new());
    details.add_bad_request_violation("name", "must not be empty");
    let status = Status::with_error_details(Code::InvalidArgument, "name: must not be empty", details);
    world.fake.state().failures.push_back(status);
    let ran = world.run(&["whoami"]).await;
    assert_eq!(ran.stderr, "error: name: must not be empty\n  reason: INVALID_ARGUMENT\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_usage_line_shows_only_what_is_required() {
    let world = World::new().await;
    let ran = world.run(&["nodes", "get"]).await;
    assert!(ran.stderr.contains("Usage: supalove nodes get <NODE>"), "{}", ran.stderr);
    for (time, words) in [("1ms", "shortest time is 1s"), ("-1s", "cannot be negative"), ("7", "7s")] {
        let ran = world.run(&["whoami", "--timeout", time]).await;
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_is_away_is_exit_code_8() {
    let world = World::signed_in().await;
    let ran = world.command(&["organizations", "list", "--api", "http://127.0.0.1:1"]);
    let mut ran = ran;
    let output = ran.env("SUPALOVE_ACCESS_TOKEN", "any").output().await.unwrap();
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = "cannot reach the platform at http://127.0.0.1:1: connection refused; is it up? make up\n";
    assert_eq!(said, format!("error: {expected}"), "the address, the cause, the remedy, each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_in_time_is_exit_code_8() {
    let world = World::signed_in().await;
    world.fake.state().delay = Duration::from_secs(20);
    let started = std::time::Instant::now();
    let ran = world.run(&["whoami", "--timeout", "1s"]).await;
    assert_eq!(ran.code, 8, "{ran:?}");
    assert!(ran.stderr.contains("DeadlineExceeded"), "{}", ran.stderr);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_has_all_pages() {
    let world = World::signed_in().await;
    let all = world.json(&["organizations", "list"]).await;
    let slugs: Vec<_> = all["organizations"].as_array().unwrap().iter().map(|o| &o["slug"]).collect();
    assert_eq!(slugs, ["org-0", "org-1", "org-2"]);
    let ran = world.run(&["organizations", "list"]).await;
    assert_eq!(ran.stdout.lines().count(), 4, "{}", ran.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_is_not_asked_for_twice() {
    let world = World::signed_in().await;
    let token = world.json(&["join-token", "create", "--ttl", "2h"]).await;
    assert_eq!(token["joinToken"], "slj1.a.b.c");
    assert_eq!(token["architectures"][0], "x86_64");
    let command = token["joinCommand"].as_str().unwrap();
    assert!(command.ends_with(" && SUPALOVE_JOIN_TOKEN=slj1.a.b.c sh -c \"$script\" join"), "{command}");
    let shown = world.run(&["join-token", "create", "--ttl", "30m"]).await;
    assert!(shown.stdout.contains(command) && shown.stdout.contains("x86_64"), "{}", shown.stdout);
    world.fake.state().failures.push_back(Status::unavailable("away"));
    assert_eq!(world.run(&["join-token", "create"]).await.code, 8);
    assert_eq!(world.fake.calls_of("CreateJoinToken"), ["7200", "1800", "3600"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_use_is_exit_code_2() {
    let world = World::new().await;
    for arguments in [
        &["projects", "fly"][..],
        &["whoami", "--timeout", "0"],
        &["whoami", "--timeout", "7"],
        &["whoami", "--api", "https://example.com"],
        &["whoami", "--api", "not an address"],
        &["login", "--email", "ada@example.com"],
        &["join-token", "create", "--max-uses", "0"],
    ] {
        let ran = world.run(arguments).await;
        assert_eq!(ran.code, 2, "{arguments:?}: {ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_need_neither_session_nor_server() {
    let world = World::new().await;
    for shell in ["bash", "zsh", "fish"] {
        let ran = world.run(&["completions", shell]).await;
        assert_eq!(ran.code, 0);
        assert!(ran.stdout.contains("join-token"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn help_documents_the_exit_codes() {
    let world = World::new().await;
    let ran = world.run(&["--help"]).await;
    assert!(ran.stdout.contains("Exit codes:"));
}
