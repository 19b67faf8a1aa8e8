//! The bench's calls of the public API, through the Rust SDK.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use supalove_sdk::{
    Client, Session, Tokens, prost_types,
    tonic::Request,
    v1::{
        CreateJoinTokenRequest, CreateProjectRequest, CreateProjectResponse, DeleteProjectRequest,
        ExplainPlacementRequest, GetClusterRequest, GetProjectConnectionRequest, GetProjectRequest,
        GetProjectUsageSeriesRequest, ListAlarmsRequest, ListNodesRequest, ListProjectsRequest, NodeState,
        Operation, OperationState, Project, RestartProjectRequest, RevealProjectSecretsRequest, SetUpRequest,
        SignInRequest, UndeleteProjectRequest, WaitOperationRequest,
        image_service_client::ImageServiceClient,
    },
};

/// Address of the first user.
const EMAIL: &str = "bench@example.com";
/// Timeout of an operation.
const PATIENCE: Duration = Duration::from_mins(3);

/// A client; clones share the connection and the user.
#[derive(Clone)]
pub struct Api {
    client: Client,
    port: u16,
    /// The first user's.
    password: String,
}

impl Api {
    /// Connects to a controller on loopback and becomes the first user.
    pub async fn set_up(port: u16, setup_token: &str) -> Result<Self> {
        let client = connect(port)?;
        // Of a platform that lives for a minute.
        let password = uuid::Uuid::new_v4().to_string();
        let request = SetUpRequest {
            setup_token: setup_token.to_owned(),
            email: EMAIL.into(),
            password: password.clone(),
            display_name: String::new(),
        };
        let answer = client.auth().set_up(request).await?.into_inner();
        let tokens: Tokens = answer.tokens.context("SetUp answered without tokens")?.into();
        Ok(Self { client: client.with_tokens(tokens), port, password })
    }

    /// Signs in somebody else with the same password.
    pub async fn sign_in(&self, email: &str) -> Result<Self> {
        let request = self.credentials(email);
        // A clone would change the user of this one, too.
        let client = connect(self.port)?;
        let answer = client.auth().sign_in(request).await?.into_inner();
        let tokens: Tokens = answer.tokens.context("SignIn answered without tokens")?.into();
        Ok(Self { client: client.with_tokens(tokens), ..self.clone() })
    }

    /// What somebody with the same password signs in with.
    pub fn credentials(&self, email: &str) -> SignInRequest {
        SignInRequest { email: email.into(), password: self.password.clone(), ..SignInRequest::default() }
    }

    /// The access token of its user; it lasts longer than an item.
    pub fn access_token(&self) -> String {
        self.client.tokens().access_token
    }

    /// The steps of the last 30 days of a project, in hours.
    pub async fn month_of(&self, project_ref: &str) -> Result<usize> {
        let start = std::time::SystemTime::now() - Duration::from_hours(30 * 24);
        let request = GetProjectUsageSeriesRequest {
            project_ref: project_ref.to_owned(),
            start_time: Some(start.into()),
            step: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
            ..GetProjectUsageSeriesRequest::default()
        };
        Ok(self.client.usage().get_project_usage_series(request).await?.into_inner().points.len())
    }

    /// The service of images.
    pub fn images(&self) -> ImageServiceClient<Session> {
        self.client.images()
    }

    /// Calls CreateProject once, without a retry, because the bench measures single calls.
    pub async fn create(&self, request: CreateProjectRequest) -> Result<CreateProjectResponse> {
        Ok(self.client.projects().create_project(request).await?.into_inner())
    }

    /// RestartProject, without waiting for its end.
    pub async fn restart(&self, project_ref: &str) -> Result<()> {
        let request =
            RestartProjectRequest { project_ref: project_ref.to_owned(), ..RestartProjectRequest::default() };
        self.client.projects().restart_project(request).await?;
        Ok(())
    }

    /// DeleteProject at once, with its data.
    pub async fn delete(&self, project_ref: &str) -> Result<Operation> {
        let request = DeleteProjectRequest {
            project_ref: project_ref.to_owned(),
            undo_window: Some(prost_types::Duration::default()),
            ..Default::default()
        };
        let answer = self.client.projects().delete_project(request).await?;
        answer.into_inner().operation.context("DeleteProject answered without an operation")
    }

    /// DeleteProject with an undo window of an hour.
    pub async fn delete_for_an_hour(&self, project_ref: &str) -> Result<()> {
        let undo_window = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
        let request =
            DeleteProjectRequest { project_ref: project_ref.to_owned(), undo_window, ..Default::default() };
        self.client.projects().delete_project(request).await?;
        Ok(())
    }

    /// UndeleteProject.
    pub async fn undelete(&self, project_ref: &str) -> Result<()> {
        let request = UndeleteProjectRequest { project_ref: project_ref.to_owned(), ..Default::default() };
        self.client.projects().undelete_project(request).await?;
        Ok(())
    }

    /// Waits until the operation has succeeded.
    pub async fn wait(&self, operation_id: &str) -> Result<()> {
        let timeout = prost_types::Duration::try_from(PATIENCE)?;
        let mut request = Request::new(WaitOperationRequest {
            operation_id: operation_id.to_owned(),
            timeout: Some(timeout),
        });
        request.set_timeout(PATIENCE + Duration::from_secs(10));
        let answer = self.client.operations().wait_operation(request).await?.into_inner();
        let operation = answer.operation.context("WaitOperation answered without an operation")?;
        ensure!(
            operation.state() == OperationState::Succeeded,
            "the operation did not succeed: {operation:?}"
        );
        Ok(())
    }

    /// A join token for one host.
    pub async fn join_token(&self) -> Result<String> {
        let request = CreateJoinTokenRequest::default();
        Ok(self.client.clusters().create_join_token(request).await?.into_inner().join_token)
    }

    /// The id of a node that is READY.
    pub async fn ready_node(&self) -> Result<Option<String>> {
        let request = ListNodesRequest::default();
        let answer = self.client.clusters().list_nodes(request).await?.into_inner();
        Ok(answer.nodes.into_iter().find(|node| node.state() == NodeState::Ready).map(|node| node.id))
    }

    /// A page of the default cluster's nodes; the token of the next one.
    pub async fn nodes_page(&self, page_token: String) -> Result<String> {
        let request = ListNodesRequest { page_size: 100, page_token, ..ListNodesRequest::default() };
        Ok(self.client.clusters().list_nodes(request).await?.into_inner().next_page_token)
    }

    /// A page of all projects; the token of the next one.
    pub async fn projects_page(&self, page_token: String) -> Result<String> {
        let request = ListProjectsRequest { page_size: 100, page_token, ..ListProjectsRequest::default() };
        Ok(self.client.projects().list_projects(request).await?.into_inner().next_page_token)
    }

    /// A page of alarms; the token of the next one.
    pub async fn alarms_page(&self, page_token: String) -> Result<String> {
        let request = ListAlarmsRequest { page_size: 100, page_token, ..ListAlarmsRequest::default() };
        let answer = self.client.clusters().list_alarms(request).await?.into_inner();
        ensure!(!answer.alarms.is_empty(), "there are no alarms");
        Ok(answer.next_page_token)
    }

    /// The default cluster, with its capacity.
    pub async fn cluster(&self) -> Result<()> {
        let answer = self.client.clusters().get_cluster(GetClusterRequest::default()).await?.into_inner();
        let free = answer.cluster.and_then(|cluster| cluster.free).context("the cluster has no capacity")?;
        ensure!(free.cpu_millis > 0, "nothing is free");
        Ok(())
    }

    /// Where a project of an organization would be placed.
    pub async fn explain(&self, organization: &str) -> Result<()> {
        let request = ExplainPlacementRequest { organization: organization.to_owned(), ..Default::default() };
        let answer = self.client.projects().explain_placement(request).await?.into_inner();
        ensure!(answer.fits, "a project fits nowhere: {}", answer.message);
        Ok(())
    }

    /// A project as it is shown.
    pub async fn project(&self, project_ref: &str) -> Result<Project> {
        let request = GetProjectRequest { project_ref: project_ref.to_owned() };
        let answer = self.client.projects().get_project(request).await?.into_inner();
        answer.project.context("GetProject answered without a project")
    }

    /// Where a project's owner reaches it.
    pub async fn reached(&self, project_ref: &str) -> Result<Reached> {
        let request = GetProjectConnectionRequest { project_ref: project_ref.to_owned() };
        let api_url = self.client.projects().get_project_connection(request).await?.into_inner().api_url;
        let request = RevealProjectSecretsRequest { project_ref: project_ref.to_owned() };
        let db_url = self.client.projects().reveal_project_secrets(request).await?.into_inner().db_url;
        Ok(Reached { api_url, db_url })
    }
}

/// Where a project's owner reaches it.
#[derive(Debug, Clone)]
pub struct Reached {
    /// The gateway.
    pub api_url: String,
    /// The database, with the password.
    pub db_url: String,
}

fn connect(port: u16) -> Result<Client> {
    Ok(Client::connect(&format!("http://127.0.0.1:{port}"))?)
}
