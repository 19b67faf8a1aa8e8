//! Placement under contention: nodes are rows here, without agents, so that only the scheduler and the statement count.

use std::collections::BTreeSet;

use sqlx::PgPool;
use supalove_proto::v1::{CreateProjectRequest, OperationState};
use supalove_system_tests::{Api, Controller};

/// A node with room for `projects` of release core, seen for the whole test.
async fn add_node(db: &PgPool, name: &str, projects: i32, slots: i32) {
    sqlx::query(
        "INSERT INTO nodes (id, cluster_id, name, key_sha256, advertise_address, port_base, network_range, slots,
             cpu_cap, memory_cap, disk_cap, seen_at)
         SELECT $1, id, $2, '', '127.0.0.1', 5500, '10.213.0.0/16', $4, 100000, 448 * $3 + 100, 1000000,
             now() + interval '1 hour' FROM clusters",
    )
    .bind(uuid::Uuid::now_v7())
    .bind(name)
    .bind(projects)
    .bind(slots)
    .execute(db)
    .await
    .unwrap();
}

/// Creates so many projects at the same time; answers how many were placed at once.
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
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let db = controller.database.pool().await;
    for (name, projects, slots) in [("a", 5, 100), ("b", 5, 100), ("c", 100, 4)] {
        add_node(&db, name, projects, slots).await;
    }
    let placed = create_all(&api, 40).await;
    assert_eq!(placed, 14, "5 and 5 by memory, 4 by slots");

    let wrong: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM nodes n WHERE memory_used > memory_cap
             OR memory_used <> 448 * (SELECT count(*) FROM placements p WHERE p.node_id = n.id)
             OR (SELECT count(*) FROM placements p WHERE p.node_id = n.id)
                <> (SELECT coalesce(sum(upper(r) - lower(r)), 0) FROM unnest(taken_slots) r)",
    )
    .fetch_one(&db)
    .await
    .unwrap();
    assert_eq!(wrong, 0, "counters say what is placed");
    let slots: Vec<(String, i32)> =
        sqlx::query_as("SELECT n.name, p.slot FROM placements p JOIN nodes n ON n.id = p.node_id")
            .fetch_all(&db)
            .await
            .unwrap();
    assert_eq!(slots.iter().collect::<BTreeSet<_>>().len(), slots.len());
    let used: i32 =
        sqlx::query_scalar("SELECT projects_used FROM organizations").fetch_one(&db).await.unwrap();
    assert_eq!(used, 40, "pending projects hold their quota");
    let half_done: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM projects p WHERE NOT EXISTS (SELECT 1 FROM operations o WHERE o.project_ref = p.ref)
             OR NOT EXISTS (SELECT 1 FROM project_specs s WHERE s.project_ref = p.ref)
             OR NOT EXISTS (SELECT 1 FROM project_events e WHERE e.project_ref = p.ref AND e.seq = p.event_seq)",
    )
    .fetch_one(&db)
    .await
    .unwrap();
    assert_eq!(half_done, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn blocked_slots_are_not_given_and_the_lowest_free_one_is() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let db = controller.database.pool().await;
    add_node(&db, "a", 10, 6).await;
    sqlx::query("UPDATE nodes SET blocked_slots = '{[0,2),[3,4)}'").execute(&db).await.unwrap();
    for (name, slot) in [("x", 2), ("y", 4), ("z", 5)] {
        let project = api.create(name, "core").await.project.unwrap();
        let (given, port, subnet): (i32, i32, String) =
            sqlx::query_as("SELECT slot, port_base, subnet::text FROM placements WHERE project_ref = $1")
                .bind(&project.r#ref)
                .fetch_one(&db)
                .await
                .unwrap();
        assert_eq!((given, port, subnet), (slot, 5500 + 8 * slot, format!("10.213.0.{}/27", 32 * slot)));
    }
    let full = api.create("full", "core").await;
    assert!(full.project.unwrap().state_reason.contains("has no free slot"));
}
