//! `kill -9` of the controller and of the agent.

use std::time::Duration;

use supalove_proto::v1::{OperationState, ProjectState};
use supalove_system_tests::{Agent, CORE, Controller, SLACK, docker, labelled, wait_for};

/// Container names and ids of a project.
fn containers(project_ref: &str) -> Vec<String> {
    let filter = format!("label=supalove.project={project_ref}");
    let listed = docker(None, &["ps", "--all", "--format", "{{.Names}} {{.ID}}", "--filter", &filter]);
    let mut all: Vec<String> = listed.lines().map(str::to_owned).collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_killed_in_the_middle_of_a_create_finishes_it_after_its_restart() {
    let mut controller = Controller::start().await;
    let api = controller.operator().await;
    let _agent = Agent::start(&controller, &api.join_token().await);
    api.wait_ready_nodes(1).await;
    // At once after the answer, and when the first container is there: before and after the agent has the generation.
    for (name, wait) in [("at-once", false), ("half-way", true)] {
        let created = api.create(name, CORE).await;
        let project = created.project.unwrap();
        let operation = created.operation.unwrap();
        if wait {
            wait_for("a first container", Duration::from_secs(30), async || {
                (!containers(&project.r#ref).is_empty()).then_some(())
            })
            .await;
        }
        controller.kill_and_restart().await;
        let operation = api.wait(&operation.id).await;
        assert_eq!(operation.state(), OperationState::Succeeded, "{operation:#?}");
        let project = api.project(&project.r#ref).await;
        assert_eq!(project.state(), ProjectState::ActiveHealthy);
        assert_eq!(containers(&project.r#ref).len(), 3, "nothing twice");
        let all = labelled(None, &format!("supalove.project={}", project.r#ref));
        let networks = all.iter().filter(|n| n.starts_with("project_")).count();
        assert_eq!(networks, 1, "{all:?}");
    }
    assert_eq!(controller.database.rows().await.placements_and_projects().await, (2, 2));
    api.assert_consistent(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_leaves_containers_running_and_is_back_within_ten_seconds() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let mut agent = Agent::start(&controller, &api.join_token().await);
    api.wait_ready_nodes(1).await;
    let project = api.create_healthy("steady", CORE).await;
    let before = containers(&project.r#ref);
    let started = || {
        let ids: Vec<String> = before.iter().map(|c| c.rsplit(' ').next().unwrap().to_owned()).collect();
        let arguments =
            [vec!["inspect".into(), "--format".into(), "{{.State.StartedAt}}".into()], ids].concat();
        docker(None, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let started_before = started();

    agent.process.kill();
    let running =
        docker(None, &["ps", "--quiet", "--filter", &format!("label=supalove.project={}", project.r#ref)]);
    assert_eq!(running.lines().count(), before.len(), "containers do not need their agent");
    let rows = controller.database.rows().await;
    let old = rows.live_epoch().await.unwrap_or(1);
    agent.restart();
    wait_for("the session to be back", Duration::from_secs(10) * SLACK, async || {
        rows.live_epoch().await.filter(|epoch| *epoch > old)
    })
    .await;
    api.wait_state(&project.r#ref, ProjectState::ActiveHealthy, Duration::from_secs(30)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(containers(&project.r#ref), before, "no container was made again");
    assert_eq!(started(), started_before, "and none was restarted");
    assert_eq!(api.project(&project.r#ref).await.state(), ProjectState::ActiveHealthy);
    api.assert_consistent(1).await;
}
