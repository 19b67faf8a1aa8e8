//! What operators do to nodes and to the fleet's CA, and what they see of the control plane.

use supalove_proto::v1::Difference;

use crate::support::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_shown_with_its_alarms_and_revoked_only_when_confirmed() {
    let world = World::signed_in().await;
    let shown = world.run(&["nodes", "get", "nod_1"]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(
        shown.stdout.contains("READY") && shown.stdout.contains("DUPLICATE_IDENTITY"),
        "{}",
        shown.stdout
    );

    for listed in [shown, world.run(&["nodes", "list"]).await] {
        let told = "host-7: PORTS_GONE since";
        assert!(listed.stdout.contains(told) && listed.stdout.contains("do not answer"), "{}", listed.stdout);
    }

    // No terminal to confirm on.
    let unsure = world.run(&["nodes", "revoke", "nod_1"]).await;
    assert_eq!(unsure.code, 2, "{unsure:?}");
    assert!(world.fake.calls_of("RevokeNode").is_empty());
    let revoked = world.run(&["nodes", "revoke", "nod_1", "--yes"]).await;
    assert_eq!(revoked.code, 0, "{revoked:?}");
    assert!(revoked.stdout.contains("REVOKED"), "{}", revoked.stdout);
    assert_eq!(world.fake.calls_of("RevokeNode"), ["nod_1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_goes_by_its_name_and_revoked_ones_are_hidden() {
    let world = World::signed_in().await;
    assert_eq!(world.run(&["nodes", "get", "HOST-7"]).await.code, 0);
    assert_eq!(world.fake.calls_of("GetNode"), ["nod_1"]);
    let listed = world.run(&["node", "ls"]).await;
    assert!(listed.stdout.contains("host-7") && !listed.stdout.contains("host-gone"), "{}", listed.stdout);
    assert!(listed.stdout.contains("1 revoked"), "{}", listed.stdout);
    let all = world.run(&["nodes", "list", "--all", "-o", "wide"]).await;
    assert!(all.stdout.contains("host-gone") && all.stdout.contains("ADDRESS"), "{}", all.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_is_listed_and_taken_back() {
    let world = World::signed_in().await;
    let listed = world.run(&["join-token", "list"]).await;
    assert!(listed.stdout.contains("USABLE") && listed.stdout.contains("1 of 3"), "{}", listed.stdout);
    assert!(!listed.stdout.contains("REVOKED"));
    assert!(world.run(&["join-token", "ls", "--all"]).await.stdout.contains("REVOKED"));
    let revoked = world.run(&["join-token", "revoke", "jtk_aaaa"]).await;
    assert_eq!(revoked.code, 0, "{revoked:?}");
    assert!(revoked.stdout.contains("is revoked; 1 of its hosts"), "{}", revoked.stdout);
    assert_eq!(world.fake.calls_of("RevokeJoinToken"), [format!("jtk_{}", "a".repeat(32))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ca_is_replaced_in_three_steps() {
    let world = World::signed_in().await;
    let listed = world.run(&["authorities", "list"]).await;
    assert_eq!(listed.code, 0, "{listed:?}");
    for part in ["aut_1", "NEXT", "SIGNING", "host-7", &"ab".repeat(32)] {
        assert!(listed.stdout.contains(part), "{part}: {}", listed.stdout);
    }
    assert_eq!(world.run(&["authorities", "create"]).await.code, 0);
    assert_eq!(world.run(&["authorities", "activate", "aut_1"]).await.code, 0);
    assert_eq!(world.run(&["authorities", "retire", "aut_1"]).await.code, 2);
    assert_eq!(world.run(&["authorities", "retire", "aut_1", "--yes", "--force"]).await.code, 0);
    assert_eq!(world.fake.calls_of("CreateAuthority").len(), 1);
    assert_eq!(world.fake.calls_of("ActivateAuthority"), ["aut_1"]);
    assert_eq!(world.fake.calls_of("RetireAuthority"), ["aut_1 true"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jobs_of_the_control_plane_are_listed_with_their_last_error() {
    let world = World::signed_in().await;
    let listed = world.run(&["platform", "jobs"]).await;
    assert_eq!(listed.code, 0, "{listed:?}");
    let line = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.map(|line| {
            line.split("  ").filter(|part| !part.is_empty()).map(str::trim).collect::<Vec<_>>().join("|")
        })
    };
    let pruning = "core.prune|FAILING|1970-01-01 00:00:00Z|1970-01-01 00:01:00Z|no such[2J table";
    assert_eq!(line(&listed.stdout, "core.prune").as_deref(), Some(pruning));
    assert_eq!(line(&listed.stdout, "projects.place").as_deref(), Some("projects.place|NOT_YET_RUN"));
    assert!(!listed.stdout.contains("REPLICA"), "{}", listed.stdout);
    assert!(listed.stdout.contains("a panic ended 2 connections"), "{}", listed.stdout);

    let wide = world.run(&["platform", "jobs", "-o", "wide"]).await.stdout;
    let more = format!("{pruning}|every 60 s|one replica|ctl_1|yes");
    assert_eq!(line(&wide, "core.prune"), Some(more));
    assert!(wide.contains("at a change, or every 10 s"), "{wide}");
    let json = world.json(&["platform", "jobs"]).await;
    assert_eq!(json["jobs"][0]["state"], "JOB_STATE_FAILING");
    assert_eq!(json["answeringReplica"]["connectionPanics"], "2");
    let yaml = world.run(&["platform", "jobs", "-o", "yaml"]).await.stdout;
    assert!(yaml.contains("state: JOB_STATE_FAILING"), "{yaml}");
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_on_releases_with_known_holes_are_listed_from_every_page() {
    let world = World::signed_in().await;
    let listed = world.run(&["platform", "outdated"]).await;
    assert_eq!(listed.code, 0, "{listed:?}");
    let lines: Vec<Vec<&str>> =
        listed.stdout.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let line = ["abcdefghijklmnopqrst", "first", "acme", "ACTIVE_HEALTHY", "core", "core-2", "one,", "two"];
    assert_eq!(lines, [line, line]);
    assert_eq!(world.fake.calls_of("ListOutdatedProjects"), ["", "second"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_prints_each_difference_on_a_line_and_exits_with_1() {
    let world = World::signed_in().await;
    let clean = world.run(&["platform", "check"]).await;
    assert_eq!(clean.code, 0, "{clean:?}");
    let told = "not compared: node host-8 (nod_2): not connected\nno differences; 1 node compared; 2 more were in flight\n";
    assert_eq!(clean.stdout, told);

    world.fake.state().differences = vec![Difference {
        check: "projects.slot".into(),
        object: "abcdefghijklmnopqrst".into(),
        expected: "slot 1".into(),
        found: "slot\u{1b}[2J 2".into(),
    }];
    let wrong = world.run(&["platform", "check"]).await;
    assert_eq!(wrong.code, 1, "{wrong:?}");
    let line = "projects.slot abcdefghijklmnopqrst: expected slot 1; found slot[2J 2";
    assert_eq!(wrong.stdout.lines().next(), Some(line));
    assert!(wrong.stderr.contains("1 difference;"), "{}", wrong.stderr);
    let json = world.run(&["platform", "check", "-o", "json"]).await;
    assert_eq!(json.code, 1, "{json:?}");
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["differences"][0]["expected"], "slot 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_operator_is_refused_the_jobs() {
    let world = World::signed_in().await;
    world.fake.state().failures.push_back(tonic::Status::permission_denied("needs the platform's operator"));
    let refused = world.run(&["platform", "jobs"]).await;
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.stderr.contains("needs the platform's operator"), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_confirmed() {
    let world = World::signed_in().await;
    let confirmed = world.run(&["platform", "confirm-restore"]).await;
    assert_eq!(
        (confirmed.code, confirmed.stdout.as_str()),
        (0, "confirmed: node nod_1 has newer generations\n")
    );
    assert_eq!(world.fake.calls_of("ConfirmRestore"), [""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_mail_is_sent_once_and_the_mail_servers_answer_is_shown() {
    let world = World::signed_in().await;
    let sent = world.run(&["platform", "send-test-mail", "ada@example.com"]).await;
    let told = "the mail server took the mail <mal_1@example.com> to ada@example.com: 250 queued[2J as 4X\n";
    assert_eq!((sent.code, sent.stdout.as_str()), (0, told));
    let json = world.json(&["platform", "send-test-mail", "ada@example.com"]).await;
    assert_eq!(json["messageId"], "mal_1@example.com");
    assert_eq!(world.fake.calls_of("SendTestMail"), ["ada@example.com"; 2]);

    let said = "the mail was not sent: the mail server refuses user or password: 535 no";
    for failure in [tonic::Status::failed_precondition(said), tonic::Status::unavailable("gone")] {
        world.fake.state().failures.push_back(failure);
        let failed = world.run(&["platform", "send-test-mail", "eve@example.com"]).await;
        assert_ne!(failed.code, 0, "{failed:?}");
    }
    assert_eq!(
        world.fake.calls_of("SendTestMail").len(),
        4,
        "a call whose answer was lost may have sent a mail"
    );
}
