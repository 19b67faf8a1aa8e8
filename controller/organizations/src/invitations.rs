//! Who may invite whom, and what an invitation becomes.

use std::time::Duration;

use chrono::Utc;
use supalove_core::{
    Core, Write,
    access::{Call, Role},
    error::{Error, Result},
    ids::{InvitationId, OrganizationId, UserId},
};
use supalove_identity::{Opaque, letter, links, store as identity};
use supalove_proto::v1::ErrorReason;

use crate::{
    OrganizationKey,
    members::check_owners_act,
    store::{
        self,
        events::{self, EventType, NewEvent},
        invitations::{self, Invitation, Spent},
        members,
    },
};

/// How long a link works.
const LIFE: Duration = Duration::from_hours(7 * 24);
/// Open invitations of an organization: nobody sends mails without end.
const OPEN: i64 = 100;
/// Begins every token, so that scanners for leaked secrets find it.
const PREFIX: &str = "sbi_";

/// An invitation that was issued, with its token if nobody mails it.
pub struct Issued {
    pub invitation: Invitation,
    pub token: Option<Opaque>,
}

/// Invites somebody on behalf of the caller, or issues another link.
pub async fn issue(
    core: &Core,
    write: &mut impl Write,
    call: &Call,
    key: &OrganizationKey,
    email: &str,
    role: Role,
) -> Result<Issued> {
    let actor = members::lock(write, key, call).await?;
    let present = invitations::role_of(write, key.id, email).await?;
    check_owners_act(actor, present.unwrap_or(role), Some(role))?;
    if members::has_address(write, key.id, email).await? {
        return Err(already_a_member(email));
    }
    if invitations::count_others(write, key.id, email).await? >= OPEN {
        return Err(too_many());
    }
    let token = Opaque::with_prefix(PREFIX)?;
    let mailed = core.mail().enabled();
    let expires_at = Utc::now() + LIFE;
    let new = invitations::New {
        organization: key.id,
        email,
        role,
        token_hash: &token.hash(),
        mailed,
        invited_by: call.principal()?.user,
        expires_at,
    };
    let id = invitations::put(write, &new).await?;
    let created = NewEvent::invitation(EventType::InvitationCreated, id, role);
    events::append(write, key.id, created).await?;
    let invitation = invitations::get(write, key.id, id).await?.ok_or_else(|| none(id))?;
    if !mailed {
        return Ok(Issued { invitation, token: Some(token) });
    }
    let name = store::name(write, key.id).await?;
    let role = role.as_sql().to_lowercase();
    letter::letter(email, "invitation", &format!("Join {name} on Supalove"), expires_at)
        .says(&format!(
            "{} invites you to the organization {name}, with the role {role}.",
            invitation.invited_by
        ))
        .links("Accept the invitation", letter::page(core, "invitation", &token)?)
        .closes("If you do not know them, ignore this mail.")
        .post(core, write)
        .await?;
    Ok(Issued { invitation, token: None })
}

/// Issues another link for an invitation.
pub async fn reissue(
    core: &Core,
    write: &mut impl Write,
    call: &Call,
    key: &OrganizationKey,
    id: InvitationId,
) -> Result<Issued> {
    members::lock(write, key, call).await?;
    let present = invitations::get(write, key.id, id).await?.ok_or_else(|| none(id))?;
    issue(core, write, call, key, &present.email, present.role).await
}

/// Revokes an invitation. That of an owner only owners revoke.
pub async fn revoke(
    write: &mut impl Write,
    call: &Call,
    key: &OrganizationKey,
    id: InvitationId,
) -> Result<()> {
    let actor = members::lock(write, key, call).await?;
    let present = invitations::get(write, key.id, id).await?.ok_or_else(|| none(id))?;
    check_owners_act(actor, present.role, None)?;
    invitations::revoke(write, key.id, id).await?;
    let revoked = NewEvent::invitation(EventType::InvitationRevoked, id, present.role);
    events::append(write, key.id, revoked).await
}

/// Makes a user a member by a token; returns the organization and the role.
pub async fn accept(write: &mut impl Write, token: &[u8], user: UserId) -> Result<(OrganizationId, Role)> {
    let organization = invitations::lock_organization(write, token).await?.ok_or_else(links::invalid)?;
    let email = identity::lock_user(write, user).await?;
    let spent = invitations::spend(write, token, &email).await?;
    let Spent { id, role, invited_by } = spent.ok_or_else(for_another)?;
    // Who has lost the right to invite has lost it for open invitations, too.
    let inviter = members::role(write, organization, invited_by).await?;
    if !may_invite(inviter, role) {
        return Err(links::invalid());
    }
    if members::role(write, organization, user).await?.is_some() {
        return Err(already_a_member(&email));
    }
    if role == Role::Owner {
        store::check_quota(write, user).await?;
    }
    supalove_plans::take_member(write, organization).await?;
    members::insert(write, organization, user, role).await?;
    let accepted = NewEvent::invitation(EventType::InvitationAccepted, id, role).by(user);
    events::append(write, organization, accepted).await?;
    events::append(write, organization, NewEvent::member(EventType::MemberJoined, user, role)).await?;
    Ok((organization, role))
}

fn may_invite(inviter: Option<Role>, role: Role) -> bool {
    matches!(inviter, Some(Role::Owner | Role::Administrator))
        && check_owners_act(inviter, role, None).is_ok()
}

fn none(id: InvitationId) -> Error {
    Error::NotFound { kind: "invitation", name: id.to_string() }
}

fn already_a_member(email: &str) -> Error {
    Error::FailedPrecondition {
        reason: ErrorReason::AlreadyAMember,
        message: format!("{email} is a member of the organization already"),
    }
}

fn for_another() -> Error {
    Error::FailedPrecondition {
        reason: ErrorReason::InvitationForAnother,
        message: "the invitation is for another address than that of your account; sign in with that account, or ask for an \
                  invitation to yours"
            .to_owned(),
    }
}

fn too_many() -> Error {
    Error::Quota {
        subject: "organization:invitations".to_owned(),
        message: format!(
            "an organization has at most {OPEN} open invitations; revoke those that nobody accepts"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_is_worth_what_its_inviter_may() {
        assert!(may_invite(Some(Role::Owner), Role::Owner));
        assert!(may_invite(Some(Role::Administrator), Role::Administrator));
        assert!(!may_invite(Some(Role::Administrator), Role::Owner), "was an owner when inviting");
        assert!(!may_invite(Some(Role::Developer), Role::ReadOnly), "was demoted");
        assert!(!may_invite(None, Role::ReadOnly), "has left");
    }
}
