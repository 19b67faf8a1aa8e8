//! Placement under contention. The nodes are rows without agents, so that only the scheduler and the statement matter.

use std::collections::BTreeSet;

use supalove_proto::v1::{CreateProjectRequest, OperationState};
use supalove_system_tests::{Api, CORE, Controller, turn_alone};

/// Creates this many projects concurrently; returns how many were placed at once.
async fn create_all(api: &Api, count: usize) -> usize {
    let calls = (0..count).map(|i| {
        let api = api.clone();
        async move {
            let request = CreateProjectRequest {
                organization: "acme".into(),
                name: format!("p{i}"),
                ..Default::default()
            };
            let created = api.projects().create_project(request).await.unwrap().into_inner();
            created.operation.unwrap().state() == OperationState::Running
        }
    });
    futures::future::join_all(calls).await.into_iter().filter(|placed| *placed).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn simultaneous_creates_never_overcommit_a_node_and_never_share_a_slot() {
    turn_alone();
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    for (name, projects, slots) in [("a", 5, 100), ("b", 5, 100), ("c", 100, 4)] {
        rows.add_node(name, projects, slots).await;
    }
    let placed = create_all(&api, 40).await;
    assert_eq!(placed, 14, "5 and 5 by memory, 4 by slots");

    assert_eq!(rows.miscounted_nodes().await, 0, "counters say what is placed");
    let slots = rows.taken_slots().await;
    assert_eq!(slots.iter().collect::<BTreeSet<_>>().len(), slots.len());
    assert_eq!(rows.projects_used("acme").await, 40, "pending projects hold their quota");
    assert_eq!(rows.half_made_projects().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn blocked_slots_are_not_given_and_the_lowest_free_one_is() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    rows.add_node("a", 10, 6).await;
    rows.block_slots("{[0,2),[3,4)}").await;
    for (name, slot) in [("x", 2), ("y", 4), ("z", 5)] {
        let project = api.create(name, CORE).await.project.unwrap();
        let given = rows.placement(&project.r#ref).await;
        assert_eq!(given, (slot, 5500 + 8 * slot, format!("10.213.0.{}/27", 32 * slot)));
    }
    let full = api.create("full", CORE).await;
    assert!(full.project.unwrap().state_reason.contains("has no free slot"));
}
