//! The replacement of the master key, by one leased job: the new key becomes the one that seals when every live replica knows it;
//! then the data key of each sealed value is wrapped anew, in batches; when none is left, the old key is retired. Each step is a
//! transaction, so that the job goes on where it died.
//!
//! A value that was sealed under the old key can be written at any time after that: by a call that was slow, or by a replica that
//! stood still. So a trigger on each column (`vault_key_is_in_use`) locks the key of a value for the rest of its transaction, and
//! refuses a retired one; who retires a key takes that lock alone and looks once more.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use supalove_failpoints::failpoint;

use super::{
    KeyId,
    columns::SealedColumn,
    keys::{self, KeyState, Known},
};
use crate::{
    Core, Write as _,
    error::{Error, Result, chain},
    ids::ControllerId,
    jobs::{Job, Rhythm::Every, Run},
    leases::Lease,
};

/// Values that one transaction wraps anew.
const BATCH: i64 = 200;
/// Batches of one run; the rest follows in the next one.
const BATCHES: usize = 50;
/// The job's name.
const JOB: &str = "vault.rotate";
/// The act in the audit log.
const ACT: &str = "/supalove.core/rotate_master_key";

/// The job that replaces the key, and the one by which each replica follows.
pub fn jobs(core: &Core, columns: &[SealedColumn]) -> [Job; 2] {
    let (following, rotating) = (core.for_work(), core.for_work());
    let columns: Arc<[SealedColumn]> = columns.into();
    let looked = Arc::new(AtomicBool::default());
    [
        Job::on_each("vault.follow_keys", Every(core.times.poll), move |run| {
            let core = following.clone();
            async move { keys::follow(&core, run.database_up).await }
        }),
        Job::leased(JOB, Every(core.times.hinted_poll), move |run| {
            let (core, columns, looked) = (rotating.clone(), columns.clone(), looked.clone());
            async move { rotate(&core, run, &columns, &looked).await }
        }),
    ]
}

/// Takes the next steps. `looked`: this replica has looked for values under a key that is retired.
async fn rotate(core: &Core, run: Run, columns: &[SealedColumn], looked: &AtomicBool) -> Result<()> {
    let lease = run.lease.ok_or_else(|| Error::internal("the master key is replaced under a lease"))?;
    let live = keys::live(&core.times, run.database_up);
    let mut known = keys::all(&core.db).await?;
    if let Some(next) = with(&known, KeyState::Next) {
        if !begin(core, &lease, next, run.database_up).await? {
            return Ok(());
        }
        known = keys::all(&core.db).await?;
    }
    let current = keys::current(&known)?;
    let previous = with(&known, KeyState::Previous);
    if core.vault.previous().is_none() || (previous.is_none() && looked.load(Ordering::Relaxed)) {
        return Ok(());
    }
    // Until then a replica may still seal under the old key.
    if !all_seal_under(core, current, live).await? {
        return Ok(());
    }
    for column in columns {
        if !rewrap(core, &lease, column, current).await? {
            return Ok(());
        }
    }
    looked.store(true, Ordering::Relaxed);
    if let Some(previous) = previous {
        retire(core, &lease, columns, current, previous).await?;
    }
    Ok(())
}

fn with(known: &[Known], state: KeyState) -> Option<KeyId> {
    known.iter().find(|key| key.state == state).map(|key| key.id)
}

/// Makes the next key the current one, if all live replicas know it. An error names those that do not, and were started before
/// or live on since.
async fn begin(core: &Core, lease: &Lease, next: KeyId, database_up: Duration) -> Result<bool> {
    let live = keys::live(&core.times, database_up);
    let waits = sqlx::query!(
        "SELECT c.id AS \"id: ControllerId\", c.address, c.seen_at > k.created_at + interval '5 seconds' AS \"alive!\"
         FROM controllers c, master_keys k
         WHERE k.id = $2 AND c.seen_at > now() - make_interval(secs => $1)
             AND NOT coalesce($2 = ANY (c.master_keys), false) ORDER BY c.started_at",
        live.as_secs_f64(),
        next.to_string(),
    )
    .fetch_all(&core.db)
    .await?;
    let knows = [Some(core.vault.given()), core.vault.previous()].contains(&Some(next));
    if let Some(other) = waits.iter().find(|other| other.alive) {
        if !is_wanted(core, next, live).await? {
            return Ok(false);
        }
        return Err(Error::internal(format!(
            "the new master key {next} seals nothing yet, because the replica {} at {} does not have it: restart it with the \
             new key as --master-key-file and the old one as --previous-master-key-file",
            other.id, other.address
        )));
    }
    if !waits.is_empty() || !knows {
        return Ok(false);
    }
    let mut write = core.system_write(JOB);
    if !lease.guard(write.connection().await?).await? {
        return Ok(false);
    }
    sqlx::query!("UPDATE master_keys SET state = 'PREVIOUS' WHERE state = 'CURRENT'")
        .execute(write.connection().await?)
        .await?;
    sqlx::query!(
        "UPDATE master_keys SET state = 'CURRENT', current_at = now() WHERE id = $1 AND state = 'NEXT'",
        next.to_string()
    )
    .execute(write.connection().await?)
    .await?;
    write.audit_outcome(ACT, &next.to_string(), "STARTED");
    failpoint!("controller.rotation.begun");
    write.commit([]).await?;
    tracing::info!(%next, "the new master key seals from now on; what is sealed is wrapped under it");
    keys::follow(core, database_up).await?;
    Ok(true)
}

/// Whether a live replica has the key. If none has, somebody has given up the replacement.
async fn is_wanted(core: &Core, next: KeyId, live: Duration) -> Result<bool> {
    let wanted = sqlx::query_scalar!(
        "SELECT EXISTS (SELECT 1 FROM controllers
             WHERE seen_at > now() - make_interval(secs => $1) AND $2 = ANY (master_keys)) AS \"wanted!\"",
        live.as_secs_f64(),
        next.to_string(),
    );
    Ok(wanted.fetch_one(&core.db).await?)
}

async fn all_seal_under(core: &Core, current: KeyId, live: Duration) -> Result<bool> {
    let all = sqlx::query_scalar!(
        "SELECT NOT EXISTS (SELECT 1 FROM controllers
             WHERE seen_at > now() - make_interval(secs => $1) AND sealing_key IS DISTINCT FROM $2) AS \"all!\"",
        live.as_secs_f64(),
        current.to_string(),
    );
    Ok(all.fetch_one(&core.db).await?)
}

/// Wraps the values of a column anew. False if some are left for the next run; an error if one does not open.
async fn rewrap(core: &Core, lease: &Lease, column: &SealedColumn, current: KeyId) -> Result<bool> {
    let mut broken = HashSet::new();
    let mut why = None;
    for _ in 0..BATCHES {
        let limit = BATCH + i64::try_from(broken.len()).unwrap_or(BATCH);
        let mut values = column.not_under(&core.db, current, limit).await?;
        values.retain(|value| !broken.contains(&(value.id.clone(), value.name.clone(), value.version)));
        if values.is_empty() {
            return match why {
                None => Ok(true),
                Some(error) => Err(Error::internal(format!(
                    "{} sealed values of {}.{} stay under an old master key, because they do not open: {error}",
                    broken.len(),
                    column.table,
                    column.column
                ))),
            };
        }
        let mut tx = core.db.begin().await?;
        if !lease.guard(tx.connection()?).await? {
            return Ok(false);
        }
        let mut wrapped = 0;
        for value in &values {
            match core.vault.rewrap(column.scope(value), &value.bytes) {
                Ok(Some((header, old))) => {
                    column.replace(tx.connection()?, value, &header, old).await?;
                    wrapped += 1;
                }
                Ok(None) => {}
                Err(error) => {
                    broken.insert((value.id.clone(), value.name.clone(), value.version));
                    why = Some(format!("{} {}: {}", value.id, value.name, chain(&error)));
                }
            }
        }
        failpoint!("controller.rotation.wrapped");
        tx.commit().await?;
        failpoint!("controller.rotation.wrapped_committed");
        tracing::info!(
            table = column.table,
            column = column.column,
            wrapped,
            "sealed values are wrapped under the new master key"
        );
    }
    Ok(false)
}

/// Retires a key, unless somebody is writing a value under it or has just done so: then the next run tries again.
async fn retire(
    core: &Core,
    lease: &Lease,
    columns: &[SealedColumn],
    current: KeyId,
    previous: KeyId,
) -> Result<()> {
    let mut write = core.system_write(JOB);
    if !lease.guard(write.connection().await?).await? {
        return Ok(());
    }
    let alone = sqlx::query_scalar!(
        "SELECT pg_try_advisory_xact_lock(('x' || $1::text)::bit(64)::bigint) AS \"alone!\"",
        previous.to_string()
    );
    if !alone.fetch_one(write.connection().await?).await? {
        return Ok(());
    }
    for column in columns {
        if !column.not_under(write.connection().await?, current, 1).await?.is_empty() {
            return Ok(());
        }
    }
    sqlx::query!(
        "UPDATE master_keys SET state = 'RETIRED', retired_at = now(), proven = true WHERE id = $1 AND state = 'PREVIOUS'",
        previous.to_string()
    )
    .execute(write.connection().await?)
    .await?;
    write.audit_outcome(ACT, &previous.to_string(), "RETIRED");
    write.commit([]).await?;
    tracing::info!(%previous, "no sealed value is under the previous master key; --previous-master-key-file can go");
    Ok(())
}

/// How the replacement stands.
#[derive(Debug)]
pub struct Status {
    /// The keys, the newest first, with how many values are under each.
    pub keys: Vec<(Known, i64)>,
    /// Live replicas that do not have the key that seals, or is to seal next: id and address.
    pub waits_for: Vec<(ControllerId, String)>,
}

/// Counts the values under each key.
pub async fn status(core: &Core, columns: &[SealedColumn]) -> Result<Status> {
    let known = keys::all(&core.db).await?;
    let first = known.iter().find(|key| key.first).map(|key| key.id);
    let mut keys: Vec<(Known, i64)> = known.iter().map(|key| (*key, 0)).collect();
    for column in columns {
        for (key, count) in column.count(&core.db).await? {
            let under = keys.iter_mut().find(|(known, _)| Some(known.id) == key.or(first));
            let under = under.ok_or_else(|| {
                Error::internal(format!(
                    "{}.{} has values under an unknown master key",
                    column.table, column.column
                ))
            })?;
            under.1 += count;
        }
    }
    let wanted = with(&known, KeyState::Next).map_or_else(|| keys::current(&known), Ok)?;
    let waits_for = sqlx::query!(
        "SELECT id AS \"id: ControllerId\", address FROM controllers
         WHERE seen_at > now() - make_interval(secs => $1) AND NOT coalesce($2 = ANY (master_keys), false) ORDER BY id",
        core.times.replica_gone.as_secs_f64(),
        wanted.to_string(),
    );
    let waits_for =
        waits_for.fetch_all(&core.db).await?.into_iter().map(|row| (row.id, row.address)).collect();
    Ok(Status { keys, waits_for })
}
