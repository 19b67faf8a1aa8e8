//! Organizations in PostgreSQL.

use supalove_core::database::Db;
use supalove_plans::{DEFAULT_PROJECTS_LIMIT, ORGANIZATIONS_LIMIT};

use super::Organization;
use supalove_core::{
    Write,
    access::{Principal, Role},
    database::violates,
    error::{Error, Result},
    ids::{OrganizationId, UserId},
};

/// Stores an organization with its owner. The operator may own any number.
pub async fn insert(write: &mut impl Write, slug: &str, name: &str, owner: &Principal) -> Result<()> {
    if !owner.operator {
        check_quota(write, owner.user).await?;
    }
    let id = OrganizationId::generate();
    sqlx::query!(
        "INSERT INTO organizations (id, slug, name, projects_limit) VALUES ($1, $2, $3, $4)",
        id.0,
        slug,
        name,
        DEFAULT_PROJECTS_LIMIT,
    )
    .execute(write.connection().await?)
    .await
    .map_err(|error| name_taken(error, slug))?;
    sqlx::query!(
        "INSERT INTO members (organization_id, user_id, role) VALUES ($1, $2, 'OWNER')",
        id.0,
        owner.user.0
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Of two calls of one user, the second waits here for the first.
async fn check_quota(write: &mut impl Write, owner: UserId) -> Result<()> {
    sqlx::query!("SELECT id FROM users WHERE id = $1 FOR UPDATE", owner.0)
        .fetch_one(write.connection().await?)
        .await?;
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

/// Returns an organization, with the role of `viewer`.
pub async fn get(db: &Db, slug: &str, viewer: UserId) -> Result<Organization> {
    let found = sqlx::query_as!(
        Organization,
        "SELECT o.id AS \"id: OrganizationId\", o.slug, o.name, m.role AS \"role?: Role\", o.projects_used,
             o.projects_limit, o.revision, o.created_at
         FROM organizations o LEFT JOIN members m ON m.organization_id = o.id AND m.user_id = $2 WHERE o.slug = $1",
        slug,
        viewer.0,
    );
    Ok(found.fetch_one(db).await?)
}

/// Lists the organizations of a member, ordered by slug.
pub async fn list(db: &Db, member: UserId, after: Option<&str>, limit: i64) -> Result<Vec<Organization>> {
    let found = sqlx::query_as!(
        Organization,
        "SELECT o.id AS \"id: OrganizationId\", o.slug, o.name, m.role AS \"role?: Role\", o.projects_used,
             o.projects_limit, o.revision, o.created_at
         FROM organizations o JOIN members m ON m.organization_id = o.id AND m.user_id = $1
         WHERE $2::text IS NULL OR o.slug > $2 ORDER BY o.slug LIMIT $3",
        member.0,
        after,
        limit,
    );
    Ok(found.fetch_all(db).await?)
}
