//! `supalove.v1.OrganizationService`.

use supalove_proto::v1::{
    self as pb, CreateOrganizationRequest, CreateOrganizationResponse, GetOrganizationRequest,
    GetOrganizationResponse, ListOrganizationsRequest, ListOrganizationsResponse,
    organization_service_server::OrganizationService,
};
use tonic::{Request, Response, Status};

use super::{Organization, OrganizationKey, slug, store};
use supalove_core::{
    Core,
    access::{Call, Role},
    error::Result,
    wire::{display_text, page, page_size, parse_page_token, timestamp},
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
        let slug = if let Some(done) = mutation.replayed() {
            done.resource.clone()
        } else {
            let name = display_text("name", &body.name)?;
            let slug = slug(&body.slug, &name)?;
            store::insert(&mut mutation, &slug, &name, principal).await?;
            mutation.commit(&slug, []).await?;
            slug
        };
        let organization = store::get(&self.core.db, &slug, principal.user).await?;
        Ok(Response::new(CreateOrganizationResponse { organization: Some(organization.into()) }))
    }

    async fn get_organization(
        &self,
        request: Request<GetOrganizationRequest>,
    ) -> Result<Response<GetOrganizationResponse>, Status> {
        let call = Call::from_request(&request)?;
        let grant = self.core.access.allow::<OrganizationKey>(&call, &request.get_ref().organization).await?;
        let organization = store::get(&self.core.db, &grant.slug, call.principal()?.user).await?;
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
        }
    }
}

fn wire_role(role: Role) -> pb::Role {
    match role {
        Role::Owner => pb::Role::Owner,
        Role::Administrator => pb::Role::Administrator,
        Role::Developer => pb::Role::Developer,
        Role::ReadOnly => pb::Role::ReadOnly,
    }
}
