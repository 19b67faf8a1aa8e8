//! What a host has of projects that no placement puts there: listed, adopted where that is right, deleted only by name.

use std::time::{Duration, Instant};

use supalove_proto::{
    node::v1::StackPhase,
    v1::{
        AdoptLeftoverRequest, CordonNodeRequest, DeleteLeftoverRequest, DeleteProjectRequest, Leftover,
        ListAlarmsRequest, ListLeftoversRequest, ProjectState, RevokeNodeRequest, UncordonNodeRequest,
    },
};
use supalove_system_tests::{Api, CORE, Controller, Double, DoubleRecord, Rows, SLACK, wait_for};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::one_node::World;

const SOON: Duration = Duration::from_secs(20);
/// A ref that no database knows.
const UNKNOWN: &str = "abcdefghijklmnopqrst";

async fn listed(api: &Api, node_id: &str) -> Vec<Leftover> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        // One to a page, so that the pages are followed, too.
        let request = ListLeftoversRequest { node_id: node_id.into(), page_size: 1, page_token };
        let page = api.leftovers().list_leftovers(request).await.unwrap().into_inner();
        all.extend(page.leftovers);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

async fn wait_leftovers(api: &Api, node_id: &str, count: usize) -> Vec<Leftover> {
    wait_for("the leftovers", SOON * SLACK, async || {
        let all = listed(api, node_id).await;
        // Hello tells records; what else there is an inventory has to find.
        let looked_at = all.iter().all(|one| !one.volumes.is_empty());
        (all.len() == count && looked_at).then_some(all)
    })
    .await
}

async fn adopt(api: &Api, node_id: &str, project_ref: &str) -> Result<supalove_proto::v1::Project, Status> {
    let request = AdoptLeftoverRequest { node_id: node_id.into(), project_ref: project_ref.into() };
    Ok(api.leftovers().adopt_leftover(request).await?.into_inner().project.unwrap())
}

async fn delete(api: &Api, node_id: &str, project_ref: &str) -> Result<Leftover, Status> {
    let request = DeleteLeftoverRequest { node_id: node_id.into(), project_ref: project_ref.into() };
    Ok(api.leftovers().delete_leftover(request).await?.into_inner().leftover.unwrap())
}

/// Soon: reports are in flight.
async fn assert_rules_hold(rows: &Rows) {
    let until = Instant::now() + SOON * SLACK;
    loop {
        let broken = rows.broken_of_all().await;
        if broken.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "{broken:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn reason(refused: &Status) -> String {
    refused.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// The agent comes back, with what it had: only a new session takes an inventory at once.
fn dial_again(controller: &Controller, double: Double) -> Double {
    let (holder, state) = (double.holder.clone(), std::mem::take(&mut *double.state()));
    drop(double);
    Double::dial(holder, &controller.node_address, state)
}

fn record(generation: u64, slot: u32) -> DoubleRecord {
    DoubleRecord { generation, slot, phase: StackPhase::Healthy }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_whose_placement_was_lost_is_adopted_where_it_is_and_nowhere_else() {
    let World { controller, api, rows, double } = World::start().await;
    let other = api.create_healthy("other", CORE).await.r#ref;
    let shop = api.create_healthy("shop", CORE).await;
    let shop_ref = shop.r#ref.clone();
    let node_id = api.nodes().await.remove(0).id;
    let node = rows.node_id("steady").await;
    assert!(listed(&api, &node_id).await.is_empty());

    // As after a restore: the database believes that the project still waits for a node.
    api.clusters().cordon_node(CordonNodeRequest { node_id: node_id.clone() }).await.unwrap();
    rows.lose_placement(&shop_ref).await;
    let double = dial_again(&controller, double);
    let found = wait_leftovers(&api, &node_id, 1).await.remove(0);
    assert_eq!((found.project_ref.as_str(), found.generation), (shop_ref.as_str(), 1));
    assert_eq!((found.project_state(), found.volumes.len()), (ProjectState::ComingUp, 1));
    assert!(found.adoptable && !found.deletable && found.find_time.is_some(), "{found:?}");
    assert_eq!(rows.leftovers_and_blocked(node).await, (1, 1), "nobody gets its slot");
    let alarms = api.clusters().list_alarms(ListAlarmsRequest::default()).await.unwrap().into_inner().alarms;
    let told: Vec<_> = alarms.iter().map(|one| (one.reason.as_str(), one.since)).collect();
    assert_eq!(told, [("LEFTOVERS", found.find_time)]);
    assert!(alarms[0].message.contains("`supalove nodes leftovers steady`"), "{}", alarms[0].message);

    // It may be the only data, so it is not deleted; and nothing of it is placed elsewhere meanwhile.
    let refused = delete(&api, &node_id, &shop_ref).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "LEFTOVER_IN_USE"));
    assert!(refused.message().contains("delete the project first"), "{refused}");
    rows.add_node("empty", 10, 10).await;
    api.clusters().uncordon_node(UncordonNodeRequest { node_id: node_id.clone() }).await.unwrap();
    wait_for("the reason of the wait", SOON * SLACK, async || {
        api.project(&shop_ref).await.state_reason.contains("as a leftover").then_some(())
    })
    .await;
    assert!(api.project(&shop_ref).await.node_id.is_empty());

    let adopted = adopt(&api, &node_id, &shop_ref).await.unwrap();
    assert_eq!((adopted.node_name.as_str(), adopted.generation), ("steady", 2));
    let up = api.wait_state(&shop_ref, ProjectState::ActiveHealthy, SOON * SLACK).await;
    let ports = |project: &supalove_proto::v1::Project| {
        project
            .endpoints
            .iter()
            .map(|one| (one.service.clone(), one.host.clone(), one.port))
            .collect::<Vec<_>>()
    };
    assert_eq!(ports(&up), ports(&shop), "the addresses are those of before");
    assert_eq!(double.state().records[&shop_ref].generation, 2);
    assert!(listed(&api, &node_id).await.is_empty());
    assert_eq!(rows.leftovers_and_blocked(node).await, (0, 0));
    assert_eq!(
        (rows.misreserved_nodes().await, rows.done("AdoptLeftover").await),
        (0, 2),
        "a row in each log"
    );
    let events = api.events(&shop_ref).await;
    assert!(events.iter().any(|one| one.message == "adopted on steady, where it was found"), "{events:#?}");
    let again = adopt(&api, &node_id, &shop_ref).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound, "{again}");
    assert_eq!(api.project(&other).await.state(), ProjectState::ActiveHealthy);
    assert_rules_hold(&rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leftover_is_deleted_by_name_though_agent_and_controller_are_away_and_no_project_is_touched() {
    let World { mut controller, api, rows, double } = World::start().await;
    let shop = api.create_healthy("shop", CORE).await.r#ref;
    let newer = api.create_healthy("newer", CORE).await.r#ref;
    let node_id = api.nodes().await.remove(0).id;
    let node = rows.node_id("steady").await;
    api.clusters().cordon_node(CordonNodeRequest { node_id: node_id.clone() }).await.unwrap();
    rows.lose_placement(&newer).await;
    {
        let mut state = double.state();
        state.records.insert(UNKNOWN.into(), record(7, 9));
        state.records.get_mut(&newer).unwrap().generation = 3;
    }
    let double = dial_again(&controller, double);
    let found = wait_leftovers(&api, &node_id, 2).await;
    let of = |project_ref: &str| found.iter().find(|one| one.project_ref == project_ref).unwrap();
    assert_eq!(of(UNKNOWN).project_state(), ProjectState::Unspecified);
    assert!(of(UNKNOWN).not_adoptable_reason.contains("no project with this ref"), "{found:#?}");
    assert!(of(UNKNOWN).deletable);
    assert!(of(&newer).not_adoptable_reason.contains("generation 3 of the project, the control database 1"));
    for project in [UNKNOWN, &newer] {
        let refused = adopt(&api, &node_id, project).await.unwrap_err();
        let seen = (refused.code(), reason(&refused));
        assert_eq!(seen, (Code::FailedPrecondition, "LEFTOVER_NOT_ADOPTABLE".to_owned()), "{refused}");
    }
    // What stands there is no leftover; nor is nonsense.
    for what in [&shop, "zzzzzzzzzzzzzzzzzzzz"] {
        assert_eq!(delete(&api, &node_id, what).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(adopt(&api, &node_id, what).await.unwrap_err().code(), Code::NotFound);
    }
    let wrong = delete(&api, &node_id, "*").await.unwrap_err();
    assert_eq!(wrong.get_details_bad_request().unwrap().field_violations[0].field, "project_ref");

    // Nobody adopts the other one, so its project goes first.
    assert_eq!(reason(&delete(&api, &node_id, &newer).await.unwrap_err()), "LEFTOVER_IN_USE");
    let request = DeleteProjectRequest { project_ref: newer.clone(), ..Default::default() };
    api.projects().delete_project(request).await.unwrap();
    api.wait_state(&newer, ProjectState::Removed, SOON * SLACK).await;

    // The agent is away, then the controller goes.
    let (holder, mut state) = (double.holder.clone(), std::mem::take(&mut *double.state()));
    drop(double);
    state.calls.clear();
    let asked = delete(&api, &node_id, UNKNOWN).await.unwrap();
    assert!(asked.delete_request_time.is_some() && !asked.adoptable);
    assert!(asked.not_adoptable_reason.contains("cannot be taken back"), "{asked:?}");
    delete(&api, &node_id, &newer).await.unwrap();
    let again = delete(&api, &node_id, UNKNOWN).await.unwrap();
    assert_eq!(again.delete_request_time, asked.delete_request_time, "a repeated call changes nothing");
    controller.process.interrupt();
    controller.restart().await;
    let token = api.token.clone();
    let mut api = controller.api();
    api.use_token(&token);
    assert_eq!(listed(&api, &node_id).await.len(), 2);

    let double = Double::dial(holder, &controller.node_address, state);
    wait_leftovers(&api, &node_id, 0).await;
    {
        let state = double.state();
        let mut calls = state.calls.clone();
        calls.sort();
        let mut expected = [(UNKNOWN.to_owned(), 7), (newer.clone(), 3)];
        expected.sort();
        assert_eq!(calls, expected, "each is removed once, in the agent's generation, and nothing else");
        assert_eq!((state.tombstones.len(), state.records[&shop].phase), (2, StackPhase::Healthy));
    }
    assert_eq!(rows.leftovers_and_blocked(node).await, (0, 0), "its slot is free");
    assert_eq!(rows.done("DeleteLeftover").await, 3);
    assert!(api.nodes().await[0].alarms.is_empty());
    assert_eq!(api.project(&shop).await.state(), ProjectState::ActiveHealthy);
    assert_rules_hold(&rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_host_that_names_a_foreign_project_learns_and_stops_nothing() {
    let world = World::start().await;
    let (operator, rows) = (&world.api, &world.rows);
    rows.add_user("other@example.com").await;
    let mut other = world.controller.api();
    other.sign_in("other@example.com").await;
    other.create_organization("globex").await;
    rows.add_private_cluster("hall", Some("globex")).await;
    let up = world.project("up", CORE).await;
    let node_id = operator.nodes().await.remove(0).id;
    operator.clusters().cordon_node(CordonNodeRequest { node_id: node_id.clone() }).await.unwrap();
    let waits = operator.create("waits", CORE).await.project.unwrap().r#ref;

    for (host, project) in [("liar", &up), ("thief", &waits)] {
        let id = rows.add_leftover(host, "hall", project, 1).await;
        let id = format!("nod_{}", id.simple());
        let seen = listed(&other, &id).await.remove(0);
        assert_eq!(seen.project_state(), ProjectState::Unspecified);
        assert!(seen.not_adoptable_reason.contains("no project with this ref") && seen.deletable, "{seen:?}");
        assert_eq!(reason(&adopt(&other, &id, project).await.unwrap_err()), "LEFTOVER_NOT_ADOPTABLE");
    }
    operator.clusters().uncordon_node(UncordonNodeRequest { node_id: node_id.clone() }).await.unwrap();
    world.api.wait_state(&waits, ProjectState::ActiveHealthy, SOON * SLACK).await;

    // The nodes of the shared cluster are the operator's.
    let request = ListLeftoversRequest { node_id, ..Default::default() };
    let refused = other.leftovers().list_leftovers(request).await.unwrap_err();
    assert!(matches!(refused.code(), Code::NotFound | Code::PermissionDenied), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deleted_that_may_be_the_only_data_of_a_project() {
    let World { controller, api, rows, double } = World::start().await;
    let shop = api.create_healthy("shop", CORE).await.r#ref;
    let node_id = api.nodes().await.remove(0).id;

    // The host of a revoked node joins again under another name: what it has is the data of its projects.
    let mut records = std::mem::take(&mut double.state().records);
    records.insert(UNKNOWN.into(), record(7, 9));
    drop(double);
    api.clusters().revoke_node(RevokeNodeRequest { node_id: node_id.clone() }).await.unwrap();
    let host = Double::join(&controller.node_address, &api.join_token().await, "again").await;
    host.state().records = records;
    let host = dial_again(&controller, host);
    let nodes = api.nodes().await;
    let again = nodes.iter().find(|node| node.name == "again").unwrap().id.clone();
    let found = wait_leftovers(&api, &again, 2).await;
    let of = |project_ref: &str| found.iter().find(|one| one.project_ref == project_ref).unwrap();
    assert!(!of(&shop).deletable && !of(&shop).adoptable, "{found:#?}");
    let refused = delete(&api, &again, &shop).await.unwrap_err();
    assert_eq!(reason(&refused), "LEFTOVER_IN_USE");
    assert!(refused.message().contains("may be its only data"), "{refused}");

    // The database may lack what it knew.
    rows.claim_restore().await;
    let refused = delete(&api, &again, UNKNOWN).await.unwrap_err();
    assert!(refused.message().contains("confirm-restore"), "{refused}");
    assert_eq!(api.confirm_restores().await, ["claimed by a test"]);
    delete(&api, &again, UNKNOWN).await.unwrap();
    wait_leftovers(&api, &again, 1).await;
    assert!(host.state().records.contains_key(&shop));
}
