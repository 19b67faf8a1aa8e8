//! The fake's organizations, their members, invitations and plans.

use std::pin::Pin;

use supalove_proto::v1::{
    invitation_service_server::InvitationService, organization_service_server::OrganizationService,
    plan_service_server::PlanService, *,
};
use tonic::{Request, Response, Status};

use super::{super::fake::Fake, Answer};

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
        let role = asked.role().as_str_name();
        let text = format!("{} {} {role} {}", asked.organization, asked.user_id, asked.etag);
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
        etag: "5".into(),
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

    async fn list_project_sizes(
        &self,
        request: Request<ListProjectSizesRequest>,
    ) -> Answer<ListProjectSizesResponse> {
        self.enter(&request, "ListProjectSizes", &request.get_ref().page_token).await?;
        let last = !request.get_ref().page_token.is_empty();
        let size = if last { size("small", 1024) } else { size("nano", 256) };
        let next_page_token = if last { String::new() } else { "second".into() };
        Ok(Response::new(ListProjectSizesResponse { sizes: vec![size], next_page_token }))
    }

    async fn update_project_size(
        &self,
        request: Request<UpdateProjectSizeRequest>,
    ) -> Answer<UpdateProjectSizeResponse> {
        let asked = request.get_ref();
        let paths = asked.update_mask.clone().unwrap_or_default().paths.join(" ");
        let values =
            format!("{} {} {} {}", asked.cpu_millis, asked.memory_mib, asked.disk_mib, asked.connections);
        let text = format!("{} [{paths}] {values} {} ({})", asked.size, asked.reason, asked.etag);
        self.enter(&request, "UpdateProjectSize", &text).await?;
        Ok(Response::new(UpdateProjectSizeResponse { size: Some(size("small", 2048)) }))
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
        at_size_limit: SizeAction::ReadOnly.into(),
        ..Plan::default()
    }
}

fn size(name: &str, memory_mib: u32) -> ProjectSize {
    ProjectSize {
        name: name.into(),
        cpu_millis: 500,
        memory_mib,
        disk_mib: 4096,
        connections: 90,
        plans: vec!["pro".into(), "premium".into()],
        ..ProjectSize::default()
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
