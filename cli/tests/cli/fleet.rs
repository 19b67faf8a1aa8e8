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
    let confirmed = world.run(&["platform", "confirm-restore", "rst_1"]).await;
    assert_eq!(
        (confirmed.code, confirmed.stdout.as_str()),
        (0, "confirmed: node nod_1 has newer generations\n")
    );
    assert_eq!(world.fake.calls_of("ConfirmRestore"), ["rst_1"]);
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

#[tokio::test(flavor = "multi_thread")]
async fn clusters_are_created_listed_changed_and_deleted() {
    let world = World::signed_in().await;
    let arguments =
        ["clusters", "create", "hall", "-g", "acme", "--policy", "spread", "--overcommit", "memory=1.25"];
    let made =
        world.run(&[&arguments[..], &["--reserve", "memory=512", "--label", "tier=gold"]].concat()).await;
    assert_eq!(made.code, 0, "{made:?}");
    assert_eq!(world.fake.calls_of("CreateCluster"), ["hall acme 2 1.25 512"]);
    for part in [
        "private",
        "tier=gold",
        "1 of 2 connected",
        "spread",
        "cpu 8, memory 1.5",
        "25 %  250 of 1000 MiB",
        "700 MiB memory",
    ] {
        assert!(made.stdout.contains(part), "{part}: {}", made.stdout);
    }
    assert!(!made.stdout.contains('\u{1b}'), "{}", made.stdout);
    assert_eq!(world.run(&["clusters", "create", "hall", "--overcommit", "ram=2"]).await.code, 2);

    let listed = world.run(&["cluster", "ls"]).await;
    assert!(listed.stdout.contains("1/2") && listed.stdout.contains("us-west"), "{}", listed.stdout);
    let hidden = listed.stdout.lines().find(|line| line.contains("us-west")).unwrap();
    assert!(hidden.contains(" - ") && !hidden.contains("0/0"), "what is hidden is not 0: {hidden}");
    let json = world.json(&["clusters", "list"]).await;
    assert_eq!(json["clusters"][0]["policy"], "PLACEMENT_POLICY_SPREAD");

    let changed = world.run(&["clusters", "update", "default", "--region", "x", "--etag", "7"]).await;
    assert_eq!(world.fake.calls_of("UpdateCluster"), ["default region 7"]);
    assert!(changed.stdout.contains("reserve more than these nodes have now: host-7"), "{}", changed.stdout);
    assert_eq!(world.run(&["clusters", "update", "default"]).await.code, 2);

    assert_eq!(world.run(&["clusters", "delete", "hall"]).await.code, 2, "no terminal to confirm on");
    assert_eq!(world.run(&["clusters", "delete", "hall", "--yes"]).await.code, 0);
    assert_eq!(world.fake.calls_of("DeleteCluster"), ["hall"]);

    let told = world.run(&["clusters", "explain", "hall", "-g", "acme", "--resources", "memory=512"]).await;
    assert_eq!(world.fake.calls_of("ExplainPlacement"), ["acme hall 512"]);
    assert!(told.stdout.contains("no") && told.stdout.contains("uncordon host-7"), "{}", told.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_cordoned_renamed_labelled_described_and_removed() {
    let world = World::signed_in().await;
    assert_eq!(world.run(&["nodes", "cordon", "host-7"]).await.code, 0);
    assert_eq!(world.fake.calls_of("CordonNode"), ["nod_1"]);
    assert_eq!(world.run(&["nodes", "uncordon", "host-7"]).await.code, 0);
    assert_eq!(world.fake.calls_of("UncordonNode"), ["nod_1"]);
    assert_eq!(world.run(&["nodes", "rename", "host-7", "host-8"]).await.code, 0);
    assert_eq!(world.run(&["nodes", "label", "host-7", "rack=9"]).await.code, 0);
    let updates = world.fake.calls_of("UpdateNode");
    assert_eq!(updates, ["nod_1 name host-8 {}", "nod_1 labels  {\"rack\": \"9\"}"]);
    let shown = world.run(&["nodes", "describe", "host-7"]).await;
    for part in [
        "rack=7",
        "[#####...............]  25 %  2000 of 8000 millicores",
        "PORTS_GONE",
        "abc  runs",
        "def  is stopped",
    ] {
        assert!(shown.stdout.contains(part), "{part}: {}", shown.stdout);
    }
    assert_eq!(world.run(&["nodes", "remove", "host-7"]).await.code, 2, "no terminal to confirm on");
    let removed =
        world.run(&["nodes", "remove", "host-7", "--abandon", "abc", "--abandon", "def", "--yes"]).await;
    assert_eq!(removed.code, 0, "{removed:?}");
    assert_eq!(world.fake.calls_of("RemoveNode"), ["nod_1 abc,def"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_drained_and_forgotten_and_all_alarms_are_listed() {
    let world = World::signed_in().await;
    let drained = world.run(&["nodes", "drain", "host-7"]).await;
    assert_eq!(world.fake.calls_of("DrainNode"), ["nod_1"]);
    for part in ["2 projects stand on it", "abc  runs", "def  is stopped"] {
        assert!(drained.stdout.contains(part), "{part}: {}", drained.stdout);
    }
    assert_eq!(world.run(&["nodes", "forget", "host-7"]).await.code, 2, "no terminal to confirm on");
    let forgotten =
        world.run(&["nodes", "forget", "host-7", "--lost", "abc", "--lost", "def", "--yes"]).await;
    assert_eq!(forgotten.code, 0, "{forgotten:?}");
    assert_eq!(world.fake.calls_of("ForgetNode"), ["nod_1 abc,def"]);

    let told = world.run(&["nodes", "alarms", "--cluster", "hall"]).await;
    assert_eq!(world.fake.calls_of("ListAlarms"), ["hall ", "hall 2"]);
    for part in ["LOST", "LEFTOVERS", "look at it"] {
        assert!(told.stdout.contains(part), "{part}: {}", told.stdout);
    }
    assert_eq!(world.json(&["nodes", "alarms"]).await["alarms"][0]["reason"], "LOST");
}

#[tokio::test(flavor = "multi_thread")]
async fn leftovers_are_listed_from_every_page_adopted_and_deleted_when_their_name_is_confirmed() {
    let world = World::signed_in().await;
    let listed = world.run(&["nodes", "leftovers", "host-7"]).await;
    assert_eq!(listed.code, 0, "{listed:?}");
    assert_eq!(world.fake.calls_of("ListLeftovers"), ["nod_1 ", "nod_1 2"]);
    let line = |letter: &str| {
        let line = listed.stdout.lines().find(|line| line.starts_with(&letter.repeat(20)));
        line.unwrap_or_else(|| panic!("{letter}: {}", listed.stdout))
    };
    assert!(line("a").contains("COMING_UP") && line("a").contains("adopt it, or delete the project first"));
    assert!(line("b").contains("unknown") && line("b").contains("delete it; no such[2J project"));
    assert!(line("c").contains("but the agent says: the disk is full"));
    let json = world.json(&["nodes", "leftovers", "host-7"]).await;
    assert_eq!(json["leftovers"][0]["adoptable"], true);
    assert_eq!(json["leftovers"][2]["deleteError"], "the disk is full");

    let [a, b] = ["a", "b"].map(|letter| letter.repeat(20));
    let adopted = world.run(&["nodes", "adopt", "host-7", &a]).await;
    assert_eq!(adopted.code, 0, "{adopted:?}");
    assert!(adopted.stdout.contains("(shop) stands on host-7 now"), "{}", adopted.stdout);
    assert_eq!(world.fake.calls_of("AdoptLeftover"), [format!("nod_1 {a}")]);

    let unsure = world.run(&["nodes", "delete-leftover", "host-7", &b]).await;
    assert_eq!(unsure.code, 2, "no terminal to confirm on");
    assert!(world.fake.calls_of("DeleteLeftover").is_empty());
    let deleted = world.run(&["nodes", "delete-leftover", "host-7", &b, "--yes"]).await;
    assert_eq!(deleted.code, 0, "{deleted:?}");
    assert!(deleted.stdout.contains(&format!("the deletion of {b} is requested")), "{}", deleted.stdout);
    assert_eq!(world.fake.calls_of("DeleteLeftover"), [format!("nod_1 {b}")]);

    let refusal =
        tonic::Status::failed_precondition("the leftover cannot be deleted: it may be its only data");
    world.fake.state().failures.push_back(refusal);
    let refused = world.run(&["nodes", "delete-leftover", "nod_1", &a, "--yes"]).await;
    assert_eq!(refused.code, 6, "{refused:?}");
    assert!(refused.stderr.contains("may be its only data"), "{}", refused.stderr);
}
