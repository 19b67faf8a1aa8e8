//! What a control database that was restored from a backup learns from the agents: newer generations, and slots of projects that
//! it does not know.

use sqlx::postgres::types::PgRange;
use supalove_proto::node::v1::StoredProject;

use super::intake::Ahead;
use crate::leftovers::{self, store::Records};
use supalove_core::{
    SystemWrite, Write,
    error::Result,
    ids::{NodeId, ProjectRef},
    restores::{self, Claim, LEAP},
};

/// Maximum number of records that are read of a response to Hello: a node could name millions.
const RECORDS: usize = 4096;

/// Takes the agent's generation up: the project's next one is higher. False if it is not to be taken up: the agent has removed
/// the project, which is to be kept here, or the project has changed.
pub(super) async fn take_up(
    write: &mut impl Write,
    node: NodeId,
    project: &ProjectRef,
    ahead: Ahead,
) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE projects p SET generation = $4 + 1, revision = revision + 1
         WHERE ref = $2 AND generation = $3 AND generation <= $4 AND (desired = 'REMOVED' OR NOT $5)
             AND EXISTS (SELECT 1 FROM placements l WHERE l.project_ref = p.ref AND l.node_id = $1)",
        node.0,
        project.as_str(),
        ahead.ours,
        ahead.stored,
        ahead.removed,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Compares the agent's records with the database at the beginning of a session: takes newer generations up, and blocks the
/// slots of projects that no placement explains, before anything is placed on the node.
pub(super) async fn compare(write: &mut SystemWrite, node: NodeId, stored: &[StoredProject]) -> Result<()> {
    let stored = || stored.iter().take(RECORDS).filter(|s| s.project_ref.parse::<ProjectRef>().is_ok());
    let refs: Vec<String> = stored().map(|s| s.project_ref.clone()).collect();
    let generations: Vec<i64> =
        stored().map(|s| i64::try_from(s.generation).unwrap_or(i64::MAX - 1)).collect();
    let removing: Vec<bool> = stored().map(|s| s.removing).collect();
    let taken_up = sqlx::query!(
        "UPDATE projects p SET generation = s.generation + 1, revision = revision + 1
         FROM unnest($2::text[], $3::bigint[], $4::bool[]) AS s (ref, generation, removing), placements l
         WHERE p.ref = s.ref AND l.project_ref = p.ref AND l.node_id = $1 AND s.generation > p.generation
             AND s.generation - $5 <= p.generation AND (p.desired = 'REMOVED' OR NOT s.removing)
         RETURNING p.ref, s.generation AS \"stored!\"",
        node.0,
        &refs,
        &generations,
        &removing,
        LEAP,
    )
    .fetch_all(write.connection().await?)
    .await?;
    for row in taken_up {
        let detail = format!("node {node} has the newer generation {} of project {}", row.stored, row.r#ref);
        restores::note_claim(write, Claim { node, subject: &row.r#ref, newest: row.stored }, &detail).await?;
    }
    let slots: Vec<i32> =
        stored().map(|s| s.slot.and_then(|slot| i32::try_from(slot).ok()).unwrap_or(-1)).collect();
    let rows = sqlx::query!(
        "SELECT s.ref AS \"ref!\", s.slot AS \"slot!\" FROM unnest($2::text[], $3::int[]) AS s (ref, slot)
         WHERE s.slot >= 0 AND NOT EXISTS (SELECT 1 FROM placements l WHERE l.node_id = $1 AND l.project_ref = s.ref)",
        node.0,
        &refs,
        &slots,
    )
    .fetch_all(write.connection().await?)
    .await?;
    let ranges: Vec<PgRange<i32>> = rows.iter().map(|row| PgRange::from(row.slot..row.slot + 1)).collect();
    let reasons: Vec<String> = rows.iter().map(|row| reason(row.slot, &row.r#ref)).collect();
    let records = Records { refs: &refs, generations: &generations, slots: &slots, removing: &removing };
    leftovers::store::save_records(write, node, records).await?;
    if !ranges.is_empty() {
        crate::capacity::block_also(write, node, &ranges, &reasons).await?;
    }
    Ok(())
}

/// Why the slot of a project that no placement explains is blocked.
pub(super) fn reason(slot: i32, project: &str) -> String {
    format!("slot {slot}: project {project}, which no placement explains, is on the host")
}
