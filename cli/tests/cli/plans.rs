//! Plans, and what organizations may use.

use crate::support::World;

const OF: [&str; 2] = ["--organization", "org-1"];

#[tokio::test(flavor = "multi_thread")]
async fn plans_are_listed_edited_and_assigned() {
    let world = World::signed_in().await;
    let listed = world.run(&["plans", "list"]).await;
    for part in ["free (default)", "pro", "25.50", "5120 MiB", "nano,micro", "read-only"] {
        assert!(listed.stdout.contains(part), "{part}: {}", listed.stdout);
    }
    let json = world.json(&["plans", "ls"]).await;
    assert_eq!(json["plans"][1]["limits"]["projects"], "20");

    let update =
        ["plans", "update", "pro", "--price", "25.5", "--projects", "30", "--project-sizes", "nano,micro"];
    let updated = world.run(&update).await;
    assert!(updated.code == 0 && updated.stdout.contains("25.50"), "{updated:?}");
    assert_eq!(world.run(&["plan", "update", "free", "--default"]).await.code, 0);
    assert_eq!(world.run(&["plans", "update", "pro", "--private-clusters", "false"]).await.code, 0);
    assert_eq!(world.run(&["plans", "update", "pro", "--at-size-limit", "read-only"]).await.code, 0);
    assert_eq!(
        world.fake.calls_of("UpdatePlan"),
        [
            "pro [price_cents limits.projects limits.project_sizes] 2550 Some(30)",
            "free [default_for_new_organizations] 0 Some(0)",
            "pro [limits.private_clusters] 0 Some(0)",
            "pro [at_size_limit] 0 Some(0)",
        ]
    );
    let nothing = world.run(&["plans", "update", "pro"]).await;
    assert!(nothing.code == 2 && nothing.stderr.contains("what should change?"), "{nothing:?}");
    assert_eq!(world.run(&["plans", "update", "pro", "--price", "1.234"]).await.code, 2);

    let assign = [&["plans", "assign", "pro", "--reason", "pays by invoice"][..], &OF].concat();
    let assigned = world.run(&assign).await;
    assert!(assigned.code == 0 && assigned.stdout.contains("pays by invoice"), "{assigned:?}");
    assert_eq!(world.fake.calls_of("AssignPlan"), ["org-1 pro pays by invoice"]);
    assert_eq!(world.run(&[&["plans", "assign", "pro"][..], &OF].concat()).await.code, 2, "no reason");
}

#[tokio::test(flavor = "multi_thread")]
async fn entitlements_are_shown_overridden_and_taken_back() {
    let world = World::signed_in().await;
    let shown = world.run(&[&["entitlements", "get"][..], &OF].concat()).await;
    for part in [
        "pro (25.50 a month)",
        "projects",
        "30",
        "4",
        "override: a pilot",
        "log-days",
        "7 days",
        "not measured yet",
    ] {
        assert!(shown.stdout.contains(part), "{part}: {}", shown.stdout);
    }
    assert!(!shown.stdout.contains('\u{1b}'), "a reason steers no terminal");
    let json = world.json(&[&["entitlements", "get"][..], &OF].concat()).await;
    assert_eq!(json["entitlements"]["entitlements"][0]["override"]["reason"], "a pilot\u{1b}[2J until June");

    let why = ["--reason", "a pilot"];
    for (name, value) in [("projects", "30"), ("private-clusters", "yes"), ("project-sizes", "nano, large")] {
        let set = [&["entitlements", "set", name, value][..], &OF, &why].concat();
        assert_eq!(world.run(&set).await.code, 0, "{name}");
    }
    assert_eq!(
        world.fake.calls_of("SetEntitlement"),
        [
            "org-1 ENTITLEMENT_PROJECTS Some(Number(30)) a pilot",
            "org-1 ENTITLEMENT_PRIVATE_CLUSTERS Some(Allowed(true)) a pilot",
            "org-1 ENTITLEMENT_PROJECT_SIZES Some(Sizes(ProjectSizes { names: [\"nano\", \"large\"] })) a pilot",
        ]
    );
    for (name, value) in [("projects", "many"), ("private-clusters", "2"), ("gold", "1")] {
        let set = [&["entitlements", "set", name, value][..], &OF, &why].concat();
        assert_eq!(world.run(&set).await.code, 2, "{name}");
    }
    assert_eq!(
        world.run(&[&["entitlements", "set", "members", "9"][..], &OF].concat()).await.code,
        2,
        "no reason"
    );
    let clear = [&["entitlement", "clear", "projects"][..], &OF, &why].concat();
    assert_eq!(world.run(&clear).await.code, 0);
    assert_eq!(world.fake.calls_of("ClearEntitlement"), ["org-1 ENTITLEMENT_PROJECTS a pilot"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_are_listed_over_all_pages_and_edited_with_a_reason() {
    let world = World::signed_in().await;
    let listed = world.run(&["sizes", "list"]).await;
    for part in ["nano", "small", "500 millis", "1024 MiB", "4096 MiB", "90", "pro,premium"] {
        assert!(listed.stdout.contains(part), "{part}: {}", listed.stdout);
    }
    let json = world.json(&["size", "ls"]).await;
    assert_eq!((&json["sizes"][1]["name"], &json["sizes"][1]["memoryMib"]), (&"small".into(), &1024.into()));

    let update = ["sizes", "update", "small", "--memory-mib", "2048", "--etag", "3"];
    assert_eq!(world.run(&update).await.code, 2, "no reason");
    let updated = world.run(&[&update[..], &["--reason", "larger hosts"]].concat()).await;
    assert!(updated.code == 0 && updated.stdout.contains("2048 MiB"), "{updated:?}");
    assert_eq!(world.fake.calls_of("UpdateProjectSize"), ["small [memory_mib] 0 2048 0 0 larger hosts (3)"]);
    let nothing = world.run(&["sizes", "update", "small", "--reason", "none"]).await;
    assert!(nothing.code == 2 && nothing.stderr.contains("what should change?"), "{nothing:?}");
}
