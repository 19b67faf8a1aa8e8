//! Sums steps to longer ones, and deletes what is too old.

use chrono::{DateTime, TimeDelta, Utc};
use supalove_core::{Write, database::Db, error::Result};

use crate::span::Step;

/// Hours of one run of the job.
const HOURS: i64 = 50;
/// Rows of one batch of deletions.
const BATCH: i64 = 2000;

/// Hours that have new minutes, oldest first.
pub async fn pending(db: &Db) -> Result<Vec<DateTime<Utc>>> {
    let hours = sqlx::query_scalar!("SELECT DISTINCT hour FROM usage_pending ORDER BY hour LIMIT $1", HOURS);
    Ok(hours.fetch_all(db).await?)
}

/// Takes an hour off the list. Waits for batches of nodes that are being stored; those that come later put it there again.
pub async fn take(write: &mut impl Write, hour: DateTime<Utc>) -> Result<()> {
    sqlx::query!("DELETE FROM usage_pending WHERE hour = $1", hour)
        .execute(write.connection().await?)
        .await?;
    Ok(())
}

/// Sums the rows of `from` between two times to one row of `to` for each project and node, which replaces the row of before.
/// Returns how many rows are new or different.
pub async fn sum(
    write: &mut impl Write,
    from: Step,
    to: Step,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
) -> Result<u64> {
    let projects = sqlx::query!(
        "INSERT INTO project_usage (project_ref, step, at, organization_id,
             covered_ms, cpu_us, memory_kib_seconds, memory_max_kib, received_bytes, sent_bytes, read_bytes,
             written_bytes, database_bytes, storage_bytes, other_bytes)
         SELECT project_ref, $2, $3, (array_agg(organization_id ORDER BY at DESC))[1],
             sum(covered_ms)::bigint, sum(cpu_us)::bigint, sum(memory_kib_seconds)::bigint, max(memory_max_kib),
             sum(received_bytes)::bigint, sum(sent_bytes)::bigint, sum(read_bytes)::bigint,
             sum(written_bytes)::bigint, max(database_bytes), max(storage_bytes), max(other_bytes)
         FROM project_usage WHERE step = $1 AND at >= $3 AND at < $4 GROUP BY project_ref ORDER BY project_ref
         ON CONFLICT (project_ref, step, at) DO UPDATE SET organization_id = EXCLUDED.organization_id,
             covered_ms = EXCLUDED.covered_ms, cpu_us = EXCLUDED.cpu_us,
             memory_kib_seconds = EXCLUDED.memory_kib_seconds, memory_max_kib = EXCLUDED.memory_max_kib,
             received_bytes = EXCLUDED.received_bytes, sent_bytes = EXCLUDED.sent_bytes,
             read_bytes = EXCLUDED.read_bytes, written_bytes = EXCLUDED.written_bytes,
             database_bytes = EXCLUDED.database_bytes, storage_bytes = EXCLUDED.storage_bytes,
             other_bytes = EXCLUDED.other_bytes
         WHERE (project_usage.organization_id,
             project_usage.covered_ms, project_usage.cpu_us, project_usage.memory_kib_seconds,
             project_usage.memory_max_kib, project_usage.received_bytes, project_usage.sent_bytes,
             project_usage.read_bytes, project_usage.written_bytes, project_usage.database_bytes,
             project_usage.storage_bytes, project_usage.other_bytes)
             IS DISTINCT FROM (EXCLUDED.organization_id,
             EXCLUDED.covered_ms, EXCLUDED.cpu_us, EXCLUDED.memory_kib_seconds, EXCLUDED.memory_max_kib,
             EXCLUDED.received_bytes, EXCLUDED.sent_bytes, EXCLUDED.read_bytes, EXCLUDED.written_bytes,
             EXCLUDED.database_bytes, EXCLUDED.storage_bytes, EXCLUDED.other_bytes)",
        from.as_sql(),
        to.as_sql(),
        start,
        end,
    )
    .execute(write.connection().await?)
    .await?;
    let nodes = sqlx::query!(
        "INSERT INTO cluster_usage (node_id, step, at, cluster_id,
             covered_ms, cpu_us, memory_kib_seconds, memory_max_kib, received_bytes, sent_bytes, read_bytes,
             written_bytes, database_bytes, storage_bytes, other_bytes)
         SELECT node_id, $2, $3, (array_agg(cluster_id ORDER BY at DESC))[1],
             sum(covered_ms)::bigint, sum(cpu_us)::bigint, sum(memory_kib_seconds)::bigint, max(memory_max_kib),
             sum(received_bytes)::bigint, sum(sent_bytes)::bigint, sum(read_bytes)::bigint,
             sum(written_bytes)::bigint, max(database_bytes), max(storage_bytes), max(other_bytes)
         FROM cluster_usage WHERE step = $1 AND at >= $3 AND at < $4 GROUP BY node_id ORDER BY node_id
         ON CONFLICT (node_id, step, at) DO UPDATE SET cluster_id = EXCLUDED.cluster_id,
             covered_ms = EXCLUDED.covered_ms, cpu_us = EXCLUDED.cpu_us,
             memory_kib_seconds = EXCLUDED.memory_kib_seconds, memory_max_kib = EXCLUDED.memory_max_kib,
             received_bytes = EXCLUDED.received_bytes, sent_bytes = EXCLUDED.sent_bytes,
             read_bytes = EXCLUDED.read_bytes, written_bytes = EXCLUDED.written_bytes,
             database_bytes = EXCLUDED.database_bytes, storage_bytes = EXCLUDED.storage_bytes,
             other_bytes = EXCLUDED.other_bytes
         WHERE (cluster_usage.cluster_id,
             cluster_usage.covered_ms, cluster_usage.cpu_us, cluster_usage.memory_kib_seconds,
             cluster_usage.memory_max_kib, cluster_usage.received_bytes, cluster_usage.sent_bytes,
             cluster_usage.read_bytes, cluster_usage.written_bytes, cluster_usage.database_bytes,
             cluster_usage.storage_bytes, cluster_usage.other_bytes)
             IS DISTINCT FROM (EXCLUDED.cluster_id,
             EXCLUDED.covered_ms, EXCLUDED.cpu_us, EXCLUDED.memory_kib_seconds, EXCLUDED.memory_max_kib,
             EXCLUDED.received_bytes, EXCLUDED.sent_bytes, EXCLUDED.read_bytes, EXCLUDED.written_bytes,
             EXCLUDED.database_bytes, EXCLUDED.storage_bytes, EXCLUDED.other_bytes)",
        from.as_sql(),
        to.as_sql(),
        start,
        end,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(projects.rows_affected() + nodes.rows_affected())
}

/// Deletes rows of projects of this step that are too old; false if there may be more. Minutes stay until their hour is summed.
pub async fn prune_projects(write: &mut impl Write, step: Step, kept: TimeDelta) -> Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM project_usage WHERE ctid = ANY(ARRAY(
             SELECT ctid FROM project_usage WHERE step = $1
                 AND at < least(now() - make_interval(secs => $2), (SELECT min(hour) FROM usage_pending WHERE $1 = 'MINUTE'))
             ORDER BY at LIMIT $3))",
        step.as_sql(),
        kept.as_seconds_f64(),
        BATCH,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(done.rows_affected() < BATCH.unsigned_abs())
}

/// The same of nodes.
pub async fn prune_nodes(write: &mut impl Write, step: Step, kept: TimeDelta) -> Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM cluster_usage WHERE ctid = ANY(ARRAY(
             SELECT ctid FROM cluster_usage WHERE step = $1
                 AND at < least(now() - make_interval(secs => $2), (SELECT min(hour) FROM usage_pending WHERE $1 = 'MINUTE'))
             ORDER BY at LIMIT $3))",
        step.as_sql(),
        kept.as_seconds_f64(),
        BATCH,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(done.rows_affected() < BATCH.unsigned_abs())
}
