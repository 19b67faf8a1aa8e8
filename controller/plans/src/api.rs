//! `supalove.v1.PlanService`.

pub(crate) mod wire;

use supalove_core::{
    Core,
    access::Call,
    error::{Error, Result},
    hints::Hint,
    ids::OrganizationId,
    mutation::Mutation,
    wire::{Changes, page, page_size, parse_page_token},
};
use supalove_proto::v1::{
    self as pb, AssignPlanRequest, AssignPlanResponse, ClearEntitlementRequest, ClearEntitlementResponse,
    GetEntitlementsRequest, GetEntitlementsResponse, ListPlansRequest, ListPlansResponse,
    ListProjectSizesRequest, ListProjectSizesResponse, SetEntitlementRequest, SetEntitlementResponse,
    UpdatePlanRequest, UpdatePlanResponse, UpdateProjectSizeRequest, UpdateProjectSizeResponse,
    plan_service_server::PlanService,
};
use tonic::{Request, Response, Status};

use crate::{
    changes::{self, Act},
    object::Holder,
    sizes, store,
};

#[derive(Debug, Clone)]
pub struct PlanApi {
    core: Core,
}

impl PlanApi {
    /// On the control database.
    pub fn new(core: Core) -> Self {
        Self { core }
    }

    async fn holder(&self, call: &Call, slug: &str) -> Result<OrganizationId> {
        Ok(Holder::for_operator(&self.core.db, call, slug).await?.id)
    }
}

#[tonic::async_trait]
impl PlanService for PlanApi {
    async fn list_plans(
        &self,
        request: Request<ListPlansRequest>,
    ) -> Result<Response<ListPlansResponse>, Status> {
        let body = request.into_inner();
        let size = page_size(body.page_size, 50, 100)?;
        let after = parse_page_token(&body.page_token)?;
        let found = store::list(&self.core.db, after.as_deref(), size + 1).await?;
        let (found, next) = page(found, size, store::list_key);
        let plans = found.into_iter().map(pb::Plan::from).collect();
        Ok(Response::new(ListPlansResponse { plans, next_page_token: next }))
    }

    async fn update_plan(
        &self,
        request: Request<UpdatePlanRequest>,
    ) -> Result<Response<UpdatePlanResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        call.names(&body.plan);
        let name = plan_name(&body.plan)?;
        let fields = Changes::parse(body.update_mask.as_ref(), wire::FIELDS)?;
        let mut mutation = self.core.mutation(&call);
        let edit = |plan: &mut store::Plan| wire::edit(plan, &body, &fields);
        let organizations = changes::update_plan(&mut mutation, name, &body.etag, edit).await?;
        mutation.commit(name, organizations.into_iter().map(Hint::Organization)).await?;
        let plan = store::get(&self.core.db, name).await?.map(pb::Plan::from);
        Ok(Response::new(UpdatePlanResponse { plan }))
    }

    async fn get_entitlements(
        &self,
        request: Request<GetEntitlementsRequest>,
    ) -> Result<Response<GetEntitlementsResponse>, Status> {
        let call = Call::from_request(&request)?;
        let holder = self.core.access.allow::<Holder>(&call, &request.get_ref().organization).await?;
        let entitlements = store::entitlements(&self.core.db, holder.id).await?;
        Ok(Response::new(GetEntitlementsResponse { entitlements: Some(wire::entitlements(&entitlements)?) }))
    }

    async fn assign_plan(
        &self,
        request: Request<AssignPlanRequest>,
    ) -> Result<Response<AssignPlanResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let organization = self.holder(&call, &body.organization).await?;
        let name = plan_name(&body.plan)?;
        let reason = wire::reason(&body.reason)?;
        let act = Act { organization, etag: &body.etag, reason, by: call.principal()?.user };
        let mut mutation = self.core.mutation(&call);
        let after = changes::assign(&mut mutation, &act, name).await?;
        let entitlements = Some(wire::entitlements(&after)?);
        commit(mutation, &act, &format!("plan {name}")).await?;
        Ok(Response::new(AssignPlanResponse { entitlements }))
    }

    async fn set_entitlement(
        &self,
        request: Request<SetEntitlementRequest>,
    ) -> Result<Response<SetEntitlementResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let organization = self.holder(&call, &body.organization).await?;
        let entitlement = wire::entitlement(body.entitlement())?;
        let value = wire::value(entitlement, body.value.as_ref())?;
        let reason = wire::reason(&body.reason)?;
        let act = Act { organization, etag: &body.etag, reason, by: call.principal()?.user };
        let mut mutation = self.core.mutation(&call);
        let after = changes::set(&mut mutation, &act, entitlement, &value).await?;
        let entitlements = Some(wire::entitlements(&after)?);
        commit(mutation, &act, &format!("{} {}", entitlement.as_sql(), wire::in_words(&value))).await?;
        Ok(Response::new(SetEntitlementResponse { entitlements }))
    }

    async fn list_project_sizes(
        &self,
        request: Request<ListProjectSizesRequest>,
    ) -> Result<Response<ListProjectSizesResponse>, Status> {
        let body = request.into_inner();
        let size = page_size(body.page_size, 50, 100)?;
        let after = parse_page_token(&body.page_token)?.map(|key| key.parse::<i32>()).transpose();
        let after = after
            .map_err(|_| Error::field("page_token", "must be the next_page_token of the previous page"))?;
        let found = sizes::list(&self.core.db, after.unwrap_or(i32::MIN), size + 1).await?;
        let (found, next) = page(found, size, |one| one.rank.to_string());
        let sizes = found.into_iter().map(pb::ProjectSize::from).collect();
        Ok(Response::new(ListProjectSizesResponse { sizes, next_page_token: next }))
    }

    async fn update_project_size(
        &self,
        request: Request<UpdateProjectSizeRequest>,
    ) -> Result<Response<UpdateProjectSizeResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        call.names(&body.size);
        let name = size_name(&body.size)?;
        let reason = wire::reason(&body.reason)?;
        let fields = Changes::parse(body.update_mask.as_ref(), wire::SIZE_FIELDS)?;
        let mut mutation = self.core.mutation(&call);
        let edit = |size: &mut sizes::ProjectSize| wire::edit_size(size, &body, &fields);
        changes::update_size(&mut mutation, name, &body.etag, edit).await?;
        mutation.commit(&format!("{name}: {reason}"), []).await?;
        let size = sizes::get(&self.core.db, name).await?.map(pb::ProjectSize::from);
        Ok(Response::new(UpdateProjectSizeResponse { size }))
    }

    async fn clear_entitlement(
        &self,
        request: Request<ClearEntitlementRequest>,
    ) -> Result<Response<ClearEntitlementResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let organization = self.holder(&call, &body.organization).await?;
        let entitlement = wire::entitlement(body.entitlement())?;
        let reason = wire::reason(&body.reason)?;
        let act = Act { organization, etag: &body.etag, reason, by: call.principal()?.user };
        let mut mutation = self.core.mutation(&call);
        let after = changes::clear(&mut mutation, &act, entitlement).await?;
        let entitlements = Some(wire::entitlements(&after)?);
        commit(mutation, &act, &format!("{} of the plan", entitlement.as_sql())).await?;
        Ok(Response::new(ClearEntitlementResponse { entitlements }))
    }
}

/// The audit row names the organization, what it has now, and why.
async fn commit(mutation: Mutation, act: &Act<'_>, what: &str) -> Result<()> {
    let target = format!("{} {what}: {}", act.organization, act.reason);
    mutation.commit(&target, [Hint::Organization(act.organization)]).await
}

fn plan_name(name: &str) -> Result<&str> {
    // PostgreSQL takes no NUL in a text.
    if name.is_empty() || name.contains('\0') {
        return Err(Error::field("plan", "must be the name of a plan, e.g. pro"));
    }
    Ok(name)
}

fn size_name(name: &str) -> Result<&str> {
    // PostgreSQL takes no NUL in a text.
    if name.is_empty() || name.contains('\0') {
        return Err(Error::field("size", "must be the name of a size, e.g. small"));
    }
    Ok(name)
}
