//! Members of organizations in PostgreSQL.

use chrono::{DateTime, Utc};
use supalove_core::{
    Write,
    access::{Call, Object as _, Role, decide},
    database::Db,
    error::{Error, Result},
    ids::{OrganizationId, UserId},
};

use crate::OrganizationKey;

/// A user in an organization.
#[derive(Debug, Clone)]
pub struct Member {
    pub user: UserId,
    pub email: String,
    pub display_name: String,
    pub role: Role,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

impl Member {
    /// Changes with what an update can change, and with the membership itself.
    pub fn etag(&self) -> String {
        format!("{}.{}", self.created_at.timestamp_micros(), self.role.as_sql())
    }
}

/// Lists members, ordered by e-mail address.
pub async fn list(
    db: &Db,
    organization: OrganizationId,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Member>> {
    let found = sqlx::query_as!(
        Member,
        "SELECT u.id AS \"user: UserId\", u.email, u.display_name, m.role AS \"role: Role\", m.created_at
         FROM members m JOIN users u ON u.id = m.user_id
         WHERE m.organization_id = $1 AND ($2::text IS NULL OR u.email > $2) ORDER BY u.email LIMIT $3",
        organization.0,
        after,
        limit,
    );
    Ok(found.fetch_all(db).await?)
}

/// Returns a member.
pub async fn get(
    write: &mut impl Write,
    organization: OrganizationId,
    user: UserId,
) -> Result<Option<Member>> {
    let found = sqlx::query_as!(
        Member,
        "SELECT u.id AS \"user: UserId\", u.email, u.display_name, m.role AS \"role: Role\", m.created_at
         FROM members m JOIN users u ON u.id = m.user_id WHERE m.organization_id = $1 AND m.user_id = $2",
        organization.0,
        user.0,
    );
    Ok(found.fetch_optional(write.connection().await?).await?)
}

/// Locks the organization's row, so that changes of it and of its members run one after the other, and decides again: what
/// the caller could do before may have been lost meanwhile. Returns the caller's role.
pub async fn lock(write: &mut impl Write, key: &OrganizationKey, call: &Call) -> Result<Option<Role>> {
    let gone = || Error::NotFound { kind: OrganizationKey::KIND, name: key.slug.clone() };
    let row = sqlx::query!(
        "SELECT id FROM organizations WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE",
        key.id.0
    )
    .fetch_optional(write.connection().await?)
    .await?;
    row.ok_or_else(gone)?;
    let role = role(write, key.id, call.principal()?.user).await?;
    decide(call, call.rule.permission, role, gone)?;
    Ok(role)
}

/// Role of a user, if a member. Call [`lock`] first.
pub async fn role(
    write: &mut impl Write,
    organization: OrganizationId,
    user: UserId,
) -> Result<Option<Role>> {
    let role = sqlx::query_scalar!(
        "SELECT role AS \"role: Role\" FROM members WHERE organization_id = $1 AND user_id = $2",
        organization.0,
        user.0,
    );
    Ok(role.fetch_optional(write.connection().await?).await?)
}

/// Number of owners. Call [`lock`] first.
pub async fn owners(write: &mut impl Write, organization: OrganizationId) -> Result<i64> {
    let owners = sqlx::query_scalar!(
        "SELECT count(*) AS \"count!\" FROM members WHERE organization_id = $1 AND role = 'OWNER'",
        organization.0,
    );
    Ok(owners.fetch_one(write.connection().await?).await?)
}

pub async fn set_role(
    write: &mut impl Write,
    organization: OrganizationId,
    user: UserId,
    role: Role,
) -> Result<()> {
    sqlx::query!(
        "UPDATE members SET role = $3 WHERE organization_id = $1 AND user_id = $2",
        organization.0,
        user.0,
        role.as_sql(),
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

pub async fn remove(write: &mut impl Write, organization: OrganizationId, user: UserId) -> Result<()> {
    sqlx::query!("DELETE FROM members WHERE organization_id = $1 AND user_id = $2", organization.0, user.0)
        .execute(write.connection().await?)
        .await?;
    Ok(())
}

pub async fn insert(
    write: &mut impl Write,
    organization: OrganizationId,
    user: UserId,
    role: Role,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO members (organization_id, user_id, role) VALUES ($1, $2, $3)",
        organization.0,
        user.0,
        role.as_sql(),
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// True if a member has this e-mail address. Call [`lock`] first.
pub async fn has_address(write: &mut impl Write, organization: OrganizationId, email: &str) -> Result<bool> {
    let found = sqlx::query!(
        "SELECT u.id FROM members m JOIN users u ON u.id = m.user_id WHERE m.organization_id = $1 AND u.email = $2",
        organization.0,
        email
    );
    Ok(found.fetch_optional(write.connection().await?).await?.is_some())
}

/// A membership of somebody.
pub struct Membership {
    pub organization: OrganizationId,
    pub slug: String,
    pub role: Role,
    /// Number of owners of the organization.
    pub owners: i64,
}

/// Locks all organizations of a user, in the order of their ids, and returns the memberships.
pub async fn lock_all_of(write: &mut impl Write, user: UserId) -> Result<Vec<Membership>> {
    sqlx::query!(
        "SELECT o.id FROM organizations o JOIN members m ON m.organization_id = o.id WHERE m.user_id = $1
         ORDER BY o.id FOR NO KEY UPDATE OF o",
        user.0
    )
    .fetch_all(write.connection().await?)
    .await?;
    let found = sqlx::query_as!(
        Membership,
        "SELECT o.id AS \"organization: OrganizationId\", o.slug, m.role AS \"role: Role\",
             (SELECT count(*) FROM members n WHERE n.organization_id = o.id AND n.role = 'OWNER') AS \"owners!\"
         FROM members m JOIN organizations o ON o.id = m.organization_id WHERE m.user_id = $1 ORDER BY o.slug",
        user.0
    );
    Ok(found.fetch_all(write.connection().await?).await?)
}

/// Locks two organizations, in the order of their ids; false if one of them was deleted.
pub async fn lock_both(write: &mut impl Write, one: OrganizationId, other: OrganizationId) -> Result<bool> {
    let locked = sqlx::query!(
        "SELECT id FROM organizations WHERE id IN ($1, $2) AND deleted_at IS NULL ORDER BY id FOR NO KEY UPDATE",
        one.0,
        other.0,
    )
    .fetch_all(write.connection().await?)
    .await?;
    Ok(locked.len() == 2)
}

/// Somebody who is a member of one of two organizations, or has different roles in them.
pub struct Difference {
    pub user: UserId,
    pub email: String,
    /// Role in the first one.
    pub first: Option<Role>,
    /// Role in the second one.
    pub second: Option<Role>,
    /// Number of such people.
    pub total: i64,
}

/// Compares the members of two organizations, ordered by e-mail address.
pub async fn differences(
    db: &Db,
    first: OrganizationId,
    second: OrganizationId,
    limit: i64,
) -> Result<Vec<Difference>> {
    let found = sqlx::query_as!(
        Difference,
        "SELECT u.id AS \"user: UserId\", u.email, f.role AS \"first?: Role\", s.role AS \"second?: Role\",
             count(*) OVER () AS \"total!\"
         FROM (SELECT user_id, role FROM members WHERE organization_id = $1) f
         FULL JOIN (SELECT user_id, role FROM members WHERE organization_id = $2) s USING (user_id)
         JOIN users u ON u.id = user_id
         WHERE f.role IS DISTINCT FROM s.role ORDER BY u.email LIMIT $3",
        first.0,
        second.0,
        limit,
    );
    Ok(found.fetch_all(db).await?)
}
