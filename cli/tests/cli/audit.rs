//! The audit log: listed, filtered, exported.

use crate::support::World;

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_is_listed_with_filters_and_pages() {
    let world = World::signed_in().await;
    let list = ["audit", "list", "--organization", "org-1"];
    let listed = world.run(&list).await;
    for part in [
        "StopProject",
        "PermissionDenied",
        "pat_1",
        "192.0.2.7",
        "the log begins 2025-10-09",
        "kept for 7 days",
    ] {
        assert!(listed.stdout.contains(part), "{part}: {}", listed.stdout);
    }
    let filters =
        ["--actor", "pat_1", "--method", "StopProject", "--target", "abc", "--outcome", "permissiondenied"];
    let times = ["--since", "2025-10-09T08:53:20Z", "--until", "2025-10-09T08:53:21Z"];
    let page = world.json(&[&list[..], &filters, &times, &["--limit", "1"]].concat()).await;
    assert_eq!(page["nextPageToken"], "older");
    assert_eq!(page["events"][0]["sequence"], "2");
    let asked = "org-1 pat_1 StopProject abc permissiondenied 1760000000 1760000001";
    assert_eq!(world.fake.calls_of("ListAuditEvents"), ["org-1     0 0", asked]);
    assert!(world.run(&[&list[..], &["--limit", "1"]].concat()).await.stdout.contains("--page-token older"));
    assert_eq!(world.run(&["audit", "list", "--platform", "--method", "SignIn"]).await.code, 0);
    let deleted = ["--deleted-organization", "gone"];
    assert_eq!(world.run(&[&["audit", "list"], &deleted[..]].concat()).await.code, 0);
    assert_eq!(world.run(&[&["audit", "export"], &deleted[..]].concat()).await.stdout, "all\n");
    assert_eq!(world.fake.calls_of("ListPlatformAuditEvents"), [" SignIn   0 0", "gone    0 0"]);
    assert_eq!(world.fake.calls_of("ExportPlatformAuditEvents"), ["gone1"]);
    for wrong in [
        &["audit", "list", "--platform", "--deleted-organization", "gone"][..],
        &["audit", "list", "--organization", "org-1", "--deleted-organization", "gone"],
    ] {
        assert_eq!(world.run(wrong).await.code, 2, "{wrong:?}");
    }
    for wrong in [
        &["audit", "list", "--platform", "--organization", "org-1"][..],
        &["audit", "list", "--limit", "0"],
        &["audit", "list", "--since", "yesterday"],
    ] {
        assert_eq!(world.run(wrong).await.code, 2, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_a_file_only_if_it_is_complete() {
    let world = World::signed_in().await;
    let printed = world.run(&["audit", "export", "--organization", "org-1"]).await;
    assert_eq!(
        (printed.code, printed.stdout.as_str()),
        (0, "one\n\u{fffd}two\n"),
        "nothing steers the terminal"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.csv");
    let file = file.to_str().unwrap();
    let to_file = ["--format", "csv", "--file", file];
    let export = |organization: &'static str| {
        [&["audit", "export", "--organization", organization][..], &to_file].concat()
    };

    let broken = world.run(&export("org-2")).await;
    assert!(broken.code == 8 && broken.stderr.contains("export again"), "{broken:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "half a file looks like a whole one");

    let written = world.json(&export("org-1")).await;
    assert_eq!((&written["events"], &written["file"]), (&2.into(), &file.into()));
    let until = &written["completeUntilTime"];
    assert_eq!((&written["lastSequence"], until), (&2.into(), &"2025-10-09T08:53:22.000000Z".into()));
    assert_eq!(std::fs::read_to_string(file).unwrap(), "one\n\u{fffd}two\n");
    let again = world.run(&export("org-1")).await;
    assert!(again.code == 2 && again.stderr.contains("exists"), "{again:?}");
    assert_eq!(world.fake.calls_of("ExportAuditEvents"), ["org-1 1", "org-2 2", "org-1 2"]);
    let platform = world.run(&["audit", "export", "--platform"]).await;
    assert_eq!((platform.code, platform.stdout.as_str()), (0, "all\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_keys_are_shown_with_what_is_under_them() {
    let world = World::signed_in().await;
    let shown = world.run(&["platform", "vault"]).await;
    for part in ["PREVIOUS", "40", "2", "ctl_1 at 10.0.0.1:8001 does not have the new key"] {
        assert!(shown.stdout.contains(part), "{part}: {}", shown.stdout);
    }
    let json = world.json(&["platform", "vault"]).await;
    assert_eq!(json["keys"][1]["sealedValues"], "2");
}
