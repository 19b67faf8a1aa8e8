//! The controller dies while a project moves to another organization: before the commit nothing has happened, after it everything
//! has, and a repeated call moves nothing twice.

use std::time::Duration;

use supalove_failpoints::{DIRECTORY, FIRED, POINTS};
use supalove_proto::v1::{Project, ProjectEventType, TransferProjectRequest};
use supalove_system_tests::{Api, CORE, Controller, Double, Options, Rows, SLACK, wait_for};
use tonic::{Code, Status};

use super::people::{self, arm};

/// The points of this test, beside those that every act of a call passes.
pub const PREFIX: &str = "controller.transfer.";

/// A death, from the call on.
const DIES: Duration = Duration::from_secs(10);

struct World {
    points: tempfile::TempDir,
    controller: Controller,
    operator: Api,
    rows: Rows,
    double: Double,
}

impl World {
    async fn new() -> Self {
        let points = tempfile::tempdir().unwrap();
        let environment = vec![(DIRECTORY.to_owned(), points.path().display().to_string())];
        let controller = Controller::start_with(Options { environment, ..Options::default() }).await;
        let operator = controller.operator().await;
        operator.create_organization("globex").await;
        let double = Double::join(&controller.node_address, &operator.join_token().await, "steady").await;
        operator.wait_ready_nodes(1).await;
        let rows = controller.database.rows().await;
        Self { points, controller, operator, rows, double }
    }

    /// Calls; the controller dies at the point, and starts again.
    async fn dies(&mut self, point: &str, request: &TransferProjectRequest) {
        arm(self.points.path(), point);
        let refused = transfer(&self.operator, request).await.expect_err("the controller dies");
        assert!(matches!(refused.code(), Code::Unavailable | Code::Unknown | Code::Cancelled), "{refused:?}");
        wait_for("the death", DIES * SLACK, async || self.points.path().join(FIRED).exists().then_some(()))
            .await;
        self.controller.process.interrupt();
        self.controller.restart().await;
        let mut operator = self.controller.api();
        operator.use_token(&self.operator.token);
        self.operator = operator;
    }

    async fn used(&self) -> [i32; 2] {
        [self.rows.projects_used("acme").await, self.rows.projects_used("globex").await]
    }
}

async fn transfer(api: &Api, request: &TransferProjectRequest) -> Result<Project, Status> {
    let moved = api.projects().transfer_project(request.clone()).await?;
    Ok(moved.into_inner().project.unwrap())
}

#[tokio::test]
async fn a_project_moves_once_although_the_controller_dies() {
    let mut world = World::new().await;
    let project_ref = world.operator.create_healthy("shop", CORE).await.r#ref;
    let calls = world.double.calls_of(&project_ref);
    let is_passed = |name: &&str| name.starts_with(PREFIX) || name.starts_with(people::PREFIX);
    let points: Vec<_> = POINTS.iter().map(|point| point.name).filter(is_passed).collect();
    assert_eq!(points.len(), 4);
    let mut owners = ["acme", "globex"];
    for (number, point) in points.into_iter().enumerate() {
        let [from, to] = owners;
        let request = TransferProjectRequest {
            project_ref: project_ref.clone(),
            target_organization: to.into(),
            request_id: uuid::Uuid::new_v4().to_string(),
            ..Default::default()
        };
        world.dies(point, &request).await;
        let done = point.ends_with("committed");
        let owner = world.rows.organization_of(&project_ref).await;
        assert_eq!(owner, if done { to } else { from }, "{point}");
        // Twice: the second is a repeated call in any case.
        for _ in 0..2 {
            assert_eq!(transfer(&world.operator, &request).await.unwrap().organization, to, "{point}");
        }
        assert_eq!(world.used().await, if to == "acme" { [1, 0] } else { [0, 1] }, "{point}");
        let events = world.operator.events(&project_ref).await;
        let told = events.iter().filter(|one| one.r#type() == ProjectEventType::ProjectTransferred).count();
        assert_eq!(told, number + 1, "{point}");
        assert_eq!(world.rows.done("TransferProject").await, 2 * (number + 1), "a row in each log: {point}");
        owners = [to, from];
        println!("{point}: one transfer");
    }
    world.operator.wait_ready_nodes(1).await;
    world.operator.assert_consistent(1).await;
    assert_eq!(world.double.calls_of(&project_ref), calls, "nothing reached the node");
}
