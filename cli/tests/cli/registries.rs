//! Credentials for registries: the password comes from stdin, and is in no output.

use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;

use crate::support::{Ran, World};

const SET: [&str; 7] =
    ["clusters", "registries", "set", "eu", "registry.example.com:5000", "--username", "puller"];

/// Runs a command with this text on stdin, and the caller's own password in the environment.
async fn fed(world: &World, arguments: &[&str], stdin: &str) -> Ran {
    let mut command = world.command(arguments);
    command.env("SUPALOVE_PASSWORD", "the caller's own");
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    // A command that needs no input may end before it has read it.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes()).await;
    child.wait_with_output().await.unwrap().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_set_with_the_password_on_stdin() {
    let world = World::signed_in().await;
    let from_stdin = [&SET[..], &["--password-stdin"]].concat();
    let key = "{\n  \"type\": \"canary\"\n}\n";
    let ran = fed(&world, &from_stdin, key).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stdout.contains("registry.example.com:5000") && ran.stdout.contains("puller"),
        "{}",
        ran.stdout
    );
    assert!(!ran.stdout.contains("canary") && !ran.stderr.contains("canary"), "{ran:?}");
    let noted = format!("eu registry.example.com:5000 puller {:?}", key.trim_end());
    assert_eq!(
        world.fake.calls_of("SetRegistryCredentials"),
        [noted],
        "all lines, without the last line's end"
    );

    // Nothing to ask on: not the caller's own password, and no empty one.
    let no_terminal = fed(&world, &SET, "canary").await;
    assert_eq!(no_terminal.code, 2, "{no_terminal:?}");
    assert!(no_terminal.stderr.contains("--password-stdin"), "{}", no_terminal.stderr);
    assert_eq!(fed(&world, &from_stdin, "\n").await.code, 2);
    let argument = [&SET[..], &["--password", "canary"]].concat();
    assert_eq!(world.run(&argument).await.code, 2, "arguments can be read by everybody");
    assert_eq!(world.fake.calls_of("SetRegistryCredentials").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_listed_from_every_page_and_deleted() {
    let world = World::signed_in().await;
    let listed = world.run(&["clusters", "registries", "list", "eu"]).await;
    assert_eq!(listed.code, 0, "{listed:?}");
    for part in ["docker.io", "registry.example.com:5000", "puller", "usr_1"] {
        assert!(listed.stdout.contains(part), "{part}: {}", listed.stdout);
    }
    assert_eq!(world.fake.calls_of("ListRegistryCredentials"), ["eu ", "eu second"]);
    let json = world.json(&["clusters", "registries", "ls", "eu"]).await;
    assert_eq!(json["credentials"][1]["registry"], "registry.example.com:5000");

    let deleted = world.run(&["clusters", "registries", "delete", "eu", "docker.io"]).await;
    assert_eq!(deleted.code, 0, "{deleted:?}");
    assert!(deleted.stdout.contains("the credentials for docker.io are deleted"), "{}", deleted.stdout);
    assert_eq!(world.fake.calls_of("DeleteRegistryCredentials"), ["eu docker.io"]);
}
