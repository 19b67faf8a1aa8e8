//! The jobs of core: exchange hints between replicas, chain and sign audit rows, count strangers' refused calls, send mails,
//! delete old audit rows, counts, empty rate limits, request keys, rows of mails, stopped controllers and their job results.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    Core, Room,
    audit::{self, Chain, broken::Alarms, checkpoints, digests, retentions},
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

/// Chains of the audit log that one transaction signs.
const CHAINS: i64 = 100;
/// Chains of the audit log at whose age one run looks; the next one goes on behind them.
const AGED_CHAINS: i64 = 500;
/// Batches that one run cuts off a chain: one with many old rows does not keep the others from their turn.
const CUTS_OF_A_CHAIN: usize = 10;
/// Batches that one run cuts off all chains.
const CUTS: usize = 100;

/// Up to which chain of the audit log this replica has looked for old rows.
type Turn = Arc<Mutex<Option<Chain>>>;

/// Rules that the rows of core keep.
pub const ROW_CHECKS: &[RowCheck] = &[
    row_check!(
        "core.audit_chain",
        r#"SELECT format('audit_log, chain %s', chain) AS "object!",
               format('%s rows, %s to %s', head - oldest + 1, oldest, head) AS "expected!",
               format('%s rows, to %s', rows, newest) AS "found!"
           FROM (SELECT l.chain, count(seq) AS rows, min(seq) AS oldest, max(seq) AS newest,
                     (SELECT c.seq FROM audit_chains c WHERE c.chain = l.chain) AS head
                 FROM audit_log l
                 WHERE seq > coalesce((SELECT max(r.seq) FROM audit_repairs r WHERE r.chain = l.chain), 0) GROUP BY l.chain) a
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
    let turn = Turn::default();
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
        .job(Job::leased("core.prune", Every(core.times.prune), move |run| {
            prune(pruning.clone(), run, turn.clone())
        }))
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
    // Neither keeps the other from its turn.
    let digested = digests::take(&core.db, &lease, &signer, core.times.audit_checkpoint / 2).await;
    checkpoints::sign_newest(&core.db, &lease, &signer, CHAINS).await?;
    digested
}

async fn prune(core: Core, run: Run, turn: Turn) -> Result<()> {
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
    cut_audit(&core, &lease, &turn).await
}

/// Cuts off the audit rows of each organization, and of the platform, that are older than they are kept: of some chains in each
/// run, of each in its turn. A broken chain keeps its rows; an error at the end names it.
async fn cut_audit(core: &Core, lease: &Lease, turn: &Turn) -> Result<()> {
    let signer = checkpoints::Signer::open(&core.db, &core.vault, &core.fleet_id).await?;
    let mut alarms = Alarms::default();
    let mut left = CUTS;
    let after = *turn.lock().unwrap_or_else(PoisonError::into_inner);
    let chains = checkpoints::oldest(&core.db, after, AGED_CHAINS).await?;
    let mut more = i64::try_from(chains.len()).unwrap_or(i64::MAX) == AGED_CHAINS;
    for (chain, age) in chains {
        if left == 0 {
            more = true;
            break;
        }
        // A chain whose rows cannot be deleted must not keep the next ones from their turn.
        *turn.lock().unwrap_or_else(PoisonError::into_inner) = Some(chain);
        // An organization's retention is recorded before it can matter.
        if age > core.times.audit_checkpoint {
            let Some(kept) = retentions::decide(core, lease, chain).await? else { return Ok(()) };
            let mut of_chain = CUTS_OF_A_CHAIN;
            while age > kept.time && of_chain > 0 && left > 0 {
                (of_chain, left) = (of_chain - 1, left - 1);
                let cut = checkpoints::cut(&core.db, lease, &signer, chain, &kept, BATCH).await;
                if alarms.pass(chain, cut)?.unwrap_or(true) {
                    break;
                }
            }
        }
    }
    if !more {
        *turn.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
    alarms.raise("cut")
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
