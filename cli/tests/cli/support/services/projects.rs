//! The fake's projects, their settings and secrets, operations and watches.

use std::{pin::Pin, time::Duration};

use supalove_proto::v1::{
    self as pb, operation_service_server::OperationService, project_service_server::ProjectService,
    watch_service_server::WatchService, *,
};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::{
    super::fake::{Fake, operation},
    Answer,
};

#[tonic::async_trait]
impl ProjectService for Fake {
    type WatchProjectStream = Pin<Box<dyn Stream<Item = Result<WatchProjectResponse, Status>> + Send>>;

    async fn create_project(&self, request: Request<CreateProjectRequest>) -> Answer<CreateProjectResponse> {
        self.enter(&request, "CreateProject", &request.get_ref().request_id).await?;
        self.state().created_in.push(request.get_ref().organization.clone());
        Ok(Response::new(CreateProjectResponse {
            project: Some(project(&request.get_ref().name, ProjectState::ComingUp)),
            operation: Some(operation(OperationState::Running)),
        }))
    }

    async fn get_project(&self, request: Request<GetProjectRequest>) -> Answer<GetProjectResponse> {
        self.enter(&request, "GetProject", &request.get_ref().project_ref).await?;
        let shown = self.state().shown.clone();
        let project = Some(shown.unwrap_or_else(|| project("first", ProjectState::ActiveHealthy)));
        Ok(Response::new(GetProjectResponse { project }))
    }

    async fn delete_project(&self, request: Request<DeleteProjectRequest>) -> Answer<DeleteProjectResponse> {
        let window = request.get_ref().undo_window.map_or(-1, |d| d.seconds);
        self.enter(&request, "DeleteProject", &window.to_string()).await?;
        let operation = Some(operation(OperationState::Running));
        Ok(Response::new(DeleteProjectResponse { operation }))
    }

    async fn list_projects(&self, request: Request<ListProjectsRequest>) -> Answer<ListProjectsResponse> {
        self.enter(&request, "ListProjects", &request.get_ref().organization).await?;
        let mut projects = self.state().projects.clone();
        let ListProjectsRequest { organization, show_deleted, .. } = request.get_ref();
        projects.retain(|one| organization.is_empty() || one.organization == *organization);
        projects.retain(|one| *show_deleted || one.delete_time.is_none());
        Ok(Response::new(ListProjectsResponse { projects, ..Default::default() }))
    }

    async fn start_project(&self, request: Request<StartProjectRequest>) -> Answer<StartProjectResponse> {
        self.enter(&request, "StartProject", &request.get_ref().new_volumes.join(" ")).await?;
        let operation = Some(operation(OperationState::Running));
        Ok(Response::new(StartProjectResponse { operation }))
    }

    async fn stop_project(&self, request: Request<StopProjectRequest>) -> Answer<StopProjectResponse> {
        self.enter(&request, "StopProject", &request.get_ref().project_ref).await?;
        let operation = Some(operation(OperationState::Running));
        Ok(Response::new(StopProjectResponse { operation }))
    }

    async fn get_project_api_keys(
        &self,
        request: Request<GetProjectApiKeysRequest>,
    ) -> Answer<GetProjectApiKeysResponse> {
        self.enter(&request, "GetProjectApiKeys", &request.get_ref().project_ref).await?;
        Ok(Response::new(GetProjectApiKeysResponse { anon_key: "anon".into() }))
    }

    async fn get_project_connection(
        &self,
        request: Request<GetProjectConnectionRequest>,
    ) -> Answer<GetProjectConnectionResponse> {
        self.enter(&request, "GetProjectConnection", &request.get_ref().project_ref).await?;
        Ok(Response::new(GetProjectConnectionResponse {
            api_url: "http://127.0.0.1:5500".into(),
            db_url: "postgresql://postgres@127.0.0.1:5501/postgres".into(),
            db_host: "127.0.0.1".into(),
            db_port: 5501,
            db_host_only: true,
            api_host_only: true,
            node: "a-host-that-is-not-this-one".into(),
            ..Default::default()
        }))
    }

    async fn upgrade_project(
        &self,
        request: Request<UpgradeProjectRequest>,
    ) -> Answer<UpgradeProjectResponse> {
        let release = request.get_ref().release.clone();
        self.enter(&request, "UpgradeProject", &release).await?;
        if let Some(shown) = &mut self.state().shown {
            shown.release = release;
        }
        Ok(Response::new(UpgradeProjectResponse { operation: Some(operation(OperationState::Running)) }))
    }

    async fn list_outdated_projects(
        &self,
        request: Request<ListOutdatedProjectsRequest>,
    ) -> Answer<ListOutdatedProjectsResponse> {
        self.enter(&request, "ListOutdatedProjects", &request.get_ref().page_token).await?;
        let hole = |id: &str| KnownHole { id: id.into(), text: "what".into(), fixed_in: "core-2".into() };
        let project = OutdatedProject {
            project_ref: "abcdefghijklmnopqrst".into(),
            name: "first".into(),
            organization: "acme".into(),
            state: ProjectState::ActiveHealthy.into(),
            release: "core".into(),
            upgrade_to: "core-2".into(),
            known_holes: vec![hole("one"), hole("two")],
        };
        let last = !request.get_ref().page_token.is_empty();
        let next_page_token = if last { String::new() } else { "second".into() };
        Ok(Response::new(ListOutdatedProjectsResponse { projects: vec![project], next_page_token }))
    }

    async fn reveal_project_secrets(
        &self,
        request: Request<RevealProjectSecretsRequest>,
    ) -> Answer<RevealProjectSecretsResponse> {
        self.enter(&request, "RevealProjectSecrets", &request.get_ref().project_ref).await?;
        Ok(Response::new(RevealProjectSecretsResponse {
            service_role_key: "service".into(),
            db_password: "pw".into(),
            db_url: "postgresql://postgres:pw@127.0.0.1:5501/postgres".into(),
        }))
    }

    async fn watch_project(&self, request: Request<WatchProjectRequest>) -> Answer<Self::WatchProjectStream> {
        self.enter(&request, "WatchProject", "").await?;
        let mut state = self.state();
        state.watched_after.push(request.get_ref().after_seq);
        let messages = tokio_stream::iter(state.watches.pop_front().unwrap_or_default());
        let last = state.watches.is_empty();
        // The last stream stays open; the ones before break off.
        let rest = tokio_stream::pending().take_while(move |_: &WatchProjectResponse| true);
        let stream: Self::WatchProjectStream =
            if last { Box::pin(messages.chain(rest).map(Ok)) } else { Box::pin(messages.map(Ok)) };
        Ok(Response::new(stream))
    }

    async fn update_project(&self, request: Request<UpdateProjectRequest>) -> Answer<UpdateProjectResponse> {
        let asked = request.get_ref();
        let text = format!("{} {} {}", asked.name, asked.size, asked.etag);
        let words: Vec<&str> = text.split_whitespace().collect();
        self.enter(&request, "UpdateProject", &words.join(" ")).await?;
        let resizes = !request.get_ref().size.is_empty();
        Ok(Response::new(UpdateProjectResponse {
            project: Some(project(&request.get_ref().name, ProjectState::ActiveHealthy)),
            operation: resizes.then(|| operation(OperationState::Running)),
            restarted_services: if resizes { vec!["postgres".into()] } else { Vec::new() },
        }))
    }

    async fn get_project_settings(
        &self,
        request: Request<GetProjectSettingsRequest>,
    ) -> Answer<GetProjectSettingsResponse> {
        self.enter(&request, "GetProjectSettings", &request.get_ref().project_ref).await?;
        Ok(Response::new(GetProjectSettingsResponse { settings: Some(settings()) }))
    }

    async fn update_project_settings(
        &self,
        request: Request<UpdateProjectSettingsRequest>,
    ) -> Answer<UpdateProjectSettingsResponse> {
        let asked = request.get_ref().clone();
        let new = asked.settings.unwrap_or_default();
        let smtp = new.smtp.clone().unwrap_or_default();
        let mask = asked.update_mask.unwrap_or_default().paths.join(" ");
        let values =
            format!("{} {} {:?} {}", new.site_url, new.max_rows, new.disabled_services, smtp.password);
        self.enter(&request, "UpdateProjectSettings", &format!("{mask}: {values} ({})", asked.etag)).await?;
        Ok(Response::new(UpdateProjectSettingsResponse {
            settings: Some(new),
            operation: Some(operation(OperationState::Running)),
            restarted_services: vec!["auth".into()],
        }))
    }

    async fn set_secrets(&self, request: Request<SetSecretsRequest>) -> Answer<SetSecretsResponse> {
        let text: Vec<String> =
            request.get_ref().secrets.iter().map(|one| format!("{}={}", one.name, one.value)).collect();
        self.enter(&request, "SetSecrets", &text.join("|")).await?;
        let known = request.get_ref().secrets.iter().all(|one| one.name == "KNOWN");
        let operation = (!known).then(|| operation(OperationState::Running));
        Ok(Response::new(SetSecretsResponse { operation }))
    }

    async fn list_secrets(&self, request: Request<ListSecretsRequest>) -> Answer<ListSecretsResponse> {
        self.enter(&request, "ListSecrets", &request.get_ref().page_token).await?;
        let last = !request.get_ref().page_token.is_empty();
        let name = if last { "SECOND" } else { "FIRST" };
        let secret = Secret { name: name.into(), sha256: "ab".repeat(32), update_time: None };
        let next_page_token = if last { String::new() } else { "second".into() };
        Ok(Response::new(ListSecretsResponse { secrets: vec![secret], next_page_token }))
    }

    async fn delete_secrets(&self, request: Request<DeleteSecretsRequest>) -> Answer<DeleteSecretsResponse> {
        self.enter(&request, "DeleteSecrets", &request.get_ref().names.join(" ")).await?;
        let operation = Some(operation(OperationState::Running));
        Ok(Response::new(DeleteSecretsResponse { operation }))
    }

    async fn set_variables(&self, request: Request<SetVariablesRequest>) -> Answer<SetVariablesResponse> {
        let text: Vec<String> =
            request.get_ref().variables.iter().map(|one| format!("{}={}", one.name, one.value)).collect();
        self.enter(&request, "SetVariables", &text.join("|")).await?;
        let known = request.get_ref().variables.iter().all(|one| one.name == "KNOWN");
        let operation = (!known).then(|| operation(OperationState::Running));
        Ok(Response::new(SetVariablesResponse { operation }))
    }

    async fn list_variables(&self, request: Request<ListVariablesRequest>) -> Answer<ListVariablesResponse> {
        self.enter(&request, "ListVariables", &request.get_ref().page_token).await?;
        let last = !request.get_ref().page_token.is_empty();
        let name = if last { "SECOND" } else { "FIRST" };
        let variable = Variable { name: name.into(), value: "one\ntwo".into(), update_time: None };
        let next_page_token = if last { String::new() } else { "second".into() };
        Ok(Response::new(ListVariablesResponse { variables: vec![variable], next_page_token }))
    }

    async fn delete_variables(
        &self,
        request: Request<DeleteVariablesRequest>,
    ) -> Answer<DeleteVariablesResponse> {
        self.enter(&request, "DeleteVariables", &request.get_ref().names.join(" ")).await?;
        let operation = Some(operation(OperationState::Running));
        Ok(Response::new(DeleteVariablesResponse { operation }))
    }

    async fn reset_database_password(
        &self,
        request: Request<ResetDatabasePasswordRequest>,
    ) -> Answer<ResetDatabasePasswordResponse> {
        self.enter(&request, "ResetDatabasePassword", &request.get_ref().project_ref).await?;
        Ok(Response::new(ResetDatabasePasswordResponse {
            operation: Some(operation(OperationState::Running)),
            restarted_services: vec!["postgres".into()],
        }))
    }

    async fn rotate_jwt_secret(
        &self,
        request: Request<RotateJwtSecretRequest>,
    ) -> Answer<RotateJwtSecretResponse> {
        let confirm = request.get_ref().confirm.clone();
        self.enter(&request, "RotateJwtSecret", &confirm).await?;
        Ok(Response::new(RotateJwtSecretResponse {
            operation: (!confirm.is_empty()).then(|| operation(OperationState::Running)),
            stops_working: vec!["All keys stop working.".into()],
            restarted_services: vec!["gateway".into()],
        }))
    }

    async fn explain_placement(
        &self,
        request: Request<ExplainPlacementRequest>,
    ) -> Answer<ExplainPlacementResponse> {
        let ExplainPlacementRequest { organization, cluster, resources, .. } = request.get_ref();
        let memory = resources.unwrap_or_default().memory_mib;
        self.enter(&request, "ExplainPlacement", &format!("{organization} {cluster} {memory}")).await?;
        Ok(Response::new(ExplainPlacementResponse {
            message: "0 of 1 node fits: host-7 is cordoned. What would help: uncordon host-7".into(),
            resources: *resources,
            ..Default::default()
        }))
    }

    async fn preview_transfer(
        &self,
        request: Request<PreviewTransferRequest>,
    ) -> Answer<PreviewTransferResponse> {
        let target_organization = request.get_ref().target_organization.clone();
        self.enter(&request, "PreviewTransfer", &target_organization).await?;
        let obstacle = TransferObstacle {
            reason: ErrorReason::QuotaExceeded.into(),
            message: "There is no room.".into(),
        };
        let full = target_organization == "full";
        let number = |number| Some(EntitlementValue { kind: Some(entitlement_value::Kind::Number(number)) });
        Ok(Response::new(PreviewTransferResponse {
            source_organization: "acme".into(),
            target_organization,
            obstacles: if full { vec![obstacle] } else { Vec::new() },
            limits: vec![TransferLimit {
                entitlement: Entitlement::Projects.into(),
                source: number(20),
                target: number(2),
                used: Some(3),
                over: full,
            }],
            members: vec![TransferMember {
                email: "bob@example.com".into(),
                source_role: Role::Developer.into(),
                ..Default::default()
            }],
            members_total: 9,
            changes: vec!["People come and go.".into()],
            stays: vec!["Its data.".into()],
            etag: "7".into(),
        }))
    }

    async fn transfer_project(
        &self,
        request: Request<TransferProjectRequest>,
    ) -> Answer<TransferProjectResponse> {
        let asked = request.get_ref();
        let text = format!("{} {} {}", asked.project_ref, asked.target_organization, asked.etag);
        self.enter(&request, "TransferProject", text.trim()).await?;
        let organization = request.into_inner().target_organization;
        let project = pb::Project { organization, ..project("first", ProjectState::ActiveHealthy) };
        Ok(Response::new(TransferProjectResponse { project: Some(project) }))
    }

    type TailLogsStream = Pin<Box<dyn Stream<Item = Result<TailLogsResponse, Status>> + Send>>;

    async fn tail_logs(&self, request: Request<TailLogsRequest>) -> Answer<Self::TailLogsStream> {
        self.enter(&request, "TailLogs", &request.get_ref().project_ref).await?;
        let mut state = self.state();
        state.tailed.push(request.into_inner());
        let messages = state.tails.pop_front().unwrap_or_default();
        Ok(Response::new(Box::pin(tokio_stream::iter(messages))))
    }

    unused! {
        restart_project(RestartProjectRequest) -> RestartProjectResponse;
        undelete_project(UndeleteProjectRequest) -> UndeleteProjectResponse;
        list_project_events(ListProjectEventsRequest) -> ListProjectEventsResponse;
    }
}

fn settings() -> ProjectSettings {
    ProjectSettings {
        site_url: "https://old.example".into(),
        sign_up_enabled: true,
        smtp: Some(ProjectSmtp {
            host: "mail.example.com".into(),
            port: 587,
            password_set: true,
            sender_email: "shop@example.com".into(),
            ..Default::default()
        }),
        exposed_schemas: vec!["public".into()],
        max_rows: 1000,
        disabled_services: vec!["realtime".into()],
        etag: "7".into(),
        ..Default::default()
    }
}

#[tonic::async_trait]
impl WatchService for Fake {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Answer<Self::WatchStream> {
        self.enter(&request, "Watch", "").await?;
        let mut state = self.state();
        state.subscribed.push(request.into_inner().subscriptions);
        let messages = state.watches_of_many.pop_front().unwrap_or_default();
        Ok(Response::new(Box::pin(tokio_stream::iter(messages).map(Ok))))
    }
}

#[tonic::async_trait]
impl OperationService for Fake {
    async fn get_operation(&self, request: Request<GetOperationRequest>) -> Answer<GetOperationResponse> {
        self.enter(&request, "GetOperation", "").await?;
        let operation = Some(operation(OperationState::Running));
        Ok(Response::new(GetOperationResponse { operation }))
    }

    async fn wait_operation(&self, request: Request<WaitOperationRequest>) -> Answer<WaitOperationResponse> {
        self.enter(&request, "WaitOperation", "").await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let ended = self.state().ended.clone();
        let operation = Some(ended.unwrap_or_else(|| operation(OperationState::Running)));
        Ok(Response::new(WaitOperationResponse { operation }))
    }

    async fn cancel_operation(
        &self,
        request: Request<CancelOperationRequest>,
    ) -> Answer<CancelOperationResponse> {
        self.enter(&request, "CancelOperation", "").await?;
        let operation = Some(operation(OperationState::Cancelled));
        Ok(Response::new(CancelOperationResponse { operation }))
    }

    unused! {
        list_operations(ListOperationsRequest) -> ListOperationsResponse;
    }
}

pub fn project(name: &str, state: ProjectState) -> pb::Project {
    pb::Project {
        r#ref: "abcdefghijklmnopqrst".into(),
        name: name.into(),
        organization: "acme".into(),
        state: state.into(),
        size: "small".into(),
        resources: Some(ProjectResources {
            cpu_millis: 500,
            memory_mib: 1024,
            disk_mib: 4096,
            connections: 90,
        }),
        services: vec![ProjectServiceStatus {
            name: "postgres".into(),
            state: ServiceState::Healthy.into(),
            message: String::new(),
        }],
        ..Default::default()
    }
}
