//! Generations that a node's agent has not stored yet, in PostgreSQL.

use supalove_proto::node::v1::InventoryResponse;

use crate::{leftovers, types::Desired, verdict::Source};
use supalove_core::{
    Write,
    database::Db,
    error::Result,
    ids::{NodeId, ProjectRef},
};

/// Maximum number of projects of one round; the rest follows in the next.
const BATCH: i64 = 4096;

/// A generation that the agent has not stored.
#[derive(Debug)]
pub struct Due {
    pub project: ProjectRef,
    pub generation: i64,
    pub desired: Desired,
    /// A new value makes the agent restart the containers once.
    pub restart_token: String,
    /// Data volumes whose loss is accepted in this generation.
    pub new_volumes: Vec<String>,
    pub slot: i32,
    /// First port of the slot.
    pub port_base: i32,
    pub subnet: String,
    /// Address at which users reach published ports.
    pub host: String,
    /// It is no project of the node, but a leftover to delete.
    pub leftover: bool,
}

impl Due {
    /// The deletion of a leftover.
    pub fn of_leftover(project: ProjectRef, generation: i64) -> Self {
        Self {
            project,
            generation,
            desired: Desired::Removed,
            restart_token: String::new(),
            new_volumes: Vec::new(),
            slot: 0,
            port_base: 0,
            subnet: String::new(),
            host: String::new(),
            leftover: true,
        }
    }
}

/// Returns the due generations of a node. Projects that wait for cpu and memory are not due.
pub async fn list(db: &Db, node: NodeId) -> Result<Vec<Due>> {
    let due = sqlx::query_as!(
        Due,
        r#"SELECT p.ref AS "project: ProjectRef", p.generation, p.desired AS "desired: Desired", p.restart_token,
               CASE WHEN p.new_volumes_for = p.generation THEN p.new_volumes ELSE '{}' END AS "new_volumes!", l.slot,
               l.port_base, l.subnet::text AS "subnet!", l.host, false AS "leftover!"
           FROM placements l JOIN projects p ON p.ref = l.project_ref
           WHERE l.node_id = $1 AND l.applied_generation < p.generation
               AND (p.desired <> 'RUNNING' OR l.holds_compute)
           ORDER BY l.created_at LIMIT $2"#,
        node.0,
        BATCH,
    );
    Ok(due.fetch_all(db).await?)
}

/// Records that the agent has stored a generation. Ignores late results of an older session: the newer one asks again.
pub async fn applied(
    write: &mut impl Write,
    source: Source,
    project: &ProjectRef,
    generation: i64,
) -> Result<()> {
    sqlx::query!(
        "UPDATE placements SET applied_generation = greatest(applied_generation, $3)
         WHERE node_id = $1 AND project_ref = $2
             AND EXISTS (SELECT 1 FROM nodes WHERE id = $1 AND greeted_epoch = $4)",
        source.node.0,
        project.as_str(),
        generation,
        source.epoch,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Replaces the record of the agent's generations by its inventory, at the beginning of a session.
pub async fn forget_applied(
    write: &mut impl Write,
    node: NodeId,
    inventory: &InventoryResponse,
) -> Result<()> {
    let refs: Vec<String> = inventory.projects.iter().map(|p| p.project_ref.clone()).collect();
    let generations: Vec<i64> =
        inventory.projects.iter().map(|p| i64::try_from(p.generation).unwrap_or(i64::MAX)).collect();
    sqlx::query!(
        "UPDATE placements l SET applied_generation = coalesce(
             (SELECT i.generation FROM unnest($2::text[], $3::bigint[]) AS i (ref, generation) WHERE i.ref = l.project_ref), 0)
         WHERE l.node_id = $1",
        node.0,
        &refs,
        &generations,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Maximum number of unexplained projects whose slots are blocked: a node could name millions.
const UNEXPLAINED: usize = 4096;
/// How many of them are kept and shown.
pub const UNEXPLAINED_SHOWN: usize = 100;

/// Returns projects that run or have remains on the node although no placement puts them there; at most
/// [`UNEXPLAINED`], and only well-formed refs.
pub async fn unexplained(
    db: impl sqlx::PgExecutor<'_>,
    node: NodeId,
    inventory: &InventoryResponse,
) -> Result<Vec<String>> {
    let with_remains: Vec<String> = inventory
        .projects
        .iter()
        .take(leftovers::store::PROJECTS)
        .filter(|p| !(p.containers.is_empty() && p.networks.is_empty() && p.volumes.is_empty()))
        .filter(|p| p.project_ref.parse::<ProjectRef>().is_ok())
        .map(|p| p.project_ref.clone())
        .collect();
    let unexplained = sqlx::query_scalar!(
        r#"SELECT i.ref AS "ref!" FROM unnest($2::text[]) AS i (ref)
           WHERE NOT EXISTS (SELECT 1 FROM placements l WHERE l.node_id = $1 AND l.project_ref = i.ref) ORDER BY 1 LIMIT $3"#,
        node.0,
        &with_remains,
        i64::try_from(UNEXPLAINED).unwrap_or(i64::MAX),
    )
    .fetch_all(db)
    .await?;
    Ok(unexplained)
}
