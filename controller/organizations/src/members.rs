//! Changes of who is a member of an organization, and in which role.

use supalove_core::{
    Write,
    access::{Call, Role},
    error::{Error, Result},
    ids::UserId,
};
use supalove_proto::v1::ErrorReason;

use crate::{
    OrganizationKey,
    store::{
        self,
        events::{self, EventType, NewEvent},
        members::{self, Member},
    },
};

/// Gives a member another role on behalf of the caller, unless an `etag` is given and the member has another one; returns the
/// member.
pub async fn set_role(
    write: &mut impl Write,
    call: &Call,
    key: &OrganizationKey,
    member: UserId,
    role: Role,
    etag: &str,
) -> Result<Member> {
    let present = check(write, call, key, member, Some(role)).await?;
    if !etag.is_empty() {
        let read = members::get(write, key.id, member).await?.ok_or_else(|| no_member(member))?;
        if read.etag() != etag {
            return Err(Error::Changed("member"));
        }
    }
    if role == Role::Owner && present != Role::Owner {
        store::check_quota(write, member).await?;
    }
    members::set_role(write, key.id, member, role).await?;
    if role != present {
        let changed = NewEvent::member(EventType::MemberRoleChanged, member, role);
        events::append(write, key.id, changed).await?;
    }
    members::get(write, key.id, member).await?.ok_or_else(|| no_member(member))
}

/// Removes a member on behalf of the caller.
pub async fn remove(
    write: &mut impl Write,
    call: &Call,
    key: &OrganizationKey,
    member: UserId,
) -> Result<()> {
    check(write, call, key, member, None).await?;
    members::remove(write, key.id, member).await?;
    events::append(write, key.id, NewEvent::gone(EventType::MemberRemoved, member)).await
}

/// Ends the caller's own membership.
pub async fn leave(write: &mut impl Write, call: &Call, key: &OrganizationKey) -> Result<()> {
    let present = members::lock(write, key, call).await?.ok_or_else(|| Error::FailedPrecondition {
        reason: ErrorReason::NotAMember,
        message: format!("you are no member of {}", key.slug),
    })?;
    check_owner_stays(present, None, members::owners(write, key.id).await?)?;
    let user = call.principal()?.user;
    members::remove(write, key.id, user).await?;
    events::append(write, key.id, NewEvent::gone(EventType::MemberLeft, user)).await
}

/// Locks, and checks that the caller may give a member the role `next`, or none. Returns the present role.
async fn check(
    write: &mut impl Write,
    call: &Call,
    key: &OrganizationKey,
    member: UserId,
    next: Option<Role>,
) -> Result<Role> {
    let actor = members::lock(write, key, call).await?;
    let present = members::role(write, key.id, member).await?.ok_or_else(|| no_member(member))?;
    check_owners_act(actor, present, next)?;
    check_owner_stays(present, next, members::owners(write, key.id).await?)?;
    Ok(present)
}

fn no_member(user: UserId) -> Error {
    Error::NotFound { kind: "member", name: user.to_string() }
}

/// Only owners make owners, or act on one.
pub(crate) fn check_owners_act(actor: Option<Role>, present: Role, next: Option<Role>) -> Result<()> {
    let on_owners = present == Role::Owner || next == Some(Role::Owner);
    if !on_owners || actor == Some(Role::Owner) {
        return Ok(());
    }
    Err(Error::PermissionDenied {
        action: "change who is an owner".to_owned(),
        needs: "the role owner in the organization".to_owned(),
    })
}

/// An organization always has an owner.
fn check_owner_stays(present: Role, next: Option<Role>, owners: i64) -> Result<()> {
    let loses_one = present == Role::Owner && next != Some(Role::Owner);
    if !loses_one || owners > 1 {
        return Ok(());
    }
    Err(Error::FailedPrecondition {
        reason: ErrorReason::LastOwner,
        message: "the organization would have no owner; make another member an owner first, or delete it"
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_acted_on_by_owners_only() {
        for actor in Role::ALL {
            let actor = Some(*actor);
            let is_owner = actor == Some(Role::Owner);
            assert_eq!(
                check_owners_act(actor, Role::Owner, None).is_ok(),
                is_owner,
                "{actor:?} removes an owner"
            );
            assert_eq!(check_owners_act(actor, Role::Owner, Some(Role::ReadOnly)).is_ok(), is_owner);
            assert_eq!(check_owners_act(actor, Role::ReadOnly, Some(Role::Owner)).is_ok(), is_owner);
            check_owners_act(actor, Role::Developer, Some(Role::Administrator)).unwrap();
        }
        assert!(check_owners_act(None, Role::Owner, None).is_err(), "lost the membership meanwhile");
    }

    #[test]
    fn the_last_owner_stays() {
        assert!(check_owner_stays(Role::Owner, None, 1).is_err());
        assert!(check_owner_stays(Role::Owner, Some(Role::Administrator), 1).is_err());
        check_owner_stays(Role::Owner, Some(Role::Owner), 1).unwrap();
        check_owner_stays(Role::Owner, None, 2).unwrap();
        check_owner_stays(Role::Developer, None, 1).unwrap();
    }
}
