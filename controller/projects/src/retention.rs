//! Deletes what has ended and is old: events, operations, removed projects.
//!
//! The number of events and operations of a project has a limit where they are written; this is about their age. It walks
//! through the projects, some in each run, so that no index on the age makes each event more expensive.

use std::sync::{Arc, Mutex, PoisonError};

use supalove_core::{Core, SystemWrite, Write, error::Result, retention::in_batches};

/// Projects of one batch of the walk: at most 1,600 rows each are looked at.
const WALKED: i64 = 20;
/// Removed projects of one batch, with all their rows.
const REMOVED: i64 = 10;
const JOB: &str = "projects.prune";

/// Where the walk is. It begins anew when the job moves to another replica.
#[derive(Clone, Default)]
pub struct Walk(Arc<Mutex<String>>);

impl Walk {
    fn place(&self) -> std::sync::MutexGuard<'_, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One run of the job.
pub async fn prune(core: &Core, walk: &Walk) -> Result<()> {
    in_batches(|| async {
        let mut write = core.system_write(JOB);
        let done = forget_removed(&mut write, core.times.ended_kept.as_secs_f64()).await?;
        write.commit([]).await?;
        Ok(done)
    })
    .await?;
    in_batches(|| async {
        let from = walk.place().clone();
        let mut write = core.system_write(JOB);
        let next = walk_on(&mut write, &from, core.times.ended_kept.as_secs_f64()).await?;
        write.commit([]).await?;
        let done = next.is_none();
        *walk.place() = next.unwrap_or_default();
        Ok(done)
    })
    .await
}

/// Deletes projects that were removed long ago; false if there may be more. Their secrets, specifications, placements and
/// endpoints have gone with the removal.
async fn forget_removed(write: &mut SystemWrite, kept: f64) -> Result<bool> {
    let refs = sqlx::query_scalar!(
        "SELECT ref FROM projects WHERE removed_at < now() - make_interval(secs => $1) AND state = 'REMOVED'
         ORDER BY removed_at LIMIT $2 FOR UPDATE SKIP LOCKED",
        kept,
        REMOVED,
    )
    .fetch_all(write.connection().await?)
    .await?;
    sqlx::query!("DELETE FROM project_events WHERE project_ref = ANY($1)", &refs)
        .execute(write.connection().await?)
        .await?;
    sqlx::query!("DELETE FROM operations WHERE project_ref = ANY($1)", &refs)
        .execute(write.connection().await?)
        .await?;
    sqlx::query!("DELETE FROM projects WHERE ref = ANY($1)", &refs)
        .execute(write.connection().await?)
        .await?;
    Ok(i64::try_from(refs.len()).unwrap_or(REMOVED) < REMOVED)
}

/// Deletes old events and operations of the next projects; returns where to go on, `None` at the end. The newest event and
/// operation of a project stay: they say how it is as it is.
async fn walk_on(write: &mut SystemWrite, from: &str, kept: f64) -> Result<Option<String>> {
    let refs =
        sqlx::query_scalar!("SELECT ref FROM projects WHERE ref > $1 ORDER BY ref LIMIT $2", from, WALKED)
            .fetch_all(write.connection().await?)
            .await?;
    sqlx::query!(
        "DELETE FROM project_events e USING projects p
         WHERE p.ref = ANY($1) AND e.project_ref = p.ref AND e.seq < p.event_seq
             AND e.at < now() - make_interval(secs => $2)",
        &refs,
        kept,
    )
    .execute(write.connection().await?)
    .await?;
    sqlx::query!(
        "DELETE FROM operations o WHERE o.project_ref = ANY($1) AND o.ended_at < now() - make_interval(secs => $2)
             AND EXISTS (SELECT 1 FROM operations n WHERE n.project_ref = o.project_ref AND n.created_at > o.created_at)",
        &refs,
        kept,
    )
    .execute(write.connection().await?)
    .await?;
    let full = i64::try_from(refs.len()).unwrap_or(0) >= WALKED;
    Ok(refs.into_iter().next_back().filter(|_| full))
}
