//! Nodes that are drained before they go, nodes that are given up, and what is told about nodes that are not well.

use std::{process::Command, time::Duration};

use supalove_proto::v1::{
    Alarm, CordonNodeRequest, DrainNodeRequest, ForgetNodeRequest, GetNodeRequest, ListAlarmsRequest, Node,
    NodeAlarmReason, NodeAvailability, NodeState, OperationState, ProjectState, StartProjectRequest,
    StopProjectRequest, UncordonNodeRequest,
};
use supalove_system_tests::{Api, CORE, Double, SLACK, wait_for};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::one_node::World;

/// How long a double and the placer take for a project.
const SOON: Duration = Duration::from_secs(10);

async fn only_node(world: &World) -> Node {
    world.api.nodes().await.remove(0)
}

fn reason(refused: &Status) -> String {
    refused.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

async fn stop(world: &World, project_ref: &str) {
    let request = StopProjectRequest { project_ref: project_ref.into(), ..Default::default() };
    world.api.projects().stop_project(request).await.unwrap();
    world.api.wait_state(project_ref, ProjectState::Inactive, SOON * SLACK).await;
}

/// Starts a project that has to wait; the reason.
async fn start_waits(world: &World, project_ref: &str) -> String {
    let request = StartProjectRequest { project_ref: project_ref.into(), ..Default::default() };
    let operation =
        world.api.projects().start_project(request).await.unwrap().into_inner().operation.unwrap();
    assert_eq!(operation.state(), OperationState::Pending);
    world.api.project(project_ref).await.state_reason
}

async fn alarms(api: &Api, cluster: &str) -> Result<Vec<Alarm>, Status> {
    // One node to a page, so that the pages are followed, too.
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListAlarmsRequest { cluster: cluster.into(), page_size: 1, page_token };
        let page = api.clusters().list_alarms(request).await?.into_inner();
        all.extend(page.alarms);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

fn told(alarms: &[Alarm]) -> Vec<(&str, &str)> {
    alarms.iter().map(|one| (one.node_name.as_str(), one.reason.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_starts_on_a_draining_node_until_the_drain_has_ended() {
    let world = World::start().await;
    let runs = world.project("runs", CORE).await;
    let stopped = world.project("stopped", CORE).await;
    stop(&world, &stopped).await;
    let node_id = only_node(&world).await.id;

    let drain = || DrainNodeRequest { node_id: node_id.clone() };
    let first = world.api.clusters().drain_node(drain()).await.unwrap().into_inner();
    let mut expected = vec![(runs.clone(), true), (stopped.clone(), false)];
    expected.sort();
    let standing: Vec<_> = first.projects.into_iter().map(|one| (one.project_ref, one.running)).collect();
    assert_eq!(standing, expected);
    let get = GetNodeRequest { node_id: node_id.clone() };
    let got = world.api.clusters().get_node(get).await.unwrap().into_inner().projects;
    assert_eq!(got.into_iter().map(|one| (one.project_ref, one.running)).collect::<Vec<_>>(), expected);
    let node = first.node.unwrap();
    assert_eq!((node.availability(), node.state()), (NodeAvailability::Draining, NodeState::Ready));
    let again = world.api.clusters().drain_node(drain()).await.unwrap().into_inner().node.unwrap();
    assert_eq!(again.drain_time, node.drain_time, "a repeated drain goes on");

    let waits = start_waits(&world, &stopped).await;
    assert!(waits.contains("is draining"), "{waits}");
    let new = world.api.create("new", CORE).await.project.unwrap();
    assert!(new.state_reason.contains("1 is draining"), "{}", new.state_reason);
    assert!(new.state_reason.contains("end the drain of one node"), "{}", new.state_reason);
    assert_eq!(world.api.project(&runs).await.state(), ProjectState::ActiveHealthy, "what runs, runs on");

    // A cordon ends the drain: what stands there starts again, what is new still waits.
    let cordon = CordonNodeRequest { node_id: node_id.clone() };
    let cordoned = world.api.clusters().cordon_node(cordon).await.unwrap().into_inner().node.unwrap();
    assert_eq!((cordoned.availability(), cordoned.drain_time), (NodeAvailability::Cordoned, None));
    world.api.wait_state(&stopped, ProjectState::ActiveHealthy, SOON * SLACK).await;
    assert!(world.api.project(&new.r#ref).await.node_id.is_empty());
    let uncordon = UncordonNodeRequest { node_id: node_id.clone() };
    world.api.clusters().uncordon_node(uncordon).await.unwrap();
    world.api.wait_state(&new.r#ref, ProjectState::ActiveHealthy, SOON * SLACK).await;
    assert_eq!(world.rows.misreserved_nodes().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_node_ends_its_projects_and_nothing_of_it_is_trusted_again() {
    let world = World::start().await;
    let healthy = world.project("healthy", CORE).await;
    let busy = world.project("busy", CORE).await;
    let node = only_node(&world).await;
    let forget = |lost: &[&String]| ForgetNodeRequest {
        node_id: node.id.clone(),
        lost_projects: lost.iter().map(|&one| one.clone()).collect(),
    };
    let living = world.api.clusters().forget_node(forget(&[&healthy, &busy])).await.unwrap_err();
    assert_eq!((living.code(), reason(&living).as_str()), (Code::FailedPrecondition, "NODE_NOT_LOST"));

    // The host is gone, with a stop of one project under way.
    world.hold(&busy);
    let request = StopProjectRequest { project_ref: busy.clone(), ..Default::default() };
    let open = world.api.projects().stop_project(request).await.unwrap().into_inner().operation.unwrap();
    let World { controller, api, rows, double } = world;
    let (holder, mut state) = (double.holder.clone(), std::mem::take(&mut *double.state()));
    state.calls.clear();
    drop(double);
    let id = rows.node_id(&node.name).await;
    wait_for("the node to be lost", SOON * SLACK, async || {
        rows.set_node(id, "slots = slots", "seen_at = now() - interval '10 minutes'").await;
        rows.let_replicas_watch(Duration::from_mins(10)).await;
        (api.nodes().await[0].state() == NodeState::Lost).then_some(())
    })
    .await;
    let lost = alarms(&api, "").await.unwrap();
    assert_eq!(told(&lost), [("steady", "LOST")]);
    assert!(lost[0].blocking && lost[0].message.contains("`supalove nodes forget steady`"), "{lost:?}");

    for wrong in [&[][..], &[&healthy]] {
        let refused = api.clusters().forget_node(forget(wrong)).await.unwrap_err();
        assert_eq!(reason(&refused), "NODE_NOT_EMPTY");
        let named = refused.get_details_precondition_failure().unwrap().violations;
        assert_eq!(named.len(), 2, "all that stands there is named");
        assert!(!wrong.is_empty() || refused.message().contains("lost to the platform"), "{refused}");
    }
    let forgotten = api.clusters().forget_node(forget(&[&busy, &healthy])).await.unwrap().into_inner();
    let forgotten = forgotten.node.unwrap();
    assert_eq!(forgotten.state(), NodeState::Revoked);
    assert!(forgotten.forget_time.is_some() && forgotten.revoke_time.is_some());
    for project in [&healthy, &busy] {
        api.wait_state(project, ProjectState::Removed, SOON * SLACK).await;
        let events = api.events(project).await;
        let what: Vec<_> = events.iter().map(|one| one.message.as_str()).collect();
        assert!(what.iter().any(|message| message.contains("stay on that host")), "{what:#?}");
    }
    let ended = api.wait(&open.id).await;
    assert_eq!(
        (ended.state(), ended.error.unwrap().reason),
        (OperationState::Failed, "NODE_REVOKED".to_owned())
    );
    assert_eq!(rows.held().await.0, 0, "the quota is free again");
    assert_eq!((rows.secrets_of(&healthy).await, rows.misreserved_nodes().await), (0, 0));
    let again = api.clusters().forget_node(forget(&[])).await.unwrap().into_inner().node.unwrap();
    assert_eq!(again.forget_time, forgotten.forget_time, "a repeated call changes nothing");
    assert_eq!(told(&alarms(&api, "").await.unwrap()), []);

    // It comes back after all.
    let back = Double::dial(holder, &controller.node_address, state);
    let returned = wait_for("the alarm", SOON * SLACK, async || {
        let all = alarms(&api, "default").await.unwrap();
        (!all.is_empty()).then_some(all)
    })
    .await;
    assert_eq!(told(&returned), [("steady", "RETURNED")]);
    assert_eq!(back.calls_of(&healthy), 0, "it is told nothing");
    let shown = &api.nodes().await[0];
    assert_eq!((shown.state(), shown.alarms[0].reason()), (NodeState::Revoked, NodeAlarmReason::Returned));
    assert_eq!(api.project(&healthy).await.state(), ProjectState::Removed);

    // Somebody has stopped it at last: when it has not asked for some tries, the alarm ends by itself.
    drop(back);
    rows.set_node(id, "slots = slots", "returned_at = now() - interval '35 minutes'").await;
    assert_eq!(told(&alarms(&api, "").await.unwrap()), [("steady", "RETURNED")], "it may only be slow");
    rows.set_node(id, "slots = slots", "returned_at = now() - interval '41 minutes'").await;
    assert_eq!(told(&alarms(&api, "").await.unwrap()), []);
    assert!(api.nodes().await[0].alarms.is_empty());
    rows.assert_nothing_broken("projects.").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_while_all_controllers_were_away_loses_no_node() {
    let world = World::start().await;
    let project = world.project("shop", CORE).await;
    let node = only_node(&world).await;
    let World { mut controller, api, rows, double } = world;
    drop(double);
    let id = rows.node_id(&node.name).await;
    let forget = || ForgetNodeRequest { node_id: node.id.clone(), lost_projects: vec![project.clone()] };
    let ten_minutes = Duration::from_mins(10);
    let watched_for_ten_minutes = async || {
        wait_for("the node to be lost", SOON * SLACK, async || {
            rows.set_node(id, "slots = slots", "seen_at = now() - interval '10 minutes'").await;
            rows.let_replicas_watch(ten_minutes).await;
            (api.nodes().await[0].state() == NodeState::Lost).then_some(())
        })
        .await;
    };
    let is_not_lost = async || {
        let refused = api.clusters().forget_node(forget()).await.unwrap_err();
        assert_eq!(reason(&refused), "NODE_NOT_LOST", "{refused}");
        let wait = refused.message().split_once("stays silent for another ").unwrap().1;
        let wait: u64 = wait.split_once(" s").unwrap().0.parse().unwrap();
        assert!((60..=91).contains(&wait), "{refused}");
        assert_eq!(api.nodes().await[0].state(), NodeState::Unhealthy);
        assert_eq!(told(&alarms(&api, "").await.unwrap()), [("steady", "SILENT")]);
    };
    watched_for_ten_minutes().await;

    controller.process.kill();
    rows.let_replicas_be_silent(ten_minutes).await;
    controller.restart().await;
    is_not_lost().await;
    watched_for_ten_minutes().await;

    // The machine stands still, and the controller does not know for how long.
    let signal = |name: &str| {
        let id = controller.process.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    };
    signal("-STOP");
    tokio::time::sleep(Duration::from_secs(21)).await;
    signal("-CONT");
    is_not_lost().await;
    assert_ne!(api.project(&project).await.state(), ProjectState::Unknown);

    watched_for_ten_minutes().await;
    let forgotten = api.clusters().forget_node(forget()).await.unwrap().into_inner().node.unwrap();
    assert!(forgotten.forget_time.is_some());
    api.wait_state(&project, ProjectState::Removed, SOON * SLACK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_the_alarms_of_his_own_nodes() {
    let world = World::start().await;
    let (operator, rows) = (&world.api, &world.rows);
    rows.add_user("other@example.com").await;
    let mut other = world.controller.api();
    other.sign_in("other@example.com").await;
    other.create_organization("globex").await;
    rows.add_private_cluster("hall", Some("globex")).await;
    assert_eq!(told(&alarms(operator, "").await.unwrap()), [], "the node is well");
    // More than are read at once, with names before and after those below.
    rows.add_bare_nodes(300).await;

    for (name, cluster) in [("a", "default"), ("b", "hall")] {
        rows.add_node(name, 10, 10).await;
        rows.move_node(name, cluster).await;
    }
    let [a, b] = [rows.node_id("a").await, rows.node_id("b").await];
    rows.set_node(a, "cpu_used = cpu_cap + 1", "unexplained = '{abcdefghijklmnopqrst}'").await;
    rows.set_condition(b, true).await;
    let all = [("a", "LEFTOVERS"), ("a", "OVERFULL"), ("b", "SICK")];
    assert_eq!(told(&alarms(operator, "").await.unwrap()), all);
    assert_eq!(told(&alarms(operator, "default").await.unwrap()), all[..2]);
    assert_eq!(told(&alarms(&other, "").await.unwrap()), all[2..]);
    assert_eq!(told(&alarms(&other, "hall").await.unwrap()), all[2..]);
    assert_eq!(alarms(&other, "default").await.unwrap_err().code(), Code::PermissionDenied);
    rows.add_user("stranger@example.com").await;
    let mut stranger = world.controller.api();
    stranger.sign_in("stranger@example.com").await;
    assert_eq!(told(&alarms(&stranger, "").await.unwrap()), []);
    assert_eq!(alarms(&stranger, "hall").await.unwrap_err().code(), Code::NotFound);
    let wrong = ListAlarmsRequest { page_token: "eA".into(), ..Default::default() };
    assert_eq!(operator.clusters().list_alarms(wrong).await.unwrap_err().code(), Code::InvalidArgument);
}
