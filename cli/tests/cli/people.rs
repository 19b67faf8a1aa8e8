//! Accounts, sessions, access tokens, organizations and members.

use tokio::io::AsyncWriteExt as _;

use crate::support::{Ran, World};

fn id(prefix: &str, digit: &str) -> String {
    format!("{prefix}_{}", digit.repeat(32))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_is_renamed_and_its_password_changed_without_a_password_in_an_argument() {
    let world = World::signed_in().await;
    let renamed = world.run(&["account", "rename", "Ada Lovelace"]).await;
    assert_eq!(renamed.code, 0, "{renamed:?}");
    assert!(renamed.stdout.contains("Ada Lovelace"), "{}", renamed.stdout);

    let change = ["account", "password", "--passwords-stdin"];
    let mut child = world.command(&change).stdin(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"the old one\nthe new one\n").await.unwrap();
    let changed = Ran::from(child.wait_with_output().await.unwrap());
    assert_eq!(changed.code, 0, "{changed:?}");
    assert_eq!(
        changed.stdout,
        "the password is changed; 2 other sessions have ended; 1 access tokens still work: supalove access-tokens list\n"
    );
    assert_eq!(world.fake.calls_of("ChangePassword"), ["the old one -> the new one"]);
    let without = world.run(&["account", "password"]).await;
    assert_eq!(without.code, 2, "there is no terminal: {without:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_ended() {
    let world = World::signed_in().await;
    let listed = world.run(&["sessions", "ls"]).await;
    for part in ["(this one)", &id("ses", "a"), "192.0.2.7", "tonic/0.14"] {
        assert!(listed.stdout.contains(part), "{part}: {}", listed.stdout);
    }
    assert_eq!(world.run(&["sessions", "end", "ses_aaaa"]).await.code, 0, "the beginning of an id");
    assert_eq!(world.fake.calls_of("EndSession"), [id("ses", "a")]);
    assert_eq!(world.run(&["sessions", "end", "ses_cccc"]).await.code, 5);
    let others = world.run(&["sessions", "end", "--others"]).await;
    assert_eq!(others.stdout, "1 other session has ended\n");
    for wrong in [&["sessions", "end"][..], &["sessions", "end", "ses_aaaa", "--others"]] {
        assert_eq!(world.run(wrong).await.code, 2, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_is_shown_once_and_revoked() {
    let world = World::signed_in().await;
    let create =
        ["access-tokens", "create", "ci", "--scope", "projects", "--scope", "secrets", "--ttl", "7d"];
    let created = world.run(&create).await;
    assert!(created.code == 0 && created.stdout.contains("sbp_1"), "{created:?}");
    assert_eq!(world.run(&["access-tokens", "create", "reads"]).await.code, 0);
    let asked = ["ci [2, 3] Some(604800)", "reads [1] Some(7776000)"];
    assert_eq!(world.fake.calls_of("CreatePersonalAccessToken"), asked);
    let listed = world.run(&["access-tokens", "list"]).await;
    for part in ["ci", "read, projects", "never"] {
        assert!(listed.stdout.contains(part), "{part}: {}", listed.stdout);
    }
    assert!(!listed.stdout.contains("sbp_"));
    let revoked = world.run(&["pat", "rm", "pat_aaaa"]).await;
    assert_eq!(revoked.stdout, format!("{} is revoked\n", id("pat", "a")));
    assert_eq!(world.run(&["access-tokens", "create", "x", "--ttl", "0"]).await.code, 2);
    let logout = world.command(&["logout"]).env("SUPALOVE_ACCESS_TOKEN", "sbp_1").output().await.unwrap();
    let logout = Ran::from(logout);
    assert!(logout.code == 2 && logout.stderr.contains("unset it first"), "{logout:?}");
    assert_eq!(world.run(&["whoami"]).await.code, 0, "the session is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_listed_given_a_role_and_removed_by_their_address() {
    let world = World::signed_in().await;
    let listed = world.run(&["members", "list", "--organization", "org-1"]).await;
    for part in ["grace@example.com", "Grace", "developer"] {
        assert!(listed.stdout.contains(part), "{part}: {}", listed.stdout);
    }
    let of = ["--organization", "org-1"];
    let set = [&["members", "set-role", "Grace@Example.com", "read-only"][..], &of].concat();
    assert_eq!(world.run(&set).await.stdout, "grace@example.com is read_only now\n");
    let listed = world.run(&[&["members", "list", "-o", "json"][..], &of].concat()).await;
    assert!(listed.stdout.contains(r#""etag": "5""#), "{}", listed.stdout);
    assert_eq!(world.run(&[&set[..], &["--etag", "5"]].concat()).await.code, 0);
    let asked = |etag| format!("org-1 {} ROLE_READ_ONLY {etag}", id("usr", "c"));
    assert_eq!(world.fake.calls_of("UpdateMember"), [asked(""), asked("5")]);
    let remove = [&["members", "remove", "grace@example.com"][..], &of].concat();
    assert_eq!(world.run(&remove).await.code, 2, "it asks first, and there is no terminal");
    assert_eq!(world.run(&[&remove[..], &["--yes"]].concat()).await.code, 0);
    assert_eq!(world.fake.calls_of("RemoveMember"), [format!("org-1 {}", id("usr", "c"))]);
    let nobody = [&["members", "remove", "nobody@example.com", "--yes"][..], &of].concat();
    assert_eq!(world.run(&nobody).await.code, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_is_renamed_left_and_deleted() {
    let world = World::signed_in().await;
    let renamed = world.run(&["organizations", "rename", "org-1", "Globex"]).await;
    assert!(renamed.code == 0 && renamed.stdout.contains("Globex"), "{renamed:?}");
    assert_eq!(world.fake.calls_of("UpdateOrganization"), ["org-1 Globex"]);
    assert_eq!(world.run(&["use", "org-2"]).await.code, 0);
    assert_eq!(world.run(&["orgs", "leave", "org-2"]).await.stdout, "you have left org-2\n");
    let which = world.run(&["orgs", "get"]).await;
    assert!(which.code == 2 && which.stderr.contains("which organization?"), "the choice is gone: {which:?}");
    assert_eq!(world.run(&["orgs", "delete", "org-1"]).await.code, 2, "it asks first");
    assert_eq!(world.run(&["orgs", "delete", "Name 1", "--yes"]).await.stdout, "org-1 is deleted\n");
    assert_eq!(world.fake.calls_of("DeleteOrganization"), ["org-1"]);
}

/// Runs a command with this text on stdin.
async fn fed(world: &World, arguments: &[&str], stdin: &str, password: Option<&str>) -> Ran {
    let mut command = world.command(arguments);
    if let Some(password) = password {
        command.env("SUPALOVE_PASSWORD", password);
    }
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    // A command that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes()).await;
    Ran::from(child.wait_with_output().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_signs_up_by_a_link_and_is_signed_in() {
    let world = World::new().await;
    let asked = world.run(&["sign-up", "request", "--email", "ada@example.com"]).await;
    assert!(asked.code == 0 && asked.stdout.contains("on its way to ada@example.com"), "{asked:?}");
    let finish = ["sign-up", "finish", "--token-file", "-", "--display-name", "Ada"];
    let link = "https://example.com/sign-up#token=sbl_1\n";
    let done = fed(&world, &finish, link, Some("correct horse")).await;
    assert!(done.code == 0 && done.stdout.contains("ada@example.com"), "{done:?}");
    assert_eq!(world.fake.calls_of("SignUp"), ["sbl_1 correct horse Ada"]);
    assert_eq!(world.run(&["whoami"]).await.code, 0, "the session is stored");
    let both = fed(&world, &[&finish[..], &["--password-stdin"]].concat(), "x", None).await;
    assert_eq!(both.code, 2, "{both:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_reset_an_address_changed_and_an_account_deleted() {
    let world = World::signed_in().await;
    let forgot = world.run(&["account", "forgot-password", "--email", "ada@example.com"]).await;
    assert!(forgot.stdout.contains("if ada@example.com has an account"), "{forgot:?}");
    let reset = ["account", "reset-password", "--token-file", "-"];
    let done = fed(&world, &reset, "sbl_2", Some("new one")).await;
    assert!(done.code == 0 && done.stdout.contains("ada@example.com"), "{done:?}");
    assert!(
        done.stdout.contains("2 sessions and 1 access tokens have ended, and you are signed in"),
        "{done:?}"
    );
    assert_eq!(world.fake.calls_of("ResetPassword"), ["sbl_2 new one"]);
    let change = ["account", "change-email", "new@example.com", "--password-stdin"];
    assert_eq!(fed(&world, &change, "secret", None).await.code, 0);
    assert_eq!(world.fake.calls_of("RequestEmailChange"), ["new@example.com secret"]);
    let confirm = fed(&world, &["account", "confirm-email", "--token-file", "-"], "sbl_3", None).await;
    assert!(confirm.stdout.contains("is new@example.com now; 1 other session has ended"), "{confirm:?}");
    let delete = ["account", "delete", "--password-stdin"];
    assert_eq!(fed(&world, &delete, "secret", None).await.code, 2, "it asks first, and there is no terminal");
    let deleted = fed(&world, &[&delete[..], &["--yes"]].concat(), "secret", None).await;
    assert_eq!(deleted.stdout, "your account is deleted\n");
    assert_eq!(world.run(&["whoami"]).await.code, 3, "the stored session is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_invited_by_mail_or_by_a_token_that_is_shown_once() {
    let world = World::signed_in().await;
    let of = ["--organization", "org-1"];
    let mailed = world.run(&[&["invitations", "create", "grace@example.com"][..], &of].concat()).await;
    assert!(mailed.stdout.contains("on its way to grace@example.com"), "{mailed:?}");
    let role = ["invitations", "create", "no-mail@example.com", "--role", "read-only"];
    let shown = world.run(&[&role[..], &of].concat()).await;
    assert!(shown.stdout.ends_with("\nsbi_1\n"), "{shown:?}");
    let asked = ["org-1 grace@example.com ROLE_DEVELOPER", "org-1 no-mail@example.com ROLE_READ_ONLY"];
    assert_eq!(world.fake.calls_of("CreateInvitation"), asked);
    let listed = world.run(&[&["invitation", "ls"][..], &of].concat()).await;
    for part in ["grace@example.com", "developer", "ada@example.com", "yes"] {
        assert!(listed.stdout.contains(part), "{part}: {}", listed.stdout);
    }
    let all =
        ["resend", "revoke"].map(|verb| [&["invitations", verb, "Grace@example.com"][..], &of].concat());
    for command in all {
        assert_eq!(world.run(&command).await.code, 0, "{command:?}");
    }
    assert_eq!(world.fake.calls_of("ResendInvitation"), [id("inv", "d")]);
    assert_eq!(world.fake.calls_of("RevokeInvitation"), [id("inv", "d")]);
    let show = fed(&world, &["invitations", "show", "--token-file", "-"], "sbi_2", None).await;
    assert!(show.stdout.contains("Acme") && show.stdout.contains("developer"), "{show:?}");
    let accepted = fed(&world, &["invitations", "accept", "--token-file", "-"], "sbi_2", None).await;
    assert_eq!(accepted.stdout, "you are developer of acme now\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_replaces_the_signing_key() {
    let world = World::signed_in().await;
    let rotated = world.run(&["platform", "rotate-signing-key"]).await;
    assert!(rotated.code == 0 && rotated.stdout.contains("a-key"), "{rotated:?}");
    assert_eq!(world.run(&["platform", "rotate-signing-key", "--at-once"]).await.code, 0);
    assert_eq!(world.fake.calls_of("RotateSigningKey"), ["false", "true"]);
}
