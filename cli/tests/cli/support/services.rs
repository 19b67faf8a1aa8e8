//! The services of the fake API. Methods that no test calls answer UNIMPLEMENTED.

use std::{pin::Pin, time::Duration};

use supalove_proto::v1::{
    self as pb, AuthorityState, NodeState, OperationState, audit_service_server::AuditService,
    auth_service_server::AuthService, authority_service_server::AuthorityService,
    cluster_service_server::ClusterService, invitation_service_server::InvitationService,
    operation_service_server::OperationService, organization_service_server::OrganizationService,
    personal_access_token_service_server::PersonalAccessTokenService, plan_service_server::PlanService,
    platform_service_server::PlatformService, project_service_server::ProjectService,
    watch_service_server::WatchService, *,
};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::fake::{Fake, PASSWORD, SETUP_TOKEN, operation, user};

type Answer<T> = Result<Response<T>, Status>;

/// Methods that no test needs, in the form that `async_trait` gives to the others.
macro_rules! unused {
    ($($name:ident($request:ty) -> $response:ty;)*) => {$(
        fn $name<'s, 'f>(
            &'s self,
            _: Request<$request>,
        ) -> Pin<Box<dyn Future<Output = Answer<$response>> + Send + 'f>>
        where
            's: 'f,
            Self: 'f,
        {
            Box::pin(async { Err(Status::unimplemented(stringify!($name))) })
        }
    )*};
}

#[tonic::async_trait]
impl AuthService for Fake {
    async fn set_up(&self, request: Request<SetUpRequest>) -> Answer<SetUpResponse> {
        let request = request.into_inner();
        if request.setup_token != SETUP_TOKEN || request.password != PASSWORD {
            return Err(Status::permission_denied("wrong setup token"));
        }
        let tokens = Some(self.state().new_tokens());
        Ok(Response::new(SetUpResponse { user: Some(user()), tokens }))
    }

    async fn sign_in(&self, request: Request<SignInRequest>) -> Answer<SignInResponse> {
        let request = request.into_inner();
        if request.password != PASSWORD || request.refresh_token_delivery() != RefreshTokenDelivery::Body {
            return Err(Status::unauthenticated("wrong e-mail address or password"));
        }
        let tokens = Some(self.state().new_tokens());
        Ok(Response::new(SignInResponse { user: Some(user()), tokens }))
    }

    async fn refresh(&self, request: Request<RefreshRequest>) -> Answer<RefreshResponse> {
        let takes = self.state().refresh_takes;
        tokio::time::sleep(takes).await;
        let mut state = self.state();
        state.refreshes += 1;
        if request.into_inner().refresh_token != format!("refresh-{}", state.session) {
            // As the real one: a token that is used twice ends the session.
            state.session = 0;
            return Err(Status::unauthenticated("the refresh token was used before"));
        }
        state.stale_tokens = false;
        let tokens = Some(state.new_tokens());
        Ok(Response::new(RefreshResponse { tokens }))
    }

    async fn sign_out(&self, request: Request<SignOutRequest>) -> Answer<SignOutResponse> {
        self.enter(&request, "SignOut", "").await?;
        self.state().session = 0;
        Ok(Response::new(SignOutResponse {}))
    }

    async fn get_me(&self, request: Request<GetMeRequest>) -> Answer<GetMeResponse> {
        self.enter(&request, "GetMe", "").await?;
        Ok(Response::new(GetMeResponse { user: Some(user()) }))
    }

    async fn update_me(&self, request: Request<UpdateMeRequest>) -> Answer<UpdateMeResponse> {
        self.enter(&request, "UpdateMe", &request.get_ref().display_name).await?;
        let display_name = request.into_inner().display_name;
        Ok(Response::new(UpdateMeResponse { user: Some(User { display_name, ..user() }) }))
    }

    async fn change_password(
        &self,
        request: Request<ChangePasswordRequest>,
    ) -> Answer<ChangePasswordResponse> {
        let asked = request.get_ref();
        let text = format!("{} -> {}", asked.current_password, asked.new_password);
        self.enter(&request, "ChangePassword", &text).await?;
        Ok(Response::new(ChangePasswordResponse { sessions_ended: 2, personal_access_tokens_left: 1 }))
    }

    async fn start_sign_up(&self, request: Request<StartSignUpRequest>) -> Answer<StartSignUpResponse> {
        self.note("StartSignUp", &request.get_ref().email);
        Ok(Response::new(StartSignUpResponse {}))
    }

    async fn sign_up(&self, request: Request<SignUpRequest>) -> Answer<SignUpResponse> {
        let asked = request.get_ref();
        self.note("SignUp", &format!("{} {} {}", asked.token, asked.password, asked.display_name));
        let tokens = Some(self.state().new_tokens());
        Ok(Response::new(SignUpResponse { user: Some(user()), tokens }))
    }

    async fn request_password_reset(
        &self,
        request: Request<RequestPasswordResetRequest>,
    ) -> Answer<RequestPasswordResetResponse> {
        self.note("RequestPasswordReset", &request.get_ref().email);
        Ok(Response::new(RequestPasswordResetResponse {}))
    }

    async fn reset_password(&self, request: Request<ResetPasswordRequest>) -> Answer<ResetPasswordResponse> {
        let asked = request.get_ref();
        self.note("ResetPassword", &format!("{} {}", asked.token, asked.new_password));
        let tokens = Some(self.state().new_tokens());
        let user = Some(user());
        Ok(Response::new(ResetPasswordResponse {
            user,
            tokens,
            sessions_ended: 2,
            personal_access_tokens_ended: 1,
        }))
    }

    async fn request_email_change(
        &self,
        request: Request<RequestEmailChangeRequest>,
    ) -> Answer<RequestEmailChangeResponse> {
        let text = format!("{} {}", request.get_ref().new_email, request.get_ref().current_password);
        self.enter(&request, "RequestEmailChange", &text).await?;
        Ok(Response::new(RequestEmailChangeResponse {}))
    }

    async fn confirm_email_change(
        &self,
        request: Request<ConfirmEmailChangeRequest>,
    ) -> Answer<ConfirmEmailChangeResponse> {
        self.enter(&request, "ConfirmEmailChange", &request.get_ref().token).await?;
        Ok(Response::new(ConfirmEmailChangeResponse { email: "new@example.com".into(), sessions_ended: 1 }))
    }

    async fn delete_account(&self, request: Request<DeleteAccountRequest>) -> Answer<DeleteAccountResponse> {
        self.enter(&request, "DeleteAccount", &request.get_ref().current_password).await?;
        self.state().session = 0;
        Ok(Response::new(DeleteAccountResponse {}))
    }

    async fn rotate_signing_key(
        &self,
        request: Request<RotateSigningKeyRequest>,
    ) -> Answer<RotateSigningKeyResponse> {
        self.enter(&request, "RotateSigningKey", &request.get_ref().at_once.to_string()).await?;
        Ok(Response::new(RotateSigningKeyResponse { key_id: "a-key".into(), sign_time: None }))
    }

    unused! {
        get_sign_up_policy(GetSignUpPolicyRequest) -> GetSignUpPolicyResponse;
    }

    async fn list_sessions(&self, request: Request<ListSessionsRequest>) -> Answer<ListSessionsResponse> {
        self.enter(&request, "ListSessions", "").await?;
        let session = |digit: &str, current| Session {
            id: format!("ses_{}", digit.repeat(32)),
            current,
            client_address: "192.0.2.7".into(),
            user_agent: "tonic/0.14".into(),
            ..Session::default()
        };
        Ok(Response::new(ListSessionsResponse { sessions: vec![session("b", true), session("a", false)] }))
    }

    async fn end_session(&self, request: Request<EndSessionRequest>) -> Answer<EndSessionResponse> {
        self.enter(&request, "EndSession", &request.get_ref().session_id).await?;
        Ok(Response::new(EndSessionResponse {}))
    }

    async fn end_other_sessions(
        &self,
        request: Request<EndOtherSessionsRequest>,
    ) -> Answer<EndOtherSessionsResponse> {
        self.enter(&request, "EndOtherSessions", "").await?;
        Ok(Response::new(EndOtherSessionsResponse { sessions_ended: 1 }))
    }
}

#[tonic::async_trait]
impl PersonalAccessTokenService for Fake {
    async fn create_personal_access_token(
        &self,
        request: Request<CreatePersonalAccessTokenRequest>,
    ) -> Answer<CreatePersonalAccessTokenResponse> {
        let asked = request.get_ref();
        let text = format!("{} {:?} {:?}", asked.name, asked.scopes, asked.ttl.map(|ttl| ttl.seconds));
        self.enter(&request, "CreatePersonalAccessToken", &text).await?;
        let personal_access_token = Some(personal_access_token());
        Ok(Response::new(CreatePersonalAccessTokenResponse { token: "sbp_1".into(), personal_access_token }))
    }

    async fn list_personal_access_tokens(
        &self,
        request: Request<ListPersonalAccessTokensRequest>,
    ) -> Answer<ListPersonalAccessTokensResponse> {
        self.enter(&request, "ListPersonalAccessTokens", "").await?;
        let personal_access_tokens = vec![personal_access_token()];
        Ok(Response::new(ListPersonalAccessTokensResponse { personal_access_tokens }))
    }

    async fn revoke_personal_access_token(
        &self,
        request: Request<RevokePersonalAccessTokenRequest>,
    ) -> Answer<RevokePersonalAccessTokenResponse> {
        self.enter(&request, "RevokePersonalAccessToken", &request.get_ref().personal_access_token_id)
            .await?;
        Ok(Response::new(RevokePersonalAccessTokenResponse {}))
    }
}

fn personal_access_token() -> PersonalAccessToken {
    PersonalAccessToken {
        id: format!("pat_{}", "a".repeat(32)),
        name: "ci".into(),
        scopes: vec![PersonalAccessTokenScope::Read.into(), PersonalAccessTokenScope::Projects.into()],
        ..PersonalAccessToken::default()
    }
}

#[tonic::async_trait]
impl OrganizationService for Fake {
    async fn list_organizations(
        &self,
        request: Request<ListOrganizationsRequest>,
    ) -> Answer<ListOrganizationsResponse> {
        self.enter(&request, "ListOrganizations", "").await?;
        // Three pages of one each.
        let page = request.into_inner().page_token.parse::<u32>().unwrap_or(0);
        let slug = match self.state().only_organization.clone() {
            Some(only) => only,
            None => format!("org-{page}"),
        };
        let last = self.state().only_organization.is_some() || page == 2;
        let organization = Organization { slug, name: format!("Name {page}"), ..Default::default() };
        Ok(Response::new(ListOrganizationsResponse {
            organizations: vec![organization],
            next_page_token: if last { String::new() } else { (page + 1).to_string() },
        }))
    }

    unused! {
        create_organization(CreateOrganizationRequest) -> CreateOrganizationResponse;
        get_organization(GetOrganizationRequest) -> GetOrganizationResponse;
    }

    async fn update_organization(
        &self,
        request: Request<UpdateOrganizationRequest>,
    ) -> Answer<UpdateOrganizationResponse> {
        let asked = request.get_ref();
        self.enter(&request, "UpdateOrganization", &format!("{} {}", asked.organization, asked.name)).await?;
        let asked = request.into_inner();
        let organization =
            Organization { slug: asked.organization, name: asked.name, ..Organization::default() };
        Ok(Response::new(UpdateOrganizationResponse { organization: Some(organization) }))
    }

    async fn delete_organization(
        &self,
        request: Request<DeleteOrganizationRequest>,
    ) -> Answer<DeleteOrganizationResponse> {
        self.enter(&request, "DeleteOrganization", &request.get_ref().organization).await?;
        Ok(Response::new(DeleteOrganizationResponse {}))
    }

    async fn list_members(&self, request: Request<ListMembersRequest>) -> Answer<ListMembersResponse> {
        self.enter(&request, "ListMembers", &request.get_ref().organization).await?;
        Ok(Response::new(ListMembersResponse { members: vec![member()], next_page_token: String::new() }))
    }

    async fn update_member(&self, request: Request<UpdateMemberRequest>) -> Answer<UpdateMemberResponse> {
        let asked = request.get_ref();
        let text = format!("{} {} {}", asked.organization, asked.user_id, asked.role().as_str_name());
        self.enter(&request, "UpdateMember", &text).await?;
        let role = request.into_inner().role;
        Ok(Response::new(UpdateMemberResponse { member: Some(Member { role, ..member() }) }))
    }

    async fn remove_member(&self, request: Request<RemoveMemberRequest>) -> Answer<RemoveMemberResponse> {
        let text = format!("{} {}", request.get_ref().organization, request.get_ref().user_id);
        self.enter(&request, "RemoveMember", &text).await?;
        Ok(Response::new(RemoveMemberResponse {}))
    }

    async fn leave_organization(
        &self,
        request: Request<LeaveOrganizationRequest>,
    ) -> Answer<LeaveOrganizationResponse> {
        self.enter(&request, "LeaveOrganization", &request.get_ref().organization).await?;
        Ok(Response::new(LeaveOrganizationResponse {}))
    }
}

#[tonic::async_trait]
impl InvitationService for Fake {
    async fn create_invitation(
        &self,
        request: Request<CreateInvitationRequest>,
    ) -> Answer<CreateInvitationResponse> {
        let asked = request.get_ref();
        let text = format!("{} {} {}", asked.organization, asked.email, asked.role().as_str_name());
        self.enter(&request, "CreateInvitation", &text).await?;
        let mailed = request.get_ref().email != "no-mail@example.com";
        let invitation = Invitation { email: request.into_inner().email, mailed, ..invitation() };
        let token = if mailed { "" } else { "sbi_1" };
        Ok(Response::new(CreateInvitationResponse { invitation: Some(invitation), token: token.into() }))
    }

    async fn list_invitations(
        &self,
        request: Request<ListInvitationsRequest>,
    ) -> Answer<ListInvitationsResponse> {
        self.enter(&request, "ListInvitations", &request.get_ref().organization).await?;
        let invitations = vec![invitation()];
        Ok(Response::new(ListInvitationsResponse { invitations, next_page_token: String::new() }))
    }

    async fn resend_invitation(
        &self,
        request: Request<ResendInvitationRequest>,
    ) -> Answer<ResendInvitationResponse> {
        self.enter(&request, "ResendInvitation", &request.get_ref().invitation_id).await?;
        Ok(Response::new(ResendInvitationResponse { invitation: Some(invitation()), token: String::new() }))
    }

    async fn revoke_invitation(
        &self,
        request: Request<RevokeInvitationRequest>,
    ) -> Answer<RevokeInvitationResponse> {
        self.enter(&request, "RevokeInvitation", &request.get_ref().invitation_id).await?;
        Ok(Response::new(RevokeInvitationResponse {}))
    }

    async fn get_invitation(&self, request: Request<GetInvitationRequest>) -> Answer<GetInvitationResponse> {
        self.note("GetInvitation", &request.get_ref().token);
        Ok(Response::new(GetInvitationResponse {
            organization_name: "Acme".into(),
            email: "grace@example.com".into(),
            role: Role::Developer.into(),
            invited_by_name: "Ada".into(),
            expire_time: None,
        }))
    }

    async fn accept_invitation(
        &self,
        request: Request<AcceptInvitationRequest>,
    ) -> Answer<AcceptInvitationResponse> {
        self.enter(&request, "AcceptInvitation", &request.get_ref().token).await?;
        let organization =
            Organization { slug: "acme".into(), role: Role::Developer.into(), ..Organization::default() };
        Ok(Response::new(AcceptInvitationResponse { organization: Some(organization) }))
    }
}

fn invitation() -> Invitation {
    Invitation {
        id: format!("inv_{}", "d".repeat(32)),
        email: "grace@example.com".into(),
        role: Role::Developer.into(),
        invited_by: "ada@example.com".into(),
        mailed: true,
        ..Invitation::default()
    }
}

fn member() -> Member {
    Member {
        user_id: format!("usr_{}", "c".repeat(32)),
        email: "grace@example.com".into(),
        display_name: "Grace".into(),
        role: Role::Developer.into(),
        ..Member::default()
    }
}

#[tonic::async_trait]
impl PlanService for Fake {
    async fn list_plans(&self, request: Request<ListPlansRequest>) -> Answer<ListPlansResponse> {
        self.enter(&request, "ListPlans", "").await?;
        let free = Plan { name: "free".into(), default_for_new_organizations: true, ..Plan::default() };
        Ok(Response::new(ListPlansResponse { plans: vec![free, plan()], next_page_token: String::new() }))
    }

    async fn update_plan(&self, request: Request<UpdatePlanRequest>) -> Answer<UpdatePlanResponse> {
        let asked = request.get_ref();
        let paths = asked.update_mask.clone().unwrap_or_default().paths.join(" ");
        let projects = asked.limits.as_ref().map(|limits| limits.projects);
        let text = format!("{} [{paths}] {} {projects:?}", asked.plan, asked.price_cents);
        self.enter(&request, "UpdatePlan", &text).await?;
        Ok(Response::new(UpdatePlanResponse { plan: Some(plan()) }))
    }

    async fn get_entitlements(
        &self,
        request: Request<GetEntitlementsRequest>,
    ) -> Answer<GetEntitlementsResponse> {
        self.enter(&request, "GetEntitlements", &request.get_ref().organization).await?;
        Ok(Response::new(GetEntitlementsResponse { entitlements: Some(entitlements()) }))
    }

    async fn assign_plan(&self, request: Request<AssignPlanRequest>) -> Answer<AssignPlanResponse> {
        let asked = request.get_ref();
        let text = format!("{} {} {}", asked.organization, asked.plan, asked.reason);
        self.enter(&request, "AssignPlan", &text).await?;
        Ok(Response::new(AssignPlanResponse { entitlements: Some(entitlements()) }))
    }

    async fn set_entitlement(
        &self,
        request: Request<SetEntitlementRequest>,
    ) -> Answer<SetEntitlementResponse> {
        let asked = request.get_ref();
        let value = asked.value.as_ref().and_then(|value| value.kind.as_ref());
        let name = asked.entitlement().as_str_name();
        let text = format!("{} {name} {value:?} {}", asked.organization, asked.reason);
        self.enter(&request, "SetEntitlement", &text).await?;
        Ok(Response::new(SetEntitlementResponse { entitlements: Some(entitlements()) }))
    }

    async fn clear_entitlement(
        &self,
        request: Request<ClearEntitlementRequest>,
    ) -> Answer<ClearEntitlementResponse> {
        let asked = request.get_ref();
        let text = format!("{} {} {}", asked.organization, asked.entitlement().as_str_name(), asked.reason);
        self.enter(&request, "ClearEntitlement", &text).await?;
        Ok(Response::new(ClearEntitlementResponse { entitlements: Some(entitlements()) }))
    }
}

fn plan() -> Plan {
    Plan {
        name: "pro".into(),
        display_name: "Pro".into(),
        price_cents: 2550,
        limits: Some(PlanLimits {
            projects: 20,
            database_mib: 5120,
            project_sizes: vec!["nano".into(), "micro".into()],
            ..PlanLimits::default()
        }),
        ..Plan::default()
    }
}

fn entitlements() -> Entitlements {
    let limit = |kind| Some(EntitlementValue { kind: Some(kind) });
    let projects = OrganizationEntitlement {
        entitlement: Entitlement::Projects.into(),
        limit: limit(entitlement_value::Kind::Number(30)),
        plan_limit: limit(entitlement_value::Kind::Number(20)),
        r#override: Some(EntitlementOverride {
            reason: "a pilot\u{1b}[2J until June".into(),
            ..EntitlementOverride::default()
        }),
        used: Some(4),
    };
    let logs = OrganizationEntitlement {
        entitlement: Entitlement::LogDays.into(),
        limit: limit(entitlement_value::Kind::Number(7)),
        ..OrganizationEntitlement::default()
    };
    Entitlements {
        organization: "org-1".into(),
        plan: Some(plan()),
        plan_reason: "pays by invoice".into(),
        entitlements: vec![projects, logs],
        ..Entitlements::default()
    }
}

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
        let text = format!("{} {}", asked.name, asked.etag);
        self.enter(&request, "UpdateProject", text.trim()).await?;
        let project = Some(project(&request.get_ref().name, ProjectState::ActiveHealthy));
        Ok(Response::new(UpdateProjectResponse { project }))
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

    unused! {
        restart_project(RestartProjectRequest) -> RestartProjectResponse;
        undelete_project(UndeleteProjectRequest) -> UndeleteProjectResponse;
        list_project_events(ListProjectEventsRequest) -> ListProjectEventsResponse;
    }
}

/// Two rows of the log, the newest of a token.
fn audit_events() -> Vec<AuditEvent> {
    let event = |second: i64, token: &str, method: &str, outcome: &str| AuditEvent {
        id: format!("00000000-0000-0000-0000-{second:012}"),
        time: Some(prost_types::Timestamp { seconds: 1_760_000_000 + second, nanos: 0 }),
        actor: format!("usr_{}", "a".repeat(32)),
        personal_access_token_id: token.into(),
        method: format!("/supalove.v1.ProjectService/{method}"),
        target: "abcdefghijklmnopqrst".into(),
        outcome: outcome.into(),
        client_address: "192.0.2.7".into(),
        sequence: second,
        ..Default::default()
    };
    vec![event(2, "pat_1", "StopProject", "PermissionDenied"), event(1, "", "CreateProject", "OK")]
}

/// A filter as a line.
fn audit_filter(filter: Option<&AuditFilter>) -> String {
    let filter = filter.cloned().unwrap_or_default();
    let AuditFilter { actor, method, target, outcome, start_time, end_time } = filter;
    let seconds = |time: Option<prost_types::Timestamp>| time.map_or(0, |time| time.seconds);
    format!("{actor} {method} {target} {outcome} {} {}", seconds(start_time), seconds(end_time))
}

#[tonic::async_trait]
impl AuditService for Fake {
    type ExportAuditEventsStream =
        Pin<Box<dyn Stream<Item = Result<ExportAuditEventsResponse, Status>> + Send>>;
    type ExportPlatformAuditEventsStream =
        Pin<Box<dyn Stream<Item = Result<ExportPlatformAuditEventsResponse, Status>> + Send>>;

    async fn list_audit_events(
        &self,
        request: Request<ListAuditEventsRequest>,
    ) -> Answer<ListAuditEventsResponse> {
        let body = request.get_ref();
        let asked = format!("{} {}", body.organization, audit_filter(body.filter.as_ref()));
        self.enter(&request, "ListAuditEvents", &asked).await?;
        let mut events = audit_events();
        let first = request.get_ref().page_token.is_empty() && request.get_ref().page_size == 1;
        events.truncate(if first { 1 } else { 2 });
        Ok(Response::new(ListAuditEventsResponse {
            events,
            next_page_token: if first { "older".into() } else { String::new() },
            complete_since_time: Some(prost_types::Timestamp { seconds: 1_760_000_001, nanos: 0 }),
            retention: Some(prost_types::Duration { seconds: 7 * 24 * 3600, nanos: 0 }),
        }))
    }

    /// In two parts. An organization named `breaks` breaks off after the first one.
    async fn export_audit_events(
        &self,
        request: Request<ExportAuditEventsRequest>,
    ) -> Answer<Self::ExportAuditEventsStream> {
        let asked = format!("{} {}", request.get_ref().organization, request.get_ref().format);
        self.enter(&request, "ExportAuditEvents", &asked).await?;
        let part = |data: &str| Ok(ExportAuditEventsResponse { data: data.into(), events: 1 });
        let second = match request.get_ref().organization.as_str() {
            "org-2" => Err(Status::unavailable("the controller stops; export again")),
            _ => part("\u{1b}two\n"),
        };
        Ok(Response::new(Box::pin(tokio_stream::iter([part("one\n"), second]))))
    }

    async fn list_platform_audit_events(
        &self,
        request: Request<ListPlatformAuditEventsRequest>,
    ) -> Answer<ListPlatformAuditEventsResponse> {
        let asked = audit_filter(request.get_ref().filter.as_ref());
        self.enter(&request, "ListPlatformAuditEvents", &asked).await?;
        let events = audit_events();
        Ok(Response::new(ListPlatformAuditEventsResponse { events, ..Default::default() }))
    }

    async fn export_platform_audit_events(
        &self,
        request: Request<ExportPlatformAuditEventsRequest>,
    ) -> Answer<Self::ExportPlatformAuditEventsStream> {
        let asked = request.get_ref().format.to_string();
        self.enter(&request, "ExportPlatformAuditEvents", &asked).await?;
        let part = ExportPlatformAuditEventsResponse { data: b"all\n".to_vec(), events: 1 };
        Ok(Response::new(Box::pin(tokio_stream::iter([Ok(part)]))))
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

#[tonic::async_trait]
impl ClusterService for Fake {
    async fn create_join_token(
        &self,
        request: Request<CreateJoinTokenRequest>,
    ) -> Answer<CreateJoinTokenResponse> {
        let ttl = request.get_ref().ttl.map_or(-1, |d| d.seconds);
        self.enter(&request, "CreateJoinToken", &ttl.to_string()).await?;
        Ok(Response::new(CreateJoinTokenResponse {
            join_token: "slj1.a.b.c".into(),
            id: "jtk_1".into(),
            max_uses: request.get_ref().max_uses,
            ..Default::default()
        }))
    }

    async fn list_join_tokens(
        &self,
        request: Request<ListJoinTokensRequest>,
    ) -> Answer<ListJoinTokensResponse> {
        self.enter(&request, "ListJoinTokens", &request.get_ref().show_ended.to_string()).await?;
        let mut join_tokens =
            vec![join_token('a', JoinTokenState::Usable), join_token('b', JoinTokenState::Revoked)];
        join_tokens.truncate(if request.get_ref().show_ended { 2 } else { 1 });
        Ok(Response::new(ListJoinTokensResponse { join_tokens, ..Default::default() }))
    }

    async fn revoke_join_token(
        &self,
        request: Request<RevokeJoinTokenRequest>,
    ) -> Answer<RevokeJoinTokenResponse> {
        self.enter(&request, "RevokeJoinToken", &request.get_ref().join_token_id).await?;
        let join_token = Some(join_token('a', JoinTokenState::Revoked));
        Ok(Response::new(RevokeJoinTokenResponse { join_token }))
    }

    async fn list_nodes(&self, request: Request<ListNodesRequest>) -> Answer<ListNodesResponse> {
        self.enter(&request, "ListNodes", "").await?;
        let gone = Node {
            id: "nod_2".into(),
            name: "host-gone".into(),
            state: NodeState::Revoked.into(),
            revoke_time: Some(prost_types::Timestamp::default()),
            ..node()
        };
        Ok(Response::new(ListNodesResponse { nodes: vec![node(), gone], ..Default::default() }))
    }

    async fn get_node(&self, request: Request<GetNodeRequest>) -> Answer<GetNodeResponse> {
        self.enter(&request, "GetNode", &request.get_ref().node_id).await?;
        Ok(Response::new(GetNodeResponse { node: Some(node()) }))
    }

    async fn revoke_node(&self, request: Request<RevokeNodeRequest>) -> Answer<RevokeNodeResponse> {
        self.enter(&request, "RevokeNode", &request.get_ref().node_id).await?;
        let node = Node { state: NodeState::Revoked.into(), ..node() };
        Ok(Response::new(RevokeNodeResponse { node: Some(node) }))
    }

    unused! {
        get_cluster(GetClusterRequest) -> GetClusterResponse;
    }
}

#[tonic::async_trait]
impl AuthorityService for Fake {
    async fn list_authorities(
        &self,
        request: Request<ListAuthoritiesRequest>,
    ) -> Answer<ListAuthoritiesResponse> {
        self.enter(&request, "ListAuthorities", "").await?;
        let signing = Authority { id: "aut_2".into(), ..authority(AuthorityState::Signing) };
        let authorities = vec![authority(AuthorityState::Next), signing];
        Ok(Response::new(ListAuthoritiesResponse { authorities }))
    }

    async fn create_authority(
        &self,
        request: Request<CreateAuthorityRequest>,
    ) -> Answer<CreateAuthorityResponse> {
        self.enter(&request, "CreateAuthority", "").await?;
        let authority = Some(authority(AuthorityState::Next));
        Ok(Response::new(CreateAuthorityResponse { authority }))
    }

    async fn activate_authority(
        &self,
        request: Request<ActivateAuthorityRequest>,
    ) -> Answer<ActivateAuthorityResponse> {
        self.enter(&request, "ActivateAuthority", &request.get_ref().authority_id).await?;
        let authority = Some(authority(AuthorityState::Signing));
        Ok(Response::new(ActivateAuthorityResponse { authority }))
    }

    async fn retire_authority(
        &self,
        request: Request<RetireAuthorityRequest>,
    ) -> Answer<RetireAuthorityResponse> {
        let RetireAuthorityRequest { authority_id, force } = request.get_ref();
        self.enter(&request, "RetireAuthority", &format!("{authority_id} {force}")).await?;
        let authority = Some(authority(AuthorityState::Retired));
        Ok(Response::new(RetireAuthorityResponse { authority }))
    }
}

#[tonic::async_trait]
impl PlatformService for Fake {
    async fn confirm_restore(
        &self,
        request: Request<ConfirmRestoreRequest>,
    ) -> Answer<ConfirmRestoreResponse> {
        self.enter(&request, "ConfirmRestore", "").await?;
        Ok(Response::new(ConfirmRestoreResponse { detail: "node nod_1 has newer generations".into() }))
    }

    async fn get_vault_status(
        &self,
        request: Request<GetVaultStatusRequest>,
    ) -> Answer<GetVaultStatusResponse> {
        self.enter(&request, "GetVaultStatus", "").await?;
        let key = |id: &str, state: MasterKeyState, sealed_values| MasterKey {
            id: id.repeat(16),
            state: state.into(),
            sealed_values,
        };
        Ok(Response::new(GetVaultStatusResponse {
            keys: vec![key("b", MasterKeyState::Current, 40), key("a", MasterKeyState::Previous, 2)],
            waits_for: vec![LaggingReplica {
                controller_id: "ctl_1".into(),
                address: "10.0.0.1:8001".into(),
            }],
        }))
    }

    async fn check_consistency(
        &self,
        request: Request<CheckConsistencyRequest>,
    ) -> Answer<CheckConsistencyResponse> {
        self.enter(&request, "CheckConsistency", "").await?;
        let differences = self.state().differences.clone();
        let not_compared = vec!["node host-8 (nod_2): not connected".into()];
        Ok(Response::new(CheckConsistencyResponse { differences, not_compared, in_flight: 2, nodes: 1 }))
    }

    async fn send_test_mail(&self, request: Request<SendTestMailRequest>) -> Answer<SendTestMailResponse> {
        let to = request.get_ref().to.clone();
        self.enter(&request, "SendTestMail", &to).await?;
        Ok(Response::new(SendTestMailResponse {
            message_id: "mal_1@example.com".into(),
            server_answer: "250 queued\u{1b}[2J as 4X".into(),
        }))
    }

    async fn list_jobs(&self, request: Request<ListJobsRequest>) -> Answer<ListJobsResponse> {
        self.enter(&request, "ListJobs", "").await?;
        let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let period = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let pruning = Job {
            name: "core.prune".into(),
            controller_id: "ctl_1".into(),
            state: JobState::Failing.into(),
            rhythm: JobRhythm::Every.into(),
            period: period(60),
            replicas: JobReplicas::One.into(),
            overdue: true,
            last_success_time: time(0),
            last_failure_time: time(60),
            last_error: "no such\u{1b}[2J table".into(),
        };
        let placing = Job {
            name: "projects.place".into(),
            controller_id: "ctl_2".into(),
            state: JobState::NotYetRun.into(),
            rhythm: JobRhythm::Woken.into(),
            period: period(10),
            replicas: JobReplicas::Each.into(),
            ..Default::default()
        };
        let answering_replica =
            Some(AnsweringReplica { controller_id: "ctl_2".into(), connection_panics: 2 });
        Ok(Response::new(ListJobsResponse { jobs: vec![pruning, placing], answering_replica }))
    }
}

fn authority(state: AuthorityState) -> Authority {
    Authority {
        id: "aut_1".into(),
        ca_sha256: "ab".repeat(32),
        state: state.into(),
        nodes_trusting: 3,
        needed_by: vec!["host-7".into()],
        ..Default::default()
    }
}

fn join_token(letter: char, state: JoinTokenState) -> JoinToken {
    let id = format!("jtk_{}", letter.to_string().repeat(32));
    JoinToken { id, state: state.into(), uses: 1, max_uses: 3, ..Default::default() }
}

fn node() -> Node {
    Node {
        id: "nod_1".into(),
        name: "host-7".into(),
        state: NodeState::Ready.into(),
        alarms: vec![NodeAlarm {
            reason: NodeAlarmReason::DuplicateIdentity.into(),
            message: "two agents have this identity".into(),
            time: None,
        }],
        conditions: vec![NodeCondition {
            reason: "PORTS_GONE".into(),
            message: "published ports do not answer".into(),
            since: None,
            blocking: false,
        }],
        ..Default::default()
    }
}

pub fn project(name: &str, state: ProjectState) -> pb::Project {
    pb::Project {
        r#ref: "abcdefghijklmnopqrst".into(),
        name: name.into(),
        organization: "acme".into(),
        state: state.into(),
        services: vec![ProjectServiceStatus {
            name: "postgres".into(),
            state: ServiceState::Healthy.into(),
            message: String::new(),
        }],
        ..Default::default()
    }
}
