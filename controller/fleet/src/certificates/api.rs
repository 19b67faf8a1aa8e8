//! `supalove.v1.AuthorityService`. The call layer admits only the operator.

use chrono::Utc;
use supalove_certs::CertificateAuthority;
use supalove_proto::v1::{
    self as pb, ActivateAuthorityRequest, ActivateAuthorityResponse, Authority, CreateAuthorityRequest,
    CreateAuthorityResponse, ListAuthoritiesRequest, ListAuthoritiesResponse, RetireAuthorityRequest,
    RetireAuthorityResponse, authority_service_server::AuthorityService,
};
use tonic::{Request, Response, Status};

use super::{AuthorityState, Pki, store};
use supalove_core::{
    Core,
    access::Call,
    error::{Error, Result},
    hints::Hint,
    ids::AuthorityId,
    wire::timestamp,
};

#[derive(Clone)]
pub struct AuthorityApi {
    core: Core,
    pki: Pki,
}

impl AuthorityApi {
    /// On the fleet's roots.
    pub fn new(core: Core, pki: Pki) -> Self {
        Self { core, pki }
    }

    /// Applies a change on this replica at once; the others apply it at their next poll.
    async fn changed(&self, id: AuthorityId) -> Result<Authority> {
        self.pki.refresh().await?;
        let found = store::list(&self.core.db).await?.into_iter().find(|root| root.id == id);
        found.map(Authority::from).ok_or_else(|| Error::internal("a root vanished"))
    }
}

fn parse(id: &str) -> Result<AuthorityId> {
    id.parse().map_err(|e: supalove_core::ids::InvalidId| Error::field("authority_id", e.to_string()))
}

#[tonic::async_trait]
impl AuthorityService for AuthorityApi {
    async fn list_authorities(
        &self,
        _request: Request<ListAuthoritiesRequest>,
    ) -> Result<Response<ListAuthoritiesResponse>, Status> {
        let authorities = store::list(&self.core.db).await?.into_iter().map(Authority::from).collect();
        Ok(Response::new(ListAuthoritiesResponse { authorities }))
    }

    async fn create_authority(
        &self,
        request: Request<CreateAuthorityRequest>,
    ) -> Result<Response<CreateAuthorityResponse>, Status> {
        let call = Call::from_request(&request)?;
        let id = AuthorityId::generate();
        let root = CertificateAuthority::create(&self.core.fleet_id, Utc::now()).map_err(Error::internal)?;
        let mut mutation = self.core.mutation(&call);
        store::add_next(&mut mutation, &self.core.vault, &root, id).await?;
        mutation.commit(&id.to_string(), [Hint::Roots]).await?;
        Ok(Response::new(CreateAuthorityResponse { authority: Some(self.changed(id).await?) }))
    }

    async fn activate_authority(
        &self,
        request: Request<ActivateAuthorityRequest>,
    ) -> Result<Response<ActivateAuthorityResponse>, Status> {
        let call = Call::from_request(&request)?;
        let id = parse(&request.get_ref().authority_id)?;
        call.names(&id.to_string());
        let mut mutation = self.core.mutation(&call);
        store::activate(&mut mutation, id, &self.core.times).await?;
        mutation.commit(&id.to_string(), [Hint::Roots]).await?;
        Ok(Response::new(ActivateAuthorityResponse { authority: Some(self.changed(id).await?) }))
    }

    async fn retire_authority(
        &self,
        request: Request<RetireAuthorityRequest>,
    ) -> Result<Response<RetireAuthorityResponse>, Status> {
        let call = Call::from_request(&request)?;
        let id = parse(&request.get_ref().authority_id)?;
        call.names(&id.to_string());
        let mut mutation = self.core.mutation(&call);
        // Retiring a retired root changes nothing, so there is nothing to audit.
        if store::retire(&mut mutation, id, request.get_ref().force).await? {
            mutation.commit(&id.to_string(), [Hint::Roots]).await?;
        }
        Ok(Response::new(RetireAuthorityResponse { authority: Some(self.changed(id).await?) }))
    }
}

impl From<store::Listed> for Authority {
    fn from(root: store::Listed) -> Self {
        let state = match root.state {
            AuthorityState::Next => pb::AuthorityState::Next,
            AuthorityState::Signing => pb::AuthorityState::Signing,
            AuthorityState::Old => pb::AuthorityState::Old,
            AuthorityState::Retired => pb::AuthorityState::Retired,
        };
        let count = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            id: root.id.to_string(),
            ca_sha256: root.sha256,
            state: state.into(),
            expire_time: Some(timestamp(root.expires_at)),
            create_time: Some(timestamp(root.created_at)),
            nodes_trusting: count(root.trusting),
            nodes_certified: count(root.certified),
            needed_by: root.needed_by,
            certificate_pem: root.certificate_pem,
        }
    }
}
