//! What the transfer of a project depends on, and the statement that does it.

use chrono::{DateTime, Utc};
use supalove_core::{
    Write,
    database::Connection,
    error::Result,
    ids::{OrganizationId, ProjectRef},
};

use crate::store::{projects, snapshot::Snapshot};

/// What a transfer depends on beside the project's state and the target's quota.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The project's name.
    pub name: String,
    /// Name of its cluster.
    pub cluster: String,
    /// True if the target may use that cluster.
    pub cluster_allowed: bool,
    /// The target's project of the same name.
    pub namesake: Option<Namesake>,
}

/// A project that holds the name in the target.
#[derive(Debug, Clone)]
pub struct Namesake {
    pub project: ProjectRef,
    /// True if it is deleted, with its undo window open until `purge_at`.
    pub deleted: bool,
    pub purge_at: Option<DateTime<Utc>>,
}

pub async fn scene(db: &mut Connection, project: &ProjectRef, target: OrganizationId) -> Result<Scene> {
    let row = sqlx::query!(
        "SELECT p.name, c.name AS cluster, c.kind = 'SHARED' OR c.organization_id IS NOT DISTINCT FROM $2 AS \"allowed!\",
             n.ref AS \"namesake?: ProjectRef\", n.deleted_at AS \"deleted_at?\", n.purge_at AS \"purge_at?\"
         FROM projects p JOIN clusters c ON c.id = p.cluster_id
         LEFT JOIN projects n ON n.organization_id = $2 AND n.name = p.name AND n.state <> 'REMOVED'
         WHERE p.ref = $1",
        project.as_str(),
        target.0,
    )
    .fetch_one(db)
    .await?;
    let deleted = row.deleted_at.is_some();
    let purge_at = row.purge_at;
    Ok(Scene {
        name: row.name,
        cluster: row.cluster,
        cluster_allowed: row.allowed,
        namesake: row.namesake.map(|project| Namesake { project, deleted, purge_at }),
    })
}

/// How the statement of a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    Done,
    /// Somebody else has changed the project meanwhile.
    Changed,
    /// The target has all projects that it may have.
    NoRoom,
}

/// Takes the target's quota, gives back that of the organization which had the project, and makes the project the target's, in one
/// statement. The caller has locked both organizations, and rolls back unless it is done.
pub async fn move_project(
    write: &mut impl Write,
    project: &Snapshot,
    target: OrganizationId,
    name: &str,
) -> Result<Moved> {
    let row = sqlx::query!(
        "WITH quota AS MATERIALIZED (
             SELECT plan_move_project($2, $3) AS taken
         ), moved AS (
             UPDATE projects SET organization_id = $3, revision = revision + 1 FROM quota
             WHERE quota.taken AND ref = $1 AND organization_id = $2 AND revision = $4 RETURNING ref
         )
         SELECT taken AS \"taken!\", EXISTS (SELECT FROM moved) AS \"moved!\" FROM quota",
        project.project.as_str(),
        project.organization.0,
        target.0,
        project.revision,
    )
    .fetch_one(write.connection().await?)
    .await
    .map_err(|error| projects::name_taken(error, name))?;
    Ok(match (row.taken, row.moved) {
        (true, true) => Moved::Done,
        (true, false) => Moved::Changed,
        (false, _) => Moved::NoRoom,
    })
}
