//! What grows has a bound: by number for each project and user, and by age.

use std::time::Duration;

use supalove_proto::v1::{
    CreateJoinTokenRequest, CreatePersonalAccessTokenRequest, DeleteOrganizationRequest,
    DeleteProjectRequest, PersonalAccessTokenScope, RefreshRequest, SignInRequest, UndeleteProjectRequest,
};
use supalove_system_tests::{Api, Controller, EMAIL, PASSWORD, SLACK, turn_alone, wait_for};

/// Acts on each of two projects.
const ACTS: usize = 700;
/// Refreshes of one session, and as many of a stranger.
const REFRESHES: usize = 300;
/// How much more memory the controller may have afterwards.
const MEMORY_MIB: u64 = 64;

/// Resident memory of a process.
fn resident_mib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Deletes and undeletes a project again and again. Each act replaces the one before.
async fn act(api: Api, project_ref: String) {
    for number in 0..ACTS {
        if number % 2 == 0 {
            let undo_window = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
            let request =
                DeleteProjectRequest { project_ref: project_ref.clone(), undo_window, ..Default::default() };
            api.projects().delete_project(request).await.unwrap();
        } else {
            let request = UndeleteProjectRequest { project_ref: project_ref.clone(), ..Default::default() };
            api.projects().undelete_project(request).await.unwrap();
        }
    }
}

async fn refresh(api: Api) {
    let request = SignInRequest { email: EMAIL.into(), password: PASSWORD.into(), ..Default::default() };
    let mut token = api.auth().sign_in(request).await.unwrap().into_inner().tokens.unwrap().refresh_token;
    for _ in 0..REFRESHES {
        let request = RefreshRequest { refresh_token: token };
        token = api.auth().refresh(request).await.unwrap().into_inner().tokens.unwrap().refresh_token;
    }
}

async fn be_refused(api: Api) {
    for _ in 0..REFRESHES {
        api.auth().refresh(RefreshRequest::default()).await.unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_acts_leave_bounded_tables_and_memory() {
    turn_alone();
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    rows.add_node("a", 10, 10).await;
    let mut projects = Vec::new();
    for name in ["one", "two"] {
        projects.push(api.create(name, "").await.project.unwrap().r#ref);
    }
    let before = resident_mib(controller.process.id());
    let audited = rows.acts_on_record().await;
    tokio::join!(
        act(api.clone(), projects[0].clone()),
        act(api.clone(), projects[1].clone()),
        refresh(api.clone()),
        be_refused(controller.api()),
    );
    let after = resident_mib(controller.process.id());
    assert!(after < before + MEMORY_MIB, "{before} MiB before, {after} MiB after");
    for project in &projects {
        let newest = rows.newest_event(project).await;
        assert!(newest > 1400, "{newest}");
        let kept = rows.count_of("project_events", project).await;
        assert!((1000..1100).contains(&kept), "{kept} of {newest} events are kept");
        assert_eq!(rows.count_of("operations", project).await, 500);
        assert_eq!(rows.half_made_projects().await, 0);
    }
    let more = usize::try_from(rows.acts_on_record().await - audited).unwrap();
    assert_eq!(more, 2 * ACTS + REFRESHES + 1, "a row for each act, none for a stranger");
    assert!(rows.count("user_sessions").await <= 2, "refreshes make no rows");
    assert!(rows.count("refused_calls").await <= 4);

    // A watch from an event that is gone goes on with the oldest one.
    let events = api.events(&projects[0]).await;
    assert!(events[0].seq > 1 && events.len() == 1000);
}

#[tokio::test]
async fn what_ended_long_ago_is_deleted_and_a_replica_that_was_forgotten_comes_back() {
    let mut controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    let removed = api.create("removed", "").await.project.unwrap().r#ref;
    api.delete(&removed, 0).await;
    rows.add_node("a", 10, 10).await;
    let kept = api.create("kept", "").await.project.unwrap().r#ref;
    api.clusters().create_join_token(CreateJoinTokenRequest::default()).await.unwrap();
    let token = CreatePersonalAccessTokenRequest {
        name: "ci".into(),
        scopes: vec![PersonalAccessTokenScope::Read.into()],
        ttl: None,
    };
    api.personal_access_tokens().create_personal_access_token(token).await.unwrap();
    api.create_organization("empty").await;
    let request = DeleteOrganizationRequest { organization: "empty".into() };
    api.organizations().delete_organization(request).await.unwrap();
    controller.api().auth().refresh(RefreshRequest::default()).await.unwrap_err();
    wait_for("the count", Duration::from_secs(6) * SLACK, async || {
        (rows.count("refused_calls").await == 1).then_some(())
    })
    .await;
    rows.add_certificates_and_sessions().await;
    let events = rows.newest_event(&kept).await;
    assert!(events > 1);

    // The replica registers itself again; it is no ghost that other replicas take for dead.
    rows.forget_replicas().await;
    wait_for("the replica", Duration::from_secs(6) * SLACK, async || {
        (rows.count("controllers").await == 1).then_some(())
    })
    .await;

    // The jobs that delete run when a replica starts, if it gets the lease.
    controller.process.kill();
    rows.age_all(Duration::from_hours(200 * 24)).await;
    rows.end_leases().await;
    controller.restart().await;
    let expected = [
        ("projects", 1),
        ("project_events", 1),
        ("operations", 1),
        ("organization_events", 0),
        ("join_tokens", 0),
        ("user_sessions", 0),
        ("personal_access_tokens", 0),
        ("organizations", 1),
        ("requests", 0),
        ("refused_calls", 0),
        ("certificates", 1),
        ("node_sessions", 0),
        ("controllers", 1),
    ];
    for (table, left) in expected {
        wait_for(table, Duration::from_secs(20) * SLACK, async || {
            (rows.count(table).await == left).then_some(())
        })
        .await;
    }
    assert_eq!(rows.newest_event(&kept).await, events);
    assert_eq!(rows.half_made_projects().await, 0, "the newest event and operation stay");
}
