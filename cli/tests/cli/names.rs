//! Names instead of refs and ids, the chosen organization and project, and the last words of commands.

use supalove_proto::v1::{Endpoint, EndpointScheme, OperationState, Project, ProjectState};

use crate::{
    projects::ended,
    support::{World, project},
};

/// Two projects of one name in two organizations, and a deleted one.
async fn world() -> World {
    let world = World::signed_in().await;
    let named = |r#ref: &str, organization: &str, name: &str| Project {
        r#ref: r#ref.into(),
        organization: organization.into(),
        ..project(name, ProjectState::ActiveHealthy)
    };
    let deleted = Project {
        delete_time: Some(prost_types::Timestamp::default()),
        ..named("cccccccccccccccccccc", "org-1", "old")
    };
    world.fake.state().projects = vec![
        named("aaaaaaaaaaaaaaaaaaaa", "org-0", "shop"),
        named("bbbbbbbbbbbbbbbbbbbb", "org-1", "shop"),
        deleted,
    ];
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_goes_by_its_name_and_an_ambiguous_one_lists_what_it_can_be() {
    let world = world().await;
    assert_eq!(world.run(&["project", "show", "org-1/shop"]).await.code, 0);
    assert_eq!(world.run(&["projects", "get", "old"]).await.code, 0, "deleted ones have names, too");
    assert_eq!(world.fake.calls_of("GetProject"), ["b".repeat(20), "c".repeat(20)]);
    let ambiguous = world.run(&["projects", "get", "shop"]).await;
    assert_eq!(ambiguous.code, 2, "{ambiguous:?}");
    assert!(ambiguous.stderr.contains("org-0/shop") && ambiguous.stderr.contains("org-1/shop"));
    let unknown = world.run(&["projects", "get", "nothing"]).await;
    assert_eq!(unknown.code, 5, "{unknown:?}");
    assert!(unknown.stderr.contains("supalove projects list"), "{}", unknown.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_holds_until_a_variable_or_an_option_says_otherwise() {
    let world = world().await;
    let undecided = world.run(&["projects", "create", "new", "--no-wait"]).await;
    assert_eq!(undecided.code, 2, "{undecided:?}");
    assert!(undecided.stderr.contains("supalove use"), "{}", undecided.stderr);
    let ran = world.run(&["use", "Name 1", "shop"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("organization org-1"), "{}", ran.stdout);

    assert_eq!(world.run(&["projects", "get"]).await.code, 0);
    assert_eq!(world.run(&["projects", "get", "shop"]).await.code, 0, "no longer ambiguous");
    assert_eq!(world.fake.calls_of("GetProject"), ["b".repeat(20), "b".repeat(20)]);
    world.json(&["projects", "create", "new", "--no-wait"]).await;
    world.json(&["projects", "create", "new", "--no-wait", "-g", "org-2"]).await;
    let variable = world
        .command(&["projects", "create", "new", "--no-wait"])
        .env("SUPALOVE_ORGANIZATION", "org-0")
        .output();
    assert!(variable.await.unwrap().status.success());
    assert_eq!(world.fake.state().created_in, ["org-1", "org-2", "org-0"]);

    let listed = world.run(&["projects", "ls"]).await;
    assert_eq!(listed.stdout.matches("shop").count(), 1, "{}", listed.stdout);
    let listed = world.run(&["projects", "ls", "--all-organizations"]).await;
    assert_eq!(listed.stdout.matches("shop").count(), 2, "{}", listed.stdout);
    assert_eq!(world.run(&["use", "--clear"]).await.code, 0);
    assert_eq!(world.run(&["projects", "get"]).await.code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_organization_needs_no_name() {
    let world = World::signed_in().await;
    world.fake.state().only_organization = Some("acme".into());
    world.json(&["projects", "create", "first", "--no-wait"]).await;
    assert_eq!(world.fake.state().created_in, ["acme"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_shown_only_when_asked_for() {
    let world = world().await;
    let keys = world.run(&["projects", "keys", "org-0/shop"]).await;
    assert!(keys.stdout.contains("anon") && !keys.stdout.contains("service\n"), "{}", keys.stdout);
    let connection = world.json(&["projects", "connection", "org-0/shop"]).await;
    assert_eq!(connection["dbUrl"], "postgresql://postgres@127.0.0.1:5501/postgres");
    assert!(world.fake.calls_of("RevealProjectSecrets").is_empty());
    let keys = world.json(&["projects", "keys", "org-0/shop", "--reveal"]).await;
    assert_eq!(keys, serde_json::json!({"anonKey": "anon", "serviceRoleKey": "service"}));
    let connection = world.json(&["projects", "connection", "org-0/shop", "--reveal"]).await;
    assert_eq!(connection["dbUrl"], "postgresql://postgres:pw@127.0.0.1:5501/postgres");
    assert_eq!(
        (&connection["dbPassword"], &connection["serviceRoleKey"]),
        (&"pw".into(), &serde_json::Value::Null)
    );
    assert_eq!(world.fake.calls_of("RevealProjectSecrets").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loopback_url_of_another_host_is_not_shown() {
    let world = world().await;
    let ran = world.run(&["projects", "connection", "org-0/shop", "--reveal"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("on host a-host-that-is-not-this-one only, port 5501"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("postgresql://"), "{}", ran.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_line_says_the_end_state_and_how_to_go_back() {
    let world = world().await;
    world.fake.state().ended = Some(ended(OperationState::Succeeded));
    let shown = |state| {
        let purge_time = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
        let endpoint = Endpoint {
            scheme: EndpointScheme::Http.into(),
            host: "127.0.0.1".into(),
            port: 5500,
            ..Default::default()
        };
        Some(Project { purge_time, endpoints: vec![endpoint], ..project("shop", state) })
    };
    world.fake.state().shown = shown(ProjectState::Inactive);
    let ran = world.run(&["projects", "stop", "org-0/shop"]).await;
    assert_eq!(ran.stdout, "shop is stopped; its data is kept\n", "{ran:?}");
    assert_eq!(world.fake.calls_of("StopProject"), ["a".repeat(20)]);
    world.fake.state().shown = shown(ProjectState::GoingDown);
    let ran = world.run(&["projects", "rm", "org-0/shop", "--yes"]).await;
    assert!(ran.stdout.contains("kept until 2023-11-14 22:13:20Z"), "{ran:?}");
    assert!(ran.stdout.contains("supalove projects undelete shop"), "{ran:?}");
    world.fake.state().shown = shown(ProjectState::ActiveHealthy);
    let ran = world.run(&["projects", "create", "shop", "-g", "org-0"]).await;
    assert!(ran.stdout.starts_with("shop is up: http://127.0.0.1:5500\n"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn yaml_and_wide_tables() {
    let world = world().await;
    let yaml = world.run(&["projects", "list", "-o", "yaml"]).await;
    assert!(yaml.stdout.starts_with("projects:\n  - "), "{}", yaml.stdout);
    assert!(yaml.stdout.contains("ref: bbbbbbbbbbbbbbbbbbbb"), "{}", yaml.stdout);
    let wide = world.run(&["projects", "list", "-o", "wide"]).await;
    assert!(wide.stdout.contains("NODE") && wide.stdout.contains("API"), "{}", wide.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_version_tell_of_the_platform() {
    let world = world().await;
    let status = world.run(&["status"]).await;
    assert_eq!(status.code, 0, "{status:?}");
    for part in [&world.address, "ada@example.com", "1 READY", "2 ACTIVE_HEALTHY"] {
        assert!(status.stdout.contains(part), "{part}: {}", status.stdout);
    }
    let version = world.json(&["version"]).await;
    assert_eq!(version["client"], env!("CARGO_PKG_VERSION"));
    let away = world.run(&["version", "--api", "http://127.0.0.1:1"]).await;
    assert_eq!(away.code, 0, "{away:?}");
    assert!(away.stdout.contains(env!("CARGO_PKG_VERSION")) && away.stdout.contains("cannot reach"));
}
