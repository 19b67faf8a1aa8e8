//! Settings, secrets and credentials of a project.

use std::{fs, process::Stdio};

use supalove_proto::v1::{Operation, OperationState};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use crate::support::{Ran, World};

const PROJECT: &str = "abcdefghijklmnopqrst";

async fn world() -> World {
    let world = World::signed_in().await;
    world.fake.state().ended = Some(Operation {
        id: "opr_1".into(),
        state: OperationState::Succeeded.into(),
        status_message: "changed".into(),
        end_time: Some(prost_types::Timestamp::default()),
        ..Operation::default()
    });
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_shown_without_secrets_and_changed_one_by_one() {
    let world = world().await;
    let shown = world.run(&["settings", "get", "--project", PROJECT]).await;
    for part in ["https://old.example", "mail.example.com:587", "with a password", "realtime", "1000"] {
        assert!(shown.stdout.contains(part), "{part}: {}", shown.stdout);
    }
    let json = world.json(&["settings", "get", "--project", PROJECT]).await;
    assert_eq!(json["settings"]["maxRows"], 1000);

    let set = ["settings", "set", "-p", PROJECT, "--site-url", "https://new.example", "--max-rows", "7"];
    let ran = world.run(&set).await;
    assert!(ran.code == 0 && ran.stdout.starts_with("restarted: auth\n"), "{ran:?}");
    let set =
        ["settings", "set", "-p", PROJECT, "--disable-service", "storage", "--enable-service", "realtime"];
    assert_eq!(world.run(&set).await.code, 0);
    let asked = world.fake.calls_of("UpdateProjectSettings");
    assert_eq!(asked[0], "site_url max_rows: https://new.example 7 [\"realtime\"]  (7)");
    assert_eq!(asked[1], "disabled_services: https://old.example 1000 [\"storage\"]  (7)");
    let nothing = world.run(&["settings", "set", "-p", PROJECT]).await;
    assert_eq!(nothing.code, 2, "{nothing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_password_in_the_environment_changes_nothing_by_itself() {
    let world = world().await;
    let set = async |more: &[&str]| {
        let set = [&["settings", "set", "-p", PROJECT][..], more].concat();
        let ran = world.command(&set).env("SUPALOVE_SMTP_PASSWORD", "of-another").output().await.unwrap();
        assert_eq!(Ran::from(ran).code, 0);
    };
    set(&["--max-rows", "7"]).await;
    set(&["--smtp-user", "sender"]).await;
    let asked = world.fake.calls_of("UpdateProjectSettings");
    assert_eq!(asked[0], "max_rows: https://old.example 7 [\"realtime\"]  (7)");
    assert_eq!(asked[1], "smtp: https://old.example 1000 [\"realtime\"] of-another (7)");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_password_comes_from_stdin_and_a_file_changes_what_it_has() {
    let world = world().await;
    let set = ["settings", "set", "-p", PROJECT, "--smtp-password-stdin"];
    let mut child = world.command(&set).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"p\"$ w\n").await.unwrap();
    let ran = Ran::from(child.wait_with_output().await.unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    let asked = &world.fake.calls_of("UpdateProjectSettings")[0];
    assert_eq!(asked, "smtp: https://old.example 1000 [\"realtime\"] p\"$ w (7)");

    let dir = TempDir::new().unwrap();
    let file = dir.path().join("settings.json");
    fs::write(&file, r#"{"settings": {"maxRows": 9, "etag": "6"}}"#).unwrap();
    let ran = world.run(&["settings", "set", "-p", PROJECT, "--file", file.to_str().unwrap()]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let asked = &world.fake.calls_of("UpdateProjectSettings")[1];
    assert_eq!(asked, "max_rows: https://old.example 9 [\"realtime\"]  (6)");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_come_from_arguments_environment_files_and_files() {
    let world = world().await;
    let dir = TempDir::new().unwrap();
    let env = dir.path().join(".env");
    fs::write(&env, "A=from file\nB=\"x\\ny\"\n").unwrap();
    let key = dir.path().join("key");
    fs::write(&key, "line one\nline two\n").unwrap();
    let from_file = format!("KEY={}", key.display());
    let set = [
        "secrets",
        "set",
        "A=a=b",
        "--env-file",
        env.to_str().unwrap(),
        "--from-file",
        &from_file,
        "-p",
        PROJECT,
    ];
    let ran = world.run(&set).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(world.fake.calls_of("SetSecrets"), ["B=x\ny|KEY=line one\nline two\n|A=a=b"]);
    let known = world.run(&["secrets", "set", "KNOWN=1", "-p", PROJECT]).await;
    assert!(known.code == 0 && known.stdout.starts_with("nothing to do"), "{known:?}");

    fs::write(&env, "A=1\nBROKEN=\"canary\n").unwrap();
    let wrong = world.run(&["secrets", "set", "--env-file", env.to_str().unwrap(), "-p", PROJECT]).await;
    assert!(
        wrong.code == 2 && wrong.stderr.contains("line 2") && !wrong.stderr.contains("canary"),
        "{wrong:?}"
    );
    let wrong = world.run(&["secrets", "set", "canary", "-p", PROJECT]).await;
    assert!(wrong.code == 2 && !wrong.stderr.contains("canary"), "{wrong:?}");
    assert_eq!(world.run(&["secrets", "set", "-p", PROJECT]).await.code, 2);

    // What is too long is refused, not cut.
    fs::write(&env, format!("A={}\n", "x".repeat(1024 * 1024))).unwrap();
    let long = world.run(&["secrets", "set", "--env-file", env.to_str().unwrap(), "-p", PROJECT]).await;
    assert!(long.code == 2 && long.stderr.contains("1048576 bytes"), "{long:?}");
    assert_eq!(world.fake.calls_of("SetSecrets").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_listed_over_all_pages_and_unset() {
    let world = world().await;
    let listed = world.run(&["secrets", "list", "-p", PROJECT]).await;
    for part in ["FIRST", "SECOND", &"ab".repeat(32)] {
        assert!(listed.stdout.contains(part), "{part}: {}", listed.stdout);
    }
    let json = world.json(&["secrets", "ls", "-p", PROJECT]).await;
    assert_eq!(json["secrets"][1]["name"], "SECOND");
    let unset = ["secrets", "unset", "A", "B", "-p", PROJECT];
    assert_eq!(world.run(&unset).await.code, 2, "there is no terminal to confirm");
    assert_eq!(world.run(&[&unset[..], &["--yes"]].concat()).await.code, 0);
    assert_eq!(world.fake.calls_of("DeleteSecrets"), ["A B"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_renamed_and_its_credentials_replaced() {
    let world = world().await;
    let renamed = world.run(&["projects", "update", PROJECT, "--name", "other", "--etag", "3"]).await;
    assert!(renamed.code == 0 && renamed.stdout.contains("other"), "{renamed:?}");
    assert_eq!(world.fake.calls_of("UpdateProject"), ["other 3"]);
    assert_eq!(world.run(&["projects", "update", PROJECT]).await.code, 2, "nothing is to be changed");

    let reset = ["projects", "reset-database-password", PROJECT];
    assert_eq!(world.run(&reset).await.code, 2, "there is no terminal to confirm");
    let ran = world.run(&[&reset[..], &["--yes"]].concat()).await;
    assert!(ran.code == 0 && ran.stdout.contains("projects connection first --reveal"), "{ran:?}");
    assert_eq!(world.fake.calls_of("ResetDatabasePassword"), [PROJECT]);

    let rotate = ["projects", "rotate-jwt-secret", PROJECT];
    let dry = world.run(&[&rotate[..], &["--dry-run"]].concat()).await;
    assert!(dry.code == 0 && dry.stdout.contains("All keys stop working."), "{dry:?}");
    let asked = world.run(&rotate).await;
    assert!(asked.code == 2 && asked.stderr.contains("All keys stop working."), "{asked:?}");
    let ran = world.run(&[&rotate[..], &["--yes"]].concat()).await;
    assert!(ran.code == 0 && ran.stdout.contains("projects keys first --reveal"), "{ran:?}");
    assert_eq!(world.fake.calls_of("RotateJwtSecret"), ["", "", PROJECT]);
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_are_set_listed_with_their_values_and_unset() {
    let world = world().await;
    let dir = TempDir::new().unwrap();
    let env = dir.path().join(".env");
    fs::write(&env, "LEVEL=debug\nA=from file\n").unwrap();
    let set = ["variables", "set", "A=b=c", "--env-file", env.to_str().unwrap(), "-p", PROJECT];
    assert_eq!(world.run(&set).await.code, 0);
    assert_eq!(world.fake.calls_of("SetVariables"), ["LEVEL=debug|A=b=c"]);
    let known = world.run(&["variables", "set", "KNOWN=1", "-p", PROJECT]).await;
    assert!(known.code == 0 && known.stdout.starts_with("nothing to do: the variables"), "{known:?}");
    assert_eq!(world.run(&["variables", "set", "-p", PROJECT]).await.code, 2);

    let listed = world.run(&["variables", "list", "-p", PROJECT]).await;
    for part in ["FIRST", "SECOND", "one\\ntwo"] {
        assert!(listed.stdout.contains(part), "{part}: {}", listed.stdout);
    }
    let json = world.json(&["variables", "ls", "-p", PROJECT]).await;
    assert_eq!(json["variables"][1]["value"], "one\ntwo");
    let unset = ["variables", "unset", "A", "B", "-p", PROJECT];
    assert_eq!(world.run(&unset).await.code, 2, "there is no terminal to confirm");
    assert_eq!(world.run(&[&unset[..], &["--yes"]].concat()).await.code, 0);
    assert_eq!(world.fake.calls_of("DeleteVariables"), ["A B"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_resized_and_the_command_waits_for_it() {
    let world = world().await;
    let ran = world.run(&["projects", "resize", PROJECT, "--size", "small"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    for part in ["size: small", "restarted: postgres", "first is up"] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    let both = ["projects", "update", PROJECT, "--size", "large", "--name", "other", "--etag", "7"];
    let json = world.json(&both).await;
    assert_eq!((&json["operation"]["id"], &json["project"]["size"]), (&"opr_1".into(), &"small".into()));
    assert_eq!(world.fake.calls_of("UpdateProject"), ["small", "other large 7"]);
    let shown = world.run(&["projects", "get", PROJECT]).await;
    assert!(shown.stdout.contains("small (500 millis, 1024 MiB memory, 4096 MiB disk"), "{}", shown.stdout);
    assert_eq!(world.run(&["projects", "resize", PROJECT]).await.code, 2, "no size");
}
