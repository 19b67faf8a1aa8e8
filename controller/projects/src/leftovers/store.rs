//! Leftovers in PostgreSQL.

use std::collections::HashSet;

use serde::Serialize;
use sqlx::types::Json;
use supalove_proto::node::v1::{InventoryResponse, ProjectInventory};
use supalove_spec::{limits::NODE_TEXT_CHARS, text::single_line};

use super::{Known, Leftover};
use crate::{
    reconciler::due::Due,
    types::{Desired, ProjectState},
};
use supalove_core::{
    Write,
    database::Db,
    error::Result,
    ids::{NodeId, ProjectRef},
};

/// Names of each kind that are kept of a leftover: a node could name millions.
const NAMES: usize = 50;
/// Projects of an inventory that are looked at: a node could name millions.
pub const PROJECTS: usize = 8192;
/// Removals that one round sends to a node.
const BATCH: i64 = 100;

/// What an inventory found of a project.
#[derive(Debug, Serialize)]
struct Found<'a> {
    project_ref: &'a str,
    generation: i64,
    slot: Option<i32>,
    containers: Vec<String>,
    networks: Vec<String>,
    volumes: Vec<String>,
}

impl<'a> Found<'a> {
    fn new(project: &'a ProjectInventory) -> Self {
        let kept = |names: &[String]| -> Vec<String> {
            names.iter().take(NAMES).map(|name| single_line(name, NODE_TEXT_CHARS)).collect()
        };
        Self {
            project_ref: &project.project_ref,
            generation: i64::try_from(project.generation).unwrap_or(i64::MAX),
            slot: project.slot.and_then(|slot| i32::try_from(slot).ok()),
            containers: kept(&project.containers),
            networks: kept(&project.networks),
            volumes: kept(&project.volumes),
        }
    }
}

/// Stores what an inventory found of projects that no placement explains. In: their refs, and how many of these are kept. Deletes the
/// rows of what is gone, and returns how many.
pub async fn save(
    write: &mut impl Write,
    node: NodeId,
    inventory: &InventoryResponse,
    unexplained: &[String],
    kept: usize,
) -> Result<u64> {
    let gone = sqlx::query!(
        "DELETE FROM node_leftovers k WHERE node_id = $1 AND (project_ref <> ALL ($2::text[])
             -- More than are kept, except for what keeps a project from being placed elsewhere, or is being deleted.
             OR project_ref <> ALL ($3::text[]) AND delete_requested_at IS NULL AND NOT EXISTS (
                 SELECT FROM projects p JOIN nodes n ON n.cluster_id = p.cluster_id
                 WHERE p.ref = k.project_ref AND n.id = $1 AND p.removed_at IS NULL))",
        node.0,
        unexplained,
        &unexplained[..unexplained.len().min(kept)],
    )
    .execute(write.connection().await?)
    .await?;
    if unexplained.is_empty() {
        return Ok(gone.rows_affected());
    }
    let shown: HashSet<&String> = unexplained.iter().take(kept).collect();
    let found: Vec<Found<'_>> = inventory
        .projects
        .iter()
        .take(PROJECTS)
        .filter(|project| shown.contains(&project.project_ref))
        .map(Found::new)
        .collect();
    sqlx::query!(
        "INSERT INTO node_leftovers AS k (node_id, project_ref, generation, slot, containers, networks, volumes)
         SELECT DISTINCT ON (f.project_ref) $1, f.project_ref, f.generation, f.slot, f.containers, f.networks, f.volumes
         FROM jsonb_to_recordset($2) AS f (project_ref text, generation bigint, slot int, containers text[], networks text[],
             volumes text[])
         ON CONFLICT (node_id, project_ref) DO UPDATE SET generation = EXCLUDED.generation, slot = EXCLUDED.slot,
             containers = EXCLUDED.containers, networks = EXCLUDED.networks, volumes = EXCLUDED.volumes
         WHERE (k.generation, k.slot, k.containers, k.networks, k.volumes)
             IS DISTINCT FROM (EXCLUDED.generation, EXCLUDED.slot, EXCLUDED.containers, EXCLUDED.networks, EXCLUDED.volumes)",
        node.0,
        Json(found) as _,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(gone.rows_affected())
}

/// What an agent says of its records, in columns of one length; slot -1: none.
#[derive(Debug, Clone, Copy)]
pub struct Records<'a> {
    pub refs: &'a [String],
    pub generations: &'a [i64],
    pub slots: &'a [i32],
    pub removing: &'a [bool],
}

/// The agent has records of projects of the node's cluster that nothing places there. At the beginning of a session, before the first
/// inventory, so that none of them is placed elsewhere meanwhile.
pub async fn save_records(write: &mut impl Write, node: NodeId, records: Records<'_>) -> Result<()> {
    sqlx::query!(
        "INSERT INTO node_leftovers (node_id, project_ref, generation, slot, containers, networks, volumes)
         SELECT DISTINCT ON (s.ref) $1, s.ref, s.generation, nullif(s.slot, -1), '{}', '{}', '{}'
         FROM unnest($2::text[], $3::bigint[], $4::int[], $5::bool[]) AS s (ref, generation, slot, removing)
         JOIN nodes n ON n.id = $1 JOIN projects p ON p.ref = s.ref AND p.cluster_id = n.cluster_id AND p.removed_at IS NULL
         WHERE s.generation > 0 AND NOT s.removing AND NOT EXISTS (SELECT FROM placements l WHERE l.node_id = $1 AND l.project_ref = s.ref)
         ON CONFLICT DO NOTHING",
        node.0,
        records.refs,
        records.generations,
        records.slots,
        records.removing,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Which leftovers of a node.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Only after this ref.
    pub after: Option<&'a str>,
    pub project: Option<&'a ProjectRef>,
}

/// Leftovers of a node, by ref.
pub async fn list(
    db: impl sqlx::PgExecutor<'_>,
    node: NodeId,
    wanted: Wanted<'_>,
    limit: i64,
) -> Result<Vec<Leftover>> {
    let rows = sqlx::query!(
        "SELECT k.project_ref AS \"project: ProjectRef\", k.generation, k.slot, k.containers, k.networks, k.volumes, k.found_at,
             k.delete_requested_at, k.delete_error, p.state AS \"state?: ProjectState\", p.desired AS \"desired?: Desired\",
             p.generation AS \"known_generation?\", o.id AS \"stands_on?: NodeId\", o.name AS \"stands_on_name?\",
             coalesce(p.cluster_id = n.cluster_id, false) AS \"in_cluster!\",
             coalesce(o.revoked_at IS NULL AND l.applied_generation > 0, false) AS \"has_data!\"
         FROM node_leftovers k JOIN nodes n ON n.id = k.node_id JOIN clusters here ON here.id = n.cluster_id
         LEFT JOIN (projects p JOIN clusters c ON c.id = p.cluster_id)
             ON p.ref = k.project_ref AND c.organization_id IS NOT DISTINCT FROM here.organization_id
         LEFT JOIN placements l ON l.project_ref = p.ref AND l.role = 'ACTIVE'
         LEFT JOIN nodes o ON o.id = l.node_id
         WHERE k.node_id = $1 AND ($2::text IS NULL OR k.project_ref > $2) AND ($3::text IS NULL OR k.project_ref = $3)
         ORDER BY k.project_ref LIMIT $4",
        node.0,
        wanted.after,
        wanted.project.map(ProjectRef::as_str),
        limit,
    )
    .fetch_all(db)
    .await?;
    let leftovers = rows.into_iter().map(|row| {
        let known = match (row.state, row.desired, row.known_generation) {
            (Some(state), Some(desired), Some(generation)) => Some(Known {
                state,
                desired,
                generation,
                in_cluster: row.in_cluster,
                stands_on: row.stands_on.zip(row.stands_on_name),
                has_data: row.has_data,
            }),
            _ => None,
        };
        Leftover {
            node,
            project: row.project,
            generation: row.generation,
            slot: row.slot,
            containers: row.containers,
            networks: row.networks,
            volumes: row.volumes,
            found_at: row.found_at,
            delete_requested_at: row.delete_requested_at,
            delete_error: row.delete_error,
            known,
        }
    });
    Ok(leftovers.collect())
}

/// Asks for the deletion of a leftover, if nobody has.
pub async fn request_deletion(write: &mut impl Write, node: NodeId, project: &ProjectRef) -> Result<()> {
    sqlx::query!(
        "UPDATE node_leftovers SET delete_requested_at = now(), delete_error = ''
         WHERE node_id = $1 AND project_ref = $2 AND delete_requested_at IS NULL",
        node.0,
        project.as_str(),
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// The project is placed there: it is a leftover no more.
pub async fn forget(write: &mut impl Write, node: NodeId, project: &ProjectRef) -> Result<()> {
    sqlx::query!(
        "DELETE FROM node_leftovers WHERE node_id = $1 AND project_ref = $2",
        node.0,
        project.as_str()
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// A new session of the node: its agent is told again what to delete.
pub async fn ask_again(write: &mut impl Write, node: NodeId) -> Result<()> {
    sqlx::query!(
        "UPDATE node_leftovers SET delete_stored = false WHERE node_id = $1 AND delete_stored",
        node.0
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Whether the control database may lack what it knew of the node's projects: it was restored from a backup, and nobody has
/// confirmed that.
pub async fn may_be_restored(db: impl sqlx::PgExecutor<'_>, node: NodeId) -> Result<bool> {
    let unconfirmed = sqlx::query_scalar!(
        "SELECT EXISTS (SELECT FROM platform WHERE restore_seen_at IS NOT NULL)
             OR EXISTS (SELECT FROM restore_claims r JOIN nodes n ON n.cluster_id = r.cluster_id
                 WHERE n.id = $1 AND r.confirmed_at IS NULL) AS \"unconfirmed!\"",
        node.0
    );
    Ok(unconfirmed.fetch_one(db).await?)
}

/// Leftovers that the node's agent has to be told to delete. Never a project that stands on the node, or that may have its only data
/// there; none while a restore is not confirmed.
pub async fn due(db: &Db, node: NodeId) -> Result<Vec<Due>> {
    let rows = sqlx::query!(
        "SELECT k.project_ref AS \"project: ProjectRef\", greatest(k.generation, 1) AS \"generation!\" FROM node_leftovers k
         WHERE k.node_id = $1 AND k.delete_requested_at IS NOT NULL AND NOT k.delete_stored
             AND NOT EXISTS (SELECT FROM placements l WHERE l.node_id = $1 AND l.project_ref = k.project_ref)
             AND NOT EXISTS (SELECT FROM platform WHERE restore_seen_at IS NOT NULL)
             AND NOT EXISTS (SELECT FROM restore_claims r JOIN nodes n ON n.cluster_id = r.cluster_id
                 WHERE n.id = $1 AND r.confirmed_at IS NULL)
             AND NOT EXISTS (SELECT FROM projects p JOIN clusters c ON c.id = p.cluster_id
                 JOIN nodes n ON n.id = $1 JOIN clusters here ON here.id = n.cluster_id
                 WHERE p.ref = k.project_ref AND p.removed_at IS NULL
                     AND c.organization_id IS NOT DISTINCT FROM here.organization_id
                     AND NOT EXISTS (SELECT FROM placements l JOIN nodes o ON o.id = l.node_id
                         WHERE l.project_ref = p.ref AND l.role = 'ACTIVE' AND o.revoked_at IS NULL AND l.applied_generation > 0))
         ORDER BY k.delete_requested_at LIMIT $2",
        node.0,
        BATCH,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| Due::of_leftover(row.project, row.generation)).collect())
}

/// Whether the node's agent is deleting a leftover, and was asked for it not long ago: one that cannot is not asked all the time.
pub async fn is_deleting(db: &Db, node: NodeId) -> Result<bool> {
    let deleting = sqlx::query_scalar!(
        "SELECT EXISTS (SELECT FROM node_leftovers WHERE node_id = $1 AND delete_stored
             AND delete_requested_at > now() - interval '2 minutes') AS \"deleting!\"",
        node.0
    );
    Ok(deleting.fetch_one(db).await?)
}

/// The agent has stored the removal, or has not, and said why. A generation that it knows and we did not is used in the next try.
pub async fn told(
    write: &mut impl Write,
    node: NodeId,
    project: &ProjectRef,
    refused: Option<&str>,
    newer: Option<i64>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE node_leftovers SET delete_stored = $3::text IS NULL, delete_error = coalesce($3, ''),
             generation = greatest(generation, coalesce($4, generation))
         WHERE node_id = $1 AND project_ref = $2 AND delete_requested_at IS NOT NULL",
        node.0,
        project.as_str(),
        refused,
        newer,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}
