//! What projects use, as nodes report it. The nodes are doubles, so no engine is needed.

use std::{collections::VecDeque, time::Duration};

use prost_types::Timestamp;
use supalove_proto::{
    node::v1::{Capacity, ContainerUsage, ProjectUsage, StreamUsageResponse, UsageRecord, VolumeBytes},
    v1::{
        GetClusterUsageRequest, GetClusterUsageSeriesRequest, GetOrganizationUsageRequest,
        GetOrganizationUsageSeriesRequest, GetProjectUsageRequest, GetProjectUsageResponse,
        GetProjectUsageSeriesRequest, ListJobsRequest, ListPlatformAuditEventsRequest, NodeUsage,
        TransferProjectRequest, UpdateProjectRequest, UsagePoint,
    },
};
use supalove_system_tests::{Api, CORE, Controller, Double, DoubleState, Options, SLACK, wait_for};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const SOON: Duration = Duration::from_secs(5);
pub const SPOOL: &str = "0123456789abcdef0123456789abcdef";
const SECOND: u64 = 1_000_000;
pub const MIB: u64 = 1024 * 1024;

fn record(seq: u64, age_seconds: u64, project_ref: &str, containers: Vec<ContainerUsage>) -> UsageRecord {
    let volumes = vec![
        VolumeBytes { name: "db_data".into(), bytes: 400 * MIB },
        VolumeBytes { name: "functions_cache".into(), bytes: MIB },
    ];
    let project = ProjectUsage { project_ref: project_ref.into(), containers, volumes };
    UsageRecord { seq, age_ms: age_seconds * 1000, projects: vec![project] }
}

pub fn container(run: u64, cpu_us: u64) -> ContainerUsage {
    ContainerUsage {
        run,
        cpu_us,
        network_received_bytes: cpu_us / 1000,
        memory_bytes: 64 * MIB,
        memory_max_bytes: 70 * MIB,
        ..ContainerUsage::default()
    }
}

pub fn batch(records: Vec<UsageRecord>) -> StreamUsageResponse {
    StreamUsageResponse { spool: SPOOL.into(), dropped: 0, records }
}

async fn fleet() -> (Controller, Api, Double) {
    fleet_with(Vec::new()).await
}

/// A controller that sums every second, its operator, and a node that reports usage.
pub async fn fleet_with(mut arguments: Vec<String>) -> (Controller, Api, Double) {
    arguments.push("--usage-roll-up=1".to_owned());
    let controller = Controller::start_with(Options { arguments, ..Options::default() }).await;
    let api = controller.operator().await;
    let double = node(&controller, &api, "metered").await;
    api.wait_ready_nodes(1).await;
    (controller, api, double)
}

pub async fn node(controller: &Controller, api: &Api, name: &str) -> Double {
    Double::join_metered(&controller.node_address, &api.join_token().await, name).await
}

/// Sends batches and waits until the newest record is acknowledged.
pub async fn send(double: &Double, batches: &[StreamUsageResponse]) {
    let heard = double.state().usage_heard.len();
    double.state().usage.as_mut().unwrap().extend(batches.iter().cloned());
    let newest = batches.iter().flat_map(|batch| &batch.records).map(|record| record.seq).max().unwrap();
    let spool = batches.last().unwrap().spool.clone();
    wait_for("the acknowledgement", SOON * SLACK, async || {
        let state = double.state();
        let sent = state.usage.as_ref().unwrap().is_empty();
        let taken =
            state.usage_heard.iter().skip(heard).any(|ack| ack.spool == spool && ack.acknowledged >= newest);
        (sent && taken).then_some(())
    })
    .await;
}

pub async fn usage(api: &Api, project_ref: &str) -> GetProjectUsageResponse {
    let request = GetProjectUsageRequest { project_ref: project_ref.into() };
    api.usage().get_project_usage(request).await.unwrap().into_inner()
}

async fn series(api: &Api, project_ref: &str, seconds: i64) -> Result<Vec<UsagePoint>, Status> {
    let request = GetProjectUsageSeriesRequest {
        project_ref: project_ref.into(),
        start_time: Some(Timestamp { seconds: chrono::Utc::now().timestamp() - 3600, nanos: 0 }),
        step: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..Default::default()
    };
    Ok(api.usage().get_project_usage_series(request).await?.into_inner().points)
}

async fn wait_month(api: &Api, project_ref: &str, cpu_seconds: f64) {
    wait_for(&format!("{cpu_seconds} s of this month"), SOON * SLACK, async || {
        let month = usage(api, project_ref).await.usage.unwrap().month_to_date.unwrap();
        ((month.cpu_seconds - cpu_seconds).abs() < 1e-6).then_some(())
    })
    .await;
}

async fn of_node(api: &Api, name: &str) -> NodeUsage {
    let answer = api.usage().get_cluster_usage(GetClusterUsageRequest::default()).await.unwrap().into_inner();
    answer.nodes.into_iter().find(|node| node.name == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_counts_once_whoever_sends_it_again() {
    let (mut controller, api, double) = fleet().await;
    let rows = controller.database.rows().await;
    let project = api.create_healthy("metered", CORE).await.r#ref;
    rows.age_fleet(Duration::from_hours(1)).await;
    let batches = [
        batch(vec![record(1, 121, &project, vec![])]),
        batch(vec![
            record(2, 61, &project, vec![container(7, 30 * SECOND)]),
            record(3, 1, &project, vec![container(7, 45 * SECOND), container(8, 3 * SECOND)]),
        ]),
    ];
    send(&double, &batches).await;
    wait_month(&api, &project, 48.0).await;

    let shown = usage(&api, &project).await.usage.unwrap();
    let now = shown.current.unwrap();
    // 18 s of a minute; the two records arrive a little apart.
    assert!((285..315).contains(&now.cpu_millis), "{now:?}");
    assert!((126 * MIB..130 * MIB).contains(&now.memory_bytes), "two containers of 64 MiB: {now:?}");
    let held = shown.volumes.unwrap();
    assert_eq!((held.database_bytes, held.storage_bytes, held.other_bytes), (400 * MIB, 0, MIB));
    let database = &shown.sizes[0];
    assert_eq!((database.used_bytes, database.limit_bytes), (400 * MIB, 20_480 * MIB), "of Premium");
    let points = series(&api, &project, 60).await.unwrap();
    let sum: f64 = points.iter().map(|point| point.cpu_seconds).sum();
    assert!((sum - 48.0).abs() < 1e-6 && points.len() >= 2, "{points:?}");
    assert!(points.iter().any(|point| point.memory_max_bytes == 140 * MIB), "{points:?}");

    // The same batches again, in another session, and to a controller that starts again.
    send(&double, &batches).await;
    controller.process.kill();
    controller.restart().await;
    send(&double, &batches).await;
    let heard = double.state().usage_heard.clone();
    assert!(heard.iter().filter(|ask| ask.acknowledged == 3).count() >= 3, "{heard:?}");
    send(&double, &[batch(vec![record(4, 0, &project, vec![container(8, 4 * SECOND)])])]).await;
    wait_month(&api, &project, 49.0).await;
    for step in ["MINUTE", "HOUR", "DAY"] {
        assert_eq!(rows.used(&project, step).await, (49_000_000, 49_000, 0), "{step}");
    }

    // By organization and by node.
    let request = GetOrganizationUsageRequest { organization: "acme".into() };
    let acme = api.usage().get_organization_usage(request).await.unwrap().into_inner();
    assert_eq!((acme.plan.as_str(), acme.projects.len()), ("premium", 1));
    assert!((acme.month_to_date.unwrap().cpu_seconds - 49.0).abs() < 1e-6);
    let request = GetOrganizationUsageSeriesRequest { organization: "acme".into(), ..Default::default() };
    let acme = api.usage().get_organization_usage_series(request).await.unwrap().into_inner();
    assert_eq!(acme.projects[0].project_ref, project);
    assert_eq!(acme.step.unwrap().seconds, 300, "a day in steps of five minutes");
    let node = of_node(&api, "metered").await;
    assert!((node.month_to_date.unwrap().cpu_seconds - 49.0).abs() < 1e-6);
    assert_eq!((node.refused_reports, node.refusal.as_str()), (0, ""));
    assert!(node.last_record_time.is_some() && node.current.is_some());
    let request = GetClusterUsageSeriesRequest::default();
    let cluster = api.usage().get_cluster_usage_series(request).await.unwrap().into_inner();
    let sum: f64 = cluster.nodes[0].points.iter().map(|point| point.cpu_seconds).sum();
    assert!((sum - 49.0).abs() < 1e-6);

    // Sums that are made again write nothing.
    wait_for("all sums", SOON * SLACK, async || (rows.usage_pending().await == 0).then_some(())).await;
    let before = rows.usage_versions().await;
    assert!(rows.sum_usage_again().await > 0);
    wait_for("all sums again", SOON * SLACK, async || (rows.usage_pending().await == 0).then_some(())).await;
    assert_eq!(rows.usage_versions().await, before);
    assert_eq!(rows.broken_of_all().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_cannot_report_on_projects_of_other_nodes_nor_more_than_a_host_has() {
    let (mut controller, api, double) = fleet().await;
    let rows = controller.database.rows().await;
    let victim = api.create_healthy("victim", CORE).await.r#ref;
    let foe = node(&controller, &api, "foe").await;
    api.wait_ready_nodes(2).await;
    rows.age_fleet(Duration::from_hours(1)).await;
    let of = |seq, age, cpu_us| batch(vec![record(seq, age, &victim, vec![container(seq, cpu_us)])]);
    send(&foe, &[of(1, 60, 0), of(2, 0, 5 * SECOND)]).await;
    assert_eq!(rows.used(&victim, "MINUTE").await, (0, 0, 0), "it is placed on another node");
    let shown = of_node(&api, "foe").await;
    assert_eq!((shown.refused_reports, shown.month_to_date.unwrap().cpu_seconds), (2, 0.0));
    assert!(shown.refusal.contains("not placed on it"), "{}", shown.refusal);
    let alarms = async || {
        let request = ListPlatformAuditEventsRequest::default();
        let listed = api.audit().list_platform_audit_events(request).await.unwrap().into_inner();
        listed.events.into_iter().filter(|event| event.method == "usage.refused").collect::<Vec<_>>()
    };
    let told = alarms().await;
    assert_eq!(told.len(), 1, "not for each report: {told:?}");
    assert!(told[0].target.starts_with("nod_") && told[0].outcome.contains("not placed"), "{told:?}");

    // Its own node claims more than 64 cores can have done.
    let began = std::time::Instant::now();
    send(&double, &[of(1, 60, 0), of(2, 0, u64::MAX / 2)]).await;
    let (cpu_us, _, _) = rows.used(&victim, "MINUTE").await;
    let most = i64::try_from((64 * 8 * 2 + 1) * 60 * SECOND).unwrap();
    assert!(cpu_us > 0 && cpu_us <= most * 11 / 10, "{cpu_us} of at most {most}");
    let shown = of_node(&api, "metered").await;
    assert!(shown.refused_reports >= 1 && shown.refusal.contains("more"), "{shown:?}");
    // Records that come in no time have used nothing, and a spool must have a name.
    let flood: Vec<_> =
        (3..200).map(|seq| record(seq, 0, &victim, vec![container(seq, 1000 * SECOND)])).collect();
    send(&double, &[batch(flood)]).await;
    let (after, _, _) = rows.used(&victim, "MINUTE").await;
    let passed = i64::try_from(began.elapsed().as_millis()).unwrap();
    assert!(after - cpu_us <= passed * most / 60_000, "{} more in {passed} ms", after - cpu_us);
    let nameless = StreamUsageResponse { spool: "no spool".into(), ..of(300, 0, 1) };
    double.state().usage.as_mut().unwrap().push_back(nameless);
    controller.process.wait_for_log("has no spool", SOON * SLACK);
    send(&double, &[of(301, 0, 1)]).await;

    // An agent that knows no usage is a node like any other.
    let _older = Double::join(&controller.node_address, &api.join_token().await, "older").await;
    api.wait_ready_nodes(3).await;
    assert_eq!(of_node(&api, "older").await.last_record_time, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn ninety_days_are_shown_quickly_and_kept_as_long_as_they_are_to_be() {
    const PROJECTS: i64 = 15;
    let mut controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    rows.add_usage("acme", i32::try_from(PROJECTS).unwrap(), 90).await;
    let (minutes, hours, days) = rows.usage_rows().await;
    assert_eq!((minutes, hours, days), (PROJECTS * 2880, PROJECTS * 2160, PROJECTS * 90));

    let month = |days: i64, step: i64| GetOrganizationUsageSeriesRequest {
        organization: "acme".into(),
        start_time: Some(Timestamp { seconds: chrono::Utc::now().timestamp() - days * 86_400, nanos: 0 }),
        end_time: None,
        step: Some(prost_types::Duration { seconds: step, nanos: 0 }),
    };
    let began = std::time::Instant::now();
    let answer = api.usage().get_organization_usage_series(month(30, 3600)).await.unwrap().into_inner();
    let took = began.elapsed();
    println!(
        "{PROJECTS} projects, 90 days: {} MiB; a month of hours of all: {took:?}",
        rows.usage_mib().await
    );
    assert_eq!(answer.projects.len(), 15);
    assert!((718..=721).contains(&answer.projects[0].points.len()), "{}", answer.projects[0].points.len());
    assert_eq!(answer.projects[0].points[0].memory_bytes, MIB);
    // Without a step it is one that gives an answer.
    let usual = GetOrganizationUsageSeriesRequest { step: None, ..month(40, 0) };
    let usual = api.usage().get_organization_usage_series(usual).await.unwrap().into_inner();
    assert_eq!((usual.projects.len(), usual.step.unwrap().seconds), (15, 86_400));

    // What is asked for must exist, and not be too much.
    for (request, words) in [
        (month(30, 60), "1000"),
        (month(3, 600), "48 hours"),
        (month(80, 7200), "12000"),
        (month(1, 90), "whole minutes"),
    ] {
        let refused = api.usage().get_organization_usage_series(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{words}");
        let violation = &refused.get_details_bad_request().unwrap().field_violations[0];
        assert!(violation.field == "step" && violation.description.contains(words), "{violation:?}");
    }
    let foreign = GetProjectUsageRequest { project_ref: "a".repeat(20) };
    assert_eq!(api.usage().get_project_usage(foreign).await.unwrap_err().code(), Code::NotFound);

    // A day later each step has lost a day of its oldest rows.
    controller.process.kill();
    rows.age_usage(Duration::from_hours(24)).await;
    rows.end_leases().await;
    controller.restart().await;
    wait_for("the oldest rows to go", Duration::from_secs(20) * SLACK, async || {
        let (minutes, hours, days) = rows.usage_rows().await;
        // The minute and the hour may have turned since.
        let about = |found: i64, steps: i64| (found - PROJECTS * steps).abs() <= 2 * PROJECTS;
        (about(minutes, 1440) && about(hours, 2136) && days == PROJECTS * 90).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_stays_with_its_organization_and_what_comes_is_the_new_ones() {
    let (controller, api, double) = fleet().await;
    let project = api.create_healthy("shop", CORE).await.r#ref;
    api.create_organization("globex").await;
    let of = |seq, cpu_us| batch(vec![record(seq, 0, &project, vec![container(7, cpu_us)])]);
    send(&double, &[of(1, 0), of(2, 2 * SECOND)]).await;
    wait_month(&api, &project, 2.0).await;
    // That was yesterday: the day of a transfer counts for the new organization.
    let rows = controller.database.rows().await;
    wait_for("all sums", SOON * SLACK, async || (rows.usage_pending().await == 0).then_some(())).await;
    rows.age_usage(Duration::from_hours(24)).await;
    let of_organization = async |slug: &str| {
        let request = GetOrganizationUsageRequest { organization: slug.into() };
        api.usage().get_organization_usage(request).await.unwrap().into_inner()
    };
    assert_eq!(of_organization("acme").await.projects[0].name, "shop");
    let hours_of = async |slug: &str| {
        let request = GetOrganizationUsageSeriesRequest {
            organization: slug.into(),
            start_time: Some(Timestamp { seconds: chrono::Utc::now().timestamp() - 3 * 86_400, nanos: 0 }),
            end_time: None,
            step: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        };
        let answer = api.usage().get_organization_usage_series(request).await.unwrap().into_inner();
        answer.projects.iter().flat_map(|one| &one.points).map(|point| point.cpu_seconds).sum::<f64>()
    };
    let request = TransferProjectRequest {
        project_ref: project.clone(),
        target_organization: "globex".into(),
        ..Default::default()
    };
    api.projects().transfer_project(request).await.unwrap();
    let rename = UpdateProjectRequest {
        project_ref: project.clone(),
        name: "secret".into(),
        update_mask: Some(prost_types::FieldMask { paths: vec!["name".into()] }),
        ..Default::default()
    };
    api.projects().update_project(rename).await.unwrap();
    send(&double, &[of(3, 7 * SECOND)]).await;
    wait_month(&api, &project, 5.0).await;

    // The old organization sees what the project used while it had it, and nothing else.
    assert!((hours_of("acme").await - 2.0).abs() < 1e-6);
    // Its month may have begun since.
    for left in of_organization("acme").await.projects {
        assert_eq!((left.project_ref.as_str(), left.name.as_str()), (&*project, ""));
        assert!(left.current.is_none() && left.volumes.is_none(), "{left:?}");
    }
    // The new one sees what it uses since.
    let new = of_organization("globex").await;
    assert_eq!(new.projects[0].name, "secret");
    assert!(new.projects[0].current.is_some() && new.projects[0].volumes.is_some());
    assert!((new.month_to_date.unwrap().cpu_seconds - 5.0).abs() < 1e-6);
    assert!((hours_of("globex").await - 5.0).abs() < 1e-6);
    let points = series(&api, &project, 60).await.unwrap();
    let sum: f64 = points.iter().map(|point| point.cpu_seconds).sum();
    assert!((sum - 5.0).abs() < 1e-6, "{points:?}");
    assert_eq!(rows.broken_of_all().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_claims_to_have_everything_breaks_no_numbers_of_others() {
    let (controller, api, double) = fleet().await;
    // It greets again with the largest host that a Hello can name.
    let holder = double.holder.clone();
    drop(double);
    let mut state = DoubleState::default();
    state.usage = Some(VecDeque::new());
    state.capacity = Some(Capacity { cpu_millis: 33_000_000, memory_mib: 33_000_000, disk_mib: 1 << 32 });
    let double = Double::dial(holder, &controller.node_address, state);
    let project = api.create_healthy("greedy", CORE).await.r#ref;
    let all = VolumeBytes { name: "db_data".into(), bytes: u64::MAX };
    let others = ["storage", "cache"].map(|name| VolumeBytes { name: name.into(), ..all.clone() });
    let huge = ContainerUsage { memory_bytes: u64::MAX, ..container(7, u64::MAX / 2) };
    let mut records = vec![record(1, 0, &project, vec![]), record(2, 0, &project, vec![huge])];
    records[1].projects[0].volumes = [vec![all], others.to_vec()].concat();
    send(&double, &[batch(records)]).await;
    let held = usage(&api, &project).await.usage.unwrap().volumes.unwrap();
    assert_eq!((held.database_bytes, held.storage_bytes + held.other_bytes), (1 << 53, 0));
    let node = of_node(&api, "metered").await;
    assert!(node.volumes.is_some() && node.refused_reports > 0, "{node:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_that_cannot_be_summed_keeps_no_other_from_it() {
    let (controller, api, double) = fleet().await;
    let project = api.create_healthy("metered", CORE).await.r#ref;
    let rows = controller.database.rows().await;
    rows.spoil_an_hour().await;
    let of = |seq, cpu_us| batch(vec![record(seq, 0, &project, vec![container(7, cpu_us)])]);
    send(&double, &[of(1, 0), of(2, 2 * SECOND)]).await;
    wait_month(&api, &project, 2.0).await;
    wait_for("the job to say so", SOON * SLACK, async || {
        let jobs = api.platform().list_jobs(ListJobsRequest {}).await.unwrap().into_inner().jobs;
        let job = jobs.into_iter().find(|job| job.name == "usage.roll_up")?;
        job.last_error.contains("hour ").then_some(())
    })
    .await;
    assert_eq!(rows.usage_pending().await, 1, "it is tried again");
}
