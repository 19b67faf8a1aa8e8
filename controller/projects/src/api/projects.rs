//! `supalove.v1.ProjectService`.

use std::{pin::Pin, time::Duration};

use chrono::DateTime;
use futures::{Stream, StreamExt as _, future::ready, stream};
use prost::Message;
use supalove_proto::v1::{
    self as pb, CreateProjectRequest, CreateProjectResponse, DeleteProjectRequest, DeleteProjectResponse,
    ExplainPlacementRequest, ExplainPlacementResponse, GetProjectApiKeysRequest, GetProjectApiKeysResponse,
    GetProjectConnectionRequest, GetProjectConnectionResponse, GetProjectRequest, GetProjectResponse,
    ListOutdatedProjectsRequest, ListOutdatedProjectsResponse, ListProjectEventsRequest,
    ListProjectEventsResponse, ListProjectsRequest, ListProjectsResponse, RestartProjectRequest,
    RestartProjectResponse, RevealProjectSecretsRequest, RevealProjectSecretsResponse, StartProjectRequest,
    StartProjectResponse, StopProjectRequest, StopProjectResponse, UndeleteProjectRequest,
    UndeleteProjectResponse, UpgradeProjectRequest, UpgradeProjectResponse, WatchProjectRequest,
    WatchProjectResponse, project_service_server::ProjectService,
};
use tonic::{Request, Response, Status};

use supalove_fleet::Fleet;
use supalove_organizations::OrganizationKey;

use crate::{
    ProjectKey,
    acts::{Act, Acts, Asked, Changed, Parties},
    logs::Logs,
    settings::shown,
    store::{
        events,
        function_secrets::{self, Kind, Listed},
        operations, projects, secrets, settings,
    },
    watch::{ProjectStreams, of_one_project},
    wire,
};
use supalove_core::{
    Core,
    access::{
        Call,
        Permission::{ReadProjects, ReceiveProjects},
    },
    error::{Error, Result},
    ids::ProjectRef,
    watch::{Engine, Followed, StreamSource as _},
    wire::{duration, page, page_size, parse_page_token},
};

/// The year 10000.
const LAST_MICROS: i64 = 253_402_300_800_000_000;
const MAX_UNDO_WINDOW: Duration = Duration::from_hours(90 * 24);
/// What a rotation of the signing secret does to clients.
const ROTATION_STOPS: [&str; 4] = [
    "Both API keys stop working: every application and server needs the new anon or service_role key.",
    "Every user is signed out: access tokens that auth has issued are refused.",
    "Signed URLs of storage stop working.",
    "Tokens that you have signed yourself with the old secret are refused.",
];

#[derive(Clone)]
pub struct ProjectApi {
    core: Core,
    acts: Acts,
    engine: Engine,
    streams: ProjectStreams,
    logs: Logs,
}

impl ProjectApi {
    /// On the control database; `fleet` reaches the nodes.
    pub fn new(core: &Core, acts: &Acts, fleet: &Fleet) -> Self {
        Self {
            core: core.clone(),
            acts: acts.clone(),
            engine: core.watches.clone(),
            streams: ProjectStreams::new(core, acts.releases()),
            logs: Logs::new(core, fleet),
        }
    }

    /// Performs an act on a project and returns its operation.
    async fn act(
        &self,
        call: &Call,
        project_ref: &str,
        request_id: &str,
        body: &impl Message,
        act: Act,
        new_volumes: &[String],
    ) -> Result<Option<pb::Operation>> {
        let key = self.core.access.allow::<ProjectKey>(call, project_ref).await?;
        let id = self.acts.act(call, request_id, body, &key.project, act, new_volumes).await?;
        Ok(Some(operations::get(&self.core.db, id).await?.into()))
    }

    /// Changes a project's content.
    async fn change(
        &self,
        call: &Call,
        project_ref: &str,
        asked: Asked<'_>,
    ) -> Result<(ProjectRef, Changed)> {
        let key = self.core.access.allow::<ProjectKey>(call, project_ref).await?;
        let changed = self.acts.change(call, &key.project, asked).await?;
        Ok((key.project, changed))
    }

    /// The project of a transfer, which the caller may give away, and the organization that gets it, for which the caller may take
    /// it.
    async fn parties(&self, call: &Call, project_ref: &str, target: &str) -> Result<Parties> {
        let access = &self.core.access;
        let project = access.allow::<ProjectKey>(call, project_ref).await?;
        let target = access.allow_also::<OrganizationKey>(call, target, ReceiveProjects).await?;
        if target.id == project.organization {
            let what = "must be another organization: the project belongs to this one already";
            return Err(Error::field("target_organization", what));
        }
        let source = projects::get(&self.core.db, &project.project).await?.organization;
        Ok(Parties { project, source, target })
    }

    /// A page of the secrets or variables of functions, and one more.
    async fn of_functions(
        &self,
        project: &ProjectRef,
        kind: Kind,
        after: &str,
        size: i64,
    ) -> Result<Vec<Listed>> {
        function_secrets::list(&self.core.db, &self.core.vault, project, kind, after, size + 1).await
    }

    async fn started(&self, changed: &Changed) -> Result<Option<pb::Operation>> {
        let Some(id) = changed.operation else { return Ok(None) };
        Ok(Some(operations::get(&self.core.db, id).await?.into()))
    }

    async fn settings(&self, project: &ProjectRef) -> Result<pb::ProjectSettings> {
        Ok(shown(&settings::newest(&self.core.db, &self.core.vault, project).await?))
    }
}

#[tonic::async_trait]
impl ProjectService for ProjectApi {
    async fn explain_placement(
        &self,
        request: Request<ExplainPlacementRequest>,
    ) -> Result<Response<ExplainPlacementResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let grant = self.core.access.allow::<OrganizationKey>(&call, &body.organization).await?;
        Ok(Response::new(self.acts.explain(&call, &grant, &body).await?))
    }

    async fn create_project(
        &self,
        request: Request<CreateProjectRequest>,
    ) -> Result<Response<CreateProjectResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let grant = self.core.access.allow::<OrganizationKey>(&call, &body.organization).await?;
        let created = self.acts.create(&call, &grant, &body).await?;
        Ok(Response::new(CreateProjectResponse {
            project: Some(wire::project(self.acts.releases(), created.project)),
            operation: Some(created.operation.into()),
        }))
    }

    async fn get_project(
        &self,
        request: Request<GetProjectRequest>,
    ) -> Result<Response<GetProjectResponse>, Status> {
        let call = Call::from_request(&request)?;
        let grant = self.core.access.allow::<ProjectKey>(&call, &request.get_ref().project_ref).await?;
        let project = projects::get(&self.core.db, &grant.project).await?;
        Ok(Response::new(GetProjectResponse { project: Some(wire::project(self.acts.releases(), project)) }))
    }

    async fn list_projects(
        &self,
        request: Request<ListProjectsRequest>,
    ) -> Result<Response<ListProjectsResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let size = page_size(body.page_size, 50, 100)?;
        let before = parse_page_token(&body.page_token)?.map(|key| parse_key(&key)).transpose()?;
        let organization = match body.organization.as_str() {
            "" => None,
            slug => Some(self.core.access.allow::<OrganizationKey>(&call, slug).await?.id),
        };
        let filter = projects::Filter {
            member: call.principal()?.user,
            organization,
            show_deleted: body.show_deleted,
            before,
            limit: size + 1,
        };
        let found = projects::list(&self.core.db, &filter).await?;
        let (found, next) = page(found, size, key);
        let projects = found.into_iter().map(|one| wire::project(self.acts.releases(), one)).collect();
        Ok(Response::new(ListProjectsResponse { projects, next_page_token: next }))
    }

    async fn start_project(
        &self,
        request: Request<StartProjectRequest>,
    ) -> Result<Response<StartProjectResponse>, Status> {
        let call = Call::from_request(&request)?;
        let b = request.into_inner();
        let known = |name: &String| supalove_spec::names::is_volume(name);
        if b.new_volumes.len() > supalove_spec::limits::VOLUMES || !b.new_volumes.iter().all(known) {
            return Err(Error::field("new_volumes", "must be short names of volumes, [a-z0-9_]{1,32}").into());
        }
        let operation =
            self.act(&call, &b.project_ref, &b.request_id, &b, Act::Start, &b.new_volumes).await?;
        Ok(Response::new(StartProjectResponse { operation }))
    }

    async fn stop_project(
        &self,
        request: Request<StopProjectRequest>,
    ) -> Result<Response<StopProjectResponse>, Status> {
        let call = Call::from_request(&request)?;
        let b = request.into_inner();
        let operation = self.act(&call, &b.project_ref, &b.request_id, &b, Act::Stop, &[]).await?;
        Ok(Response::new(StopProjectResponse { operation }))
    }

    async fn restart_project(
        &self,
        request: Request<RestartProjectRequest>,
    ) -> Result<Response<RestartProjectResponse>, Status> {
        let call = Call::from_request(&request)?;
        let b = request.into_inner();
        let operation = self.act(&call, &b.project_ref, &b.request_id, &b, Act::Restart, &[]).await?;
        Ok(Response::new(RestartProjectResponse { operation }))
    }

    async fn upgrade_project(
        &self,
        request: Request<UpgradeProjectRequest>,
    ) -> Result<Response<UpgradeProjectResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let key = self.core.access.allow::<ProjectKey>(&call, &body.project_ref).await?;
        let id = self.acts.upgrade(&call, &key.project, &body).await?;
        let operation = Some(operations::get(&self.core.db, id).await?.into());
        Ok(Response::new(UpgradeProjectResponse { operation }))
    }

    async fn list_outdated_projects(
        &self,
        request: Request<ListOutdatedProjectsRequest>,
    ) -> Result<Response<ListOutdatedProjectsResponse>, Status> {
        let body = request.into_inner();
        let size = page_size(body.page_size, 50, 100)?;
        let after = parse_page_token(&body.page_token)?.unwrap_or_default();
        let releases = self.acts.releases();
        let affected: Vec<String> = releases.with_known_holes().map(str::to_owned).collect();
        let found = projects::of_releases(&self.core.db, &affected, &after, size + 1).await?;
        let (found, next) = page(found, size, |one| one.project.to_string());
        let projects = found.into_iter().map(|one| wire::outdated(releases, one)).collect();
        Ok(Response::new(ListOutdatedProjectsResponse { projects, next_page_token: next }))
    }

    async fn delete_project(
        &self,
        request: Request<DeleteProjectRequest>,
    ) -> Result<Response<DeleteProjectResponse>, Status> {
        let call = Call::from_request(&request)?;
        let b = request.into_inner();
        let undo_window =
            duration("undo_window", b.undo_window, self.core.times.undo_window, MAX_UNDO_WINDOW)?;
        let act = Act::Delete { undo_window, named: b.undo_window.is_some() };
        let operation = self.act(&call, &b.project_ref, &b.request_id, &b, act, &[]).await?;
        Ok(Response::new(DeleteProjectResponse { operation }))
    }

    async fn undelete_project(
        &self,
        request: Request<UndeleteProjectRequest>,
    ) -> Result<Response<UndeleteProjectResponse>, Status> {
        let call = Call::from_request(&request)?;
        let b = request.into_inner();
        let operation = self.act(&call, &b.project_ref, &b.request_id, &b, Act::Undelete, &[]).await?;
        Ok(Response::new(UndeleteProjectResponse { operation }))
    }

    type WatchProjectStream = Pin<Box<dyn Stream<Item = Result<WatchProjectResponse, Status>> + Send>>;

    async fn watch_project(
        &self,
        request: Request<WatchProjectRequest>,
    ) -> Result<Response<Self::WatchProjectStream>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let stream = self.streams.open(&call, &body.project_ref).await?;
        let messages =
            self.engine.follow(call, vec![Followed { number: 0, stream, after: body.after_seq }])?;
        let messages = messages.filter_map(|message| ready(message.map(of_one_project).transpose()));
        Ok(Response::new(Box::pin(messages.map(|message| Ok(message??)))))
    }

    type TailLogsStream = Pin<Box<dyn Stream<Item = Result<pb::TailLogsResponse, Status>> + Send>>;

    async fn tail_logs(
        &self,
        request: Request<pb::TailLogsRequest>,
    ) -> Result<Response<Self::TailLogsStream>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let key = self.core.access.allow::<ProjectKey>(&call, &body.project_ref).await?;
        let mut messages = self.logs.tail(call, &key.project, body).await?;
        let messages = stream::poll_fn(move |cx| messages.poll_recv(cx));
        Ok(Response::new(Box::pin(messages.map(|message| Ok(message?)))))
    }

    async fn list_project_events(
        &self,
        request: Request<ListProjectEventsRequest>,
    ) -> Result<Response<ListProjectEventsResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let size = page_size(body.page_size, 100, 1000)?;
        let after = parse_page_token(&body.page_token)?.map_or(Ok(0), |key| key.parse::<i64>());
        let after = after
            .map_err(|_| Error::field("page_token", "must be the next_page_token of the previous page"))?;
        let grant = self.core.access.allow::<ProjectKey>(&call, &body.project_ref).await?;
        let found = events::after(&self.core.db, &grant.project, after, size + 1).await?;
        let (found, next) = page(found, size, |e| e.seq.to_string());
        let events = found.into_iter().map(Into::into).collect();
        Ok(Response::new(ListProjectEventsResponse { events, next_page_token: next }))
    }

    async fn get_project_api_keys(
        &self,
        request: Request<GetProjectApiKeysRequest>,
    ) -> Result<Response<GetProjectApiKeysResponse>, Status> {
        let call = Call::from_request(&request)?;
        let grant = self.core.access.allow::<ProjectKey>(&call, &request.get_ref().project_ref).await?;
        let anon_key = secrets::reveal(&self.core, &grant.project, "anon_key").await?;
        Ok(Response::new(GetProjectApiKeysResponse { anon_key }))
    }

    async fn get_project_connection(
        &self,
        request: Request<GetProjectConnectionRequest>,
    ) -> Result<Response<GetProjectConnectionResponse>, Status> {
        let call = Call::from_request(&request)?;
        let grant = self.core.access.allow::<ProjectKey>(&call, &request.get_ref().project_ref).await?;
        let project = projects::get(&self.core.db, &grant.project).await?;
        let release = self.acts.releases().get(&project.release);
        let ca_certificate = match release.filter(|release| release.has_database_tls()) {
            Some(_) => secrets::find(&self.core, &grant.project, "db_ca_certificate").await?,
            None => None,
        };
        Ok(Response::new(GetProjectConnectionResponse {
            db_ca_certificate: ca_certificate.unwrap_or_default(),
            ..connection(&project)
        }))
    }

    async fn reveal_project_secrets(
        &self,
        request: Request<RevealProjectSecretsRequest>,
    ) -> Result<Response<RevealProjectSecretsResponse>, Status> {
        let call = Call::from_request(&request)?;
        let grant = self.core.access.allow::<ProjectKey>(&call, &request.get_ref().project_ref).await?;
        let project = projects::get(&self.core.db, &grant.project).await?;
        // Audit first, so that no secret is revealed without an audit row.
        self.core.mutation(&call).commit(grant.project.as_str(), []).await?;
        let db_password = secrets::reveal(&self.core, &grant.project, "tenant_db_password").await?;
        let service_role_key = secrets::reveal(&self.core, &grant.project, "service_role_key").await?;
        // After a transfer they may be new ones, which are not for the caller.
        let still = self.core.access.allow::<ProjectKey>(&call, grant.project.as_str()).await?;
        if still.organization != grant.organization {
            return Err(Error::Aborted("the project was transferred to another organization").into());
        }
        let db = find(&project, "postgresql");
        Ok(Response::new(RevealProjectSecretsResponse {
            service_role_key,
            db_url: db.map(|e| db_url(e, &format!("postgres:{db_password}"))).unwrap_or_default(),
            db_password,
        }))
    }

    async fn update_project(
        &self,
        request: Request<pb::UpdateProjectRequest>,
    ) -> Result<Response<pb::UpdateProjectResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let grant = self.core.access.allow::<ProjectKey>(&call, &body.project_ref).await?;
        let changed = self.acts.update(&call, &grant.project, &body).await?;
        let project = projects::get(&self.core.db, &grant.project).await?;
        Ok(Response::new(pb::UpdateProjectResponse {
            project: Some(wire::project(self.acts.releases(), project)),
            operation: self.started(&changed).await?,
            restarted_services: changed.restarted,
        }))
    }

    async fn get_project_settings(
        &self,
        request: Request<pb::GetProjectSettingsRequest>,
    ) -> Result<Response<pb::GetProjectSettingsResponse>, Status> {
        let call = Call::from_request(&request)?;
        let grant = self.core.access.allow::<ProjectKey>(&call, &request.get_ref().project_ref).await?;
        let settings = Some(self.settings(&grant.project).await?);
        Ok(Response::new(pb::GetProjectSettingsResponse { settings }))
    }

    async fn update_project_settings(
        &self,
        request: Request<pb::UpdateProjectSettingsRequest>,
    ) -> Result<Response<pb::UpdateProjectSettingsResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let (project, changed) = self.change(&call, &body.project_ref, Asked::Settings(&body)).await?;
        Ok(Response::new(pb::UpdateProjectSettingsResponse {
            settings: Some(self.settings(&project).await?),
            operation: self.started(&changed).await?,
            restarted_services: changed.restarted,
        }))
    }

    async fn set_secrets(
        &self,
        request: Request<pb::SetSecretsRequest>,
    ) -> Result<Response<pb::SetSecretsResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let (_, changed) = self.change(&call, &body.project_ref, Asked::SetSecrets(&body)).await?;
        Ok(Response::new(pb::SetSecretsResponse { operation: self.started(&changed).await? }))
    }

    async fn list_secrets(
        &self,
        request: Request<pb::ListSecretsRequest>,
    ) -> Result<Response<pb::ListSecretsResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let size = page_size(body.page_size, 50, 100)?;
        let after = parse_page_token(&body.page_token)?.unwrap_or_default();
        let grant = self.core.access.allow::<ProjectKey>(&call, &body.project_ref).await?;
        let found = self.of_functions(&grant.project, Kind::Secret, &after, size).await?;
        let (found, next) = page(found, size, |one| one.name.clone());
        let secrets = found.into_iter().map(wire::secret).collect();
        Ok(Response::new(pb::ListSecretsResponse { secrets, next_page_token: next }))
    }

    async fn delete_secrets(
        &self,
        request: Request<pb::DeleteSecretsRequest>,
    ) -> Result<Response<pb::DeleteSecretsResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let (_, changed) = self.change(&call, &body.project_ref, Asked::DeleteSecrets(&body)).await?;
        Ok(Response::new(pb::DeleteSecretsResponse { operation: self.started(&changed).await? }))
    }

    async fn set_variables(
        &self,
        request: Request<pb::SetVariablesRequest>,
    ) -> Result<Response<pb::SetVariablesResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let (_, changed) = self.change(&call, &body.project_ref, Asked::SetVariables(&body)).await?;
        Ok(Response::new(pb::SetVariablesResponse { operation: self.started(&changed).await? }))
    }

    async fn list_variables(
        &self,
        request: Request<pb::ListVariablesRequest>,
    ) -> Result<Response<pb::ListVariablesResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let size = page_size(body.page_size, 50, 100)?;
        let after = parse_page_token(&body.page_token)?.unwrap_or_default();
        let grant = self.core.access.allow::<ProjectKey>(&call, &body.project_ref).await?;
        let found = self.of_functions(&grant.project, Kind::Variable, &after, size).await?;
        let (found, next) = page(found, size, |one| one.name.clone());
        let variables = found.into_iter().map(wire::variable).collect();
        Ok(Response::new(pb::ListVariablesResponse { variables, next_page_token: next }))
    }

    async fn delete_variables(
        &self,
        request: Request<pb::DeleteVariablesRequest>,
    ) -> Result<Response<pb::DeleteVariablesResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let (_, changed) = self.change(&call, &body.project_ref, Asked::DeleteVariables(&body)).await?;
        Ok(Response::new(pb::DeleteVariablesResponse { operation: self.started(&changed).await? }))
    }

    async fn reset_database_password(
        &self,
        request: Request<pb::ResetDatabasePasswordRequest>,
    ) -> Result<Response<pb::ResetDatabasePasswordResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let asked = Asked::ResetDatabasePassword(&body);
        let (_, changed) = self.change(&call, &body.project_ref, asked).await?;
        Ok(Response::new(pb::ResetDatabasePasswordResponse {
            operation: self.started(&changed).await?,
            restarted_services: changed.restarted,
        }))
    }

    async fn rotate_jwt_secret(
        &self,
        request: Request<pb::RotateJwtSecretRequest>,
    ) -> Result<Response<pb::RotateJwtSecretResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let stops_working = ROTATION_STOPS.map(str::to_owned).to_vec();
        if body.confirm.is_empty() {
            let grant = self.core.access.allow::<ProjectKey>(&call, &body.project_ref).await?;
            let restarted_services = self.acts.preview_rotation(&call, &grant.project).await?;
            return Ok(Response::new(pb::RotateJwtSecretResponse {
                operation: None,
                stops_working,
                restarted_services,
            }));
        }
        let (_, changed) = self.change(&call, &body.project_ref, Asked::RotateJwtSecret(&body)).await?;
        Ok(Response::new(pb::RotateJwtSecretResponse {
            operation: self.started(&changed).await?,
            stops_working,
            restarted_services: changed.restarted,
        }))
    }

    async fn preview_transfer(
        &self,
        request: Request<pb::PreviewTransferRequest>,
    ) -> Result<Response<pb::PreviewTransferResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let parties = self.parties(&call, &body.project_ref, &body.target_organization).await?;
        Ok(Response::new(self.acts.preview_transfer(&call, &parties).await?))
    }

    async fn transfer_project(
        &self,
        request: Request<pb::TransferProjectRequest>,
    ) -> Result<Response<pb::TransferProjectResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let mutation = self.core.mutation(&call).once(&call, &body.request_id, &body).await?;
        let project = if let Some(done) = mutation.replayed() {
            // Whoever has given a project away may have fewer rights on it now.
            self.core.access.allow_item::<ProjectKey>(&call, &done.resource, ReadProjects).await?.project
        } else {
            let parties = self.parties(&call, &body.project_ref, &body.target_organization).await?;
            self.acts.transfer(&call, mutation, &parties, &body.etag).await?;
            parties.project.project
        };
        let project = projects::get(&self.core.db, &project).await?;
        Ok(Response::new(pb::TransferProjectResponse {
            project: Some(wire::project(self.acts.releases(), project)),
        }))
    }
}

fn find<'a>(project: &'a projects::Project, scheme: &str) -> Option<&'a projects::Endpoint> {
    project.endpoints.iter().find(|e| e.scheme.starts_with(scheme))
}

fn db_url(endpoint: &projects::Endpoint, user: &str) -> String {
    format!("postgresql://{user}@{}:{}/postgres", endpoint.host, endpoint.port)
}

/// Addresses are empty while the project waits for capacity, and for ports that its release does not publish.
fn connection(project: &projects::Project) -> GetProjectConnectionResponse {
    let api = find(project, "http");
    let db = find(project, "postgresql");
    GetProjectConnectionResponse {
        api_url: api.map(|e| format!("{}://{}:{}", e.scheme, e.host, e.port)).unwrap_or_default(),
        db_url: db.map(|e| db_url(e, "postgres")).unwrap_or_default(),
        db_host: db.map(|e| e.host.clone()).unwrap_or_default(),
        db_port: db.map_or(0, |e| e.port.unsigned_abs()),
        db_user: "postgres".to_owned(),
        db_name: "postgres".to_owned(),
        api_host_only: api.is_some_and(projects::Endpoint::host_only),
        db_host_only: db.is_some_and(projects::Endpoint::host_only),
        node: project.node_name.clone().unwrap_or_default(),
        db_ca_certificate: String::new(),
    }
}

/// Sort key of a project in lists.
fn key(project: &projects::Project) -> String {
    format!("{}/{}", project.created_at.timestamp_micros(), project.project)
}

/// Rejects times that PostgreSQL cannot store, which would otherwise be an internal error.
pub fn parse_key(key: &str) -> Result<(DateTime<chrono::Utc>, String)> {
    key.split_once('/')
        .and_then(|(micros, project)| {
            let micros = micros.parse().ok().filter(|micros| (0..LAST_MICROS).contains(micros))?;
            let project: ProjectRef = project.parse().ok()?;
            Some((DateTime::from_timestamp_micros(micros)?, project.to_string()))
        })
        .ok_or_else(|| Error::field("page_token", "must be the next_page_token of the previous page"))
}
