//! The jobs of core: exchange hints between replicas, chain audit rows, delete old request keys, stopped controllers and
//! their job results.

use crate::{
    Core, Room, audit,
    error::{Error, Result},
    jobs::{
        self, Job,
        Rhythm::{Always, Every},
        Run,
    },
    requests,
};

/// The room that the server mounts.
pub fn room(core: &Core) -> Room {
    let sealing = core.for_work();
    let pruning = core.for_work();
    let carrying = core.for_work();
    Room::new("core", &[])
        .job(Job::on_each("core.carry_hints", Always, move |run| {
            let core = carrying.clone();
            async move { core.hints.carry(core.db.clone(), core.controller, &run.at_work).await }
        }))
        .job(Job::leased("core.seal_audit", Every(core.times.poll), move |run| seal(sealing.clone(), run)))
        .job(Job::leased("core.prune", Every(core.times.prune), move |_| prune(pruning.clone())))
}

async fn seal(core: Core, run: Run) -> Result<()> {
    let lease = run.lease.ok_or_else(|| Error::internal("audit rows are sealed under a lease"))?;
    audit::seal(&core.db, &lease).await?;
    Ok(())
}

async fn prune(core: Core) -> Result<()> {
    requests::forget(&core.db, core.times.idempotency.as_secs_f64()).await?;
    jobs::forget(&core.db, &core.times).await?;
    forget_controllers(&core).await
}

/// Deletes replicas that have shown no sign of life for a day: neither a heartbeat nor a job's result.
async fn forget_controllers(core: &Core) -> Result<()> {
    sqlx::query!(
        "DELETE FROM controllers c WHERE c.seen_at < now() - interval '1 day' AND c.id <> $1 AND NOT EXISTS (
             SELECT 1 FROM job_results r WHERE r.controller_id = c.id
                 AND greatest(r.succeeded_at, r.failed_at) > now() - interval '1 day')",
        core.controller.0,
    )
    .execute(&core.db)
    .await?;
    Ok(())
}
