//! Sizes against plans: who is told, what nodes are told, and which rule bounds a project. The node is a double, so no engine is needed.

use std::{collections::BTreeMap, time::Duration};

use supalove_proto::{
    node::v1::{ProjectUsage, StackError, StackPhase, StreamUsageResponse, UsageRecord, VolumeBytes},
    v1::{
        AssignPlanRequest, ClearEntitlementRequest, Entitlement, EntitlementValue, ListProjectsRequest,
        OrganizationEventType as Kind, ProjectRestriction, ProjectRestrictionReason as Rule, ProjectState,
        RestartProjectRequest, SetEntitlementRequest, SizeAction, SizeAgainstPlan, SizeLevel,
        StopProjectRequest, UpdatePlanRequest, WatchProjectRequest, entitlement_value,
        watch_project_response::Message,
    },
};
use supalove_system_tests::{Api, CORE, Double, DoubleRecord, MailSink, SLACK, wait_for};

use crate::{
    organization_events::{until, watch},
    usage::{MIB, batch, fleet_with, node, send, usage},
};

const SOON: Duration = Duration::from_secs(10);
const OWNER: &str = "operator@example.com";

/// A measurement of the volumes of a project, in MiB.
fn measured(seq: u64, project_ref: &str, database: u64, storage: u64) -> StreamUsageResponse {
    let volumes = [("db_data", database - 10), ("db_config", 10), ("storage", storage)];
    let volumes = volumes.map(|(name, mib)| VolumeBytes { name: name.into(), bytes: mib * MIB }).to_vec();
    let project = ProjectUsage { project_ref: project_ref.into(), containers: vec![], volumes };
    batch(vec![UsageRecord { seq, age_ms: 0, projects: vec![project] }])
}

async fn size(api: &Api, project_ref: &str, of: Entitlement) -> SizeAgainstPlan {
    let sizes = usage(api, project_ref).await.usage.unwrap().sizes;
    sizes.into_iter().find(|size| size.entitlement() == of).unwrap()
}

async fn until_level(api: &Api, project_ref: &str, of: Entitlement, level: SizeLevel) -> SizeAgainstPlan {
    wait_for(&format!("{of:?} to be {level:?}"), SOON * SLACK, async || {
        Some(size(api, project_ref, of).await).filter(|size| size.level() == level)
    })
    .await
}

async fn until_bound(double: &Double, limits: &[(&str, u64)]) {
    let limits: BTreeMap<String, u64> =
        limits.iter().map(|(project, mib)| ((*project).to_owned(), *mib)).collect();
    wait_for(&format!("the node to know {limits:?}"), SOON * SLACK, async || {
        (double.state().database_limits.as_ref() == Some(&limits)).then_some(())
    })
    .await;
}

async fn assign(api: &Api, plan: &str) {
    let request = AssignPlanRequest {
        organization: "acme".into(),
        plan: plan.into(),
        reason: "the test".into(),
        etag: String::new(),
    };
    api.plans().assign_plan(request).await.unwrap();
}

async fn allow(api: &Api, mib: u64) {
    let request = SetEntitlementRequest {
        organization: "acme".into(),
        entitlement: Entitlement::DatabaseSize.into(),
        value: Some(EntitlementValue { kind: Some(entitlement_value::Kind::Number(mib)) }),
        reason: "the test".into(),
        etag: String::new(),
    };
    api.plans().set_entitlement(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_near_to_the_size_of_a_plan_is_told_and_a_free_database_is_bounded() {
    let sink = MailSink::start().await;
    let (mut controller, api, double) = fleet_with(sink.arguments()).await;
    let project = &*api.create_healthy("metered", CORE).await.r#ref;
    until_bound(&double, &[]).await;
    assert_eq!(
        size(&api, project, Entitlement::DatabaseSize).await.at_limit(),
        SizeAction::Notify,
        "of Premium"
    );
    assign(&api, "free").await;
    until_bound(&double, &[(project, 500)]).await;
    let mut events = watch(&api, None).await;

    send(&double, &[measured(1, project, 399, 0)]).await;
    send(&double, &[measured(2, project, 400, 0)]).await;
    let near = until_level(&api, project, Entitlement::DatabaseSize, SizeLevel::Near).await;
    assert_eq!(
        (near.used_bytes, near.limit_bytes, near.at_limit()),
        (400 * MIB, 500 * MIB, SizeAction::ReadOnly)
    );
    let mail = sink.wait_for(OWNER).await;
    assert!(mail.header("Subject").contains("metered are near the limit"), "{}", mail.header("Subject"));
    for words in ["400 MiB", "500 MiB", "Your plan free", "becomes read-only"] {
        assert!(mail.text.replace('\n', " ").contains(words), "{words}: {}", mail.text);
    }
    send(&double, &[measured(3, project, 500, 0)]).await;
    until_level(&api, project, Entitlement::DatabaseSize, SizeLevel::Over).await;
    let mail = sink.wait_for_count(OWNER, 2).await;
    assert!(mail.text.replace('\n', " ").contains("read-only now"), "{}", mail.text);
    // A clean-up that is none, one that is, and near again: all of that is told, but not by another mail on the same day.
    send(&double, &[measured(4, project, 480, 0)]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(size(&api, project, Entitlement::DatabaseSize).await.level(), SizeLevel::Over, "96 %");
    send(&double, &[measured(5, project, 300, 0)]).await;
    until_level(&api, project, Entitlement::DatabaseSize, SizeLevel::Fine).await;
    send(&double, &[measured(6, project, 450, 0)]).await;
    until_level(&api, project, Entitlement::DatabaseSize, SizeLevel::Near).await;
    // Files: told, and nothing else.
    send(&double, &[measured(7, project, 450, 1024)]).await;
    let files = until_level(&api, project, Entitlement::StorageSize, SizeLevel::Over).await;
    assert_eq!(files.at_limit(), SizeAction::Notify);
    let mail = sink.wait_for_count(OWNER, 3).await;
    assert!(mail.header("Subject").contains("The files of metered"), "{}", mail.header("Subject"));

    // More is allowed, by an override or by another plan.
    allow(&api, 2000).await;
    until_level(&api, project, Entitlement::DatabaseSize, SizeLevel::Fine).await;
    until_bound(&double, &[(project, 2000)]).await;
    let request = ClearEntitlementRequest {
        organization: "acme".into(),
        entitlement: Entitlement::DatabaseSize.into(),
        reason: "the test".into(),
        etag: String::new(),
    };
    api.plans().clear_entitlement(request).await.unwrap();
    until_bound(&double, &[(project, 500)]).await;
    assign(&api, "pro").await;
    until_bound(&double, &[]).await;
    until_level(&api, project, Entitlement::StorageSize, SizeLevel::Fine).await;
    let mut read_only = UpdatePlanRequest { plan: "pro".into(), ..Default::default() };
    read_only.set_at_size_limit(SizeAction::ReadOnly);
    read_only.update_mask = Some(prost_types::FieldMask { paths: vec!["at_size_limit".into()] });
    let plan = api.plans().update_plan(read_only).await.unwrap().into_inner().plan.unwrap();
    assert_eq!((plan.at_size_limit(), plan.limits.unwrap().database_mib), (SizeAction::ReadOnly, 5120));
    until_bound(&double, &[(project, 5120)]).await;

    let told = until(&mut events, Kind::ProjectSizeFine).await;
    let kinds: Vec<(Kind, Entitlement)> =
        told.iter().map(|event| (event.r#type(), event.entitlement())).collect();
    let database = |kind| (kind, Entitlement::DatabaseSize);
    assert_eq!(kinds, [Kind::ProjectSizeNear, Kind::ProjectSizeOver, Kind::ProjectSizeFine].map(database));
    assert!(told.iter().all(|event| event.project_ref == project && event.project_name == "metered"));
    let again = until(&mut events, Kind::ProjectSizeOver).await;
    let kinds: Vec<(Kind, Entitlement)> =
        again.iter().map(|event| (event.r#type(), event.entitlement())).collect();
    let files = (Kind::ProjectSizeOver, Entitlement::StorageSize);
    assert_eq!(kinds, [database(Kind::ProjectSizeNear), files]);
    assert_eq!(sink.mails_to(OWNER).len(), 3, "none of the levels has been mailed twice in a day");

    // A controller that starts again says nothing twice; the node is told again in its new session.
    double.state().database_limits = None;
    controller.process.kill();
    controller.restart().await;
    until_bound(&double, &[(project, 5120)]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(sink.mails_to(OWNER).len(), 3);
    api.delete(project, 0).await;
    until_bound(&double, &[]).await;
    assert_eq!(controller.database.rows().await.broken_of_all().await, Vec::<String>::new());
}

/// The node reports this of a project that runs; `None`: that nothing is wrong.
fn report(double: &Double, project_ref: &str, found: Option<(&str, &str)>) {
    let error = found.map(|(reason, message)| StackError {
        reason: reason.into(),
        message: message.into(),
        ..StackError::default()
    });
    let mut state = double.state();
    state.errors.remove(project_ref);
    state.errors.extend(error.map(|error| (project_ref.to_owned(), error)));
}

async fn until_restricted(
    api: &Api,
    project_ref: &str,
    expected: Option<(Rule, &str)>,
) -> Option<ProjectRestriction> {
    wait_for(&format!("{project_ref} to be bounded by {expected:?}"), SOON * SLACK, async || {
        let found = api.project(project_ref).await.restriction;
        let told = found.as_ref().map(|found| (found.reason(), found.message.as_str()));
        (told == expected).then_some(found)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_field_says_which_rule_bounds_a_project_and_empties_itself() {
    let (mut controller, api, double) = fleet_with(vec![]).await;
    let project = &*api.create_healthy("greedy", CORE).await.r#ref;
    let neighbour = &*api.create_healthy("neighbour", CORE).await.r#ref;
    let request = WatchProjectRequest { project_ref: project.into(), after_seq: None };
    let mut watch = api.projects().watch_project(request).await.unwrap().into_inner();
    report(&double, project, Some(("DATABASE_OVER_PLAN", "510 of 500")));
    let first = until_restricted(&api, project, Some((Rule::DatabaseOverPlan, "510 of 500"))).await.unwrap();
    assert!(first.remedy.contains("larger plan") && first.since.is_some(), "{first:?}");
    let shown = api.project(project).await;
    assert_eq!(shown.state(), ProjectState::ActiveUnhealthy);
    let listed = api.projects().list_projects(ListProjectsRequest::default()).await.unwrap().into_inner();
    let bounded = |name: &str| {
        let found = listed.projects.iter().find(|one| one.name == name).unwrap();
        found.restriction.as_ref().map(ProjectRestriction::reason)
    };
    assert_eq!((bounded("greedy"), bounded("neighbour")), (Some(Rule::DatabaseOverPlan), None));
    wait_for("the watch to tell it", SOON * SLACK, async || {
        match watch.message().await.unwrap()?.message? {
            Message::Snapshot(shown) => shown.restriction.filter(|found| *found == first),
            _ => None,
        }
    })
    .await;

    // Another measurement is the same restriction, another rule is not.
    report(&double, project, Some(("DATABASE_OVER_PLAN", "530 of 500")));
    let again = until_restricted(&api, project, Some((Rule::DatabaseOverPlan, "530 of 500"))).await.unwrap();
    assert_eq!(again.since, first.since);
    report(&double, project, Some(("DISK_FULL", "960 of 960")));
    let full = until_restricted(&api, project, Some((Rule::DiskFull, "960 of 960"))).await.unwrap();
    let since = |found: &ProjectRestriction| found.since.as_ref().map(|at| (at.seconds, at.nanos));
    assert!(since(&full) > since(&first), "{full:?}");
    // It outlives the controller, and holds while something is done with the project.
    controller.process.kill();
    controller.restart().await;
    assert_eq!(api.project(project).await.restriction, Some(full.clone()));
    let request = RestartProjectRequest { project_ref: project.into(), ..Default::default() };
    api.projects().restart_project(request).await.unwrap();
    report(&double, project, Some(("DISK_LIMIT", "1200 of 960")));
    until_restricted(&api, project, Some((Rule::DiskLimit, "1200 of 960"))).await;
    assert_eq!(api.project(project).await.state(), ProjectState::Restarting);
    report(&double, project, None);
    let fine = api.wait_state(project, ProjectState::ActiveHealthy, SOON * SLACK).await;
    assert_eq!(fine.restriction, None);

    // What bounds nothing is no restriction; neither does anything bound what does not run.
    report(&double, project, Some(("DISK_UNMEASURED", "it is gone")));
    let shown = api.wait_state(project, ProjectState::ActiveUnhealthy, SOON * SLACK).await;
    assert!(shown.restriction.is_none() && shown.state_reason.contains("it is gone"), "{shown:?}");
    report(&double, project, Some(("DATABASE_OVER_PLAN", "510 of 500")));
    until_restricted(&api, project, Some((Rule::DatabaseOverPlan, "510 of 500"))).await;
    let request = StopProjectRequest { project_ref: project.into(), ..Default::default() };
    api.projects().stop_project(request).await.unwrap();
    let stopped = api.wait_state(project, ProjectState::Inactive, SOON * SLACK).await;
    assert_eq!(stopped.restriction, None);
    assert_eq!(controller.database.rows().await.broken_of_all().await, Vec::<String>::new());
    // A node cannot bound projects of others.
    let foe = node(&controller, &api, "foe").await;
    api.wait_ready_nodes(2).await;
    foe.state()
        .records
        .insert(neighbour.to_owned(), DoubleRecord { generation: 1, slot: 0, phase: StackPhase::Healthy });
    report(&foe, neighbour, Some(("DISK_LIMIT", "a lie")));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let unharmed = api.project(neighbour).await;
    assert_eq!((unharmed.state(), unharmed.restriction), (ProjectState::ActiveHealthy, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_near_its_limits_keeps_nobody_from_being_told() {
    let (controller, api, double) = fleet_with(vec![]).await;
    let project = &*api.create_healthy("zoo", CORE).await.r#ref;
    assign(&api, "free").await;
    send(&double, &[measured(1, project, 500, 0)]).await;
    until_level(&api, project, Entitlement::DatabaseSize, SizeLevel::Over).await;
    // More than one turn of the job looks at, each with 76 % of its limit: fine, and to stay so.
    let bytes = i64::try_from(380 * MIB).unwrap();
    controller.database.rows().await.copy_with_database(project, 600, bytes).await;
    send(&double, &[measured(2, project, 100, 0)]).await;
    until_level(&api, project, Entitlement::DatabaseSize, SizeLevel::Fine).await;
}
