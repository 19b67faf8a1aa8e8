//! What the API shows: current values, sums of the month, series.

use chrono::{DateTime, Utc};
use supalove_core::{
    database::Db,
    error::Result,
    ids::{ClusterId, NodeId, OrganizationId, ProjectRef},
};

use crate::{
    amounts::{Amounts, Volumes},
    span::Span,
};

/// What is known of the usage of a project or a node.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// The newest minute that samples cover, if it is one of the last ten.
    pub current: Option<(DateTime<Utc>, Amounts)>,
    /// As measured last.
    pub volumes: Option<Volumes>,
    /// Since the beginning of the month.
    pub month: Amounts,
}

/// A project and its usage.
#[derive(Debug, Clone)]
pub struct OfProject {
    pub project: ProjectRef,
    /// Empty if the project is gone.
    pub name: String,
    pub usage: Usage,
}

/// A node and the usage of its projects.
#[derive(Debug, Clone)]
pub struct OfNode {
    pub node: NodeId,
    pub name: String,
    pub usage: Usage,
    /// When its newest record was made.
    pub last: Option<DateTime<Utc>>,
    pub dropped: i64,
    pub refused: i64,
    pub refusal: String,
}

/// A step of a series of a project or node.
#[derive(Debug, Clone)]
pub struct Point<T> {
    pub of: T,
    pub at: DateTime<Utc>,
    pub used: Amounts,
}

/// The columns that the queries below have in common.
macro_rules! usage {
    ($row:ident) => {
        Usage {
            current: $row.current_at.map(|at| {
                let used = Amounts {
                    covered_ms: $row.current_covered_ms.unwrap_or_default(),
                    cpu_us: $row.current_cpu_us.unwrap_or_default(),
                    memory_kib_seconds: $row.current_memory_kib_seconds.unwrap_or_default(),
                    memory_max_kib: 0,
                    received_bytes: $row.current_received_bytes.unwrap_or_default(),
                    sent_bytes: $row.current_sent_bytes.unwrap_or_default(),
                    read_bytes: $row.current_read_bytes.unwrap_or_default(),
                    written_bytes: $row.current_written_bytes.unwrap_or_default(),
                    volumes: None,
                };
                (at, used)
            }),
            volumes: volumes($row.database_bytes, $row.storage_bytes, $row.other_bytes),
            month: Amounts {
                cpu_us: $row.month_cpu_us,
                memory_kib_seconds: $row.month_memory_kib_seconds,
                received_bytes: $row.month_received_bytes,
                sent_bytes: $row.month_sent_bytes,
                read_bytes: $row.month_read_bytes,
                written_bytes: $row.month_written_bytes,
                ..Amounts::default()
            },
        }
    };
}

macro_rules! point {
    ($row:ident, $of:expr) => {
        Point {
            of: $of,
            at: $row.at,
            used: Amounts {
                covered_ms: $row.covered_ms,
                cpu_us: $row.cpu_us,
                memory_kib_seconds: $row.memory_kib_seconds,
                memory_max_kib: $row.memory_max_kib,
                received_bytes: $row.received_bytes,
                sent_bytes: $row.sent_bytes,
                read_bytes: $row.read_bytes,
                written_bytes: $row.written_bytes,
                volumes: volumes($row.database_bytes, $row.storage_bytes, $row.other_bytes),
            },
        }
    };
}

fn volumes(database: Option<i64>, storage: Option<i64>, other: Option<i64>) -> Option<Volumes> {
    Some(Volumes { database: database?, storage: storage.unwrap_or(0), other: other.unwrap_or(0) })
}

/// The time of the database, for spans and months.
pub async fn now(db: &Db) -> Result<DateTime<Utc>> {
    Ok(sqlx::query_scalar!("SELECT now() AS \"now!\"").fetch_one(db).await?)
}

/// Refs of an organization's projects, and of those that used something since `since` and are gone.
pub async fn projects_of(db: &Db, organization: OrganizationId, since: DateTime<Utc>) -> Result<Vec<String>> {
    let refs = sqlx::query_scalar!(
        "SELECT ref AS \"ref!\" FROM projects WHERE organization_id = $1 AND removed_at IS NULL
         UNION SELECT project_ref FROM project_usage WHERE organization_id = $1 AND step = 'DAY' AND at >= $2
         ORDER BY 1",
        organization.0,
        since,
    );
    Ok(refs.fetch_all(db).await?)
}

/// The usage of these projects in an organization. Of one that another organization has now it shows what it used in this one
/// before, and nothing else.
pub async fn projects(
    db: &Db,
    refs: &[String],
    month: DateTime<Utc>,
    organization: OrganizationId,
) -> Result<Vec<OfProject>> {
    let rows = sqlx::query!(
        "SELECT r.ref AS \"project!: ProjectRef\", coalesce(p.name, '') AS \"name!\",
             c.at AS \"current_at?\", c.covered_ms AS \"current_covered_ms?\", c.cpu_us AS \"current_cpu_us?\",
             c.memory_kib_seconds AS \"current_memory_kib_seconds?\", c.received_bytes AS \"current_received_bytes?\",
             c.sent_bytes AS \"current_sent_bytes?\", c.read_bytes AS \"current_read_bytes?\",
             c.written_bytes AS \"current_written_bytes?\",
             v.database_bytes AS \"database_bytes?\", v.storage_bytes AS \"storage_bytes?\", v.other_bytes AS \"other_bytes?\",
             coalesce(m.cpu_us, 0) AS \"month_cpu_us!\", coalesce(m.memory_kib_seconds, 0) AS \"month_memory_kib_seconds!\",
             coalesce(m.received_bytes, 0) AS \"month_received_bytes!\", coalesce(m.sent_bytes, 0) AS \"month_sent_bytes!\",
             coalesce(m.read_bytes, 0) AS \"month_read_bytes!\", coalesce(m.written_bytes, 0) AS \"month_written_bytes!\"
         FROM unnest($1::text[]) AS r (ref) LEFT JOIN projects p ON p.ref = r.ref AND p.organization_id = $3
         LEFT JOIN LATERAL (
             SELECT at, covered_ms, cpu_us, memory_kib_seconds, received_bytes, sent_bytes, read_bytes, written_bytes
             FROM project_usage u WHERE u.project_ref = p.ref AND u.step = 'MINUTE' AND u.at > now() - interval '10 minutes'
                 AND u.covered_ms > 0 ORDER BY at DESC LIMIT 1) c ON true
         LEFT JOIN LATERAL (
             SELECT database_bytes, storage_bytes, other_bytes FROM project_usage u
             WHERE u.project_ref = p.ref AND u.step = 'MINUTE' AND u.database_bytes IS NOT NULL
             ORDER BY at DESC LIMIT 1) v ON true
         LEFT JOIN LATERAL (
             SELECT sum(cpu_us)::bigint AS cpu_us, sum(memory_kib_seconds)::bigint AS memory_kib_seconds,
                 sum(received_bytes)::bigint AS received_bytes, sum(sent_bytes)::bigint AS sent_bytes,
                 sum(read_bytes)::bigint AS read_bytes, sum(written_bytes)::bigint AS written_bytes
             FROM project_usage u WHERE u.project_ref = r.ref AND u.step = 'DAY' AND u.at >= $2
                 AND u.organization_id = $3) m ON true
         ORDER BY r.ref",
        refs,
        month,
        organization.0,
    )
    .fetch_all(db)
    .await?;
    let found =
        rows.into_iter().map(|row| OfProject { usage: usage!(row), project: row.project, name: row.name });
    Ok(found.collect())
}

/// The usage of the nodes of a cluster.
pub async fn nodes(db: &Db, cluster: ClusterId, month: DateTime<Utc>) -> Result<Vec<OfNode>> {
    let rows = sqlx::query!(
        "SELECT n.id AS \"node: NodeId\", n.name, s.at AS \"last?\", coalesce(s.dropped, 0) AS \"dropped!\",
             coalesce(s.refused, 0) AS \"refused!\", coalesce(s.refusal, '') AS \"refusal!\",
             c.at AS \"current_at?\", c.covered_ms AS \"current_covered_ms?\", c.cpu_us AS \"current_cpu_us?\",
             c.memory_kib_seconds AS \"current_memory_kib_seconds?\", c.received_bytes AS \"current_received_bytes?\",
             c.sent_bytes AS \"current_sent_bytes?\", c.read_bytes AS \"current_read_bytes?\",
             c.written_bytes AS \"current_written_bytes?\",
             v.database_bytes AS \"database_bytes?\", v.storage_bytes AS \"storage_bytes?\", v.other_bytes AS \"other_bytes?\",
             coalesce(m.cpu_us, 0) AS \"month_cpu_us!\", coalesce(m.memory_kib_seconds, 0) AS \"month_memory_kib_seconds!\",
             coalesce(m.received_bytes, 0) AS \"month_received_bytes!\", coalesce(m.sent_bytes, 0) AS \"month_sent_bytes!\",
             coalesce(m.read_bytes, 0) AS \"month_read_bytes!\", coalesce(m.written_bytes, 0) AS \"month_written_bytes!\"
         FROM nodes n LEFT JOIN usage_nodes s ON s.node_id = n.id
         LEFT JOIN LATERAL (
             SELECT at, covered_ms, cpu_us, memory_kib_seconds, received_bytes, sent_bytes, read_bytes, written_bytes
             FROM cluster_usage u WHERE u.node_id = n.id AND u.step = 'MINUTE' AND u.at > now() - interval '10 minutes'
                 AND u.covered_ms > 0 ORDER BY at DESC LIMIT 1) c ON true
         LEFT JOIN LATERAL (
             SELECT database_bytes, storage_bytes, other_bytes FROM cluster_usage u
             WHERE u.node_id = n.id AND u.step = 'MINUTE' AND u.database_bytes IS NOT NULL
             ORDER BY at DESC LIMIT 1) v ON true
         LEFT JOIN LATERAL (
             SELECT sum(cpu_us)::bigint AS cpu_us, sum(memory_kib_seconds)::bigint AS memory_kib_seconds,
                 sum(received_bytes)::bigint AS received_bytes, sum(sent_bytes)::bigint AS sent_bytes,
                 sum(read_bytes)::bigint AS read_bytes, sum(written_bytes)::bigint AS written_bytes
             FROM cluster_usage u WHERE u.node_id = n.id AND u.step = 'DAY' AND u.at >= $2) m ON true
         WHERE n.cluster_id = $1 ORDER BY n.name",
        cluster.0,
        month,
    )
    .fetch_all(db)
    .await?;
    let found = rows.into_iter().map(|row| OfNode {
        usage: usage!(row),
        node: row.node,
        name: row.name,
        last: row.last,
        dropped: row.dropped,
        refused: row.refused,
        refusal: row.refusal,
    });
    Ok(found.collect())
}

/// The series of what these projects used in an organization, by project and time.
pub async fn series_of_projects(
    db: &Db,
    refs: &[String],
    span: &Span,
    organization: OrganizationId,
) -> Result<Vec<Point<ProjectRef>>> {
    let rows = sqlx::query!(
        "SELECT project_ref AS \"project: ProjectRef\", date_bin(make_interval(secs => $5), at, $3) AS \"at!\",
             sum(covered_ms)::bigint AS \"covered_ms!\", sum(cpu_us)::bigint AS \"cpu_us!\",
             sum(memory_kib_seconds)::bigint AS \"memory_kib_seconds!\", max(memory_max_kib) AS \"memory_max_kib!\",
             sum(received_bytes)::bigint AS \"received_bytes!\", sum(sent_bytes)::bigint AS \"sent_bytes!\",
             sum(read_bytes)::bigint AS \"read_bytes!\", sum(written_bytes)::bigint AS \"written_bytes!\",
             max(database_bytes) AS \"database_bytes\", max(storage_bytes) AS \"storage_bytes\",
             max(other_bytes) AS \"other_bytes\"
         FROM project_usage
         WHERE project_ref = ANY($1) AND step = $2 AND at >= $3 AND at < $4 AND organization_id = $6
         GROUP BY 1, 2 ORDER BY 1, 2",
        refs,
        span.rows.as_sql(),
        span.start,
        span.end,
        span.step_seconds(),
        organization.0,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| point!(row, row.project)).collect())
}

/// Refs of the projects that used something in an organization in the span.
pub async fn used_in(db: &Db, organization: OrganizationId, span: &Span) -> Result<Vec<String>> {
    let refs = sqlx::query_scalar!(
        "SELECT DISTINCT project_ref FROM project_usage
         WHERE organization_id = $1 AND step = $2 AND at >= $3 AND at < $4 ORDER BY 1",
        organization.0,
        span.rows.as_sql(),
        span.start,
        span.end,
    );
    Ok(refs.fetch_all(db).await?)
}

/// Nodes of a cluster, by name.
pub async fn nodes_of(db: &Db, cluster: ClusterId) -> Result<Vec<(NodeId, String)>> {
    let rows = sqlx::query!(
        "SELECT id AS \"id: NodeId\", name FROM nodes WHERE cluster_id = $1 ORDER BY name",
        cluster.0
    );
    Ok(rows.fetch_all(db).await?.into_iter().map(|row| (row.id, row.name)).collect())
}

/// The series of the nodes of a cluster, by node and time.
pub async fn series_of_nodes(db: &Db, cluster: ClusterId, span: &Span) -> Result<Vec<Point<NodeId>>> {
    let rows = sqlx::query!(
        "SELECT node_id AS \"node: NodeId\", date_bin(make_interval(secs => $5), at, $3) AS \"at!\",
             sum(covered_ms)::bigint AS \"covered_ms!\", sum(cpu_us)::bigint AS \"cpu_us!\",
             sum(memory_kib_seconds)::bigint AS \"memory_kib_seconds!\", max(memory_max_kib) AS \"memory_max_kib!\",
             sum(received_bytes)::bigint AS \"received_bytes!\", sum(sent_bytes)::bigint AS \"sent_bytes!\",
             sum(read_bytes)::bigint AS \"read_bytes!\", sum(written_bytes)::bigint AS \"written_bytes!\",
             max(database_bytes) AS \"database_bytes\", max(storage_bytes) AS \"storage_bytes\",
             max(other_bytes) AS \"other_bytes\"
         FROM cluster_usage
         WHERE node_id IN (SELECT id FROM nodes WHERE cluster_id = $1) AND step = $2 AND at >= $3 AND at < $4
         GROUP BY 1, 2 ORDER BY 1, 2",
        cluster.0,
        span.rows.as_sql(),
        span.start,
        span.end,
        span.step_seconds(),
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| point!(row, row.node)).collect())
}
