//! Organizations in PostgreSQL.

use sqlx::{PgPool, postgres::PgDatabaseError};

use super::{DEFAULT_PROJECTS_LIMIT, Organization};
use supalove_core::{
    access::Role,
    audit,
    error::{Error, Result},
    ids::{OrganizationId, UserId},
    requests::{self, Request},
};

/// Makes an organization with its owner; with the request's key, so that a repeated call changes nothing.
pub async fn create(
    db: &PgPool,
    slug: &str,
    name: &str,
    owner: UserId,
    request: Option<&Request>,
    entry: &audit::Entry,
) -> Result<()> {
    let id = OrganizationId::generate();
    let mut tx = db.begin().await?;
    if let Some(request) = request {
        requests::record(&mut *tx, request, slug, None).await?;
    }
    sqlx::query!(
        "INSERT INTO organizations (id, slug, name, projects_limit) VALUES ($1, $2, $3, $4)",
        id.0,
        slug,
        name,
        DEFAULT_PROJECTS_LIMIT,
    )
    .execute(&mut *tx)
    .await
    .map_err(|error| name_taken(error, slug))?;
    sqlx::query!(
        "INSERT INTO members (organization_id, user_id, role) VALUES ($1, $2, 'OWNER')",
        id.0,
        owner.0
    )
    .execute(&mut *tx)
    .await?;
    audit::record(&mut *tx, entry).await?;
    tx.commit().await?;
    Ok(())
}

fn name_taken(error: sqlx::Error, slug: &str) -> Error {
    let constraint = error
        .as_database_error()
        .and_then(|e| e.try_downcast_ref::<PgDatabaseError>())
        .and_then(PgDatabaseError::constraint);
    match constraint {
        Some("organizations_slug_key") => {
            Error::AlreadyExists { kind: "organization", name: slug.to_owned() }
        }
        _ => error.into(),
    }
}

/// One organization, as `viewer` sees it.
pub async fn get(db: &PgPool, slug: &str, viewer: UserId) -> Result<Organization> {
    let row = sqlx::query!(
        "SELECT o.id, o.slug, o.name, m.role AS \"role?: Role\", o.projects_used, o.projects_limit, o.revision, o.created_at
         FROM organizations o LEFT JOIN members m ON m.organization_id = o.id AND m.user_id = $2 WHERE o.slug = $1",
        slug,
        viewer.0,
    )
    .fetch_one(db)
    .await?;
    Ok(Organization {
        id: OrganizationId(row.id),
        slug: row.slug,
        name: row.name,
        role: row.role,
        projects_used: row.projects_used,
        projects_limit: row.projects_limit,
        revision: row.revision,
        created_at: row.created_at,
    })
}

/// The organizations of a member, by slug.
pub async fn list(db: &PgPool, member: UserId, after: Option<&str>, limit: i64) -> Result<Vec<Organization>> {
    let rows = sqlx::query!(
        "SELECT o.id, o.slug, o.name, m.role AS \"role: Role\", o.projects_used, o.projects_limit, o.revision, o.created_at
         FROM organizations o JOIN members m ON m.organization_id = o.id AND m.user_id = $1
         WHERE $2::text IS NULL OR o.slug > $2 ORDER BY o.slug LIMIT $3",
        member.0,
        after,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Organization {
            id: OrganizationId(row.id),
            slug: row.slug,
            name: row.name,
            role: Some(row.role),
            projects_used: row.projects_used,
            projects_limit: row.projects_limit,
            revision: row.revision,
            created_at: row.created_at,
        })
        .collect())
}
