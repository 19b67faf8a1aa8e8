//! Upgrades of a real project: its data stays, its release's SQL runs at each start, and a failure returns to the old
//! release. A role of the platform that a tenant has spoilt is named, and set right by the next release.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use supalove_proto::v1::{
    GetProjectConnectionResponse, Operation, OperationState, ProjectState, RestartProjectRequest,
    UpgradeProjectRequest,
};
use supalove_system_tests::{
    Api, Fleet, Options, SLACK, Tenant, accepts_upgrades_from, copy_core, docker, runs_at_each_start,
    verified_certificate, wait_for,
};
use tempfile::TempDir;

use crate::failing_create::fake_registry_without_images;

/// The release of projects that are upgraded: published, and so never changed.
const OLD: &str = "core";
/// Time in which an operation on a database with a spoilt role ends.
const SPOILT: Duration = Duration::from_secs(20);
/// Sets the role right that the platform logs in with, and counts its runs.
const START_SQL: &str = "\
ALTER ROLE authenticator LOGIN PASSWORD '{{ secrets.postgres_password }}';
CREATE SCHEMA IF NOT EXISTS test_starts;
CREATE TABLE IF NOT EXISTS test_starts.runs (settings text);
GRANT USAGE ON SCHEMA test_starts TO postgres;
GRANT SELECT ON test_starts.runs TO postgres;
INSERT INTO test_starts.runs
    VALUES (concat_ws(' ', current_user, current_setting('search_path')));
";

/// Releases that accept an upgrade from the old one: one that works, and two that fail.
async fn releases() -> TempDir {
    let dir = TempDir::new().unwrap();
    let with_sql = |name: &str, sql: &str| {
        let folder = dir.path().join(name);
        copy_core(dir.path(), name, |yaml| {
            runs_at_each_start(&accepts_upgrades_from(&yaml, OLD), &folder, sql)
        });
    };
    with_sql("next", START_SQL);
    with_sql("broken", "CREATE TABLE IF NOT EXISTS public.left_over ();\nSELECT 1 / 0;\n");
    let image = format!("image: 127.0.0.1:{}/absent:1\n", fake_registry_without_images().await);
    copy_core(dir.path(), "absent", |yaml| {
        with_image_of_functions(&accepts_upgrades_from(&yaml, OLD), &image)
    });
    dir
}

fn with_image_of_functions(yaml: &str, image: &str) -> String {
    let old = yaml.lines().find(|line| line.contains("image: supalove/functions:")).unwrap().trim_start();
    yaml.replace(&format!("{old}\n"), image)
}

async fn fleet(releases: &Path) -> Fleet {
    let arguments = vec!["--releases-dir".to_owned(), releases.display().to_string()];
    Fleet::start(Options { arguments, ..Options::default() }).await
}

async fn upgrade(api: &Api, project_ref: &str, release: &str) -> Operation {
    let request = UpgradeProjectRequest {
        project_ref: project_ref.into(),
        release: release.into(),
        ..Default::default()
    };
    let started = api.projects().upgrade_project(request).await.unwrap().into_inner();
    api.wait(&started.operation.unwrap().id).await
}

async fn restart(api: &Api, project_ref: &str) -> Operation {
    let request = RestartProjectRequest { project_ref: project_ref.into(), ..Default::default() };
    let started = api.projects().restart_project(request).await.unwrap().into_inner();
    api.wait(&started.operation.unwrap().id).await
}

async fn as_tenant(tenant: &Tenant) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&tenant.db_url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn rows(tenant: &Tenant, query: &str) -> Vec<String> {
    as_tenant(tenant).await.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// The project is up with its old release and its data.
async fn is_as_before(api: &Api, tenant: &Tenant) {
    let limit = Duration::from_secs(30) * SLACK;
    let project = api.wait_state(&tenant.project_ref, ProjectState::ActiveHealthy, limit).await;
    assert_eq!(project.release, OLD);
    assert_eq!(rows(tenant, "SELECT body FROM notes").await, ["kept"]);
}

fn containers(project_ref: &str) -> String {
    let filter = format!("label=supalove.project={project_ref}");
    docker(None, &["ps", "--quiet", "--no-trunc", "--filter", &filter])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_moves_to_the_next_release_with_its_data_and_returns_if_it_fails() {
    let releases = releases().await;
    let mut fleet = fleet(releases.path()).await;
    let api = fleet.api.clone();
    let tenant = fleet.project("first", OLD).await;
    let project_ref = tenant.project_ref.as_str();
    as_tenant(&tenant)
        .await
        .batch_execute("CREATE TABLE notes (body text); INSERT INTO notes VALUES ('kept')")
        .await
        .unwrap();
    let connection = api.connection(project_ref).await;
    assert_eq!(connection.db_ca_certificate, "", "the old release has no TLS");

    let before = containers(project_ref);
    let failed = upgrade(&api, project_ref, "absent").await;
    assert_eq!(failed.state(), OperationState::Failed);
    let error = failed.error.unwrap();
    assert_eq!((error.reason.as_str(), error.service.as_str()), ("IMAGE_NOT_FOUND", "functions"));
    assert!(error.message.ends_with("the project returns to release core"), "{}", error.message);
    is_as_before(&api, &tenant).await;
    assert_eq!(containers(project_ref), before, "no container was touched");

    let failed = upgrade(&api, project_ref, "broken").await;
    let error = failed.error.unwrap();
    assert_eq!((error.reason.as_str(), error.service.as_str()), ("START_SQL_FAILED", "postgres"));
    assert!(error.log_tail.iter().any(|line| line.contains("division by zero")), "{error:#?}");
    is_as_before(&api, &tenant).await;

    the_tenant_spoils_what_it_can(&tenant).await;
    let began = Instant::now();
    let failed = restart(&api, project_ref).await;
    assert!(began.elapsed() < SPOILT * SLACK, "it waited for its deadline: {:?}", began.elapsed());
    let error = failed.error.unwrap();
    assert_eq!((error.reason.as_str(), error.service.as_str()), ("ROLE_SPOILT", "postgres"));
    assert!(
        error.message.contains("the database server is up, but the role authenticator"),
        "{}",
        error.message
    );

    let done = upgrade(&api, project_ref, "next").await;
    assert_eq!(done.state(), OperationState::Succeeded, "{done:#?}");
    let project = api.project(project_ref).await;
    assert_eq!((project.state(), project.release.as_str()), (ProjectState::ActiveHealthy, "next"));
    let now = api.connection(project_ref).await;
    verified_certificate(u16::try_from(now.db_port).unwrap(), &now.db_ca_certificate, &now.db_host).unwrap();
    let without_ca = GetProjectConnectionResponse { db_ca_certificate: String::new(), ..now };
    assert_eq!(without_ca, connection, "addresses do not change");
    assert_eq!(rows(&tenant, "SELECT body FROM notes").await, ["kept"]);
    let runs = "SELECT settings FROM test_starts.runs";
    assert_eq!(
        rows(&tenant, runs).await,
        ["supabase_admin pg_catalog"],
        "one run as the superuser, which no setting of the tenant reaches"
    );

    // The database runs on while the agent restarts, so the SQL does not run; at the next start it does.
    let control = fleet.controller.database.rows().await;
    let epoch = control.greeted_epoch().await;
    fleet.agent.process.kill();
    fleet.agent.restart();
    wait_for("the agent's next session", Duration::from_secs(20) * SLACK, async || {
        (control.greeted_epoch().await > epoch).then_some(())
    })
    .await;
    let spoil = "ALTER ROLE authenticator PASSWORD 'spoilt'";
    let refused = as_tenant(&tenant).await.batch_execute(spoil).await.unwrap_err();
    assert!(refused.as_db_error().is_some(), "the new release reserves the role: {refused}");
    let done = restart(&api, project_ref).await;
    assert_eq!(done.state(), OperationState::Succeeded, "{done:#?}");
    assert_eq!(rows(&tenant, runs).await.len(), 2, "one run for each start");
    api.assert_consistent(1).await;
}

/// With the rights of the project's owner.
async fn the_tenant_spoils_what_it_can(tenant: &Tenant) {
    let client = as_tenant(tenant).await;
    for statement in [
        "ALTER ROLE authenticator PASSWORD 'spoilt'",
        "CREATE SCHEMA IF NOT EXISTS evil",
        "ALTER DATABASE postgres SET search_path = evil, public",
    ] {
        client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}
