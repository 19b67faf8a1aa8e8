//! The jobs of core: exchange hints between replicas, chain and sign audit rows, count strangers' refused calls, send mails,
//! delete old audit rows, counts, empty rate limits, request keys, rows of mails, stopped controllers and their job results.

use crate::{
    Core, Room,
    audit::{self, checkpoints},
    consistency::RowCheck,
    error::{Error, Result},
    hints::Hint,
    jobs::{
        self, Job,
        Rhythm::{Always, Every, Woken},
        Run,
    },
    leases::Lease,
    mail, rate_limits, refused_calls, requests,
    retention::in_batches,
    row_check,
};

/// Rows that one statement deletes.
const BATCH: i64 = 1000;

/// Chains of the audit log that one statement reads.
const CHAINS: i64 = 100;

/// Rules that the rows of core keep.
pub const ROW_CHECKS: &[RowCheck] = &[
    row_check!(
        "core.audit_chain",
        r#"SELECT format('audit_log, chain %s', chain) AS "object!",
               format('%s rows, %s to %s', head - oldest + 1, oldest, head) AS "expected!",
               format('%s rows, to %s', rows, newest) AS "found!"
           FROM (SELECT l.chain, count(seq) AS rows, min(seq) AS oldest, max(seq) AS newest,
                     (SELECT c.seq FROM audit_chains c WHERE c.chain = l.chain) AS head
                 FROM audit_log l WHERE seq IS NOT NULL GROUP BY l.chain) a
           WHERE rows <> newest - oldest + 1 OR newest IS DISTINCT FROM head"#
    ),
    row_check!(
        "core.audit_unchained",
        r#"SELECT 'audit_log' AS "object!", 'each row is chained within a minute' AS "expected!",
               format('%s rows are not', count(*)) AS "found!"
           FROM audit_log WHERE seq IS NULL AND at < now() - interval '1 minute' HAVING count(*) > 0"#
    ),
];

/// The room that the server mounts.
pub fn room(core: &Core) -> Room {
    let sealing = core.for_work();
    let signing = core.for_work();
    let counting = core.for_work();
    let pruning = core.for_work();
    let carrying = core.for_work();
    let sender = mail::Sender::new(core);
    Room::new("core", &[])
        .job(Job::on_each("core.carry_hints", Always, move |run| {
            let core = carrying.clone();
            async move { core.hints.carry(core.db.clone(), core.controller, &run.at_work).await }
        }))
        .job(Job::leased("core.seal_audit", Every(core.times.poll), move |run| seal(sealing.clone(), run)))
        .job(Job::leased("core.sign_audit", Every(core.times.audit_checkpoint), move |run| {
            sign(signing.clone(), run)
        }))
        .job(Job::on_each("core.count_refusals", Every(core.times.seen_flush), move |_| {
            let core = counting.clone();
            async move { core.refused_calls.flush(&core.db).await }
        }))
        .job(Job::leased("core.send_mails", Woken(Hint::Mails, core.times.mail_poll), move |_| {
            sender.clone().run()
        }))
        .job(Job::leased("core.prune", Every(core.times.prune), move |run| prune(pruning.clone(), run)))
}

async fn seal(core: Core, run: Run) -> Result<()> {
    let lease = run.lease.ok_or_else(|| Error::internal("audit rows are sealed under a lease"))?;
    let signer = async || checkpoints::Signer::open(&core.db, &core.vault, &core.fleet_id).await;
    audit::seal(&core.db, &lease, signer).await?;
    Ok(())
}

async fn sign(core: Core, run: Run) -> Result<()> {
    let lease = run.lease.ok_or_else(|| Error::internal("audit rows are signed under a lease"))?;
    let signer = checkpoints::Signer::open(&core.db, &core.vault, &core.fleet_id).await?;
    in_batches(|| checkpoints::sign_newest(&core.db, &lease, &signer, CHAINS)).await
}

async fn prune(core: Core, run: Run) -> Result<()> {
    let lease = run.lease.ok_or_else(|| Error::internal("audit rows are cut under a lease"))?;
    let age = core.times.idempotency.as_secs_f64();
    in_batches(|| requests::forget(&core.db, age, BATCH)).await?;
    jobs::forget(&core.db, &core.times).await?;
    forget_controllers(&core).await?;
    in_batches(|| {
        let mut write = core.system_write("core.prune");
        async {
            let done = mail::prune(&mut write, core.times.mails_kept, BATCH).await?;
            write.commit([]).await?;
            Ok(done)
        }
    })
    .await?;
    in_batches(|| refused_calls::prune(&core.db, BATCH)).await?;
    in_batches(|| rate_limits::prune(&core.db, BATCH)).await?;
    cut_audit(&core, &lease).await
}

/// Cuts off the audit rows of each organization, and of the platform, that are older than they are kept.
async fn cut_audit(core: &Core, lease: &Lease) -> Result<()> {
    let signer = checkpoints::Signer::open(&core.db, &core.vault, &core.fleet_id).await?;
    let mut after = None;
    loop {
        let chains = checkpoints::oldest(&core.db, after, CHAINS).await?;
        for (chain, age) in &chains {
            let kept = core.audit_kept(*chain).await?;
            if *age > kept {
                in_batches(|| checkpoints::cut(&core.db, lease, &signer, *chain, kept, BATCH)).await?;
            }
        }
        match chains.last() {
            Some((chain, _)) => after = Some(*chain),
            None => return Ok(()),
        }
    }
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
