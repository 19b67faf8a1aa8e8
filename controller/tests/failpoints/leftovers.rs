//! The controller dies while a leftover is deleted or adopted: what was asked for is done once, and no project is touched.

use std::time::Duration;

use supalove_proto::{
    node::v1::StackPhase,
    v1::{
        AdoptLeftoverRequest, CordonNodeRequest, DeleteLeftoverRequest, Leftover, ListLeftoversRequest,
        ProjectState,
    },
};
use supalove_system_tests::{Api, CORE, Controller, Double, DoubleRecord, SLACK, wait_for};
use tonic::Code;

use super::node_life::{World, of_calls};

/// The points of this test, beside those that other acts pass as well.
pub const PREFIX: &str = "controller.leftover.";

const SOON: Duration = Duration::from_secs(30);
/// Steps of a deletion after its call.
const DELETED: [&str; 4] = [
    "controller.apply.asked",
    "controller.apply.answered",
    "controller.apply.noted",
    "controller.leftover.gone",
];

async fn listed(api: &Api, node_id: &str) -> Vec<Leftover> {
    let request = ListLeftoversRequest { node_id: node_id.into(), ..Default::default() };
    api.leftovers().list_leftovers(request).await.unwrap().into_inner().leftovers
}

async fn wait_leftovers(api: &Api, node_id: &str, count: usize) {
    wait_for("the leftovers", SOON * SLACK, async || {
        (listed(api, node_id).await.len() == count).then_some(())
    })
    .await;
}

/// Only a new session takes an inventory at once.
fn dial_again(controller: &Controller, double: Double) -> Double {
    let (holder, state) = (double.holder.clone(), std::mem::take(&mut *double.state()));
    drop(double);
    Double::dial(holder, &controller.node_address, state)
}

#[tokio::test]
async fn a_leftover_is_deleted_once_although_the_controller_dies() {
    let mut world = World::new().await;
    let mut double = world.node("host").await;
    let project_ref = world.operator.create_healthy("shop", CORE).await.r#ref;
    let calls = double.calls_of(&project_ref);
    let node_id = world.operator.nodes().await.remove(0).id;
    for (letter, point) in ('b'..).zip(of_calls().into_iter().chain(DELETED)) {
        let unknown = letter.to_string().repeat(20);
        let record = DoubleRecord { generation: 7, slot: u32::from(letter) - 90, phase: StackPhase::Healthy };
        double.state().records.insert(unknown.clone(), record);
        double = dial_again(&world.controller, double);
        wait_leftovers(&world.operator, &node_id, 1).await;
        let delete = async |api: &Api| {
            let request = DeleteLeftoverRequest { node_id: node_id.clone(), project_ref: unknown.clone() };
            api.leftovers().delete_leftover(request).await
        };
        world.dies(point, &delete).await;
        // What was done before the death may be done by now.
        let again = delete(&world.operator).await;
        assert!(again.as_ref().is_ok() || again.as_ref().unwrap_err().code() == Code::NotFound, "{again:?}");
        wait_leftovers(&world.operator, &node_id, 0).await;
        let state = double.state();
        assert_eq!(state.tombstones.get(&unknown), Some(&7), "{point}");
        let asked = state.calls.iter().filter(|(called, _)| *called == unknown).count();
        assert!((1..=2).contains(&asked), "{point}: asked {asked} times");
        println!("{point}: deleted");
    }
    world.operator.wait_ready_nodes(1).await;
    world.operator.wait_state(&project_ref, ProjectState::ActiveHealthy, SOON * SLACK).await;
    assert_eq!(double.calls_of(&project_ref), calls, "the project was not touched");
    assert_eq!(world.rows.misreserved_nodes().await, 0);
    world.operator.assert_consistent(1).await;
}

#[tokio::test]
async fn a_leftover_is_adopted_once_although_the_controller_dies() {
    let mut world = World::new().await;
    let mut double = world.node("host").await;
    let project_ref = world.operator.create_healthy("shop", CORE).await.r#ref;
    let node_id = world.operator.nodes().await.remove(0).id;
    let cordon = CordonNodeRequest { node_id: node_id.clone() };
    world.operator.clusters().cordon_node(cordon).await.unwrap();
    let points = ["controller.leftover.adopted"].into_iter().chain(of_calls());
    for (number, point) in (2..).zip(points) {
        world.rows.lose_placement(&project_ref).await;
        double = dial_again(&world.controller, double);
        wait_leftovers(&world.operator, &node_id, 1).await;
        let adopt = async |api: &Api| {
            let request = AdoptLeftoverRequest { node_id: node_id.clone(), project_ref: project_ref.clone() };
            api.leftovers().adopt_leftover(request).await
        };
        world.dies(point, &adopt).await;
        let again = adopt(&world.operator).await;
        if point.ends_with("committed") {
            assert_eq!(again.unwrap_err().code(), Code::NotFound, "{point}");
        } else {
            // The node may only just be coming back.
            wait_for("the adoption", SOON * SLACK, async || {
                let done = adopt(&world.operator).await;
                (done.is_ok() || done.unwrap_err().code() == Code::NotFound).then_some(())
            })
            .await;
        }
        let up = world.operator.wait_state(&project_ref, ProjectState::ActiveHealthy, SOON * SLACK).await;
        assert_eq!(up.generation, number, "one generation for each adoption: {point}");
        assert_eq!(world.rows.misreserved_nodes().await, 0, "{point}");
        let state = double.state();
        assert_eq!(state.records[&project_ref].generation, number, "{point}");
        println!("{point}: adopted");
    }
    world.operator.wait_ready_nodes(1).await;
    world.operator.assert_consistent(1).await;
}
