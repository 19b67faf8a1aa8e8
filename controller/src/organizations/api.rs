//! `supalove.v1.OrganizationService`.

use sqlx::PgPool;
use supalove_proto::v1::{
    self as pb, CreateOrganizationRequest, CreateOrganizationResponse, GetOrganizationRequest,
    GetOrganizationResponse, ListOrganizationsRequest, ListOrganizationsResponse,
    organization_service_server::OrganizationService,
};
use tonic::{Request, Response, Status};

use super::{Organization, slug, store};
use crate::{
    access::{Access, Call},
    audit,
    encode::{display_text, page, page_size, parse_page_token, timestamp},
    error::Result,
    requests,
};

/// The service.
#[derive(Debug, Clone)]
pub struct OrganizationApi {
    db: PgPool,
    access: Access,
}

impl OrganizationApi {
    /// On the control database.
    pub fn new(db: PgPool) -> Self {
        Self { access: Access::new(db.clone()), db }
    }
}

#[tonic::async_trait]
impl OrganizationService for OrganizationApi {
    async fn create_organization(
        &self,
        request: Request<CreateOrganizationRequest>,
    ) -> Result<Response<CreateOrganizationResponse>, Status> {
        let call = Call::of(&request)?;
        let caller = call.caller()?;
        let body = request.into_inner();
        let key = requests::Request::of(&call, &body.request_id, &body)?;
        let slug = if let Some(answered) = requests::replayed(&self.db, key.as_ref()).await? {
            answered.resource
        } else {
            let name = display_text("name", &body.name)?;
            let slug = slug(&body.slug, &name)?;
            let entry = audit::Entry::of(&call, &slug);
            store::create(&self.db, &slug, &name, caller.user, key.as_ref(), &entry).await?;
            slug
        };
        let organization = store::get(&self.db, &slug, caller.user).await?;
        Ok(Response::new(CreateOrganizationResponse { organization: Some(organization.into()) }))
    }

    async fn get_organization(
        &self,
        request: Request<GetOrganizationRequest>,
    ) -> Result<Response<GetOrganizationResponse>, Status> {
        let call = Call::of(&request)?;
        let grant = self.access.organization(&call, &request.get_ref().organization).await?;
        let organization = store::get(&self.db, &grant.slug, call.caller()?.user).await?;
        Ok(Response::new(GetOrganizationResponse { organization: Some(organization.into()) }))
    }

    async fn list_organizations(
        &self,
        request: Request<ListOrganizationsRequest>,
    ) -> Result<Response<ListOrganizationsResponse>, Status> {
        let call = Call::of(&request)?;
        let body = request.into_inner();
        let size = page_size(body.page_size, 50, 100)?;
        let after = parse_page_token(&body.page_token)?;
        let found = store::list(&self.db, call.caller()?.user, after.as_deref(), size + 1).await?;
        let (found, next) = page(found, size, |o| o.slug.clone());
        let organizations = found.into_iter().map(pb::Organization::from).collect();
        Ok(Response::new(ListOrganizationsResponse { organizations, next_page_token: next }))
    }
}

impl From<Organization> for pb::Organization {
    fn from(o: Organization) -> Self {
        let role = o.role.as_deref().and_then(|role| pb::Role::from_str_name(&format!("ROLE_{role}")));
        Self {
            slug: o.slug,
            id: o.id.to_string(),
            name: o.name,
            role: role.unwrap_or_default().into(),
            projects_used: o.projects_used.unsigned_abs(),
            projects_limit: o.projects_limit.unsigned_abs(),
            create_time: Some(timestamp(o.created_at)),
            etag: o.revision.to_string(),
        }
    }
}
