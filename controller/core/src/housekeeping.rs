//! The jobs of core: exchange hints between replicas, chain audit rows, delete old request keys, stopped controllers and
//! their job results.

use sqlx::PgPool;

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
    let sealing = core.clone();
    let pruning = core.clone();
    let carrying = core.clone();
    Room::new("core", &[])
        .job(Job::on_each("core.carry_hints", Always, move |_| {
            let core = carrying.clone();
            async move { core.hints.carry(core.db.clone(), core.controller).await }
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
    forget_controllers(&core.db).await
}

async fn forget_controllers(db: &PgPool) -> Result<()> {
    sqlx::query!("DELETE FROM controllers WHERE seen_at < now() - interval '1 day'").execute(db).await?;
    Ok(())
}
