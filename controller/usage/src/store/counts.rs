//! What the projects of each node use now, for metrics.

use supalove_core::{database::Db, error::Result};

/// A node, and what its projects use together.
#[derive(Debug, Clone)]
pub struct NodeNow {
    pub cluster: String,
    pub node: String,
    /// As text.
    pub id: String,
    pub cpu_cores: f64,
    pub memory_bytes: f64,
    pub volumes_bytes: f64,
    /// Of its newest record.
    pub age_seconds: f64,
    pub dropped: f64,
    pub refused: f64,
}

/// The nodes that have delivered records, at most so many: those of shared clusters first, then by cluster and name. A node whose newest minute is more than ten minutes
/// old uses nothing.
pub async fn nodes(db: &Db, most: i64) -> Result<Vec<NodeNow>> {
    let found = sqlx::query_as!(
        NodeNow,
        "SELECT c.name AS cluster, n.name AS node,
             n.id::text AS \"id!\",
             coalesce(u.cpu_us::float8 / nullif(u.covered_ms, 0) / 1000, 0) AS \"cpu_cores!\",
             coalesce(u.memory_kib_seconds::float8 * 1024000 / nullif(u.covered_ms, 0), 0) AS \"memory_bytes!\",
             coalesce(v.bytes, 0) AS \"volumes_bytes!\",
             coalesce(extract(epoch FROM now() - s.at), 0)::float8 AS \"age_seconds!\",
             s.dropped::float8 AS \"dropped!\", s.refused::float8 AS \"refused!\"
         FROM usage_nodes s JOIN nodes n ON n.id = s.node_id JOIN clusters c ON c.id = n.cluster_id
         LEFT JOIN LATERAL (
             SELECT cpu_us, covered_ms, memory_kib_seconds FROM cluster_usage u
             WHERE u.node_id = n.id AND u.step = 'MINUTE' AND u.at > now() - interval '10 minutes' AND u.covered_ms > 0
             ORDER BY at DESC LIMIT 1) u ON true
         LEFT JOIN LATERAL (
             SELECT database_bytes::float8 + coalesce(storage_bytes, 0) + coalesce(other_bytes, 0) AS bytes FROM cluster_usage u
             WHERE u.node_id = n.id AND u.step = 'MINUTE' AND u.at > now() - interval '1 hour' AND u.database_bytes IS NOT NULL
             ORDER BY at DESC LIMIT 1) v ON true
         WHERE n.revoked_at IS NULL ORDER BY c.kind = 'SHARED' DESC, c.name, n.name LIMIT $1",
        most,
    );
    Ok(found.fetch_all(db).await?)
}
