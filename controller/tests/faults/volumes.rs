//! What people do to a host's volumes while projects are stopped. The host stands in a network namespace of its own: a
//! prune takes what it finds.

use std::time::Duration;

use supalove_proto::v1::{Operation, OperationState, ProjectState, StartProjectRequest, StopProjectRequest};
use supalove_system_tests::{Agent, AgentOptions, Api, CORE, Controller, DockerHost, Options};

/// For a project to come up or to stop.
const UP: Duration = Duration::from_mins(2);

fn container(project_ref: &str) -> String {
    format!("supalove_{project_ref}_postgres")
}

fn sql(host: &DockerHost, project_ref: &str, statement: &str) -> String {
    let psql =
        ["psql", "-h", "/var/run/postgresql", "-U", "supabase_admin", "-d", "postgres", "-Atc", statement];
    host.docker(&[&["exec", &container(project_ref)][..], &psql].concat())
}

fn volumes(host: &DockerHost, project_ref: &str) -> usize {
    let filter = format!("label=supalove.project={project_ref}");
    host.docker(&["volume", "ls", "--quiet", "--filter", &filter]).lines().count()
}

async fn stop(api: &Api, project_ref: &str) {
    let request = StopProjectRequest { project_ref: project_ref.into(), ..Default::default() };
    api.projects().stop_project(request).await.unwrap();
    api.wait_state(project_ref, ProjectState::Inactive, UP).await;
}

async fn start(api: &Api, project_ref: &str, new_volumes: &[&str]) -> Operation {
    let request = StartProjectRequest {
        project_ref: project_ref.into(),
        new_volumes: new_volumes.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    };
    let operation = api.projects().start_project(request).await.unwrap().into_inner().operation.unwrap();
    api.wait(&operation.id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_prune_takes_a_stopped_projects_data_and_a_loss_is_told() {
    let host = DockerHost::up();
    let options = Options { node_host: Some(host.near.clone()), ..Options::default() };
    let controller = Controller::start_with(options).await;
    let api = controller.operator().await;
    let options = AgentOptions {
        under: host.under(),
        arguments: ["--publish-address", "0.0.0.0", "--advertise-address", &host.far]
            .map(str::to_owned)
            .into(),
        docker_host: Some(host.engine.clone()),
        ..AgentOptions::default()
    };
    let _agent = Agent::start_with(&controller, &api.join_token().await, options);
    api.wait_ready_nodes(1).await;
    let project_ref = api.create_healthy("dear", CORE).await.r#ref;
    sql(&host, &project_ref, "create table public.dear as select 42 as x");
    let format = "{{.Options.device}}";
    let volume = format!("supalove_{project_ref}_db_data");
    let data = host.docker(&["volume", "inspect", "--format", format, &volume]);

    stop(&api, &project_ref).await;
    assert_eq!(volumes(&host, &project_ref), 3);
    for prune in [
        &["volume", "prune", "-f"][..],
        &["container", "prune", "-f"],
        &["system", "prune", "--volumes", "-f"],
    ] {
        host.docker(prune);
    }
    assert_eq!(volumes(&host, &project_ref), 3, "the engine prunes no volume that has options");
    // By its name it removes one, but not what it is bound to.
    host.docker(&["volume", "rm", &volume]);
    let started = start(&api, &project_ref, &[]).await;
    assert_eq!(started.state(), OperationState::Succeeded, "{started:#?}");
    assert_eq!(sql(&host, &project_ref, "select x from public.dear"), "42");

    // Gone for good: nothing comes up in its place until somebody says so.
    stop(&api, &project_ref).await;
    let folder = std::path::Path::new(&data).ancestors().nth(2).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    let failed = start(&api, &project_ref, &[]).await;
    assert_eq!(failed.state(), OperationState::Failed, "{failed:#?}");
    let error = failed.error.unwrap();
    assert_eq!(error.reason, "VOLUME_LOST");
    assert!(error.message.contains(&volume) && error.message.contains("new_volumes"), "{}", error.message);
    assert!(!folder.exists());
    assert_ne!(api.project(&project_ref).await.state(), ProjectState::ActiveHealthy);
    let accepted = start(&api, &project_ref, &["db_data"]).await;
    assert_eq!(accepted.state(), OperationState::Succeeded, "{accepted:#?}");
    assert_eq!(sql(&host, &project_ref, "select to_regclass('dear') is null"), "t");
    api.assert_consistent(1).await;
}
