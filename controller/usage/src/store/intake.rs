//! What a batch of records writes: the minutes, how far the node's records are counted, and the hours to sum.

use std::collections::BTreeMap;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use sqlx::types::Json;
use supalove_core::{
    Write,
    database::Db,
    error::Result,
    ids::{ClusterId, NodeId, OrganizationId, ProjectRef},
};

use crate::{
    amounts::Amounts,
    counters::{Counters, Host, Standing, State, Taken},
};

/// A node, as far as its records need it.
#[derive(Debug, Clone, Copy)]
pub struct Node {
    pub cluster: ClusterId,
    pub host: Host,
}

/// How far the records of a node are stored: spool and number.
pub async fn cursor(db: &Db, node: NodeId) -> Result<(String, u64)> {
    let row = sqlx::query!("SELECT spool, seq FROM usage_nodes WHERE node_id = $1", node.0)
        .fetch_optional(db)
        .await?;
    Ok(row.map(|row| (row.spool, row.seq.unsigned_abs())).unwrap_or_default())
}

/// The node; none if it has said Hello to nobody, or is gone.
pub async fn node(db: &Db, node: NodeId) -> Result<Option<Node>> {
    let row = sqlx::query!(
        "SELECT n.cluster_id AS \"cluster: ClusterId\", n.created_at, c.host_cpu, c.host_memory, c.host_disk
         FROM nodes n JOIN node_capacity c ON c.node_id = n.id WHERE n.id = $1",
        node.0,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Node {
        cluster: row.cluster,
        host: Host {
            cpu_millis: row.host_cpu.unsigned_abs().into(),
            memory_mib: row.host_memory.unsigned_abs().into(),
            disk_mib: row.host_disk.unsigned_abs(),
            since: row.created_at,
        },
    }))
}

/// Where the projects of a batch are. What is neither placed on the node nor removed is missing.
pub async fn standing(db: &Db, node: NodeId, named: &[String]) -> Result<BTreeMap<ProjectRef, Standing>> {
    let rows = sqlx::query!(
        "SELECT p.ref AS \"project: ProjectRef\", p.organization_id AS \"organization: OrganizationId\",
             p.created_at, l.node_id IS NOT NULL AS \"placed!\"
         FROM projects p LEFT JOIN placements l ON l.project_ref = p.ref AND l.node_id = $1
         WHERE p.ref = ANY($2) AND (l.node_id IS NOT NULL OR p.removed_at IS NOT NULL)",
        node.0,
        named,
    )
    .fetch_all(db)
    .await?;
    let standing = rows.into_iter().map(|row| {
        let standing =
            if row.placed { Standing::Placed(row.organization, row.created_at) } else { Standing::Removed };
        (row.project, standing)
    });
    Ok(standing.collect())
}

/// Locks the state of a node, and returns it with the database's time and when the audit log last said what was refused.
pub async fn lock(
    write: &mut impl Write,
    node: NodeId,
) -> Result<(State, DateTime<Utc>, Option<DateTime<Utc>>)> {
    sqlx::query!("INSERT INTO usage_nodes (node_id) VALUES ($1) ON CONFLICT (node_id) DO NOTHING", node.0)
        .execute(write.connection().await?)
        .await?;
    let row = sqlx::query!(
        "SELECT spool, seq, at, counters AS \"counters: Json<Counters>\", dropped, alarmed_at,
             clock_timestamp() AS \"now!\"
         FROM usage_nodes WHERE node_id = $1 FOR UPDATE",
        node.0,
    )
    .fetch_one(write.connection().await?)
    .await?;
    let state =
        State { spool: row.spool, seq: row.seq, at: row.at, counters: row.counters.0, dropped: row.dropped };
    Ok((state, row.now, row.alarmed_at))
}

/// Stores the state of a node after a batch. `alarmed`: the audit log says what was refused.
pub async fn save(
    write: &mut impl Write,
    node: NodeId,
    state: &State,
    taken: &Taken,
    alarmed: bool,
) -> Result<()> {
    sqlx::query!(
        "UPDATE usage_nodes SET spool = $2, seq = $3, at = $4, counters = $5, dropped = $6, refused = refused + $7,
             refusal = CASE WHEN $7 > 0 THEN $8 ELSE refusal END,
             alarmed_at = CASE WHEN $9 THEN clock_timestamp() ELSE alarmed_at END
         WHERE node_id = $1",
        node.0,
        state.spool,
        state.seq,
        state.at,
        Json(&state.counters) as Json<&Counters>,
        state.dropped,
        taken.refused,
        taken.refusal,
        alarmed,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// The columns of amounts.
#[derive(Default)]
struct Columns {
    covered_ms: Vec<i64>,
    cpu_us: Vec<i64>,
    memory_kib_seconds: Vec<i64>,
    memory_max_kib: Vec<i64>,
    received_bytes: Vec<i64>,
    sent_bytes: Vec<i64>,
    read_bytes: Vec<i64>,
    written_bytes: Vec<i64>,
    database_bytes: Vec<Option<i64>>,
    storage_bytes: Vec<Option<i64>>,
    other_bytes: Vec<Option<i64>>,
}

impl Columns {
    fn push(&mut self, used: &Amounts) {
        self.covered_ms.push(used.covered_ms);
        self.cpu_us.push(used.cpu_us);
        self.memory_kib_seconds.push(used.memory_kib_seconds);
        self.memory_max_kib.push(used.memory_max_kib);
        self.received_bytes.push(used.received_bytes);
        self.sent_bytes.push(used.sent_bytes);
        self.read_bytes.push(used.read_bytes);
        self.written_bytes.push(used.written_bytes);
        self.database_bytes.push(used.volumes.map(|volumes| volumes.database));
        self.storage_bytes.push(used.volumes.map(|volumes| volumes.storage));
        self.other_bytes.push(used.volumes.map(|volumes| volumes.other));
    }
}

/// Adds what the projects have used to their minutes.
pub async fn add_projects(write: &mut impl Write, taken: &Taken) -> Result<()> {
    let mut columns = Columns::default();
    let (mut refs, mut minutes, mut organizations) = (Vec::new(), Vec::new(), Vec::new());
    for ((project, minute), (organization, used)) in &taken.projects {
        refs.push(project.to_string());
        minutes.push(*minute);
        organizations.push(organization.0);
        columns.push(used);
    }
    sqlx::query!(
        "INSERT INTO project_usage (project_ref, step, at, organization_id,
             covered_ms, cpu_us, memory_kib_seconds, memory_max_kib, received_bytes, sent_bytes, read_bytes,
             written_bytes, database_bytes, storage_bytes, other_bytes)
         SELECT u.ref, 'MINUTE', u.at, u.organization,
             u.covered_ms, u.cpu_us, u.memory_kib_seconds, u.memory_max_kib, u.received_bytes, u.sent_bytes,
             u.read_bytes, u.written_bytes, u.database_bytes, u.storage_bytes, u.other_bytes
         FROM unnest($1::text[], $2::timestamptz[], $3::uuid[],
             $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[],
             $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[])
             AS u (ref, at, organization,
             covered_ms, cpu_us, memory_kib_seconds, memory_max_kib, received_bytes, sent_bytes, read_bytes,
             written_bytes, database_bytes, storage_bytes, other_bytes)
         ON CONFLICT (project_ref, step, at) DO UPDATE SET
             covered_ms = project_usage.covered_ms + EXCLUDED.covered_ms,
             cpu_us = project_usage.cpu_us + EXCLUDED.cpu_us,
             memory_kib_seconds = project_usage.memory_kib_seconds + EXCLUDED.memory_kib_seconds,
             memory_max_kib = greatest(project_usage.memory_max_kib, EXCLUDED.memory_max_kib),
             received_bytes = project_usage.received_bytes + EXCLUDED.received_bytes,
             sent_bytes = project_usage.sent_bytes + EXCLUDED.sent_bytes,
             read_bytes = project_usage.read_bytes + EXCLUDED.read_bytes,
             written_bytes = project_usage.written_bytes + EXCLUDED.written_bytes,
             database_bytes = coalesce(EXCLUDED.database_bytes, project_usage.database_bytes),
             storage_bytes = coalesce(EXCLUDED.storage_bytes, project_usage.storage_bytes),
             other_bytes = coalesce(EXCLUDED.other_bytes, project_usage.other_bytes)",
        &refs,
        &minutes,
        &organizations,
        &columns.covered_ms,
        &columns.cpu_us,
        &columns.memory_kib_seconds,
        &columns.memory_max_kib,
        &columns.received_bytes,
        &columns.sent_bytes,
        &columns.read_bytes,
        &columns.written_bytes,
        &columns.database_bytes as &[Option<i64>],
        &columns.storage_bytes as &[Option<i64>],
        &columns.other_bytes as &[Option<i64>],
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Adds what the node's projects have used together to its minutes, and notes the hours to be summed.
pub async fn add_node(write: &mut impl Write, node: NodeId, cluster: ClusterId, taken: &Taken) -> Result<()> {
    let mut columns = Columns::default();
    let mut minutes = Vec::new();
    for (minute, used) in &taken.node {
        minutes.push(*minute);
        columns.push(used);
    }
    sqlx::query!(
        "INSERT INTO cluster_usage (node_id, step, at, cluster_id,
             covered_ms, cpu_us, memory_kib_seconds, memory_max_kib, received_bytes, sent_bytes, read_bytes,
             written_bytes, database_bytes, storage_bytes, other_bytes)
         SELECT $1, 'MINUTE', u.at, $2,
             u.covered_ms, u.cpu_us, u.memory_kib_seconds, u.memory_max_kib, u.received_bytes, u.sent_bytes,
             u.read_bytes, u.written_bytes, u.database_bytes, u.storage_bytes, u.other_bytes
         FROM unnest($3::timestamptz[],
             $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[],
             $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[])
             AS u (at,
             covered_ms, cpu_us, memory_kib_seconds, memory_max_kib, received_bytes, sent_bytes, read_bytes,
             written_bytes, database_bytes, storage_bytes, other_bytes)
         ON CONFLICT (node_id, step, at) DO UPDATE SET
             covered_ms = cluster_usage.covered_ms + EXCLUDED.covered_ms,
             cpu_us = cluster_usage.cpu_us + EXCLUDED.cpu_us,
             memory_kib_seconds = cluster_usage.memory_kib_seconds + EXCLUDED.memory_kib_seconds,
             memory_max_kib = greatest(cluster_usage.memory_max_kib, EXCLUDED.memory_max_kib),
             received_bytes = cluster_usage.received_bytes + EXCLUDED.received_bytes,
             sent_bytes = cluster_usage.sent_bytes + EXCLUDED.sent_bytes,
             read_bytes = cluster_usage.read_bytes + EXCLUDED.read_bytes,
             written_bytes = cluster_usage.written_bytes + EXCLUDED.written_bytes,
             database_bytes = coalesce(EXCLUDED.database_bytes, cluster_usage.database_bytes),
             storage_bytes = coalesce(EXCLUDED.storage_bytes, cluster_usage.storage_bytes),
             other_bytes = coalesce(EXCLUDED.other_bytes, cluster_usage.other_bytes)",
        node.0,
        cluster.0,
        &minutes,
        &columns.covered_ms,
        &columns.cpu_us,
        &columns.memory_kib_seconds,
        &columns.memory_max_kib,
        &columns.received_bytes,
        &columns.sent_bytes,
        &columns.read_bytes,
        &columns.written_bytes,
        &columns.database_bytes as &[Option<i64>],
        &columns.storage_bytes as &[Option<i64>],
        &columns.other_bytes as &[Option<i64>],
    )
    .execute(write.connection().await?)
    .await?;
    let hours: Vec<_> =
        minutes.iter().filter_map(|minute| minute.duration_trunc(TimeDelta::hours(1)).ok()).collect();
    sqlx::query!(
        "INSERT INTO usage_pending (hour, node_id) SELECT DISTINCT hour, $2::uuid FROM unnest($1::timestamptz[]) AS hour
         ORDER BY hour ON CONFLICT (hour, node_id) DO UPDATE SET node_id = EXCLUDED.node_id",
        &hours,
        node.0,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}
