//! `supalove.v1.OrganizationService`.

mod invitations;

pub use invitations::InvitationApi;

use supalove_proto::v1::{
    self as pb, CreateOrganizationRequest, CreateOrganizationResponse, DeleteOrganizationRequest,
    DeleteOrganizationResponse, GetOrganizationRequest, GetOrganizationResponse, LeaveOrganizationRequest,
    LeaveOrganizationResponse, ListMembersRequest, ListMembersResponse, ListOrganizationsRequest,
    ListOrganizationsResponse, RemoveMemberRequest, RemoveMemberResponse, UpdateMemberRequest,
    UpdateMemberResponse, UpdateOrganizationRequest, UpdateOrganizationResponse,
    organization_service_server::OrganizationService,
};
use tonic::{Request, Response, Status};

use super::{
    Organization, OrganizationKey, members, slug,
    store::{self, members::Member},
};
use supalove_core::{
    Core,
    access::{Call, Object as _, Principal, Role},
    error::{Error, Result},
    hints::Hint,
    ids::{InvalidId, OrganizationId, UserId},
    wire::{Changes, display_text, page, page_size, parse_page_token, timestamp},
};

#[derive(Debug, Clone)]
pub struct OrganizationApi {
    core: Core,
}

impl OrganizationApi {
    /// On the control database.
    pub fn new(core: Core) -> Self {
        Self { core }
    }

    /// The organization that a create has made. For a day after an upgrade its key may come from a controller that stored the
    /// slug.
    async fn made(&self, resource: &str) -> Result<OrganizationId> {
        if let Ok(id) = resource.parse() {
            return Ok(id);
        }
        let gone = || Error::NotFound { kind: OrganizationKey::KIND, name: resource.to_owned() };
        store::id_of(&self.core.db, resource).await?.ok_or_else(gone)
    }

    async fn seen_by(&self, principal: &Principal, id: OrganizationId) -> Result<Organization> {
        store::get(&self.core.db, id, principal.user, principal.operator).await
    }
}

#[tonic::async_trait]
impl OrganizationService for OrganizationApi {
    async fn create_organization(
        &self,
        request: Request<CreateOrganizationRequest>,
    ) -> Result<Response<CreateOrganizationResponse>, Status> {
        let call = Call::from_request(&request)?;
        let principal = call.principal()?;
        let body = request.into_inner();
        let mut mutation = self.core.mutation(&call).once(&call, &body.request_id, &body).await?;
        let id = if let Some(done) = mutation.replayed() {
            self.made(&done.resource).await?
        } else {
            let name = display_text("name", &body.name)?;
            let slug = slug(&body.slug, &name)?;
            let id = store::insert(&mut mutation, &slug, &name, principal.user).await?;
            mutation.commit(&id.to_string(), []).await?;
            id
        };
        // Whoever repeats the call later sees it only if still a member.
        let organization = self.seen_by(principal, id).await?;
        Ok(Response::new(CreateOrganizationResponse { organization: Some(organization.into()) }))
    }

    async fn get_organization(
        &self,
        request: Request<GetOrganizationRequest>,
    ) -> Result<Response<GetOrganizationResponse>, Status> {
        let call = Call::from_request(&request)?;
        let grant = self.core.access.allow::<OrganizationKey>(&call, &request.get_ref().organization).await?;
        let organization = self.seen_by(call.principal()?, grant.id).await?;
        Ok(Response::new(GetOrganizationResponse { organization: Some(organization.into()) }))
    }

    async fn list_organizations(
        &self,
        request: Request<ListOrganizationsRequest>,
    ) -> Result<Response<ListOrganizationsResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let size = page_size(body.page_size, 50, 100)?;
        let after = parse_page_token(&body.page_token)?;
        let found = store::list(&self.core.db, call.principal()?.user, after.as_deref(), size + 1).await?;
        let (found, next) = page(found, size, |o| o.slug.clone());
        let organizations = found.into_iter().map(pb::Organization::from).collect();
        Ok(Response::new(ListOrganizationsResponse { organizations, next_page_token: next }))
    }

    async fn update_organization(
        &self,
        request: Request<UpdateOrganizationRequest>,
    ) -> Result<Response<UpdateOrganizationResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let key = self.core.access.allow::<OrganizationKey>(&call, &body.organization).await?;
        if Changes::parse(body.update_mask.as_ref(), &["name"])?.field("name") {
            let name = display_text("name", &body.name)?;
            let mut mutation = self.core.mutation(&call);
            store::rename(&mut mutation, &call, &key, &name, &body.etag).await?;
            mutation.commit(&key.id.to_string(), [Hint::Organization(key.id)]).await?;
        }
        let organization = self.seen_by(call.principal()?, key.id).await?;
        Ok(Response::new(UpdateOrganizationResponse { organization: Some(organization.into()) }))
    }

    async fn delete_organization(
        &self,
        request: Request<DeleteOrganizationRequest>,
    ) -> Result<Response<DeleteOrganizationResponse>, Status> {
        let call = Call::from_request(&request)?;
        let key = self.core.access.allow::<OrganizationKey>(&call, &request.get_ref().organization).await?;
        let mut mutation = self.core.mutation(&call);
        store::delete(&mut mutation, &call, &key).await?;
        mutation.commit(&key.id.to_string(), [Hint::Organization(key.id)]).await?;
        Ok(Response::new(DeleteOrganizationResponse {}))
    }

    async fn list_members(
        &self,
        request: Request<ListMembersRequest>,
    ) -> Result<Response<ListMembersResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let key = self.core.access.allow::<OrganizationKey>(&call, &body.organization).await?;
        let size = page_size(body.page_size, 50, 100)?;
        let after = parse_page_token(&body.page_token)?;
        let found = store::members::list(&self.core.db, key.id, after.as_deref(), size + 1).await?;
        let (found, next) = page(found, size, |member| member.email.clone());
        let members = found.into_iter().map(pb::Member::from).collect();
        Ok(Response::new(ListMembersResponse { members, next_page_token: next }))
    }

    async fn update_member(
        &self,
        request: Request<UpdateMemberRequest>,
    ) -> Result<Response<UpdateMemberResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        call.names(&format!("{}/{}", body.organization, body.user_id));
        let key = self.core.access.allow::<OrganizationKey>(&call, &body.organization).await?;
        let (user, role) = (user_id(&body.user_id)?, role(body.role())?);
        let mut mutation = self.core.mutation(&call);
        let member = members::set_role(&mut mutation, &call, &key, user, role, &body.etag).await?;
        let target = format!("{}/{user} {}", key.id, role.as_sql());
        mutation.commit(&target, [Hint::Organization(key.id)]).await?;
        Ok(Response::new(UpdateMemberResponse { member: Some(member.into()) }))
    }

    async fn remove_member(
        &self,
        request: Request<RemoveMemberRequest>,
    ) -> Result<Response<RemoveMemberResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        call.names(&format!("{}/{}", body.organization, body.user_id));
        let key = self.core.access.allow::<OrganizationKey>(&call, &body.organization).await?;
        let user = user_id(&body.user_id)?;
        let mut mutation = self.core.mutation(&call);
        members::remove(&mut mutation, &call, &key, user).await?;
        mutation.commit(&format!("{}/{user}", key.id), [Hint::Organization(key.id)]).await?;
        Ok(Response::new(RemoveMemberResponse {}))
    }

    async fn leave_organization(
        &self,
        request: Request<LeaveOrganizationRequest>,
    ) -> Result<Response<LeaveOrganizationResponse>, Status> {
        let call = Call::from_request(&request)?;
        let key = self.core.access.allow::<OrganizationKey>(&call, &request.get_ref().organization).await?;
        let mut mutation = self.core.mutation(&call);
        members::leave(&mut mutation, &call, &key).await?;
        mutation.commit(&key.id.to_string(), [Hint::Organization(key.id)]).await?;
        Ok(Response::new(LeaveOrganizationResponse {}))
    }
}

fn user_id(text: &str) -> Result<UserId> {
    text.parse().map_err(|error: InvalidId| Error::field("user_id", error.to_string()))
}

fn role(wire: pb::Role) -> Result<Role> {
    match wire {
        pb::Role::Unspecified => {
            Err(Error::field("role", "must be OWNER, ADMINISTRATOR, DEVELOPER or READ_ONLY"))
        }
        pb::Role::Owner => Ok(Role::Owner),
        pb::Role::Administrator => Ok(Role::Administrator),
        pb::Role::Developer => Ok(Role::Developer),
        pb::Role::ReadOnly => Ok(Role::ReadOnly),
    }
}

impl From<Member> for pb::Member {
    fn from(member: Member) -> Self {
        Self {
            etag: member.etag(),
            user_id: member.user.to_string(),
            email: member.email,
            display_name: member.display_name,
            role: wire_role(member.role).into(),
            create_time: Some(timestamp(member.created_at)),
        }
    }
}

impl From<Organization> for pb::Organization {
    fn from(o: Organization) -> Self {
        Self {
            slug: o.slug,
            id: o.id.to_string(),
            name: o.name,
            role: o.role.map(wire_role).unwrap_or_default().into(),
            projects_used: o.projects_used.unsigned_abs(),
            projects_limit: o.projects_limit.unsigned_abs(),
            create_time: Some(timestamp(o.created_at)),
            etag: o.revision.to_string(),
            plan: o.plan,
        }
    }
}

/// A role on the wire.
pub fn wire_role(role: Role) -> pb::Role {
    match role {
        Role::Owner => pb::Role::Owner,
        Role::Administrator => pb::Role::Administrator,
        Role::Developer => pb::Role::Developer,
        Role::ReadOnly => pb::Role::ReadOnly,
    }
}
