//! The size of a real project: what the engine shows of its database, what the server says, and that the data stays.

use std::{collections::BTreeMap, time::Duration};

use prost_types::FieldMask;
use supalove_proto::v1::{
    Operation, OperationState, ProjectEvent, ProjectEventType, ProjectState, UpdateProjectRequest,
    UpdateProjectResponse, UpdateProjectSizeRequest,
};
use supalove_system_tests::{Api, CORE, Fleet, Options, SLACK, Tenant, docker, wait_for};

const SERVICES: [&str; 3] = ["functions", "gateway", "postgres"];
const MIB: i64 = 1024 * 1024;

fn container(tenant: &Tenant, service: &str) -> String {
    format!("supalove_{}_{service}", tenant.project_ref)
}

fn inspected(tenant: &Tenant, service: &str, format: &str) -> String {
    docker(None, &["inspect", "--format", format, &container(tenant, service)]).trim().to_owned()
}

/// Id and start time of each container.
fn started(tenant: &Tenant) -> BTreeMap<&'static str, String> {
    let start = |service| (service, inspected(tenant, service, "{{.Id}} {{.State.StartedAt}}"));
    SERVICES.into_iter().map(start).collect()
}

/// Memory in MiB and thousandths of a core that the engine allows the database.
fn limits(tenant: &Tenant) -> (i64, i64) {
    let said = inspected(tenant, "postgres", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}");
    let (memory, cpus) = said.split_once(' ').unwrap();
    (memory.parse::<i64>().unwrap() / MIB, cpus.parse::<i64>().unwrap() / 1_000_000)
}

/// What the tenant sees of the server: connections in all, those of its own roles, and shared buffers.
async fn settings(tenant: &Tenant) -> (String, String, String) {
    let (client, connection) = tokio_postgres::connect(&tenant.db_url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let row = client
        .query_one(
            "SELECT current_setting('max_connections'), current_setting('supalove_guard.tenant_connections'),
                 current_setting('shared_buffers')",
            &[],
        )
        .await
        .unwrap();
    (row.get(0), row.get(1), row.get(2))
}

async fn note(tenant: &Tenant) -> String {
    let (client, connection) = tokio_postgres::connect(&tenant.db_url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.query_one("SELECT body FROM notes", &[]).await.unwrap().get(0)
}

async fn resize(api: &Api, tenant: &Tenant, size: &str) -> UpdateProjectResponse {
    let request = UpdateProjectRequest {
        project_ref: tenant.project_ref.clone(),
        size: size.into(),
        update_mask: Some(FieldMask { paths: vec!["size".into()] }),
        ..Default::default()
    };
    api.projects().update_project(request).await.unwrap().into_inner()
}

async fn resized(api: &Api, tenant: &Tenant, size: &str) {
    let answer = resize(api, tenant, size).await;
    assert_eq!(answer.restarted_services, ["postgres"]);
    let operation = api.wait(&answer.operation.unwrap().id).await;
    assert_eq!(operation.state(), OperationState::Succeeded, "{operation:#?}");
    assert_eq!(api.project(&tenant.project_ref).await.size, size);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_reaches_the_database_alone_keeps_its_data_and_returns_if_it_fails() {
    let fleet = Fleet::start(Options::default()).await;
    let api = &fleet.api;
    let rows = fleet.controller.database.rows().await;
    // The engine allows a container no more cores than there are.
    let cores = 1000 * i64::try_from(std::thread::available_parallelism().unwrap().get()).unwrap();
    let tenant = fleet.project("first", CORE).await;
    let (client, connection) = tokio_postgres::connect(&tenant.db_url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("CREATE TABLE notes AS SELECT 'kept' AS body").await.unwrap();
    drop(client);
    let nano = started(&tenant);
    let used = api.nodes().await[0].used.unwrap();
    assert_eq!(limits(&tenant), (512, 1000));
    let own = ("100".to_owned(), "60".to_owned(), "128MB".to_owned());
    assert_eq!(settings(&tenant).await, own);

    resized(api, &tenant, "small").await;
    let small = started(&tenant);
    assert_ne!(small["postgres"], nano["postgres"]);
    for service in ["functions", "gateway"] {
        assert_eq!(small[service], nano[service], "{service} restarted");
    }
    assert_eq!(limits(&tenant), (2048, 3334.min(cores)));
    assert_eq!(settings(&tenant).await, ("130".to_owned(), "90".to_owned(), "512MB".to_owned()));
    assert_eq!(note(&tenant).await, "kept");
    let more = api.nodes().await[0].used.unwrap();
    assert_eq!(
        (more.cpu_millis - used.cpu_millis, more.memory_mib - used.memory_mib, more.disk_mib - used.disk_mib),
        (350, 768, 3072)
    );

    resized(api, &tenant, "nano").await;
    assert_eq!((limits(&tenant), settings(&tenant).await), ((512, 1000), own.clone()));
    assert_eq!(note(&tenant).await, "kept");
    let has = api.project(&tenant.project_ref).await.resources.unwrap();
    assert_eq!((has.memory_mib, has.disk_mib), (256, 4096), "the disk stays");

    a_size_that_no_host_has_returns(&fleet, &tenant).await;
    assert_eq!((limits(&tenant), settings(&tenant).await), ((512, 1000), own));
    assert_eq!(note(&tenant).await, "kept");
    let after = started(&tenant);
    for service in ["functions", "gateway"] {
        assert_eq!(after[service], nano[service], "{service} restarted");
    }
    let broken = rows.broken_of_all().await;
    assert!(broken.is_empty(), "{broken:#?}");
}

/// A server that wants more memory than the machine has does not start.
async fn a_size_that_no_host_has_returns(fleet: &Fleet, tenant: &Tenant) {
    let api = &fleet.api;
    let rows = fleet.controller.database.rows().await;
    let request = UpdateProjectSizeRequest {
        size: "large".into(),
        cpu_millis: 200,
        memory_mib: 4_000_000,
        disk_mib: 4096,
        connections: 160,
        reason: "a test".into(),
        ..Default::default()
    };
    api.plans().update_project_size(request).await.unwrap();
    rows.set_memory(10_000_000).await;
    let before = api.nodes().await[0].used.unwrap();
    let newest = api.events(&tenant.project_ref).await.iter().map(|event| event.seq).max().unwrap();
    let operation: Operation = resize(api, tenant, "large").await.operation.unwrap();
    let limit = Duration::from_mins(1) * SLACK;
    let fails = |event: &ProjectEvent| {
        event.r#type() == ProjectEventType::ServiceFailed && event.service == "postgres" && event.seq > newest
    };
    wait_for("a server that does not start", limit, async || {
        api.events(&tenant.project_ref).await.iter().any(fails).then_some(())
    })
    .await;
    rows.end_times().await;
    let failed = api.wait(&operation.id).await;
    assert_eq!(failed.state(), OperationState::Failed, "{failed:#?}");
    let message = failed.error.unwrap().message;
    assert!(message.ends_with("; the project returns to the size nano"), "{message}");
    let project = api.wait_state(&tenant.project_ref, ProjectState::ActiveHealthy, limit).await;
    assert_eq!(project.size, "nano");
    assert_eq!(api.nodes().await[0].used.unwrap(), before);
}
