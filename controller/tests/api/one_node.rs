//! A controller, its operator, and one node with an agent double that takes everything, or holds what a test wants to be held.

use std::time::Duration;

use supalove_proto::v1::{Operation, OperationState, ProjectState};
use supalove_system_tests::{Api, Controller, Double, Rows, SLACK};
use tonic::Status;

/// See the module.
pub struct World {
    pub controller: Controller,
    pub api: Api,
    pub rows: Rows,
    pub double: Double,
}

impl World {
    pub async fn start() -> Self {
        let controller = Controller::start().await;
        let api = controller.operator().await;
        let rows = controller.database.rows().await;
        let double = Double::join(&controller.node_address, &api.join_token().await, "steady").await;
        api.wait_ready_nodes(1).await;
        Self { controller, api, rows, double }
    }

    /// A project that is up; its ref.
    pub async fn project(&self, name: &str, release: &str) -> String {
        self.api.create_healthy(name, release).await.r#ref
    }

    /// From now on the agent takes nothing new of the project.
    pub fn hold(&self, project_ref: &str) {
        let refusal = Status::unavailable("the test holds it");
        self.double.state().refusals.insert(project_ref.to_owned(), refusal);
    }

    pub fn let_go(&self, project_ref: &str) {
        self.double.state().refusals.remove(project_ref);
    }

    /// Lets the time of a held operation end; what it failed with. Then the project comes to this state with what it returns to.
    pub async fn fail(&self, operation: &Operation, state: ProjectState) -> String {
        self.rows.end_times().await;
        let failed = self.api.wait(&operation.id).await;
        assert_eq!(failed.state(), OperationState::Failed);
        self.let_go(&operation.project_ref);
        self.api.wait_state(&operation.project_ref, state, Duration::from_secs(30) * SLACK).await;
        failed.error.unwrap().message
    }

    /// Rules of the projects' rows.
    pub async fn assert_rows_hold(&self) {
        self.rows.assert_nothing_broken("projects.").await;
    }
}
