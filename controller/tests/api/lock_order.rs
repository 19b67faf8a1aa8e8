//! Transactions that change a node, its capacity and what stands on it lock these rows in one order: they wait for each other, and none
//! ends because of a deadlock. Each test stops all of them at the node's capacity, and lets them go together.

use std::time::Duration;

use supalove_proto::{
    node::v1::StackPhase,
    v1::{
        AdoptLeftoverRequest, CordonNodeRequest, DeleteLeftoverRequest, ListLeftoversRequest, ProjectState,
        StopProjectRequest, UncordonNodeRequest,
    },
};
use supalove_system_tests::{CORE, Controller, Double, DoubleRecord, DoubleState, Rows, SLACK, wait_for};

use super::one_node::World;

const SOON: Duration = Duration::from_secs(20);
/// A ref that no database knows.
const UNKNOWN: &str = "abcdefghijklmnopqrst";

/// So many transactions wait for a lock.
async fn waiting(rows: &Rows, count: i64) {
    wait_for("transactions that wait", SOON * SLACK, async || (rows.waiting().await >= count).then_some(()))
        .await;
}

/// Ends the controller, since the server adds a connection's deadlocks up when it ends.
async fn assert_no_deadlock(controller: &mut Controller, rows: &Rows) {
    controller.process.interrupt();
    let deadlocks =
        wait_for("the controller's connections to end", SOON * SLACK, async || rows.deadlocks().await).await;
    assert_eq!(deadlocks, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inventory_an_adoption_and_a_placement_wait_for_each_other() {
    let World { mut controller, api, rows, double } = World::start().await;
    let shop = api.create_healthy("shop", CORE).await.r#ref;
    let node_id = api.nodes().await.remove(0).id;
    let node = rows.node_id("steady").await;
    api.clusters().cordon_node(CordonNodeRequest { node_id: node_id.clone() }).await.unwrap();
    rows.lose_placement(&shop).await;
    let (holder, mut state) = (double.holder.clone(), std::mem::take(&mut *double.state()));
    drop(double);
    state.records.insert(UNKNOWN.into(), DoubleRecord { generation: 7, slot: 9, phase: StackPhase::Healthy });
    let _double = Double::dial(holder, &controller.node_address, state);
    wait_for("the leftovers", SOON * SLACK, async || {
        let request = ListLeftoversRequest { node_id: node_id.clone(), ..Default::default() };
        let all = api.leftovers().list_leftovers(request).await.unwrap().into_inner().leftovers;
        (all.len() == 2 && all.iter().all(|one| !one.volumes.is_empty())).then_some(())
    })
    .await;
    api.clusters().uncordon_node(UncordonNodeRequest { node_id: node_id.clone() }).await.unwrap();

    let capacity = rows.lock_capacity(node).await;
    // An inventory follows the deletion soon: the slot is free then.
    let request = DeleteLeftoverRequest { node_id: node_id.clone(), project_ref: UNKNOWN.into() };
    api.leftovers().delete_leftover(request).await.unwrap();
    waiting(&rows, 1).await;
    let adoption = tokio::spawn({
        let (api, node_id, project_ref) = (api.clone(), node_id.clone(), shop.clone());
        async move { api.leftovers().adopt_leftover(AdoptLeftoverRequest { node_id, project_ref }).await }
    });
    waiting(&rows, 2).await;
    let placement = tokio::spawn({
        let api = api.clone();
        async move { api.create("new", CORE).await.project.unwrap().r#ref }
    });
    waiting(&rows, 3).await;
    capacity.commit().await.unwrap();

    adoption.await.unwrap().unwrap();
    let new = placement.await.unwrap();
    for project in [&shop, &new] {
        api.wait_state(project, ProjectState::ActiveHealthy, SOON * SLACK).await;
    }
    wait_for("nothing to be left", SOON * SLACK, async || {
        (rows.leftovers_and_blocked(node).await == (0, 0)).then_some(())
    })
    .await;
    assert_eq!(rows.misreserved_nodes().await, 0);
    assert_no_deadlock(&mut controller, &rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_with_another_address_and_the_end_of_a_stop_wait_for_each_other() {
    let World { mut controller, api, rows, double } = World::start().await;
    let shop = api.create_healthy("shop", CORE).await.r#ref;
    let node = rows.node_id("steady").await;

    let capacity = rows.lock_capacity(node).await;
    // The host has another address now, and its agent dials while its old connection still reports.
    let mut state = DoubleState::default();
    state.records = double.state().records.clone();
    state.advertise = "127.0.0.2".to_owned();
    let moved = Double::dial(double.holder.clone(), &controller.node_address, state);
    waiting(&rows, 1).await;
    let request = StopProjectRequest { project_ref: shop.clone(), ..Default::default() };
    api.projects().stop_project(request).await.unwrap();
    waiting(&rows, 2).await;
    capacity.commit().await.unwrap();
    drop(double);

    api.wait_state(&shop, ProjectState::Inactive, SOON * SLACK).await;
    wait_for("the new address", SOON * SLACK, async || {
        let project = api.project(&shop).await;
        project.endpoints.iter().any(|one| one.host == "127.0.0.2").then_some(())
    })
    .await;
    assert_eq!(rows.misreserved_nodes().await, 0);
    drop(moved);
    assert_no_deadlock(&mut controller, &rows).await;
}
