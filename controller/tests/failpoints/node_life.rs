//! The controller dies while a node is drained or given up: before the commit nothing has happened, after it everything happens once,
//! whichever step of the jobs it dies at.

use std::time::Duration;

use supalove_failpoints::{DIRECTORY, FIRED, POINTS};
use supalove_proto::v1::{
    DrainNodeRequest, ForgetNodeRequest, NodeAvailability, NodeState, OperationState, ProjectEventType,
    ProjectState, StopProjectRequest, UncordonNodeRequest,
};
use supalove_system_tests::{Api, CORE, Controller, Double, Options, Rows, SLACK, wait_for};
use tonic::{Code, Response, Status};

use super::people::{self, arm};

/// A death, from the call on.
const DIES: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(30);

/// Steps of a node that is given up, beside those of its call: what is under way fails, its projects are marked, and end.
const FORGOTTEN: [&str; 3] =
    ["controller.report.operation_ended", "controller.jobs.purged", "controller.removal.placement_gone"];

/// A controller that dies at the point that is armed, and starts again.
pub struct World {
    points: tempfile::TempDir,
    pub controller: Controller,
    pub operator: Api,
    pub rows: Rows,
}

impl World {
    pub async fn new() -> Self {
        let points = tempfile::tempdir().unwrap();
        let environment = vec![(DIRECTORY.to_owned(), points.path().display().to_string())];
        let controller = Controller::start_with(Options { environment, ..Options::default() }).await;
        let operator = controller.operator().await;
        let rows = controller.database.rows().await;
        Self { points, controller, operator, rows }
    }

    /// A node that is ready.
    pub async fn node(&self, name: &str) -> Double {
        let token = self.operator.join_token().await;
        let double = Double::join(&self.controller.node_address, &token, name).await;
        self.operator.wait_ready_nodes(1).await;
        double
    }

    /// The controller dies at the point, in the call or in what follows from it, and starts again.
    pub async fn dies<T>(&mut self, point: &str, call: impl AsyncFn(&Api) -> Result<T, Status>) {
        arm(self.points.path(), point);
        // Whether the answer arrives depends on the point. A node that is only just coming back refuses, before any point.
        let asks = async |api: &Api| call(api).await.err().filter(|no| no.code() == Code::FailedPrecondition);
        let mut refused = asks(&self.operator).await;
        wait_for(&format!("the death at {point}; refused: {refused:?}"), DIES * SLACK, async || {
            if refused.is_some() {
                refused = asks(&self.operator).await;
            }
            self.points.path().join(FIRED).exists().then_some(())
        })
        .await;
        self.controller.process.interrupt();
        self.controller.restart().await;
        let mut operator = self.controller.api();
        operator.use_token(&self.operator.token);
        self.operator = operator;
    }
}

/// Points that every call passes.
pub fn of_calls() -> Vec<&'static str> {
    let names: Vec<_> =
        POINTS.iter().map(|point| point.name).filter(|name| name.starts_with(people::PREFIX)).collect();
    assert_eq!(names.len(), 2);
    names
}

#[tokio::test]
async fn a_node_is_drained_although_the_controller_dies() {
    let mut world = World::new().await;
    let double = world.node("host").await;
    let project_ref = world.operator.create_healthy("shop", CORE).await.r#ref;
    let calls = double.calls_of(&project_ref);
    let node_id = world.operator.nodes().await.remove(0).id;
    let drain = async |api: &Api| {
        let request = DrainNodeRequest { node_id: node_id.clone() };
        api.clusters().drain_node(request).await.map(Response::into_inner)
    };
    let mut done = 0;
    for point in of_calls() {
        world.dies(point, &drain).await;
        let committed = point.ends_with("committed");
        let shown = world.operator.nodes().await.remove(0).availability();
        let expected = if committed { NodeAvailability::Draining } else { NodeAvailability::Active };
        assert_eq!(shown, expected, "{point}");
        let again = drain(&world.operator).await.unwrap();
        assert_eq!(again.node.unwrap().availability(), NodeAvailability::Draining, "{point}");
        assert_eq!((again.projects.len(), again.projects[0].running), (1, true), "{point}");
        done += 1 + usize::from(committed);
        assert_eq!(world.rows.done("DrainNode").await, done, "a row for each: {point}");
        let uncordon = UncordonNodeRequest { node_id: node_id.clone() };
        world.operator.clusters().uncordon_node(uncordon).await.unwrap();
        world.operator.wait_ready_nodes(1).await;
        world.operator.wait_state(&project_ref, ProjectState::ActiveHealthy, SOON * SLACK).await;
        println!("{point}: drained");
    }
    assert_eq!(double.calls_of(&project_ref), calls, "nothing reached the project");
    world.operator.assert_consistent(1).await;
}

#[tokio::test]
async fn a_node_is_forgotten_although_the_controller_dies() {
    let mut world = World::new().await;
    for (number, point) in of_calls().into_iter().chain(FORGOTTEN).enumerate() {
        let name = format!("host-{number}");
        let double = world.node(&name).await;
        let api = world.operator.clone();
        let steady = api.create_healthy(&format!("steady-{number}"), CORE).await.r#ref;
        let busy = api.create_healthy(&format!("busy-{number}"), CORE).await.r#ref;
        double.state().refusals.insert(busy.clone(), Status::unavailable("the test holds it"));
        let request = StopProjectRequest { project_ref: busy.clone(), ..Default::default() };
        let open = api.projects().stop_project(request).await.unwrap().into_inner().operation.unwrap();
        drop(double);
        let id = world.rows.node_id(&name).await;
        wait_for("the node to be lost", SOON * SLACK, async || {
            world.rows.set_node(id, "slots = slots", "seen_at = now() - interval '10 minutes'").await;
            world.rows.let_replicas_watch(Duration::from_mins(10)).await;
            let nodes = api.nodes().await;
            nodes.iter().any(|node| node.name == name && node.state() == NodeState::Lost).then_some(())
        })
        .await;

        let forget = async |api: &Api| {
            let lost_projects = vec![steady.clone(), busy.clone()];
            let request = ForgetNodeRequest { node_id: format!("nod_{}", id.simple()), lost_projects };
            api.clusters().forget_node(request).await
        };
        world.dies(point, &forget).await;
        world.rows.let_replicas_watch(Duration::from_mins(10)).await;
        forget(&world.operator).await.unwrap();
        for project in [&steady, &busy] {
            world.operator.wait_state(project, ProjectState::Removed, SOON * SLACK).await;
            let events = world.operator.events(project).await;
            let ends = events.iter().filter(|one| one.r#type() == ProjectEventType::ProjectAbandoned).count();
            assert_eq!(ends, 1, "{point}: {events:#?}");
            assert_eq!(world.rows.secrets_of(project).await, 0, "{point}");
        }
        let ended = world.operator.wait(&open.id).await;
        let reason = ended.error.clone().map(|error| error.reason).unwrap_or_default();
        assert_eq!((ended.state(), reason.as_str()), (OperationState::Failed, "NODE_REVOKED"), "{point}");
        assert_eq!((world.rows.held().await.0, world.rows.misreserved_nodes().await), (0, 0), "{point}");
        println!("{point}: forgotten");
    }
    let broken = world.rows.broken_of_all().await;
    assert!(broken.is_empty(), "{broken:#?}");
}
