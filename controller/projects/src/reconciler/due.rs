//! What a node has not stored yet, in PostgreSQL.

use sqlx::PgPool;
use supalove_proto::node::v1::InventoryResponse;

use crate::{types::Desired, verdict::Source};
use supalove_core::{
    Write,
    error::Result,
    ids::{NodeId, ProjectRef},
};

/// Projects looked at in one round; the rest follows in the next.
const BATCH: i64 = 4096;

/// A generation that the agent has not stored.
#[derive(Debug)]
pub struct Due {
    /// Project.
    pub project: ProjectRef,
    /// Generation.
    pub generation: i64,
    /// What should be.
    pub desired: Desired,
    /// Changes when a restart is wanted.
    pub restart_token: String,
    /// Slot.
    pub slot: i32,
    /// First port of the slot.
    pub port_base: i32,
    /// The slot's network.
    pub subnet: String,
    /// Where published ports are reached.
    pub host: String,
}

/// What is due on a node. What waits for cpu and memory is not due.
pub async fn list(db: &PgPool, node: NodeId) -> Result<Vec<Due>> {
    let due = sqlx::query_as!(
        Due,
        r#"SELECT p.ref AS "project: ProjectRef", p.generation, p.desired AS "desired: Desired", p.restart_token, l.slot,
               l.port_base, l.subnet::text AS "subnet!", l.host
           FROM placements l JOIN projects p ON p.ref = l.project_ref
           WHERE l.node_id = $1 AND l.applied_generation < p.generation
               AND (p.desired <> 'RUNNING' OR l.holds_compute)
           ORDER BY l.created_at LIMIT $2"#,
        node.0,
        BATCH,
    );
    Ok(due.fetch_all(db).await?)
}

/// The agent has stored a generation. What an older session learns late does not count: the newer one has asked again.
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

/// At the beginning of a session the inventory replaces what was known of the agent.
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

/// Projects with remains on the node that no placement explains.
pub async fn unexplained(db: &PgPool, node: NodeId, inventory: &InventoryResponse) -> Result<Vec<String>> {
    let with_remains: Vec<String> = inventory
        .projects
        .iter()
        .filter(|p| !(p.containers.is_empty() && p.networks.is_empty() && p.volumes.is_empty()))
        .map(|p| p.project_ref.clone())
        .collect();
    let unexplained = sqlx::query_scalar!(
        r#"SELECT i.ref AS "ref!" FROM unnest($2::text[]) AS i (ref)
           WHERE NOT EXISTS (SELECT 1 FROM placements l WHERE l.node_id = $1 AND l.project_ref = i.ref) ORDER BY 1"#,
        node.0,
        &with_remains,
    )
    .fetch_all(db)
    .await?;
    Ok(unexplained)
}
