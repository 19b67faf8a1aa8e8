//! The addresses of projects, which are those of their nodes: a node that advertises another address than before takes the
//! endpoints of its projects along.

use supalove_core::{
    Write,
    error::Result,
    ids::{NodeId, ProjectRef},
};

use super::events::{self, NewEvent};
use crate::types::EventType;

/// Gives the projects on a node the address that it advertises now. Each whose address was another one gets a new generation, since
/// services know the address, too; no data moves. Returns these projects.
///
/// Called at Hello, and at each inventory: a placement that waited for the Hello of its node may have read the address of before.
pub async fn follow(write: &mut impl Write, node: NodeId) -> Result<Vec<ProjectRef>> {
    let moved = sqlx::query!(
        "WITH moved AS (
             UPDATE placements l SET host = n.advertise_address FROM nodes n
             WHERE l.node_id = $1 AND n.id = $1 AND l.host <> n.advertise_address AND n.advertise_address <> ''
             RETURNING l.project_ref, l.host
         ), endpoints AS (
             UPDATE project_endpoints e SET host = moved.host FROM moved
             WHERE e.project_ref = moved.project_ref AND e.kind = 'node_port' AND NOT e.loopback
         )
         UPDATE projects p SET generation = p.generation + 1, revision = p.revision + 1,
             new_volumes_for = CASE WHEN p.new_volumes_for = p.generation THEN p.generation + 1 ELSE p.new_volumes_for END
         FROM moved WHERE p.ref = moved.project_ref AND p.desired <> 'REMOVED'
         RETURNING p.ref AS \"project: ProjectRef\", moved.host AS \"host!\"",
        node.0,
    )
    .fetch_all(write.connection().await?)
    .await?;
    for row in &moved {
        let message = format!("its node is reached at another address now: {}", row.host);
        events::append(write, &row.project, &NewEvent::new(EventType::ProjectPlaced, message), None).await?;
    }
    Ok(moved.into_iter().map(|row| row.project).collect())
}
