//! Organizations in PostgreSQL.

pub mod events;
pub mod invitations;
pub mod members;

use chrono::{DateTime, Utc};
use supalove_core::database::Db;
use supalove_plans::ORGANIZATIONS_LIMIT;
use supalove_proto::v1::ErrorReason;

use self::events::{EventType, NewEvent};
use super::{Organization, OrganizationKey};
use supalove_core::{
    Write,
    access::{Call, Object as _, Role},
    database::violates,
    error::{Error, Result},
    ids::{OrganizationId, UserId},
};

/// Rows that one statement deletes.
const BATCH: i64 = 1000;

/// Stores an organization with its owner; the database gives it the default plan. The operator may own any number.
pub async fn insert(write: &mut impl Write, slug: &str, name: &str, owner: UserId) -> Result<OrganizationId> {
    check_quota(write, owner).await?;
    let id = OrganizationId::generate();
    sqlx::query!("INSERT INTO organizations (id, slug, name) VALUES ($1, $2, $3)", id.0, slug, name,)
        .execute(write.connection().await?)
        .await
        .map_err(|error| name_taken(error, slug))?;
    supalove_plans::take_member(write, id).await?;
    members::insert(write, id, owner, Role::Owner).await?;
    events::append(write, id, NewEvent::member(EventType::MemberJoined, owner, Role::Owner)).await?;
    Ok(id)
}

/// Returns an error if a user owns as many organizations as a user may; the operator may own any number. Of two calls for one
/// user, the second waits here for the first.
pub async fn check_quota(write: &mut impl Write, owner: UserId) -> Result<()> {
    // A call may have waited behind the deletion of its own account.
    let operator = sqlx::query_scalar!(
        "SELECT operator FROM users WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE",
        owner.0
    )
    .fetch_optional(write.connection().await?)
    .await?
    .ok_or_else(|| Error::NotFound { kind: "user", name: owner.to_string() })?;
    if operator {
        return Ok(());
    }
    let organizations = sqlx::query_scalar!(
        "SELECT count(*) AS \"count!\" FROM members WHERE user_id = $1 AND role = 'OWNER'",
        owner.0
    )
    .fetch_one(write.connection().await?)
    .await?;
    if organizations < ORGANIZATIONS_LIMIT { Ok(()) } else { Err(supalove_plans::organizations_exceeded()) }
}

fn name_taken(error: sqlx::Error, slug: &str) -> Error {
    if violates(&error, "organizations_slug_key") {
        return Error::AlreadyExists { kind: "organization", name: slug.to_owned() };
    }
    error.into()
}

/// Returns an organization as a principal sees it, with the principal's role. Nobody but members and the operator sees one.
pub async fn get(db: &Db, id: OrganizationId, viewer: UserId, operator: bool) -> Result<Organization> {
    let found = sqlx::query_as!(
        Organization,
        "SELECT o.id AS \"id: OrganizationId\", o.slug, o.name, m.role AS \"role?: Role\", o.projects_used,
             o.projects_limit, e.plan, o.revision, o.created_at
         FROM organizations o JOIN organization_entitlements e ON e.organization_id = o.id
         LEFT JOIN members m ON m.organization_id = o.id AND m.user_id = $2
         WHERE o.id = $1 AND o.deleted_at IS NULL AND (m.role IS NOT NULL OR $3)",
        id.0,
        viewer.0,
        operator,
    );
    let gone = || Error::NotFound { kind: OrganizationKey::KIND, name: id.to_string() };
    found.fetch_optional(db).await?.ok_or_else(gone)
}

/// Returns the id of the organization with this slug.
pub async fn id_of(db: &Db, slug: &str) -> Result<Option<OrganizationId>> {
    let id = sqlx::query_scalar!(
        "SELECT id AS \"id: OrganizationId\" FROM organizations WHERE slug = $1 AND deleted_at IS NULL",
        slug
    );
    Ok(id.fetch_optional(db).await?)
}

/// Returns an organization's name. Lock it first.
pub async fn name(write: &mut impl Write, id: OrganizationId) -> Result<String> {
    let name = sqlx::query_scalar!("SELECT name FROM organizations WHERE id = $1", id.0);
    Ok(name.fetch_one(write.connection().await?).await?)
}

/// Lists the organizations of a member, ordered by slug.
pub async fn list(db: &Db, member: UserId, after: Option<&str>, limit: i64) -> Result<Vec<Organization>> {
    let found = sqlx::query_as!(
        Organization,
        "SELECT o.id AS \"id: OrganizationId\", o.slug, o.name, m.role AS \"role?: Role\", o.projects_used,
             o.projects_limit, e.plan, o.revision, o.created_at
         FROM organizations o JOIN organization_entitlements e ON e.organization_id = o.id
         JOIN members m ON m.organization_id = o.id AND m.user_id = $1
         WHERE $2::text IS NULL OR o.slug > $2 ORDER BY o.slug LIMIT $3",
        member.0,
        after,
        limit,
    );
    Ok(found.fetch_all(db).await?)
}

/// Renames an organization on behalf of the caller; an error if `etag` is not empty and not the present one.
pub async fn rename(
    write: &mut impl Write,
    call: &Call,
    key: &OrganizationKey,
    name: &str,
    etag: &str,
) -> Result<()> {
    members::lock(write, key, call).await?;
    let revision = sqlx::query_scalar!("SELECT revision FROM organizations WHERE id = $1", key.id.0)
        .fetch_one(write.connection().await?)
        .await?;
    if !etag.is_empty() && etag != revision.to_string() {
        return Err(Error::Changed(OrganizationKey::KIND));
    }
    sqlx::query!("UPDATE organizations SET name = $2, revision = revision + 1 WHERE id = $1", key.id.0, name)
        .execute(write.connection().await?)
        .await?;
    events::append(write, key.id, NewEvent::renamed(name)).await
}

/// Deletes an organization that owns nothing, on behalf of the caller. Its row stays for those who refer to it; its slug is
/// free, and nobody is a member. A create that runs at the same time finds a quota of 0.
pub async fn delete(write: &mut impl Write, call: &Call, key: &OrganizationKey) -> Result<()> {
    members::lock(write, key, call).await?;
    let owned = sqlx::query!(
        "SELECT projects_used AS projects, (SELECT count(*) FROM clusters WHERE organization_id = $1 AND deleted_at IS NULL) AS \"clusters!\"
         FROM organizations WHERE id = $1",
        key.id.0
    )
    .fetch_one(write.connection().await?)
    .await?;
    if owned.projects > 0 || owned.clusters > 0 {
        return Err(not_empty(key, owned.projects, owned.clusters));
    }
    // Nobody can guess the new slug, and so nobody can hold it.
    sqlx::query!(
        "UPDATE organizations SET deleted_at = now(), deleted_slug = slug, slug = 'deleted-' || replace(gen_random_uuid()::text, '-', ''),
             projects_limit = 0, revision = revision + 1 WHERE id = $1",
        key.id.0
    )
    .execute(write.connection().await?)
    .await?;
    sqlx::query!("DELETE FROM members WHERE organization_id = $1", key.id.0)
        .execute(write.connection().await?)
        .await?;
    sqlx::query!("DELETE FROM invitations WHERE organization_id = $1", key.id.0)
        .execute(write.connection().await?)
        .await?;
    Ok(())
}

fn not_empty(key: &OrganizationKey, projects: i32, clusters: i64) -> Error {
    Error::FailedPrecondition {
        reason: ErrorReason::OrganizationNotEmpty,
        message: format!(
            "the organization {} still has projects ({projects}) or private clusters ({clusters}); delete the projects (a \
             deleted one counts until its undo window ends) and the clusters",
            key.slug
        ),
    }
}

/// A deleted organization that somebody names.
#[derive(Debug, Clone)]
pub struct Deleted {
    pub id: OrganizationId,
    pub deleted_at: DateTime<Utc>,
}

/// Finds deleted organizations by the slug that they had, the newest first.
pub async fn deleted(db: &Db, slug: &str) -> Result<Vec<Deleted>> {
    let found = sqlx::query_as!(
        Deleted,
        "SELECT id AS \"id: OrganizationId\", deleted_at AS \"deleted_at!\" FROM organizations
         WHERE deleted_slug = $1 AND deleted_at IS NOT NULL ORDER BY deleted_at DESC LIMIT 20",
        slug
    );
    Ok(found.fetch_all(db).await?)
}

/// Whether the organization is there and not deleted.
pub async fn is_live(db: &Db, id: OrganizationId) -> Result<bool> {
    let live = sqlx::query_scalar!(
        "SELECT EXISTS (SELECT 1 FROM organizations WHERE id = $1 AND deleted_at IS NULL) AS \"live!\"",
        id.0
    );
    Ok(live.fetch_one(db).await?)
}

/// Deletes rows of organizations that were deleted long ago and that nothing refers to; false if there may be more.
pub async fn prune(write: &mut impl Write) -> Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM organizations WHERE id IN (
             SELECT o.id FROM organizations o WHERE o.deleted_at < now() - interval '100 days'
                 AND NOT EXISTS (SELECT FROM projects WHERE organization_id = o.id)
                 AND NOT EXISTS (SELECT FROM clusters WHERE organization_id = o.id)
             LIMIT $1)",
        BATCH,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(done.rows_affected() < BATCH.unsigned_abs())
}
