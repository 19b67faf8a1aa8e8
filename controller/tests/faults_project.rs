//! Faults inside one project: what goes wrong there is mended or told, and stays there.

mod support;

use std::{path::PathBuf, time::Duration};

use supalove_proto::v1::{OperationState, ProjectState};
use support::{Fleet, Options, SLACK, docker, wait_for};

/// A container of this machine's engine.
fn container(project_ref: &str, service: &str) -> String {
    format!("supalove_{project_ref}_{service}")
}

/// Where a volume of a project lies.
fn volume(project_ref: &str, name: &str) -> PathBuf {
    let full = format!("supalove_{project_ref}_{name}");
    docker(None, &["volume", "inspect", "--format", "{{.Mountpoint}}", &full]).into()
}

fn started_at(project_ref: &str, service: &str) -> String {
    docker(None, &["inspect", "--format", "{{.Id}} {{.State.StartedAt}}", &container(project_ref, service)])
}

fn sql(project_ref: &str, statement: &str) -> String {
    let psql = ["psql", "-h", "127.0.0.1", "-U", "supabase_admin", "-d", "postgres", "-Atc", statement];
    docker(None, &[&["exec", &container(project_ref, "postgres")][..], &psql].concat())
}

/// For a database to come up, however often it has to begin.
const UP: Duration = Duration::from_mins(1);

/// Creates a project and comes back in the middle of its database's first start; answers ref and operation. A file
/// named witness lies in its volumes.
async fn half_way(fleet: &Fleet, name: &str) -> (String, String) {
    let created = fleet.api.create(name, "core").await;
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
    let events = fleet.api.events(project_ref).await;
    let told = |text: &str| events.iter().any(|event| event.message.contains(text));
    assert!(told("before its first start was done") && told("starting over on new volumes"), "{events:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_database_start_that_dies_is_started_over_but_a_volume_that_was_ready_stays() {
    let mut fleet = Fleet::start(Options::default()).await;

    let (first, operation) = half_way(&fleet, "half-way").await;
    docker(None, &["kill", &container(&first, "postgres")]);
    assert_started_over(&fleet, &first, &operation).await;

    // The same with nobody there to see it.
    let (second, operation) = half_way(&fleet, "unseen").await;
    fleet.agent.process.kill();
    docker(None, &["kill", &container(&second, "postgres")]);
    fleet.agent.restart();
    assert_started_over(&fleet, &second, &operation).await;

    let other = started_at(&second, "postgres");
    once_ready_is_kept(&fleet, &first).await;
    assert_eq!(started_at(&second, "postgres"), other, "the other project's database went on");
}

/// A database that was ready loses its control file, and even gets the mark of a first start that did not end.
async fn once_ready_is_kept(fleet: &Fleet, project_ref: &str) {
    sql(project_ref, "create table dear (x int); insert into dear values (42)");
    let (data, config) = (volume(project_ref, "db_data"), volume(project_ref, "db_config"));
    let (control, away) = (data.join("global/pg_control"), data.join("global/pg_control.away"));
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
    assert_eq!(sql(project_ref, "select x from dear"), "42");
}
