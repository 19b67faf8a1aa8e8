//! A project of the release `supabase-2025.12` on a real engine: all seven services, each container exactly what the
//! release says, in order, through the loss of its database and to its end.
//!
//! The images are the official ones where the engine has them. Where it does not, `standins/build.sh` has made
//! test images under their tags: real postgres, functions and gateway of the local set, and stand-ins of auth, api,
//! realtime and storage that are healthy only if the contract of their image is met.

use std::{path::PathBuf, process::Command, time::Duration};

use supalove_proto::v1::{
    GetOperationRequest, Operation, OperationState, ProjectState, RestartProjectRequest, ServiceState,
    StartProjectRequest, StopProjectRequest,
};
use supalove_system_tests::{
    Agent, Api, Controller, Fleet, Options, SLACK, Tenant, docker, labelled, wait_for,
};

use super::{
    RELEASE, SERVICES,
    breaks::{BREAKS, broken_releases},
    containers::{Container, project_volumes},
    expected::expect,
};

/// What cannot start before the database has answered.
const CLIENTS: [&str; 4] = ["api", "auth", "realtime", "storage"];

#[tokio::test(flavor = "multi_thread")]
async fn a_project_of_the_official_release_lives_as_its_contract_says() {
    super::require_images();
    let fleet = Fleet::start(Options::default()).await;
    let project = fleet.project("official", RELEASE).await;
    let api = &fleet.api;
    let project_ref = project.project_ref.as_str();

    every_container_is_what_the_release_says(&fleet, &project).await;
    the_database_was_ready_before(&CLIENTS, project_ref);
    every_service_answers_under_its_official_name(&project);
    the_database_has_what_the_services_made(&project).await;
    the_loss_of_the_database_is_survived_in_order(api, project_ref).await;

    let volumes = project_volumes(project_ref);
    let stop = StopProjectRequest { project_ref: project_ref.into(), ..Default::default() };
    succeed(api, api.projects().stop_project(stop).await.unwrap().into_inner().operation).await;
    let left = labelled(None, &format!("supalove.project={project_ref}"));
    assert_eq!(left, volumes, "a paused project keeps its volumes and nothing else");

    let start = StartProjectRequest { project_ref: project_ref.into(), ..Default::default() };
    succeed(api, api.projects().start_project(start).await.unwrap().into_inner().operation).await;
    the_database_was_ready_before(&CLIENTS, project_ref);
    let restart = RestartProjectRequest { project_ref: project_ref.into(), ..Default::default() };
    succeed(api, api.projects().restart_project(restart).await.unwrap().into_inner().operation).await;
    assert_eq!(api.project(project_ref).await.state(), ProjectState::ActiveHealthy);
    every_service_answers_under_its_official_name(&project);

    assert_eq!(api.delete(project_ref, 0).await.state(), OperationState::Succeeded);
    assert_eq!(labelled(None, &format!("supalove.project={project_ref}")), Vec::<String>::new());
}

/// The official image leaves no mark of its own: its next start would serve what is half made.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_database_start_that_dies_is_started_over() {
    super::require_images();
    let fleet = Fleet::start(Options::default()).await;
    // A start that was quicker than the test is no case of it, so the next one is tried.
    let mut tries = 0;
    let (project_ref, operation) = loop {
        let created = fleet.api.create("half-way", RELEASE).await;
        let project_ref = created.project.unwrap().r#ref;
        let postgres = format!("supalove_{project_ref}_postgres");
        wait_for("the middle of the first start", Duration::from_mins(1) * SLACK, async || {
            let logs = Command::new("docker").args(["logs", &postgres]).output().unwrap();
            let printed = [logs.stdout, logs.stderr].concat();
            String::from_utf8_lossy(&printed).contains("init-scripts/").then_some(())
        })
        .await;
        std::fs::write(inside(&project_ref, "db_data", "witness"), "").unwrap();
        if !inside(&project_ref, "db_config", DONE).exists() {
            break (project_ref, created.operation.unwrap().id);
        }
        tries += 1;
        assert!(tries < 5, "{tries} first starts were over before the test saw their middle");
        fleet.api.delete(&project_ref, 0).await;
    };
    docker(None, &["kill", &format!("supalove_{project_ref}_postgres")]);

    let operation = fleet.api.wait(&operation).await;
    assert_eq!(operation.state(), OperationState::Succeeded, "{operation:#?}");
    assert!(!inside(&project_ref, "db_data", "witness").exists(), "the data is that of the start that died");
    assert!(inside(&project_ref, "db_config", DONE).exists());
}

/// Mark of a first start that has ended.
const DONE: &str = "supalove-first-start-done";

/// A file in a volume of a project.
fn inside(project_ref: &str, volume: &str, file: &str) -> PathBuf {
    let full = format!("supalove_{project_ref}_{volume}");
    let format = "{{or .Options.device .Mountpoint}}";
    PathBuf::from(docker(None, &["volume", "inspect", "--format", format, &full])).join(file)
}

async fn succeed(api: &Api, operation: Option<Operation>) {
    let operation = api.wait(&operation.unwrap().id).await;
    assert_eq!(operation.state(), OperationState::Succeeded, "{operation:#?}");
}

fn containers(project_ref: &str) -> Vec<Container> {
    SERVICES.iter().map(|service| Container::inspect(project_ref, service)).collect()
}

async fn every_container_is_what_the_release_says(fleet: &Fleet, project: &Tenant) {
    let found = fleet.api.project(&project.project_ref).await;
    let mut healthy: Vec<&str> = found
        .services
        .iter()
        .filter(|s| s.state() == ServiceState::Healthy)
        .map(|s| s.name.as_str())
        .collect();
    healthy.sort_unstable();
    assert_eq!(healthy, SERVICES, "{:?}", found.services);
    let mut differences = Vec::new();
    for container in containers(&project.project_ref) {
        let expected = expect(&container.service, &project.project_ref, &fleet.controller.fleet, project);
        for (what, expected) in expected {
            let found = container.get(what);
            if found != expected {
                differences.push(format!(
                    "{} {what}:\n  found    {found}\n  expected {expected}",
                    container.service
                ));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// By the engine's clock: the server's last word of readiness is older than the start of these services.
fn the_database_was_ready_before(clients: &[&str], project_ref: &str) {
    let ready = Container::inspect(project_ref, "postgres").last_line_with("ready to accept connections");
    for client in clients {
        let started = Container::inspect(project_ref, client).started_at();
        assert!(started > ready, "{client} started at {started}, the database was ready at {ready}");
    }
}

/// Through the gateway, with both keys: each service verifies them with the secret that it was given itself. And from
/// inside, as users' code and SQL call it.
fn every_service_answers_under_its_official_name(project: &Tenant) {
    for (service, path) in [
        ("auth", "/auth/v1/settings"),
        ("api", "/rest/v1/notes"),
        ("realtime", "/realtime/v1/api/broadcast"),
        ("storage", "/storage/v1/bucket"),
    ] {
        if !super::is_stand_in(service) {
            continue;
        }
        for (role, key) in [("anon", &project.anon_key), ("service_role", &project.service_role_key)] {
            let bearer = format!("Bearer {key}");
            let answer = project.gateway.get(path, &[("apikey", key), ("Authorization", &bearer)]);
            assert_eq!(answer.status, 200, "{path} as {role}: {answer:?}");
            let said = answer.json();
            assert_eq!((&said["stand_in"], &said["role"]), (&service.into(), &role.into()), "{said}");
        }
    }
    let hello = project.gateway.get("/functions/v1/hello?name=Ada", &[]);
    assert!(hello.status == 200 && String::from_utf8_lossy(&hello.body).contains("Ada"), "{hello:?}");
    let fetch = "const answer = await fetch('http://kong:8000/health'); console.log(answer.status)";
    let container = format!("supalove_{}_functions", project.project_ref);
    assert_eq!(docker(None, &["exec", &container, "deno", "eval", fetch]), "200");
}

/// §17 of the contract, checks 1 to 3, as far as they do not need the real services.
async fn the_database_has_what_the_services_made(project: &Tenant) {
    let (client, connection) = tokio_postgres::connect(&project.db_url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let row = client
        .query_one("SELECT rolsuper FROM pg_roles WHERE rolname = current_user AND rolname = 'postgres'", &[])
        .await
        .unwrap();
    assert!(!row.get::<_, bool>(0), "the tenant is no superuser");
    let schemas = ["auth", "storage", "realtime", "_realtime", "extensions", "supabase_functions"];
    for schema in schemas {
        let there = client.query_one("SELECT to_regnamespace($1::text) IS NOT NULL", &[&schema]).await;
        assert!(there.unwrap().get::<_, bool>(0), "{schema}");
    }
    let setting = client.query_one("SELECT current_setting('app.settings.jwt_exp')", &[]).await.unwrap();
    assert_eq!(setting.get::<_, String>(0), "3600");
    let secret = client.query_one("SELECT current_setting('app.settings.jwt_secret', true)", &[]).await;
    assert_eq!(secret.unwrap().get::<_, Option<String>>(0), None, "no secret in the database's settings");
}

/// The database is killed. auth, realtime and storage end with it and are started again when it answers, once; api
/// waits for it; functions and gateway do not notice; no container is made anew.
async fn the_loss_of_the_database_is_survived_in_order(api: &Api, project_ref: &str) {
    let before = containers(project_ref);
    let killed = chrono::Utc::now().to_rfc3339();
    docker(None, &["kill", &format!("supalove_{project_ref}_postgres")]);
    api.wait_state(project_ref, ProjectState::ActiveUnhealthy, Duration::from_secs(10) * SLACK).await;
    wait_for("all services to be started again", Duration::from_secs(40) * SLACK, async || {
        let healthy = api.project(project_ref).await.state() == ProjectState::ActiveHealthy;
        let ended = ["postgres", "auth", "realtime", "storage"];
        let again = |old: &&Container| {
            ended.contains(&old.service.as_str())
                && Container::inspect(project_ref, &old.service).started_at() == old.started_at()
        };
        (healthy && before.iter().find(again).is_none()).then_some(())
    })
    .await;
    the_database_was_ready_before(&["auth", "realtime", "storage"], project_ref);
    for (old, new) in before.iter().zip(containers(project_ref)) {
        assert_eq!(new.get("Id"), old.get("Id"), "{} was made anew", old.service);
        if ["api", "functions", "gateway"].contains(&old.service.as_str()) {
            assert_eq!(new.started_at(), old.started_at(), "{} was restarted", old.service);
        }
    }
    // No crash loop: one start too many is what noticing the loss before the database's own probe does may cost.
    for (service, word) in [("auth", "auth"), ("realtime", "realtime-migrate"), ("storage", "storage")] {
        let container = Container::inspect(project_ref, service);
        let starts = container.lines_since(&killed, &format!("stand-in {word}: starting"));
        let expected = if super::is_stand_in(service) { 1..=2 } else { 0..=0 };
        assert!(expected.contains(&starts), "{service} was started {starts} times");
    }
}

/// One thing is broken in each copy of the release. The create fails and names the service and the point.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_breaks_the_contract_fails_with_the_services_last_word() {
    super::require_images();
    let releases = broken_releases();
    let arguments = vec!["--releases-dir".to_owned(), releases.path().display().to_string()];
    let controller = Controller::start_with(Options { arguments, ..Default::default() }).await;
    let api = controller.operator().await;
    let _agent = Agent::start(&controller, &api.join_token().await);
    api.wait_ready_nodes(1).await;
    let mut created = Vec::new();
    for one in BREAKS.iter().filter(|one| super::is_stand_in(one.service)) {
        let answer = api.create(one.release, one.release).await;
        created.push((one, answer.project.unwrap().r#ref, answer.operation.unwrap().id));
    }
    for (one, _, operation_id) in &created {
        wait_for(&format!("{} to end", one.release), Duration::from_mins(1) * SLACK, async || {
            let request = GetOperationRequest { operation_id: operation_id.clone() };
            let operation = api.operations().get_operation(request).await.unwrap().into_inner().operation;
            operation.unwrap().status_message.contains("ended with exit code").then_some(())
        })
        .await;
    }
    // The agent goes on trying until the deadline.
    controller.database.rows().await.end_times().await;
    for (one, project_ref, operation_id) in created {
        let operation = api.wait(&operation_id).await;
        assert_eq!(operation.state(), OperationState::Failed, "{}: {operation:#?}", one.release);
        let error = operation.error.unwrap();
        assert_eq!((error.reason.as_str(), error.service.as_str()), ("SERVICE_EXITED", one.service));
        let last = error.log_tail.last().expect("the container's last lines");
        assert!(last.contains(one.last_line), "{}: {last}", one.release);
        assert_eq!(api.project(&project_ref).await.state(), ProjectState::InitFailed);
        assert_eq!(api.delete(&project_ref, 0).await.state(), OperationState::Succeeded);
    }
}
