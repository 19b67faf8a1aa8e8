//! Faults inside one project: the agent repairs or reports them, and other projects are not affected.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use axum::{Router, http::StatusCode, routing::get};
use supalove_proto::v1::{
    CancelOperationRequest, GetOperationRequest, Operation, OperationState, ProjectEventType, ProjectState,
};
use supalove_system_tests::{CORE, Fleet, Options, SLACK, copy_core, core_image, docker, labelled, wait_for};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// A container of this machine's engine.
fn container(project_ref: &str, service: &str) -> String {
    format!("supalove_{project_ref}_{service}")
}

/// Where a volume of a project lies.
fn volume(project_ref: &str, name: &str) -> PathBuf {
    let full = format!("supalove_{project_ref}_{name}");
    docker(None, &["volume", "inspect", "--format", "{{or .Options.device .Mountpoint}}", &full]).into()
}

fn started_at(project_ref: &str, service: &str) -> String {
    docker(None, &["inspect", "--format", "{{.Id}} {{.State.StartedAt}}", &container(project_ref, service)])
}

fn sql(project_ref: &str, statement: &str) -> String {
    let psql = ["psql", "-U", "supabase_admin", "-d", "postgres", "-Atc", statement];
    docker(None, &[&["exec", &container(project_ref, "postgres")][..], &psql].concat())
}

/// First starts that may be quicker than the test.
const TRIES: usize = 5;

/// For a database to come up, however often it has to begin.
const UP: Duration = Duration::from_mins(1);

/// Creates a project and comes back in the middle of its database's first start; answers ref and operation. A file
/// named witness lies in its volumes. A start that was quicker than the test is no case of it, so the next one is tried.
async fn half_way(fleet: &Fleet, name: &str) -> (String, String) {
    for _ in 0..TRIES {
        let (project_ref, operation) = first_start(fleet, name).await;
        if volume(&project_ref, "db_config").join("first-start-unfinished").exists() {
            return (project_ref, operation);
        }
        fleet.api.delete(&project_ref, 0).await;
    }
    panic!("{TRIES} first starts were over before the test saw their middle");
}

async fn first_start(fleet: &Fleet, name: &str) -> (String, String) {
    let created = fleet.api.create(name, CORE).await;
    let project_ref = created.project.unwrap().r#ref;
    let postgres = container(&project_ref, "postgres");
    wait_for("the middle of the first start", UP, async || {
        let output = std::process::Command::new("docker").args(["logs", &postgres]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains("first start: init-scripts/").then_some(())
    })
    .await;
    for volume_name in ["db_data", "db_config"] {
        std::fs::write(volume(&project_ref, volume_name).join("witness"), "").unwrap();
    }
    (project_ref, created.operation.unwrap().id)
}

async fn assert_started_over(fleet: &Fleet, project_ref: &str, operation: &str) {
    let operation = fleet.api.wait(operation).await;
    assert_eq!(operation.state(), OperationState::Succeeded, "{operation:#?}");
    for volume_name in ["db_data", "db_config"] {
        let witness = volume(project_ref, volume_name).join("witness");
        assert!(!witness.exists(), "{volume_name} is not a new one");
    }
    let log = fleet.agent.process.log();
    let over = |line: &str| line.contains(project_ref) && line.contains("starting over on new volumes");
    assert!(log.lines().any(over), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_database_start_that_dies_is_started_over_but_a_volume_that_was_ready_stays() {
    let mut fleet = Fleet::start(Options::default()).await;

    let (first, operation) = half_way(&fleet, "half-way").await;
    docker(None, &["kill", &container(&first, "postgres")]);
    assert_started_over(&fleet, &first, &operation).await;
    for told in ["before its first start was done", "starting over on new volumes"] {
        let events = fleet.api.events(&first).await;
        assert!(events.iter().any(|event| event.message.contains(told)), "{events:#?}");
    }

    // The same with nobody there to see it.
    let (second, operation) = half_way(&fleet, "unseen").await;
    fleet.agent.process.kill();
    docker(None, &["kill", &container(&second, "postgres")]);
    fleet.agent.restart();
    assert_started_over(&fleet, &second, &operation).await;

    let other = started_at(&second, "postgres");
    once_ready_is_kept(&fleet, &first).await;
    assert_eq!(started_at(&second, "postgres"), other, "the other project's database went on");
    fleet.api.assert_consistent(1).await;
}

/// A database that was ready loses its control file, and even gets the mark of a first start that did not end.
async fn once_ready_is_kept(fleet: &Fleet, project_ref: &str) {
    sql(project_ref, "create table public.dear (x int); insert into public.dear values (42)");
    let data = volume(project_ref, "db_data");
    let config = volume(project_ref, "db_config");
    let control = data.join("global/pg_control");
    let away = data.join("global/pg_control.away");
    let mark = config.join("first-start-unfinished");
    std::fs::rename(&control, &away).unwrap();
    docker(None, &["kill", &container(project_ref, "postgres")]);
    let told = async |what: &str| {
        wait_for(what, UP, async || {
            let project = fleet.api.project(project_ref).await;
            let unhealthy = project.state() == ProjectState::ActiveUnhealthy;
            (unhealthy && project.state_reason.contains(what)).then_some(())
        })
        .await;
    };
    told("ended with exit code").await;
    std::fs::write(&mark, "").unwrap();
    told("is kept: a server was ready on it before").await;
    // It goes on trying, and nothing else.
    for _ in 0..2 {
        let before = started_at(project_ref, "postgres");
        wait_for("another try", UP, async || (started_at(project_ref, "postgres") != before).then_some(()))
            .await;
    }
    std::fs::remove_file(&mark).unwrap();
    std::fs::rename(&away, &control).unwrap();
    // The longest pause between two starts is 30 s (`restart_cap` of the agent's times).
    let limit = Duration::from_secs(30) * SLACK;
    fleet.api.wait_state(project_ref, ProjectState::ActiveHealthy, limit).await;
    assert_eq!(sql(project_ref, "select x from public.dear"), "42");
}

/// A fleet whose controller also knows release `name`; `program`, if given, stands in the place of core's router.
async fn fleet_with(
    name: &str,
    program: Option<&str>,
    edit: impl FnOnce(String) -> String,
) -> (Fleet, TempDir) {
    let releases = tempfile::tempdir().unwrap();
    copy_core(releases.path(), name, edit);
    if let Some(program) = program {
        let functions = releases.path().join(name).join("templates/functions");
        std::fs::create_dir_all(&functions).unwrap();
        std::fs::write(functions.join("router.ts"), program).unwrap();
    }
    let arguments = vec!["--releases-dir".to_owned(), releases.path().display().to_string()];
    (Fleet::start(Options { arguments, ..Options::default() }).await, releases)
}

/// A service that ends as long as there is a file named broken.
const FRAGILE: &str = r#"
try {
  Deno.statSync("/functions/broken");
  console.error("fragile: something is broken");
  Deno.exit(3);
} catch (error) {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
Deno.serve({ port: 9000 }, () => new Response("ok"));
"#;
/// The agent's pauses between two starts of a service that ends: the first, doubled each time, and the longest
/// (`restart_first` and `restart_cap` of its times).
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What the container sees as /functions.
fn functions_dir(agent: &Path, project_ref: &str) -> PathBuf {
    let config = agent.join("projects").join(project_ref).join("config/functions");
    let dirs = std::fs::read_dir(&config).unwrap().map(|dir| dir.unwrap().path());
    dirs.filter(|dir| dir.join("manifest.json").exists()).max().expect("the directory of the functions")
}

async fn times_started(fleet: &Fleet, project_ref: &str, service: &str) -> usize {
    let events = fleet.api.events(project_ref).await;
    events
        .iter()
        .filter(|event| event.r#type() == ProjectEventType::ServiceStarted && event.service == service)
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_ends_again_and_again_is_started_ever_more_slowly_and_hurts_nobody_else() {
    let (fleet, _releases) = fleet_with("fragile", Some(FRAGILE), |yaml| {
        yaml.replace("copy: shared/2/functions/router.ts", "copy: functions/router.ts")
    })
    .await;
    let (looping, other) = tokio::join!(
        fleet.api.create_healthy("looping", "fragile"),
        fleet.api.create_healthy("other", "fragile")
    );
    let looping = looping.r#ref;
    let other = other.r#ref;
    let untouched = || {
        let own = ["postgres", "gateway"].map(|service| started_at(&looping, service));
        let others = ["postgres", "functions", "gateway"].map(|service| started_at(&other, service));
        (own, others)
    };
    let before = untouched();
    assert_eq!(times_started(&fleet, &looping, "functions").await, 1);

    let broken = functions_dir(fleet.agent.state.path(), &looping).join("broken");
    std::fs::write(&broken, "").unwrap();
    let began = Instant::now();
    docker(None, &["kill", &container(&looping, "functions")]);
    wait_for("the reason", UP, async || {
        let project = fleet.api.project(&looping).await;
        let reason = &project.state_reason;
        let told = reason.contains("ended with exit code 3") && reason.contains("something is broken");
        (project.state() == ProjectState::ActiveUnhealthy && told).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    let started = times_started(&fleet, &looping, "functions").await - 1;
    // n pauses take at least 200 ms · (2ⁿ - 1).
    let too_long = |n: &usize| FIRST_PAUSE * ((1_u32 << n) - 1) > began.elapsed();
    let most = (1..32).find(too_long).unwrap();
    println!("{started} starts in {:?}, at most {most}", began.elapsed());
    assert!((2..=most).contains(&started), "{started} starts in {:?}", began.elapsed());
    assert_eq!(untouched(), before, "nothing else was started again");
    assert_eq!(fleet.api.project(&other).await.state(), ProjectState::ActiveHealthy);

    std::fs::remove_file(&broken).unwrap();
    fleet.api.wait_state(&looping, ProjectState::ActiveHealthy, LONGEST_PAUSE * SLACK).await;
    assert_eq!(untouched(), before, "nothing else was started again");
    fleet.api.assert_consistent(1).await;
}

/// A fake registry: says that it is one, and then never again anything. Engines take registries on loopback without
/// TLS.
async fn silent_registry() -> u16 {
    let hello = || async { ([("docker-distribution-api-version", "registry/2.0")], "{}") };
    let router = Router::new().route("/v2/", get(hello)).fallback(std::future::pending::<StatusCode>);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

/// A pull that reports nothing new for so long has failed (`pull_idle` of the agent's times).
const PULL_IDLE: Duration = Duration::from_mins(1);

async fn operation(fleet: &Fleet, id: &str) -> Operation {
    let request = GetOperationRequest { operation_id: id.into() };
    fleet.api.operations().get_operation(request).await.unwrap().into_inner().operation.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_hangs_holds_nobody_else_up_and_ends_with_its_reason() {
    let port = silent_registry().await;
    let image = format!("127.0.0.1:{port}/silent:1");
    let edit = |yaml: String| yaml.replacen(&core_image("functions"), &image, 1);
    let (fleet, _releases) = fleet_with("silent", None, edit).await;
    let mut hanging = Vec::new();
    for name in ["waits", "cancelled", "deleted"] {
        let created = fleet.api.create(name, "silent").await;
        hanging.push((created.project.unwrap().r#ref, created.operation.unwrap().id));
    }
    let [(waits, create), (cancelled, cancel), (deleted, _)] = &hanging[..] else { unreachable!() };
    for (_, id) in &hanging {
        let pulling = async || operation(&fleet, id).await.status_message.contains(&image).then_some(());
        wait_for("the pull", UP, pulling).await;
    }

    // Meanwhile everything else goes on.
    let began = Instant::now();
    fleet.api.create_healthy("other", CORE).await;
    let request = CancelOperationRequest { operation_id: cancel.clone() };
    fleet.api.operations().cancel_operation(request).await.unwrap();
    assert_eq!(fleet.api.delete(deleted, 0).await.state(), OperationState::Succeeded);
    fleet.api.wait_state(cancelled, ProjectState::Removed, UP).await;
    for gone in [cancelled, deleted] {
        assert!(labelled(None, &format!("supalove.project={gone}")).is_empty(), "{gone}");
    }
    println!("another create, a cancel and a delete took {:?}", began.elapsed());
    assert_eq!(operation(&fleet, create).await.state(), OperationState::Running, "the pull still hangs");

    wait_for("the reason", PULL_IDLE * SLACK, async || {
        let said = operation(&fleet, create).await.status_message;
        said.contains("made no progress for 60s").then_some(())
    })
    .await;
    // The deadline is ten minutes after the placement; here it comes now.
    fleet.controller.database.rows().await.end_times().await;
    let ended = fleet.api.wait(create).await;
    assert_eq!(ended.state(), OperationState::Failed, "{ended:#?}");
    let error = ended.error.unwrap();
    assert_eq!((error.reason.as_str(), error.service.as_str()), ("IMAGE_PULL_FAILED", "functions"));
    assert!(error.message.contains(&image) && error.message.contains("no progress"), "{}", error.message);
    assert_eq!(fleet.api.project(waits).await.state(), ProjectState::InitFailed);
    fleet.api.assert_consistent(1).await;
}
