//! `supalove.v1.LeftoverService`.

use supalove_core::{
    Core,
    access::Call,
    wire::{page, page_size, parse_page_token, timestamp},
};
use supalove_fleet::clusters::access::{NodeKey, allow};
use supalove_proto::v1::{
    self as pb, AdoptLeftoverRequest, AdoptLeftoverResponse, DeleteLeftoverRequest, DeleteLeftoverResponse,
    ListLeftoversRequest, ListLeftoversResponse, leftover_service_server::LeftoverService,
};
use tonic::{Request, Response, Status};

use crate::{
    acts::Acts,
    leftovers::{Leftover, acts, store},
    store::projects,
    wire,
};

#[derive(Clone)]
pub struct LeftoverApi {
    core: Core,
    acts: Acts,
}

impl LeftoverApi {
    /// On the control database.
    pub fn new(core: &Core, acts: &Acts) -> Self {
        Self { core: core.clone(), acts: acts.clone() }
    }
}

#[tonic::async_trait]
impl LeftoverService for LeftoverApi {
    async fn list_leftovers(
        &self,
        request: Request<ListLeftoversRequest>,
    ) -> Result<Response<ListLeftoversResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let size = page_size(body.page_size, 50, 100)?;
        let after = parse_page_token(&body.page_token)?;
        let key: NodeKey = allow(&self.core, &call, &body.node_id).await?;
        let wanted = store::Wanted { after: after.as_deref(), project: None };
        let found = store::list(&self.core.db, key.node, wanted, size + 1).await?;
        let (found, next) = page(found, size, |one| one.project.to_string());
        let leftovers = found.into_iter().map(Into::into).collect();
        Ok(Response::new(ListLeftoversResponse { leftovers, next_page_token: next }))
    }

    async fn adopt_leftover(
        &self,
        request: Request<AdoptLeftoverRequest>,
    ) -> Result<Response<AdoptLeftoverResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let adopted = acts::adopt(&self.core, &call, &body.node_id, &body.project_ref).await?;
        let project = projects::get(&self.core.db, &adopted).await?;
        let project = Some(wire::project(self.acts.releases(), project));
        Ok(Response::new(AdoptLeftoverResponse { project }))
    }

    async fn delete_leftover(
        &self,
        request: Request<DeleteLeftoverRequest>,
    ) -> Result<Response<DeleteLeftoverResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let asked = acts::delete(&self.core, &call, &body.node_id, &body.project_ref).await?;
        Ok(Response::new(DeleteLeftoverResponse { leftover: Some(asked.into()) }))
    }
}

impl From<Leftover> for pb::Leftover {
    fn from(one: Leftover) -> Self {
        let not_adoptable = one.not_adoptable();
        let not_deletable = one.not_deletable();
        let state = one.known.as_ref().map_or(pb::ProjectState::Unspecified, |known| known.state.into());
        Self {
            node_id: one.node.to_string(),
            project_ref: one.project.to_string(),
            generation: one.generation.unsigned_abs(),
            containers: one.containers,
            networks: one.networks,
            volumes: one.volumes,
            find_time: Some(timestamp(one.found_at)),
            project_state: state.into(),
            adoptable: not_adoptable.is_none(),
            not_adoptable_reason: not_adoptable.unwrap_or_default(),
            deletable: not_deletable.is_none(),
            not_deletable_reason: not_deletable.unwrap_or_default(),
            delete_request_time: one.delete_requested_at.map(timestamp),
            delete_error: one.delete_error,
        }
    }
}
