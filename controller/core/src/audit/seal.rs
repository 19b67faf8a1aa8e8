//! The sealer: chains rows by hash, those of each chain in a transaction of its own, so that it holds no lock for all, and a
//! broken one stops alone.

use std::collections::BTreeMap;

use supalove_failpoints::failpoint;
use uuid::Uuid;

use super::{
    Chain,
    broken::{Alarms, ChainError},
    checkpoints::Signer,
    heads::{self, Head, link},
};
use crate::{database::Db, error::Result, leases::Lease};

/// Rows that are read at once.
const BATCH: i64 = 1000;
/// Batches of one run; the rest follows in the next one.
const BATCHES: usize = 20;

/// A row to chain.
struct Row {
    id: Uuid,
    text: String,
}

/// Chains the rows that are at least a second old. Returns their number; an error at the end names the chains that are broken.
/// `signer` opens the key, which is needed only if there are rows.
pub async fn seal(db: &Db, lease: &Lease, signer: impl AsyncFnOnce() -> Result<Signer>) -> Result<usize> {
    let mut alarms = Alarms::default();
    let mut first = waiting(db, &alarms).await?;
    if first.is_empty() {
        return Ok(0);
    }
    let signer = signer().await?;
    let mut sealed = 0;
    for _ in 0..BATCHES {
        let rows = first.values().map(Vec::len).sum::<usize>();
        for (chain, rows) in std::mem::take(&mut first) {
            match alarms.pass(chain, extend(db, lease, &signer, chain, &rows).await)? {
                Some(true) => sealed += rows.len(),
                Some(false) => return Ok(sealed),
                None => {}
            }
        }
        if i64::try_from(rows).unwrap_or(i64::MAX) < BATCH {
            break;
        }
        first = waiting(db, &alarms).await?;
    }
    alarms.raise("continued")?;
    Ok(sealed)
}

/// The oldest rows without a place, by their chains. Those of broken chains would fill the batch.
async fn waiting(db: &Db, broken: &Alarms) -> Result<BTreeMap<Chain, Vec<Row>>> {
    let broken: Vec<Uuid> = broken.chains().map(Chain::id).collect();
    let rows = sqlx::query!(
        "SELECT id, chain,
             concat_ws(E'\\x1f', id, extract(epoch FROM at), actor, method, target, outcome, client, trace_id, credential,
                 nullif(chain, '00000000-0000-0000-0000-000000000000')) AS \"text!\"
         FROM audit_log WHERE seq IS NULL AND at < now() - interval '1 second' AND chain <> ALL ($2)
         ORDER BY at, id LIMIT $1",
        BATCH,
        &broken,
    )
    .fetch_all(db)
    .await?;
    let mut chains = BTreeMap::<_, Vec<_>>::new();
    for row in rows {
        chains.entry(Chain::from_id(row.chain)).or_default().push(Row { id: row.id, text: row.text });
    }
    Ok(chains)
}

/// Chains rows behind the head of their chain. False if this replica no longer holds the lease.
async fn extend(
    db: &Db,
    lease: &Lease,
    signer: &Signer,
    chain: Chain,
    rows: &[Row],
) -> Result<bool, ChainError> {
    let mut tx = db.begin().await?;
    if !lease.guard(tx.connection()?).await? {
        return Ok(false);
    }
    let head = match heads::lock(tx.connection()?, signer, chain).await? {
        Some(head) => head,
        None => heads::open(tx.connection()?, signer, chain).await?,
    };
    let (places, head) = chained(head, rows);
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    sqlx::query!("SELECT audit_seal($1, $2, $3, $4)", chain.id(), &ids, &places.seqs, &places.hashes)
        .fetch_one(tx.connection()?)
        .await?;
    failpoint!("controller.jobs.sealed");
    heads::store(tx.connection()?, signer, head).await?;
    tx.commit().await?;
    Ok(true)
}

/// Places of rows, in their order.
#[derive(Default)]
struct Places {
    seqs: Vec<i64>,
    hashes: Vec<Vec<u8>>,
}

fn chained(mut head: Head, rows: &[Row]) -> (Places, Head) {
    let mut places = Places::default();
    for row in rows {
        head.seq += 1;
        head.chain_hash = link(&head.chain_hash, row.text.as_bytes());
        places.seqs.push(head.seq);
        places.hashes.push(head.chain_hash.clone());
    }
    (places, head)
}
