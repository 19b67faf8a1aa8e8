//! Signing in and staying signed in, as a user sees it.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use crate::support::World;
use tokio::io::AsyncWriteExt as _;

const MANY: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn login_keeps_the_session_where_only_its_owner_reads_it() {
    let world = World::signed_in().await;
    let mode = std::fs::metadata(world.credentials()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let me = world.json(&["whoami"]).await;
    assert_eq!(me["user"]["email"], "ada@example.com");
    let ran = world.run(&["token"]).await;
    assert_eq!(ran.stdout, "access-1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_login_prints_holds_no_token() {
    let world = World::new().await;
    let ran = world
        .command(&["login", "--email", "ada@example.com", "--output", "json"])
        .env("SUPALOVE_PASSWORD", "correct horse battery")
        .output()
        .await
        .unwrap();
    let printed = String::from_utf8(ran.stdout).unwrap();
    assert!(printed.contains("ada@example.com"));
    assert!(!printed.contains("access-1") && !printed.contains("refresh-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_user_is_made_with_the_token_from_a_file_and_the_password_from_stdin() {
    let world = World::new().await;
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "one-time-token\n").unwrap();
    let mut child = world
        .command(&["setup", "--email", "ada@example.com", "--password-stdin", "--setup-token-file"])
        .arg(&file)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"correct horse battery\n").await.unwrap();
    drop(stdin);
    assert!(child.wait().await.unwrap().success());
    assert_eq!(world.run(&["whoami"]).await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_exit_code_3() {
    let world = World::new().await;
    let ran = world
        .command(&["login", "--email", "ada@example.com"])
        .env("SUPALOVE_PASSWORD", "wrong")
        .output()
        .await
        .unwrap();
    assert_eq!(ran.status.code(), Some(3));
    assert!(!world.credentials().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_ended_is_refreshed_before_it_is_used() {
    let world = World::new().await;
    world.fake.state().stale_tokens = true;
    login(&world).await;
    assert_eq!(world.run(&["whoami"]).await.code, 0);
    assert_eq!(world.fake.state().refreshes, 1);
    assert_eq!(world.fake.calls_of("GetMe").len(), 1, "the old token was not even tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_api_refuses_is_refreshed_and_the_call_repeated() {
    let world = World::signed_in().await;
    world.fake.state().failures.push_back(tonic::Status::unauthenticated("revoked"));
    assert_eq!(world.run(&["whoami"]).await.code, 0);
    assert_eq!(world.fake.state().refreshes, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn four_clis_at_once_refresh_once() {
    let world = World::new().await;
    world.fake.state().stale_tokens = true;
    world.fake.state().refresh_takes = MANY;
    login(&world).await;
    let who = &["whoami"];
    let (a, b, c, d) = tokio::join!(world.run(who), world.run(who), world.run(who), world.run(who));
    assert_eq!([a.code, b.code, c.code, d.code], [0; 4]);
    assert_eq!(world.fake.state().refreshes, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_ended_says_how_to_start_one() {
    let world = World::signed_in().await;
    world.fake.state().session = 0;
    let ran = world.run(&["whoami"]).await;
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("supalove login"), "{}", ran.stderr);
    let stored = std::fs::read_to_string(world.credentials()).unwrap();
    assert!(!stored.contains("refresh-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_given_token_needs_no_stored_session() {
    let world = World::new().await;
    world.fake.state().session = 7;
    let ran = world.command(&["whoami"]).env("SUPALOVE_ACCESS_TOKEN", "access-7").output();
    assert!(ran.await.unwrap().status.success());
    let ran = world.command(&["whoami"]).env("SUPALOVE_ACCESS_TOKEN", "other").output();
    assert_eq!(ran.await.unwrap().status.code(), Some(3));
    assert_eq!(world.fake.state().refreshes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_goes_to_no_other_server() {
    let one = World::signed_in().await;
    let other = World::new().await;
    let ran = one.command(&["whoami"]).env("SUPALOVE_API", &other.address).output();
    assert_eq!(ran.await.unwrap().status.code(), Some(3));
    assert!(other.fake.state().calls.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_ends_the_session_there_and_here() {
    let world = World::signed_in().await;
    assert_eq!(world.run(&["logout"]).await.code, 0);
    assert_eq!(world.fake.state().session, 0);
    assert_eq!(world.run(&["whoami"]).await.code, 3);
    assert_eq!(world.run(&["logout"]).await.code, 0, "again does no harm");
}

async fn login(world: &World) {
    let ran = world
        .command(&["login", "--email", "ada@example.com"])
        .env("SUPALOVE_PASSWORD", "correct horse battery")
        .output();
    assert!(ran.await.unwrap().status.success());
}
