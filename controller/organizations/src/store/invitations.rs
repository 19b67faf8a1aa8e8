//! Invitations in PostgreSQL.

use chrono::{DateTime, Utc};
use supalove_core::{
    Write,
    access::Role,
    accounts::Invited,
    database::Db,
    error::Result,
    ids::{InvitationId, OrganizationId, UserId},
};

/// Rows that one statement deletes.
const BATCH: i64 = 1000;

/// An invitation.
#[derive(Debug, Clone)]
pub struct Invitation {
    pub id: InvitationId,
    pub email: String,
    pub role: Role,
    pub mailed: bool,
    /// Address of who invited.
    pub invited_by: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// An invitation to store.
pub struct New<'a> {
    pub organization: OrganizationId,
    pub email: &'a str,
    pub role: Role,
    pub token_hash: &'a [u8],
    pub mailed: bool,
    pub invited_by: UserId,
    pub expires_at: DateTime<Utc>,
}

/// Stores an invitation in place of the one that the address may have.
pub async fn put(write: &mut impl Write, new: &New<'_>) -> Result<InvitationId> {
    let id = sqlx::query_scalar!(
        "INSERT INTO invitations (id, organization_id, email, role, token_hash, mailed, invited_by, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (organization_id, email) DO UPDATE
             SET role = excluded.role, token_hash = excluded.token_hash, mailed = excluded.mailed,
                 invited_by = excluded.invited_by, sent_at = now(), expires_at = excluded.expires_at
         RETURNING id AS \"id: InvitationId\"",
        InvitationId::generate().0,
        new.organization.0,
        new.email,
        new.role.as_sql(),
        new.token_hash,
        new.mailed,
        new.invited_by.0,
        new.expires_at,
    );
    Ok(id.fetch_one(write.connection().await?).await?)
}

/// Number of an organization's invitations to addresses but this one.
pub async fn count_others(write: &mut impl Write, organization: OrganizationId, email: &str) -> Result<i64> {
    let count = sqlx::query_scalar!(
        "SELECT count(*) AS \"count!\" FROM invitations WHERE organization_id = $1 AND email <> $2",
        organization.0,
        email
    );
    Ok(count.fetch_one(write.connection().await?).await?)
}

/// The role of the invitation that an address has.
pub async fn role_of(
    write: &mut impl Write,
    organization: OrganizationId,
    email: &str,
) -> Result<Option<Role>> {
    let role = sqlx::query_scalar!(
        "SELECT role AS \"role: Role\" FROM invitations WHERE organization_id = $1 AND email = $2",
        organization.0,
        email
    );
    Ok(role.fetch_optional(write.connection().await?).await?)
}

/// Returns an invitation of an organization.
pub async fn get(
    write: &mut impl Write,
    organization: OrganizationId,
    id: InvitationId,
) -> Result<Option<Invitation>> {
    let found = sqlx::query_as!(
        Invitation,
        "SELECT i.id AS \"id: InvitationId\", i.email, i.role AS \"role: Role\", i.mailed, u.email AS invited_by, i.created_at,
             i.expires_at
         FROM invitations i JOIN users u ON u.id = i.invited_by WHERE i.organization_id = $1 AND i.id = $2",
        organization.0,
        id.0,
    );
    Ok(found.fetch_optional(write.connection().await?).await?)
}

/// The address of an invitation.
pub async fn address(db: &Db, organization: OrganizationId, id: InvitationId) -> Result<Option<String>> {
    let address = sqlx::query_scalar!(
        "SELECT email FROM invitations WHERE organization_id = $1 AND id = $2",
        organization.0,
        id.0
    );
    Ok(address.fetch_optional(db).await?)
}

/// Lists invitations, ordered by e-mail address.
pub async fn list(
    db: &Db,
    organization: OrganizationId,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Invitation>> {
    let found = sqlx::query_as!(
        Invitation,
        "SELECT i.id AS \"id: InvitationId\", i.email, i.role AS \"role: Role\", i.mailed, u.email AS invited_by, i.created_at,
             i.expires_at
         FROM invitations i JOIN users u ON u.id = i.invited_by
         WHERE i.organization_id = $1 AND ($2::text IS NULL OR i.email > $2) ORDER BY i.email LIMIT $3",
        organization.0,
        after,
        limit,
    );
    Ok(found.fetch_all(db).await?)
}

/// Deletes an invitation; false if there is none.
pub async fn revoke(write: &mut impl Write, organization: OrganizationId, id: InvitationId) -> Result<bool> {
    let done =
        sqlx::query!("DELETE FROM invitations WHERE organization_id = $1 AND id = $2", organization.0, id.0)
            .execute(write.connection().await?)
            .await?;
    Ok(done.rows_affected() == 1)
}

/// What a token invites to.
#[derive(Debug, Clone)]
pub struct Preview {
    pub organization_id: OrganizationId,
    pub organization: String,
    pub email: String,
    pub role: Role,
    /// Name of who invited.
    pub invited_by: String,
    pub expires_at: DateTime<Utc>,
}

/// Returns what a token invites to, while its inviter may still invite.
pub async fn preview(db: &Db, token_hash: &[u8]) -> Result<Option<Preview>> {
    let found = sqlx::query_as!(
        Preview,
        "SELECT o.id AS \"organization_id: OrganizationId\", o.name AS organization, i.email, i.role AS \"role: Role\",
             u.display_name AS invited_by, i.expires_at
         FROM invitations i JOIN organizations o ON o.id = i.organization_id JOIN users u ON u.id = i.invited_by
         JOIN members m ON m.organization_id = o.id AND m.user_id = i.invited_by
         WHERE i.token_hash = $1 AND i.expires_at > now() AND o.deleted_at IS NULL
             AND (m.role = 'OWNER' OR (m.role = 'ADMINISTRATOR' AND i.role <> 'OWNER'))",
        token_hash,
    );
    Ok(found.fetch_optional(db).await?)
}

/// Returns for whom a token is.
pub async fn invited(db: &Db, token_hash: &[u8]) -> Result<Option<Invited>> {
    let found = sqlx::query_as!(
        Invited,
        "SELECT email, mailed FROM invitations WHERE token_hash = $1 AND expires_at > now()",
        token_hash,
    );
    Ok(found.fetch_optional(db).await?)
}

/// The organization of a token; locks its row first, as everybody does who changes members.
pub async fn lock_organization(write: &mut impl Write, token_hash: &[u8]) -> Result<Option<OrganizationId>> {
    let found = sqlx::query_scalar!(
        "SELECT o.id AS \"id: OrganizationId\" FROM organizations o JOIN invitations i ON i.organization_id = o.id
         WHERE i.token_hash = $1 AND i.expires_at > now() AND o.deleted_at IS NULL FOR NO KEY UPDATE OF o",
        token_hash,
    );
    Ok(found.fetch_optional(write.connection().await?).await?)
}

/// An invitation that was used up.
pub struct Spent {
    pub id: InvitationId,
    pub role: Role,
    pub invited_by: UserId,
}

/// Uses an invitation of this address up. `None` if somebody else was faster.
pub async fn spend(write: &mut impl Write, token_hash: &[u8], email: &str) -> Result<Option<Spent>> {
    let found = sqlx::query_as!(
        Spent,
        "DELETE FROM invitations WHERE token_hash = $1 AND email = $2 AND expires_at > now()
         RETURNING id AS \"id: InvitationId\", role AS \"role: Role\", invited_by AS \"invited_by: UserId\"",
        token_hash,
        email,
    );
    Ok(found.fetch_optional(write.connection().await?).await?)
}

/// Deletes invitations that expired a month ago; false if there may be more.
pub async fn prune(write: &mut impl Write) -> Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM invitations WHERE id IN (
             SELECT id FROM invitations WHERE expires_at < now() - interval '30 days' ORDER BY expires_at LIMIT $1)",
        BATCH,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(done.rows_affected() < BATCH.unsigned_abs())
}
