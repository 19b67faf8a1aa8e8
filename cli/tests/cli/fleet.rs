//! What operators do to nodes and to the fleet's CA.

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
