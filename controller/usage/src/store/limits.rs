//! Sizes against plans.

use chrono::{DateTime, Utc};
use supalove_core::{
    Write,
    database::Db,
    error::Result,
    ids::{NodeId, OrganizationId, ProjectRef},
};
use supalove_plans::{Entitlement, SizeAction};

use crate::limits::Level;

/// A size of a project, as measured last.
#[derive(Debug, Clone)]
pub struct Size {
    pub project: ProjectRef,
    pub name: String,
    pub organization: OrganizationId,
    pub organization_name: String,
    pub plan: String,
    pub action: SizeAction,
    pub entitlement: Entitlement,
    pub used_bytes: i64,
    pub limit_mib: i64,
    pub level: Level,
}

/// Sizes that were measured in the last quarter of an hour and that [`level`](crate::limits::level) gives another level. Only those:
/// of more than `limit` the rest is found when these have changed.
pub async fn changed(db: &Db, limit: i64) -> Result<Vec<Size>> {
    let found = sqlx::query_as!(
        Size,
        "WITH measured AS (
             SELECT DISTINCT ON (project_ref) project_ref, database_bytes, coalesce(storage_bytes, 0) AS storage_bytes
             FROM project_usage WHERE step = 'MINUTE' AND at > now() - interval '15 minutes' AND at <= now() AND database_bytes IS NOT NULL
             ORDER BY project_ref, at DESC
         ), sizes AS (
             SELECT p.ref, p.name, p.organization_id, o.name AS organization_name, s.name AS plan, s.at_size_limit, e.entitlement,
                 e.used, plan_limit(p.organization_id, e.entitlement) AS allowed, coalesce(l.level, 'FINE') AS level
             FROM measured m JOIN projects p ON p.ref = m.project_ref AND p.removed_at IS NULL
             JOIN organizations o ON o.id = p.organization_id
             JOIN organization_entitlements h ON h.organization_id = o.id JOIN plans s ON s.name = h.plan
             CROSS JOIN LATERAL (VALUES ('DATABASE_SIZE', m.database_bytes), ('STORAGE_SIZE', m.storage_bytes)) AS e (entitlement, used)
             LEFT JOIN usage_sizes l ON l.project_ref = p.ref AND l.entitlement = e.entitlement
         )
         SELECT ref AS \"project: ProjectRef\", name, organization_id AS \"organization: OrganizationId\", organization_name, plan,
             at_size_limit AS \"action: SizeAction\", entitlement AS \"entitlement!: Entitlement\", used AS \"used_bytes!\",
             allowed AS \"limit_mib!\", level AS \"level!: Level\"
         FROM sizes, LATERAL (SELECT allowed::numeric * 1048576 AS bytes) a
         WHERE CASE level WHEN 'FINE' THEN used > 0 AND used >= a.bytes * 0.8
             WHEN 'NEAR' THEN used = 0 OR used >= a.bytes OR used < a.bytes * 0.75
             ELSE used = 0 OR used < a.bytes * 0.95 END
         ORDER BY ref, entitlement LIMIT $1",
        limit,
    );
    Ok(found.fetch_all(db).await?)
}

/// A level that was stored.
#[derive(Debug, Clone, Copy)]
pub struct LevelChange {
    /// When a mail last said this level.
    pub mailed_at: Option<DateTime<Utc>>,
}

/// Stores another level; none if the size has another level than it had.
pub async fn change_level(write: &mut impl Write, size: &Size, now: Level) -> Result<Option<LevelChange>> {
    let stored = sqlx::query!(
        "INSERT INTO usage_sizes AS l (project_ref, entitlement, level) SELECT $1, $2, $3 WHERE $4 = 'FINE'
             OR EXISTS (SELECT FROM usage_sizes WHERE project_ref = $1 AND entitlement = $2)
         ON CONFLICT (project_ref, entitlement) DO UPDATE SET level = $3, since = now() WHERE l.level = $4
         RETURNING CASE $3 WHEN 'NEAR' THEN near_mailed_at WHEN 'OVER' THEN over_mailed_at END AS mailed_at",
        size.project.as_str(),
        size.entitlement.as_sql(),
        now.as_sql(),
        size.level.as_sql(),
    )
    .fetch_optional(write.connection().await?)
    .await?;
    Ok(stored.map(|row| LevelChange { mailed_at: row.mailed_at }))
}

/// Appends the event to the stream of the organization.
pub async fn tell(write: &mut impl Write, size: &Size, now: Level) -> Result<()> {
    sqlx::query!(
        "INSERT INTO organization_events (organization_id, type, name, project_ref, state, entitlement)
         SELECT organization_id, 'project.size_' || lower($2), name, ref, state, $3 FROM projects WHERE ref = $1",
        size.project.as_str(),
        now.as_sql(),
        size.entitlement.as_sql(),
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Notes that mails say it.
pub async fn mailed(write: &mut impl Write, size: &Size, now: Level) -> Result<()> {
    sqlx::query!(
        "UPDATE usage_sizes SET near_mailed_at = CASE $3 WHEN 'NEAR' THEN now() ELSE near_mailed_at END,
             over_mailed_at = CASE $3 WHEN 'OVER' THEN now() ELSE over_mailed_at END
         WHERE project_ref = $1 AND entitlement = $2",
        size.project.as_str(),
        size.entitlement.as_sql(),
        now.as_sql(),
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Who owns or administers an organization.
pub async fn addresses(write: &mut impl Write, organization: OrganizationId) -> Result<Vec<String>> {
    let addresses = sqlx::query_scalar!(
        "SELECT u.email FROM members m JOIN users u ON u.id = m.user_id
         WHERE m.organization_id = $1 AND m.role IN ('OWNER', 'ADMINISTRATOR') AND u.deleted_at IS NULL ORDER BY u.email",
        organization.0,
    );
    Ok(addresses.fetch_all(write.connection().await?).await?)
}

/// What the databases on a node may hold, in MiB, as far as their plans make them read-only.
pub async fn of_node(db: &Db, node: NodeId) -> Result<Vec<(String, i64)>> {
    let rows = sqlx::query!(
        "SELECT l.project_ref, plan_limit(p.organization_id, 'DATABASE_SIZE') AS \"mib!\"
         FROM placements l JOIN projects p ON p.ref = l.project_ref
         JOIN organization_entitlements h ON h.organization_id = p.organization_id JOIN plans s ON s.name = h.plan
         WHERE l.node_id = $1 AND s.at_size_limit = 'READ_ONLY' ORDER BY l.project_ref",
        node.0,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.project_ref, row.mib)).collect())
}

/// The levels of these projects, as far as they are not fine. What is removed, or another organization's, has none.
pub async fn levels(
    db: &Db,
    refs: &[String],
    organization: OrganizationId,
) -> Result<Vec<(ProjectRef, Entitlement, Level)>> {
    let rows = sqlx::query!(
        "SELECT l.project_ref AS \"project: ProjectRef\", l.entitlement AS \"entitlement: Entitlement\", l.level AS \"level: Level\"
         FROM usage_sizes l JOIN projects p ON p.ref = l.project_ref
         WHERE l.project_ref = ANY($1) AND l.level <> 'FINE' AND p.removed_at IS NULL AND p.organization_id = $2",
        refs,
        organization.0,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.project, row.entitlement, row.level)).collect())
}
