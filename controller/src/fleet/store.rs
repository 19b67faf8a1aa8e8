//! Sessions in PostgreSQL.

use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    error::Result,
    ids::{ControllerId, NodeId},
};

/// Begins a session: the next epoch, and this replica as its holder. `None` if there is no such node.
pub async fn next_epoch(db: &PgPool, node: NodeId, controller: ControllerId) -> Result<Option<i64>> {
    let epoch = sqlx::query_scalar!(
        "WITH next AS (UPDATE nodes SET session_epoch = session_epoch + 1 WHERE id = $1 RETURNING session_epoch)
         INSERT INTO node_sessions (node_id, controller_id, epoch) SELECT $1, $2, session_epoch FROM next
         ON CONFLICT (node_id) DO UPDATE SET controller_id = EXCLUDED.controller_id, epoch = EXCLUDED.epoch,
             connected_at = now()
         WHERE node_sessions.epoch < EXCLUDED.epoch
         RETURNING epoch",
        node.0,
        controller.0,
    )
    .fetch_optional(db)
    .await?;
    Ok(epoch)
}

/// Ends a session, unless a newer one has begun.
pub async fn end_session(db: &PgPool, node: NodeId, controller: ControllerId, epoch: i64) -> Result<()> {
    sqlx::query!(
        "DELETE FROM node_sessions WHERE node_id = $1 AND controller_id = $2 AND epoch = $3",
        node.0,
        controller.0,
        epoch,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Signs of life of this replica and of the nodes it holds: how many seconds ago each was heard.
pub async fn seen(
    db: &PgPool,
    controller: ControllerId,
    (nodes, seconds): (Vec<Uuid>, Vec<f64>),
) -> Result<()> {
    sqlx::query!("UPDATE controllers SET seen_at = now() WHERE id = $1", controller.0).execute(db).await?;
    sqlx::query!(
        "UPDATE nodes n SET seen_at = greatest(n.seen_at, now() - make_interval(secs => heard.seconds))
         FROM unnest($1::uuid[], $2::float8[]) AS heard (node_id, seconds) WHERE n.id = heard.node_id",
        &nodes,
        &seconds,
    )
    .execute(db)
    .await?;
    Ok(())
}
