//! A client of the public API, as an SDK would be.

use std::{str::FromStr as _, time::Duration};

use anyhow::{Context as _, Result, ensure};
use supalove_proto::v1::{
    CreateJoinTokenRequest, CreateProjectRequest, CreateProjectResponse, DeleteProjectRequest,
    ListNodesRequest, NodeState, Operation, OperationState, SetUpRequest, WaitOperationRequest,
    auth_service_client::AuthServiceClient, cluster_service_client::ClusterServiceClient,
    operation_service_client::OperationServiceClient, project_service_client::ProjectServiceClient,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

/// Longest wait for an operation.
const PATIENCE: Duration = Duration::from_mins(3);

/// Adds the bearer token.
#[derive(Clone, Default)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

type Service = InterceptedService<Channel, Bearer>;

/// A client; clones share the connection.
#[derive(Clone)]
pub struct Api {
    channel: Channel,
    bearer: Bearer,
}

impl Api {
    /// Connects to a controller on loopback and becomes the first user.
    pub async fn set_up(port: u16, setup_token: &str) -> Result<Self> {
        let channel = Endpoint::from_str(&format!("http://127.0.0.1:{port}"))?.connect().await?;
        let mut api = Self { channel, bearer: Bearer::default() };
        let request = SetUpRequest {
            setup_token: setup_token.to_owned(),
            email: "bench@example.com".into(),
            // Of a platform that lives for a minute.
            password: uuid::Uuid::new_v4().to_string(),
            display_name: String::new(),
        };
        let answer = AuthServiceClient::new(api.service()).set_up(request).await?.into_inner();
        let token = answer.tokens.context("SetUp answered without tokens")?.access_token;
        api.bearer = Bearer(Some(format!("Bearer {token}").parse()?));
        Ok(api)
    }

    fn service(&self) -> Service {
        InterceptedService::new(self.channel.clone(), self.bearer.clone())
    }

    /// CreateProject.
    pub async fn create(&self, request: CreateProjectRequest) -> Result<CreateProjectResponse> {
        Ok(ProjectServiceClient::new(self.service()).create_project(request).await?.into_inner())
    }

    /// DeleteProject at once, with its data.
    pub async fn delete(&self, project_ref: &str) -> Result<Operation> {
        let request = DeleteProjectRequest {
            project_ref: project_ref.to_owned(),
            undo_window: Some(prost_types::Duration::default()),
            ..Default::default()
        };
        let answer = ProjectServiceClient::new(self.service()).delete_project(request).await?;
        answer.into_inner().operation.context("DeleteProject answered without an operation")
    }

    /// Returns when the operation has succeeded.
    pub async fn wait(&self, operation_id: &str) -> Result<()> {
        let timeout = prost_types::Duration::try_from(PATIENCE)?;
        let mut request = Request::new(WaitOperationRequest {
            operation_id: operation_id.to_owned(),
            timeout: Some(timeout),
        });
        request.set_timeout(PATIENCE + Duration::from_secs(10));
        let answer = OperationServiceClient::new(self.service()).wait_operation(request).await?.into_inner();
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
        Ok(ClusterServiceClient::new(self.service())
            .create_join_token(request)
            .await?
            .into_inner()
            .join_token)
    }

    /// The id of a node that is READY.
    pub async fn ready_node(&self) -> Result<Option<String>> {
        let request = ListNodesRequest::default();
        let answer = ClusterServiceClient::new(self.service()).list_nodes(request).await?.into_inner();
        Ok(answer.nodes.into_iter().find(|node| node.state() == NodeState::Ready).map(|node| node.id))
    }
}
