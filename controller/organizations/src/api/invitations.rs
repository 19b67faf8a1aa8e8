//! `supalove.v1.InvitationService`.

use supalove_core::{
    Core,
    access::Call,
    error::{Error, Result},
    hints::Hint,
    ids::{InvalidId, InvitationId},
    wire::{page, page_size, parse_page_token, timestamp},
};
use supalove_identity::{Opaque, limits, links, normalize_email};
use supalove_proto::v1::{
    self as pb, AcceptInvitationRequest, AcceptInvitationResponse, CreateInvitationRequest,
    CreateInvitationResponse, GetInvitationRequest, GetInvitationResponse, ListInvitationsRequest,
    ListInvitationsResponse, ResendInvitationRequest, ResendInvitationResponse, RevokeInvitationRequest,
    RevokeInvitationResponse, invitation_service_server::InvitationService,
};
use tonic::{Request, Response, Status};

use super::{role, wire_role};
use crate::{
    OrganizationKey,
    invitations::{self, Issued},
    store::{self, invitations::Invitation},
};

#[derive(Debug, Clone)]
pub struct InvitationApi {
    core: Core,
}

impl InvitationApi {
    /// On the control database.
    pub fn new(core: Core) -> Self {
        Self { core }
    }

    /// Counts an invitation, the first link as each further one, as one mail to its address.
    async fn count(&self, call: &Call, key: &OrganizationKey, to: &str) -> Result<()> {
        let inviter = call.principal()?.user.to_string();
        limits::invitation(&self.core.db, &key.id.to_string(), &inviter, to).await
    }
}

#[tonic::async_trait]
impl InvitationService for InvitationApi {
    async fn create_invitation(
        &self,
        request: Request<CreateInvitationRequest>,
    ) -> Result<Response<CreateInvitationResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let key = self.core.access.allow::<OrganizationKey>(&call, &body.organization).await?;
        let (email, role) = (normalize_email(&body.email)?, role(body.role())?);
        self.count(&call, &key, &email).await?;
        let mut mutation = self.core.mutation(&call);
        let issued = invitations::issue(&self.core, &mut mutation, &call, &key, &email, role).await?;
        let target = format!("{}/{}", key.id, issued.invitation.id);
        mutation.commit(&target, [Hint::Organization(key.id)]).await?;
        let (invitation, token) = shown(issued);
        Ok(Response::new(CreateInvitationResponse { invitation: Some(invitation), token }))
    }

    async fn list_invitations(
        &self,
        request: Request<ListInvitationsRequest>,
    ) -> Result<Response<ListInvitationsResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let key = self.core.access.allow::<OrganizationKey>(&call, &body.organization).await?;
        let size = page_size(body.page_size, 50, 100)?;
        let after = parse_page_token(&body.page_token)?;
        let found = store::invitations::list(&self.core.db, key.id, after.as_deref(), size + 1).await?;
        let (found, next) = page(found, size, |invitation| invitation.email.clone());
        let invitations = found.into_iter().map(pb::Invitation::from).collect();
        Ok(Response::new(ListInvitationsResponse { invitations, next_page_token: next }))
    }

    async fn resend_invitation(
        &self,
        request: Request<ResendInvitationRequest>,
    ) -> Result<Response<ResendInvitationResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        call.names(&format!("{}/{}", body.organization, body.invitation_id));
        let key = self.core.access.allow::<OrganizationKey>(&call, &body.organization).await?;
        let id = invitation_id(&body.invitation_id)?;
        let address = store::invitations::address(&self.core.db, key.id, id).await?;
        // Guesses at ids count as well.
        self.count(&call, &key, address.as_deref().unwrap_or(&body.invitation_id)).await?;
        let mut mutation = self.core.mutation(&call);
        let issued = invitations::reissue(&self.core, &mut mutation, &call, &key, id).await?;
        mutation.commit(&format!("{}/{id}", key.id), [Hint::Organization(key.id)]).await?;
        let (invitation, token) = shown(issued);
        Ok(Response::new(ResendInvitationResponse { invitation: Some(invitation), token }))
    }

    async fn revoke_invitation(
        &self,
        request: Request<RevokeInvitationRequest>,
    ) -> Result<Response<RevokeInvitationResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        call.names(&format!("{}/{}", body.organization, body.invitation_id));
        let key = self.core.access.allow::<OrganizationKey>(&call, &body.organization).await?;
        let id = invitation_id(&body.invitation_id)?;
        let mut mutation = self.core.mutation(&call);
        invitations::revoke(&mut mutation, &call, &key, id).await?;
        mutation.commit(&format!("{}/{id}", key.id), [Hint::Organization(key.id)]).await?;
        Ok(Response::new(RevokeInvitationResponse {}))
    }

    async fn get_invitation(
        &self,
        request: Request<GetInvitationRequest>,
    ) -> Result<Response<GetInvitationResponse>, Status> {
        let call = Call::from_request(&request)?;
        let token = Opaque::received(request.into_inner().token);
        let Some(found) = store::invitations::preview(&self.core.db, &token.hash()).await? else {
            return Err(limits::wrong_token(&self.core.db, call.client, links::invalid()).await.into());
        };
        Ok(Response::new(GetInvitationResponse {
            organization_name: found.organization,
            email: found.email,
            role: wire_role(found.role).into(),
            invited_by_name: found.invited_by,
            expire_time: Some(timestamp(found.expires_at)),
        }))
    }

    async fn accept_invitation(
        &self,
        request: Request<AcceptInvitationRequest>,
    ) -> Result<Response<AcceptInvitationResponse>, Status> {
        let call = Call::from_request(&request)?;
        let principal = call.principal()?;
        let token = Opaque::received(request.into_inner().token).hash();
        if store::invitations::invited(&self.core.db, &token).await?.is_none() {
            return Err(limits::wrong_token(&self.core.db, call.client, links::invalid()).await.into());
        }
        let mut mutation = self.core.mutation(&call);
        let (organization, role) = invitations::accept(&mut mutation, &token, principal.user).await?;
        supalove_identity::store::lock_account(&mut mutation, principal).await?;
        let target = format!("{organization}/{} {}", principal.user, role.as_sql());
        mutation.commit(&target, [Hint::Organization(organization)]).await?;
        let organization =
            store::get(&self.core.db, organization, principal.user, principal.operator).await?;
        Ok(Response::new(AcceptInvitationResponse { organization: Some(organization.into()) }))
    }
}

fn invitation_id(text: &str) -> Result<InvitationId> {
    text.parse().map_err(|error: InvalidId| Error::field("invitation_id", error.to_string()))
}

fn shown(issued: Issued) -> (pb::Invitation, String) {
    let token = issued.token.as_ref().map(Opaque::reveal).unwrap_or_default();
    (issued.invitation.into(), token)
}

impl From<Invitation> for pb::Invitation {
    fn from(invitation: Invitation) -> Self {
        Self {
            id: invitation.id.to_string(),
            email: invitation.email,
            role: wire_role(invitation.role).into(),
            invited_by: invitation.invited_by,
            mailed: invitation.mailed,
            create_time: Some(timestamp(invitation.created_at)),
            expire_time: Some(timestamp(invitation.expires_at)),
        }
    }
}
