//! A project's whole life on a real engine: created, used, stopped, started, restarted, deleted, brought back.

use std::time::Duration;

use futures::StreamExt as _;
use supalove_proto::v1::{
    CreateProjectRequest, OperationState, ProjectEventType, ProjectState, RestartProjectRequest,
    ServiceState, StartProjectRequest, StopProjectRequest, UndeleteProjectRequest, WatchProjectRequest,
    watch_project_response::Message,
};
use supalove_system_tests::{Agent, Api, CORE, Controller, docker, labelled};
use tonic::Code;
use tonic_types::StatusExt as _;

async fn fleet() -> (Controller, Api, Agent) {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let agent = Agent::start(&controller, &api.join_token().await);
    api.wait_ready_nodes(1).await;
    (controller, api, agent)
}

/// One connection as the tenant.
async fn tenant(db_url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(db_url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn start(project_ref: &str) -> StartProjectRequest {
    StartProjectRequest { project_ref: project_ref.into(), ..Default::default() }
}

fn stop(project_ref: &str) -> StopProjectRequest {
    StopProjectRequest { project_ref: project_ref.into(), ..Default::default() }
}

async fn succeed(api: &Api, operation: Option<supalove_proto::v1::Operation>) {
    let operation = api.wait(&operation.unwrap().id).await;
    assert_eq!(operation.state(), OperationState::Succeeded, "{operation:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_created_answers_stops_starts_and_restarts() {
    let (controller, api, _agent) = fleet().await;
    let project = api.create_healthy("first", CORE).await;
    let project_ref = project.r#ref.as_str();
    assert!(project.services.iter().all(|s| s.state() == ServiceState::Healthy), "{:?}", project.services);

    let connection = api.connection(project_ref).await;
    let secrets = api.secrets(project_ref).await;
    let hello = reqwest::get(format!("{}/functions/v1/hello?name=Ada", connection.api_url)).await.unwrap();
    assert!(hello.status().is_success());
    assert!(hello.text().await.unwrap().contains("Ada"));
    let database = tenant(&secrets.db_url).await;
    database
        .batch_execute("CREATE TABLE notes (body text); INSERT INTO notes VALUES ('kept')")
        .await
        .unwrap();
    drop(database);

    succeed(&api, api.projects().stop_project(stop(project_ref)).await.unwrap().into_inner().operation).await;
    assert_eq!(api.project(project_ref).await.state(), ProjectState::Inactive);
    let left = labelled(None, &format!("supalove.project={project_ref}"));
    assert!(
        left.iter().all(|name| name.contains("_db_") || name.contains("functions")),
        "only volumes: {left:?}"
    );
    let used = api.nodes().await[0].used.unwrap();
    assert_eq!((used.cpu_millis, used.memory_mib), (0, 0), "a stopped project frees cpu and memory");
    assert!(used.disk_mib > 0 && used.slots == 1, "and keeps disk and slot");

    succeed(&api, api.projects().start_project(start(project_ref)).await.unwrap().into_inner().operation)
        .await;
    assert_eq!(api.connection(project_ref).await, connection, "ports do not change");
    let rows = tenant(&secrets.db_url).await.query("SELECT body FROM notes", &[]).await.unwrap();
    assert_eq!(rows[0].get::<_, String>(0), "kept");

    let filter = format!("label=supalove.project={project_ref}");
    let started = || docker(None, &["inspect", "--format", "{{.State.StartedAt}}", &container(&filter)]);
    let before = started();
    let restart = RestartProjectRequest { project_ref: project_ref.into(), ..Default::default() };
    succeed(&api, api.projects().restart_project(restart).await.unwrap().into_inner().operation).await;
    assert_ne!(started(), before);
    assert_eq!(api.project(project_ref).await.state(), ProjectState::ActiveHealthy);

    let events = api.events(project_ref).await;
    let numbers: Vec<u64> = events.iter().map(|e| e.seq).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "numbered without gaps");
    drop(controller);
}

/// The postgres container of a project.
fn container(filter: &str) -> String {
    docker(None, &["ps", "--quiet", "--filter", filter, "--filter", "label=supalove.service=postgres"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_without_a_window_leaves_nothing_and_one_with_a_window_can_be_undone() {
    let (controller, api, agent) = fleet().await;
    let project = api.create_healthy("kept", CORE).await;
    let project_ref = project.r#ref.as_str();
    let secrets = api.secrets(project_ref).await;
    let database = tenant(&secrets.db_url).await;
    database
        .batch_execute("CREATE TABLE rows (id int); INSERT INTO rows SELECT generate_series(1, 10000)")
        .await
        .unwrap();
    drop(database);

    assert_eq!(api.delete(project_ref, 3600).await.state(), OperationState::Succeeded);
    let deleted = api.project(project_ref).await;
    assert_eq!(deleted.state(), ProjectState::GoingDown);
    assert!(deleted.purge_time.is_some());
    let taken = CreateProjectRequest {
        organization: deleted.organization.clone(),
        name: "kept".into(),
        ..Default::default()
    };
    let taken = api.projects().create_project(taken).await.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
    assert_eq!(taken.get_details_error_info().unwrap().reason, "NAME_HELD_BY_DELETED_PROJECT");
    assert!(
        taken.message().contains(project_ref) && taken.message().contains("until 20"),
        "which project holds the name, and until when: {}",
        taken.message()
    );
    assert!(
        docker(None, &["ps", "--quiet", "--filter", &format!("label=supalove.project={project_ref}")])
            .is_empty()
    );

    let undelete = UndeleteProjectRequest { project_ref: project_ref.into(), ..Default::default() };
    succeed(&api, api.projects().undelete_project(undelete.clone()).await.unwrap().into_inner().operation)
        .await;
    assert_eq!(api.project(project_ref).await.state(), ProjectState::ActiveHealthy);
    let count = tenant(&secrets.db_url).await.query_one("SELECT count(*) FROM rows", &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 10_000);

    assert_eq!(api.delete(project_ref, 0).await.state(), OperationState::Succeeded);
    assert_eq!(api.project(project_ref).await.state(), ProjectState::Removed);
    assert_eq!(labelled(None, &format!("supalove.project={project_ref}")), Vec::<String>::new());
    let all =
        ["ps --all --format {{.Names}}", "network ls --format {{.Name}}", "volume ls --format {{.Name}}"];
    for list in all {
        let names = docker(None, &list.split(' ').collect::<Vec<_>>());
        assert!(!names.contains(project_ref), "{list}: {names}");
    }
    let rules = std::process::Command::new("nft").args(["list", "ruleset"]).output().unwrap();
    let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
    assert!(!rules.contains(project_ref) && !rules.contains(&project_ref[..13]), "{rules}");
    let files = std::process::Command::new("find").arg(agent.state.path()).output().unwrap();
    assert!(!String::from_utf8_lossy(&files.stdout).contains(project_ref));
    let used = api.nodes().await[0].used.unwrap();
    assert_eq!((used.cpu_millis, used.memory_mib, used.disk_mib, used.slots), (0, 0, 0, 0));
    assert_eq!(controller.database.rows().await.secrets_of(project_ref).await, 0);
    let refused = api.projects().undelete_project(undelete).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_full_node_waits_for_room_and_can_be_cancelled() {
    let (controller, api, _agent) = fleet().await;
    let project = api.create_healthy("waiting", CORE).await;
    let project_ref = project.r#ref.as_str();
    succeed(&api, api.projects().stop_project(stop(project_ref)).await.unwrap().into_inner().operation).await;
    let rows = controller.database.rows().await;
    let containers = || {
        docker(
            None,
            &["ps", "--all", "--quiet", "--filter", &format!("label=supalove.project={project_ref}")],
        )
    };

    rows.set_memory(100).await;
    for cancelled in [true, false] {
        let started =
            api.projects().start_project(start(project_ref)).await.unwrap().into_inner().operation.unwrap();
        assert_eq!(started.state(), OperationState::Pending);
        assert!(started.status_message.contains("memory"), "{}", started.status_message);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(containers().is_empty(), "nothing runs without its memory reserved");
        if cancelled {
            let cancel = supalove_proto::v1::CancelOperationRequest { operation_id: started.id };
            api.operations().cancel_operation(cancel).await.unwrap();
            assert_eq!(api.project(project_ref).await.state(), ProjectState::Inactive);
        } else {
            rows.set_memory(100_000).await;
            succeed(&api, Some(started)).await;
            assert_eq!(api.project(project_ref).await.state(), ProjectState::ActiveHealthy);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_its_callers_session() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let project_ref = api.create("watched", CORE).await.project.unwrap().r#ref;
    let mut other = controller.api();
    other.sign_in("operator@example.com").await;
    let request = WatchProjectRequest { project_ref, after_seq: None };
    let mut stream = other.projects().watch_project(request).await.unwrap().into_inner();
    assert!(matches!(stream.next().await.unwrap().unwrap().message, Some(Message::Snapshot(_))));
    other.auth().sign_out(supalove_proto::v1::SignOutRequest {}).await.unwrap();
    let limit = Duration::from_secs(15) * supalove_system_tests::SLACK;
    let end = tokio::time::timeout(limit, async {
        loop {
            if let Err(status) = stream.next().await.expect("it ends with a status") {
                return status;
            }
        }
    });
    assert_eq!(end.await.unwrap().code(), tonic::Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_window_that_is_over_takes_the_data() {
    let (_controller, api, _agent) = fleet().await;
    let project = api.create_healthy("short", CORE).await;
    assert_eq!(api.delete(&project.r#ref, 2).await.state(), OperationState::Succeeded);
    api.wait_state(&project.r#ref, ProjectState::Removed, Duration::from_mins(1)).await;
    assert_eq!(labelled(None, &format!("supalove.project={}", project.r#ref)), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_shows_every_event_once_and_resumes_where_it_was() {
    let (_controller, api, _agent) = fleet().await;
    let created = api.create("watched", CORE).await;
    let project_ref = created.project.unwrap().r#ref;
    let mut seen = Vec::new();
    // The first watch is dropped after three events; the second goes on from there.
    for limit in [3, usize::MAX] {
        let after_seq = seen.last().copied().unwrap_or(0);
        let request = WatchProjectRequest { project_ref: project_ref.clone(), after_seq: Some(after_seq) };
        let mut stream = api.projects().watch_project(request).await.unwrap().into_inner();
        let mut snapshots = 0;
        while let Some(message) = stream.next().await {
            match message.unwrap().message.unwrap() {
                Message::Event(event) => {
                    seen.push(event.seq);
                    if event.r#type() == ProjectEventType::OperationSucceeded || seen.len() == limit {
                        break;
                    }
                }
                Message::Snapshot(_) => snapshots += 1,
                Message::KeepAlive(_) => {}
            }
        }
        assert!(snapshots > 0, "a watch begins with the project as it is");
    }
    assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_fits_nowhere_is_placed_when_a_node_appears() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let created = api.create("patient", CORE).await;
    let project = created.project.unwrap();
    let operation = created.operation.unwrap();
    assert_eq!(operation.state(), OperationState::Pending);
    let options = supalove_system_tests::AgentOptions {
        arguments: ["--memory-mib", "64"].map(str::to_owned).to_vec(),
        ..Default::default()
    };
    let _small = Agent::start_with(&controller, &api.join_token().await, options);
    supalove_system_tests::wait_for("the reason per node", Duration::from_secs(20), async || {
        let reason = api.project(&project.r#ref).await.state_reason;
        (reason.contains("0 of 1 node fits") && reason.contains("MiB memory")).then_some(())
    })
    .await;
    let _large = Agent::start(&controller, &api.join_token().await);
    let operation = api.wait(&operation.id).await;
    assert_eq!(operation.state(), OperationState::Succeeded, "{operation:#?}");
}
