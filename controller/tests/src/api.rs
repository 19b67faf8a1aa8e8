//! A client of the public API, as an SDK would be.

use std::{
    str::FromStr as _,
    time::{Duration, Instant},
};

use supalove_proto::v1::{
    ConfirmRestoreRequest, CreateJoinTokenRequest, CreateOrganizationRequest, CreateProjectRequest,
    CreateProjectResponse, DeleteProjectRequest, GetProjectApiKeysRequest, GetProjectApiKeysResponse,
    GetProjectConnectionRequest, GetProjectConnectionResponse, GetProjectRequest, ListNodesRequest,
    ListProjectEventsRequest, Node, NodeState, Operation, OperationState, Project, ProjectEvent,
    ProjectState, RevealProjectSecretsRequest, RevealProjectSecretsResponse, SetUpRequest, SignInRequest,
    WaitOperationRequest, audit_service_client::AuditServiceClient, auth_service_client::AuthServiceClient,
    authority_service_client::AuthorityServiceClient, cluster_service_client::ClusterServiceClient,
    image_service_client::ImageServiceClient, invitation_service_client::InvitationServiceClient,
    leftover_service_client::LeftoverServiceClient, operation_service_client::OperationServiceClient,
    organization_service_client::OrganizationServiceClient,
    personal_access_token_service_client::PersonalAccessTokenServiceClient,
    plan_service_client::PlanServiceClient, platform_service_client::PlatformServiceClient,
    project_service_client::ProjectServiceClient, registry_service_client::RegistryServiceClient,
    usage_service_client::UsageServiceClient, watch_service_client::WatchServiceClient,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use tonic_types::StatusExt as _;

/// Password of every user in tests.
pub const PASSWORD: &str = "correct-horse-battery";

/// Adds the bearer token, if there is one.
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

/// A client.
#[derive(Clone)]
pub struct Api {
    /// The connection.
    pub channel: Channel,
    /// Who calls.
    pub bearer: Bearer,
    /// Access token, if signed in.
    pub token: String,
}

impl Api {
    /// Connects to a controller on loopback.
    pub fn connect(port: u16) -> Self {
        let endpoint = tonic::transport::Endpoint::from_str(&format!("http://127.0.0.1:{port}")).unwrap();
        let channel = endpoint.connect_lazy();
        Self { channel, bearer: Bearer::default(), token: String::new() }
    }

    fn service(&self) -> Service {
        InterceptedService::new(self.channel.clone(), self.bearer.clone())
    }

    /// AuthService.
    pub fn auth(&self) -> AuthServiceClient<Service> {
        AuthServiceClient::new(self.service())
    }

    /// OrganizationService.
    pub fn organizations(&self) -> OrganizationServiceClient<Service> {
        OrganizationServiceClient::new(self.service())
    }

    /// ProjectService.
    pub fn projects(&self) -> ProjectServiceClient<Service> {
        ProjectServiceClient::new(self.service())
    }

    /// WatchService.
    pub fn watches(&self) -> WatchServiceClient<Service> {
        WatchServiceClient::new(self.service())
    }

    /// OperationService.
    pub fn operations(&self) -> OperationServiceClient<Service> {
        OperationServiceClient::new(self.service())
    }

    /// ClusterService.
    pub fn clusters(&self) -> ClusterServiceClient<Service> {
        ClusterServiceClient::new(self.service())
    }

    /// AuthorityService.
    pub fn authorities(&self) -> AuthorityServiceClient<Service> {
        AuthorityServiceClient::new(self.service())
    }

    /// ImageService.
    pub fn images(&self) -> ImageServiceClient<Service> {
        ImageServiceClient::new(self.service())
    }

    /// LeftoverService.
    pub fn leftovers(&self) -> LeftoverServiceClient<Service> {
        LeftoverServiceClient::new(self.service())
    }

    /// InvitationService.
    pub fn invitations(&self) -> InvitationServiceClient<Service> {
        InvitationServiceClient::new(self.service())
    }

    /// PersonalAccessTokenService.
    pub fn personal_access_tokens(&self) -> PersonalAccessTokenServiceClient<Service> {
        PersonalAccessTokenServiceClient::new(self.service())
    }

    /// AuditService.
    pub fn audit(&self) -> AuditServiceClient<Service> {
        AuditServiceClient::new(self.service())
    }

    /// PlanService.
    pub fn plans(&self) -> PlanServiceClient<Service> {
        PlanServiceClient::new(self.service())
    }

    /// PlatformService.
    pub fn platform(&self) -> PlatformServiceClient<Service> {
        PlatformServiceClient::new(self.service())
    }

    /// RegistryService.
    pub fn registries(&self) -> RegistryServiceClient<Service> {
        RegistryServiceClient::new(self.service())
    }

    /// UsageService.
    pub fn usage(&self) -> UsageServiceClient<Service> {
        UsageServiceClient::new(self.service())
    }

    /// Signs calls with an access token from now on.
    pub fn use_token(&mut self, token: &str) {
        self.bearer = Bearer(Some(format!("Bearer {token}").parse().unwrap()));
        token.clone_into(&mut self.token);
    }

    /// Becomes the first user.
    pub async fn set_up(&mut self, setup_token: &str) {
        let request = SetUpRequest {
            setup_token: setup_token.to_owned(),
            email: "operator@example.com".into(),
            password: PASSWORD.into(),
            display_name: String::new(),
        };
        let answer = self.auth().set_up(request).await.unwrap().into_inner();
        self.use_token(&answer.tokens.unwrap().access_token);
    }

    /// Signs in.
    pub async fn sign_in(&mut self, email: &str) {
        let request = SignInRequest { email: email.into(), password: PASSWORD.into(), ..Default::default() };
        let answer = self.auth().sign_in(request).await.unwrap().into_inner();
        self.use_token(&answer.tokens.unwrap().access_token);
    }

    /// Makes an organization with this slug.
    pub async fn create_organization(&self, slug: &str) {
        let request =
            CreateOrganizationRequest { name: slug.into(), slug: slug.into(), ..Default::default() };
        self.organizations().create_organization(request).await.unwrap();
    }

    /// Makes a project of "acme"; answers at once.
    pub async fn create(&self, name: &str, release: &str) -> CreateProjectResponse {
        let request = CreateProjectRequest {
            organization: "acme".into(),
            name: name.into(),
            release: release.into(),
            ..Default::default()
        };
        self.projects().create_project(request).await.unwrap().into_inner()
    }

    /// Makes a project and waits until it is ACTIVE_HEALTHY.
    pub async fn create_healthy(&self, name: &str, release: &str) -> Project {
        let created = self.create(name, release).await;
        let operation = self.wait(&created.operation.unwrap().id).await;
        assert_eq!(operation.state(), OperationState::Succeeded, "{operation:#?}");
        let project = self.project(&created.project.unwrap().r#ref).await;
        assert_eq!(project.state(), ProjectState::ActiveHealthy, "{project:#?}");
        project
    }

    /// The project.
    pub async fn project(&self, project_ref: &str) -> Project {
        let request = GetProjectRequest { project_ref: project_ref.into() };
        self.projects().get_project(request).await.unwrap().into_inner().project.unwrap()
    }

    /// Its events.
    pub async fn events(&self, project_ref: &str) -> Vec<ProjectEvent> {
        let request = ListProjectEventsRequest {
            project_ref: project_ref.into(),
            page_size: 1000,
            ..Default::default()
        };
        self.projects().list_project_events(request).await.unwrap().into_inner().events
    }

    /// Its keys.
    pub async fn keys(&self, project_ref: &str) -> GetProjectApiKeysResponse {
        let request = GetProjectApiKeysRequest { project_ref: project_ref.into() };
        self.projects().get_project_api_keys(request).await.unwrap().into_inner()
    }

    /// Its secrets.
    pub async fn secrets(&self, project_ref: &str) -> RevealProjectSecretsResponse {
        let request = RevealProjectSecretsRequest { project_ref: project_ref.into() };
        self.projects().reveal_project_secrets(request).await.unwrap().into_inner()
    }

    /// How to connect to it.
    pub async fn connection(&self, project_ref: &str) -> GetProjectConnectionResponse {
        let request = GetProjectConnectionRequest { project_ref: project_ref.into() };
        self.projects().get_project_connection(request).await.unwrap().into_inner()
    }

    /// Deletes a project; `undo_seconds` 0 = with its data. Waits for the end.
    pub async fn delete(&self, project_ref: &str, undo_seconds: i64) -> Operation {
        let request = DeleteProjectRequest {
            project_ref: project_ref.into(),
            undo_window: Some(prost_types::Duration { seconds: undo_seconds, nanos: 0 }),
            ..Default::default()
        };
        let operation =
            self.projects().delete_project(request).await.unwrap().into_inner().operation.unwrap();
        self.wait(&operation.id).await
    }

    /// The operation when it has ended; at most three minutes.
    pub async fn wait(&self, operation_id: &str) -> Operation {
        let mut request = Request::new(WaitOperationRequest {
            operation_id: operation_id.into(),
            timeout: Some(prost_types::Duration { seconds: 180, nanos: 0 }),
        });
        request.set_timeout(Duration::from_secs(190));
        self.operations().wait_operation(request).await.unwrap().into_inner().operation.unwrap()
    }

    /// A join token for one host.
    pub async fn join_token(&self) -> String {
        let request = CreateJoinTokenRequest::default();
        self.clusters().create_join_token(request).await.unwrap().into_inner().join_token
    }

    /// The default cluster's nodes.
    pub async fn nodes(&self) -> Vec<Node> {
        self.clusters().list_nodes(ListNodesRequest::default()).await.unwrap().into_inner().nodes
    }

    /// Confirms a restore by its id, or asks what waits for a confirmation.
    pub async fn confirm_restore(&self, restore_id: &str) -> Result<String, Status> {
        let request = ConfirmRestoreRequest { restore_id: restore_id.to_owned() };
        Ok(self.platform().confirm_restore(request).await?.into_inner().detail)
    }

    /// Confirms what waits for a confirmation, as somebody who has looked at it; what had shown it. A restore of which there are more
    /// signs meanwhile is looked at again.
    pub async fn confirm_restores(&self) -> Vec<String> {
        let mut confirmed = Vec::new();
        while let Err(waits) = self.confirm_restore("").await {
            let named = restores(&waits);
            if let Ok(detail) = self.confirm_restore(&named[0]).await {
                confirmed.push(detail);
            }
        }
        confirmed
    }

    /// Waits until so many nodes are READY.
    pub async fn wait_ready_nodes(&self, count: usize) {
        wait_for("nodes to be READY", Duration::from_secs(30), async || {
            let ready = self.nodes().await.iter().filter(|n| n.state() == NodeState::Ready).count();
            (ready == count).then_some(())
        })
        .await;
    }

    /// Waits until a project is in a state.
    pub async fn wait_state(&self, project_ref: &str, state: ProjectState, limit: Duration) -> Project {
        wait_for(state.as_str_name(), limit, async || {
            let project = self.project(project_ref).await;
            (project.state() == state).then_some(project)
        })
        .await
    }
}

/// Ids of the restores that a refused confirmation names.
pub fn restores(refused: &Status) -> Vec<String> {
    let named = refused.get_details_precondition_failure().map(|details| details.violations);
    let named = named.unwrap_or_default().into_iter();
    let ids: Vec<_> =
        named.filter_map(|one| Some(one.subject.strip_prefix("restore:")?.to_owned())).collect();
    assert!(!ids.is_empty(), "no restore is named: {refused:?}");
    ids
}

/// Asks until there is an answer.
pub async fn wait_for<T>(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + limit;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < until, "waited {limit:?} for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
