//! A database that holds as much as its plan allows becomes read-only, and a clean-up lifts that, on a real node; also when nobody
//! is there who could say so.

use std::time::Duration;

use supalove_proto::v1::{
    AssignPlanRequest, Entitlement, EntitlementValue, GetProjectUsageRequest, ProjectRestrictionReason,
    ProjectState, SetEntitlementRequest, SizeAgainstPlan, SizeLevel, entitlement_value::Kind,
};
use supalove_system_tests::{
    Agent, AgentOptions, Api, CORE, Controller, Fleet, Options, SLACK, Tenant, wait_for,
};

/// Measurements are 15 s apart.
const SOON: Duration = Duration::from_mins(1);
/// MiB that the tenant may add.
const ROOM: u64 = 160;
const PACE: Duration = Duration::from_millis(150);

async fn client(tenant: &Tenant) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&tenant.db_url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn database(api: &Api, tenant: &Tenant) -> SizeAgainstPlan {
    let request = GetProjectUsageRequest { project_ref: tenant.project_ref.clone() };
    let usage = api.usage().get_project_usage(request).await.unwrap().into_inner().usage.unwrap();
    usage.sizes.into_iter().find(|size| size.entitlement() == Entitlement::DatabaseSize).unwrap()
}

async fn until_level(api: &Api, tenant: &Tenant, level: SizeLevel) {
    wait_for(&format!("the database to be {level:?}"), SOON * SLACK, async || {
        (database(api, tenant).await.level() == level).then_some(())
    })
    .await;
}

async fn until_fine(api: &Api, tenant: &Tenant) {
    api.wait_state(&tenant.project_ref, ProjectState::ActiveHealthy, SOON * SLACK).await;
    wait_for("a database that writes", SOON * SLACK, async || {
        client(tenant).await.batch_execute("CREATE TABLE more (x int); DROP TABLE more").await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_free_database_at_the_size_of_its_plan_is_read_only_until_it_is_cleaned_up() {
    let arguments = vec!["--usage-roll-up=1".to_owned()];
    let controller = Controller::start_with(Options { arguments, ..Options::default() }).await;
    let api = controller.operator().await;
    // Volumes are measured for each twentieth sample.
    let arguments = vec!["--usage-sample".to_owned(), "100".to_owned()];
    let options = AgentOptions { arguments, ..AgentOptions::default() };
    let agent = Agent::start_with(&controller, &api.join_token().await, options);
    api.wait_ready_nodes(1).await;
    let mut fleet = Fleet { api, agent, controller };
    let tenant = fleet.project("metered", CORE).await;
    let held = wait_for("a measurement", SOON * SLACK, async || {
        let held = database(&fleet.api, &tenant).await.used_bytes / (1024 * 1024);
        (held > 10).then_some(held)
    })
    .await;
    let request = AssignPlanRequest {
        organization: "acme".into(),
        plan: "free".into(),
        reason: "a test".into(),
        etag: String::new(),
    };
    fleet.api.plans().assign_plan(request).await.unwrap();
    let allowed = held + ROOM;
    let request = SetEntitlementRequest {
        organization: "acme".into(),
        entitlement: Entitlement::DatabaseSize.into(),
        value: Some(EntitlementValue { kind: Some(Kind::Number(allowed)) }),
        reason: "a test".into(),
        etag: String::new(),
    };
    fleet.api.plans().set_entitlement(request).await.unwrap();
    // The node has stored the limit.
    let file = fleet.agent.state.path().join("database-limits");
    wait_for("the node to know the limit", SOON * SLACK, async || {
        std::fs::read(&file).is_ok_and(|content| !content.is_empty()).then_some(())
    })
    .await;

    // The tenant fills it, while nobody is there who could count.
    fleet.controller.process.kill();
    let greedy = client(&tenant).await;
    greedy
        .batch_execute("CREATE TABLE big (x text); ALTER TABLE big ALTER x SET STORAGE EXTERNAL")
        .await
        .unwrap();
    let mut refused = None;
    for _ in 0..4 * ROOM {
        if let Err(error) = greedy.batch_execute("INSERT INTO big VALUES (repeat('x', 1048576))").await {
            refused = error.code().cloned();
            break;
        }
        tokio::time::sleep(PACE).await;
    }
    assert_eq!(refused.unwrap(), tokio_postgres::error::SqlState::READ_ONLY_SQL_TRANSACTION);
    fleet.controller.restart().await;
    until_level(&fleet.api, &tenant, SizeLevel::Over).await;
    let project =
        fleet.api.wait_state(&tenant.project_ref, ProjectState::ActiveUnhealthy, SOON * SLACK).await;
    let restriction = project.restriction.expect("a rule bounds it");
    assert_eq!(restriction.reason(), ProjectRestrictionReason::DatabaseOverPlan);
    assert!(restriction.message.contains(&format!("allows {allowed}")), "{restriction:?}");
    let reason = project.state_reason;
    assert!(
        reason.contains("DATABASE_OVER_PLAN") && reason.contains(&format!("allows {allowed}")),
        "{reason}"
    );

    // An agent that starts again goes on with it.
    fleet.agent.process.kill();
    fleet.agent.restart();
    fleet.api.wait_ready_nodes(1).await;
    assert!(client(&tenant).await.batch_execute("CREATE TABLE more (x int)").await.is_err());
    let bounded = fleet.api.project(&tenant.project_ref).await.restriction.expect("still");
    assert_eq!((bounded.reason(), bounded.since), (restriction.reason(), restriction.since));

    // A clean-up lifts it.
    let cleaner = client(&tenant).await;
    cleaner.batch_execute("BEGIN; SET TRANSACTION READ WRITE; DROP TABLE big; COMMIT").await.unwrap();
    cleaner.batch_execute("CHECKPOINT").await.ok();
    until_fine(&fleet.api, &tenant).await;
    assert_eq!(fleet.api.project(&tenant.project_ref).await.restriction, None);
    until_level(&fleet.api, &tenant, SizeLevel::Fine).await;
    fleet.api.assert_consistent(1).await;
}
