//! Sizes of projects: what each gives a project's database, as rows that the operator edits. The projects room copies them into
//! the project that gets the size.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use supalove_core::{
    Write,
    database::Db,
    error::{Error, Result},
    ids::OrganizationId,
};

use crate::entitlement::PROJECT_SIZES;

/// A size, and what it gives a project's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectSize {
    pub name: String,
    /// Thousandths of a core.
    pub cpu_millis: i32,
    pub memory_mib: i32,
    /// Of its volumes.
    pub disk_mib: i32,
    /// Of the project's own roles.
    pub connections: i32,
}

/// A size as the operator sees it.
#[derive(Debug, Clone)]
pub struct Listed {
    pub size: ProjectSize,
    pub rank: i32,
    /// Plans that allow it, ordered by price.
    pub plans: Vec<String>,
    pub revision: i64,
    pub updated_at: DateTime<Utc>,
}

/// A row of `project_sizes`, with the plans.
struct Row {
    name: String,
    rank: i32,
    cpu_millis: i32,
    memory_mib: i32,
    disk_mib: i32,
    connections: i32,
    plans: Vec<String>,
    revision: i64,
    updated_at: DateTime<Utc>,
}

impl From<Row> for Listed {
    fn from(row: Row) -> Self {
        Self {
            size: ProjectSize {
                name: row.name,
                cpu_millis: row.cpu_millis,
                memory_mib: row.memory_mib,
                disk_mib: row.disk_mib,
                connections: row.connections,
            },
            rank: row.rank,
            plans: row.plans,
            revision: row.revision,
            updated_at: row.updated_at,
        }
    }
}

/// Lists sizes behind this rank, smallest first.
pub async fn list(db: &Db, after: i32, limit: i64) -> Result<Vec<Listed>> {
    let found = sqlx::query_as!(
        Row,
        "SELECT s.name, s.rank, s.cpu_millis, s.memory_mib, s.disk_mib, s.connections, s.revision, s.updated_at,
             ARRAY(SELECT p.name FROM plans p WHERE s.name = ANY (p.project_sizes) ORDER BY p.price_cents, p.name) AS \"plans!\"
         FROM project_sizes s WHERE s.rank > $1 ORDER BY s.rank LIMIT $2",
        after,
        limit,
    );
    Ok(found.fetch_all(db).await?.into_iter().map(Listed::from).collect())
}

/// Returns one size.
pub async fn get(db: &Db, name: &str) -> Result<Option<Listed>> {
    let all = list(db, i32::MIN, i64::MAX).await?;
    Ok(all.into_iter().find(|listed| listed.size.name == name))
}

/// A locked row.
pub struct Locked {
    pub size: ProjectSize,
    pub revision: i64,
}

/// Locks the row of a size.
pub async fn lock(write: &mut impl Write, name: &str) -> Result<Locked> {
    let row = sqlx::query!(
        "SELECT name, cpu_millis, memory_mib, disk_mib, connections, revision FROM project_sizes WHERE name = $1
         FOR NO KEY UPDATE",
        name,
    )
    .fetch_optional(write.connection().await?)
    .await?;
    let row = row.ok_or_else(|| Error::NotFound { kind: "size", name: name.to_owned() })?;
    Ok(Locked {
        size: ProjectSize {
            name: row.name,
            cpu_millis: row.cpu_millis,
            memory_mib: row.memory_mib,
            disk_mib: row.disk_mib,
            connections: row.connections,
        },
        revision: row.revision,
    })
}

/// Stores what a size gives from now on. [`lock`] it first.
pub async fn update(write: &mut impl Write, size: &ProjectSize) -> Result<()> {
    sqlx::query!(
        "UPDATE project_sizes SET cpu_millis = $2, memory_mib = $3, disk_mib = $4, connections = $5, revision = revision + 1,
             updated_at = now() WHERE name = $1",
        size.name,
        size.cpu_millis,
        size.memory_mib,
        size.disk_mib,
        size.connections,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Returns the size of this name, or, if that is empty, the smallest that the organization may have. Takes nothing: see
/// [`take_size`].
pub async fn find_size(
    executor: impl PgExecutor<'_>,
    organization: OrganizationId,
    asked: &str,
) -> Result<ProjectSize> {
    let unknown = || Error::field("size", format!("must be one of {}", PROJECT_SIZES.join(", ")));
    // PostgreSQL takes no NUL in a text.
    if !asked.is_empty() && !PROJECT_SIZES.contains(&asked) {
        return Err(unknown());
    }
    let found = sqlx::query_as!(
        ProjectSize,
        "SELECT name, cpu_millis, memory_mib, disk_mib, connections FROM project_sizes
         WHERE name = CASE WHEN $2 = '' THEN (plan_sizes($1))[1] ELSE $2 END",
        organization.0,
        asked,
    );
    found.fetch_optional(executor).await?.ok_or_else(unknown)
}

/// Returns an error if the projects of an organization may not have a size. Whoever gives a project one calls this in the same
/// transaction, before the node's and the project's row: it locks the organization's row, so that the plan cannot change
/// meanwhile.
pub async fn take_size(write: &mut impl Write, organization: OrganizationId, size: &str) -> Result<()> {
    let allowed = sqlx::query_scalar!("SELECT plan_take_size($1, $2) AS \"allowed!\"", organization.0, size)
        .fetch_one(write.connection().await?)
        .await?;
    if allowed {
        return Ok(());
    }
    Err(size_refused(write.connection().await?, organization, size).await)
}

/// The error for a size that an organization may not have. If it cannot look up which ones it may have, returns that error.
pub async fn size_refused(executor: impl PgExecutor<'_>, organization: OrganizationId, size: &str) -> Error {
    let found = sqlx::query!(
        "SELECT plan_sizes($1) AS \"sizes!\", p.display_name FROM organization_entitlements e JOIN plans p ON p.name = e.plan
         WHERE e.organization_id = $1",
        organization.0,
    );
    match found.fetch_optional(executor).await {
        Err(error) => error.into(),
        Ok(None) => Error::Aborted("the organization was deleted"),
        Ok(Some(row)) => refused(size, &row.sizes, &row.display_name),
    }
}

fn refused(size: &str, allowed: &[String], plan: &str) -> Error {
    Error::Quota {
        subject: "organization:project_sizes".to_owned(),
        message: format!(
            "projects of the organization (plan {plan}) may not have the size {size}, only {}; choose one of these, or ask the \
             operator for another plan or for the size",
            allowed.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_which_sizes_there_are_and_how_to_get_more() {
        let said = refused("large", &["nano".to_owned(), "micro".to_owned()], "Pro").to_string();
        for part in ["plan Pro", "the size large, only nano, micro", "ask the operator"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
