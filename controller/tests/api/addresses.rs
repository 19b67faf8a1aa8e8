//! A node that advertises another address takes the endpoints of its projects along.

use std::time::Duration;

use supalove_proto::v1::{Endpoint, EndpointScheme, ProjectState, StopProjectRequest};
use supalove_system_tests::{Api, CORE, Double, SLACK, wait_for};

use super::one_node::World;

const SOON: Duration = Duration::from_secs(20);
const NEW: &str = "host7.example.com";

/// Hosts of a project's endpoints: those of its gateway, then those of its database.
async fn hosts(api: &Api, project_ref: &str) -> [Vec<String>; 2] {
    let endpoints = api.project(project_ref).await.endpoints;
    let of = |database| {
        let scheme = |one: &&Endpoint| (one.scheme() == EndpointScheme::Postgresql) == database;
        endpoints.iter().filter(scheme).map(|one| one.host.clone()).collect::<Vec<_>>()
    };
    [of(false), of(true)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_address_of_a_node_reaches_the_endpoints_of_its_projects() {
    let World { controller, api, rows, double } = World::start().await;
    let runs = api.create_healthy("runs", CORE).await.r#ref;
    let stopped = api.create_healthy("stopped", CORE).await.r#ref;
    let request = StopProjectRequest { project_ref: stopped.clone(), ..Default::default() };
    api.projects().stop_project(request).await.unwrap();
    api.wait_state(&stopped, ProjectState::Inactive, SOON * SLACK).await;
    let local = || vec!["127.0.0.1".to_owned()];
    assert_eq!(hosts(&api, &runs).await, [local(), local()]);
    let ports = api.project(&runs).await.endpoints.into_iter().map(|one| one.port).collect::<Vec<_>>();

    // The agent starts again with another address.
    let (holder, mut state) = (double.holder.clone(), std::mem::take(&mut *double.state()));
    drop(double);
    state.advertise = NEW.to_owned();
    state.calls.clear();
    let double = Double::dial(holder, &controller.node_address, state);
    for project in [&runs, &stopped] {
        wait_for("the endpoints to follow", SOON * SLACK, async || {
            // The database's port listens on the host's loopback, whatever address the host has.
            (hosts(&api, project).await == [vec![NEW.to_owned()], local()]).then_some(())
        })
        .await;
        wait_for("the agent to know", SOON * SLACK, async || {
            (double.state().told_hosts.get(project).map(String::as_str) == Some(NEW)).then_some(())
        })
        .await;
    }
    let shown = api.project(&runs).await;
    assert_eq!(shown.endpoints.iter().map(|one| one.port).collect::<Vec<_>>(), ports, "ports stay");
    let events = api.events(&runs).await;
    assert!(events.iter().any(|one| one.message.ends_with(NEW)), "{events:#?}");
    api.wait_state(&runs, ProjectState::ActiveHealthy, SOON * SLACK).await;
    assert_eq!(api.project(&stopped).await.state(), ProjectState::Inactive, "nothing starts because of it");
    // A new project on the node, and one more Hello with the same address: nothing is sent again.
    let newer = api.create_healthy("newer", CORE).await.r#ref;
    assert_eq!(hosts(&api, &newer).await, [vec![NEW.to_owned()], local()]);
    let calls = double.calls_of(&runs);
    let epoch = rows.greeted_epoch().await;
    let (holder, state) = (double.holder.clone(), std::mem::take(&mut *double.state()));
    drop(double);
    let double = Double::dial(holder, &controller.node_address, state);
    wait_for("another session", SOON * SLACK, async || (rows.greeted_epoch().await > epoch).then_some(()))
        .await;
    api.wait_state(&runs, ProjectState::ActiveHealthy, SOON * SLACK).await;
    assert_eq!(double.calls_of(&runs), calls);
    assert_eq!(rows.misreserved_nodes().await, 0);
    wait_for("the rules to hold", SOON * SLACK, async || rows.broken_of_all().await.is_empty().then_some(()))
        .await;
}
