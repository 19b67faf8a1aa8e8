//! How many nodes there are, for metrics.

use supalove_core::{database::Db, error::Result, times::Times};

/// Nodes by state, in the words of [`NodeState`](crate::clusters::NodeState), in lower case.
pub async fn nodes(db: &Db, times: &Times) -> Result<Vec<(String, i64)>> {
    let rows = sqlx::query!(
        "SELECT CASE WHEN n.revoked_at IS NOT NULL THEN 'revoked' WHEN n.seen_at IS NULL THEN 'enrolled'
                 WHEN least(extract(epoch FROM now() - n.seen_at), (SELECT watched_for($4)))
                     >= CASE c.kind WHEN 'PRIVATE' THEN $3::float8 ELSE $2::float8 END THEN 'lost'
                 WHEN n.seen_at <= now() - make_interval(secs => $1)
                     OR EXISTS (SELECT FROM node_conditions d WHERE d.node_id = n.id AND d.blocking) THEN 'unhealthy'
                 ELSE 'ready' END AS \"state!\",
             count(*) AS \"count!\" FROM nodes n JOIN clusters c ON c.id = n.cluster_id GROUP BY 1 ORDER BY 1",
        times.silent_after.as_secs_f64(),
        times.lost_after.as_secs_f64(),
        times.lost_after_private.as_secs_f64(),
        times.replica_gone.as_secs_f64(),
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.state, row.count)).collect())
}
