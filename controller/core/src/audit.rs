//! Append-only record of who did what. An act writes its row in its own statement or transaction. One leased job chains
//! the rows by hash afterwards, so that the chain is not a global lock. Another one signs [`checkpoints`] of the chain, and
//! cuts off what is older than the retention; [`verify`] checks it all.

pub mod checkpoints;
pub mod verify;

use crate::database::Db;
use aws_lc_rs::digest::{SHA256, digest};
use sqlx::PgExecutor;
use supalove_failpoints::failpoint;
use uuid::Uuid;

use crate::{access::Call, error::Result, leases::Lease};

/// An audit row to write.
#[derive(Debug, Clone)]
pub struct Entry {
    /// UUIDv7.
    pub id: Uuid,
    /// `usr_…`, `usr_… pat_…` with a personal access token, `nod_…`, or anonymous.
    pub actor: String,
    /// RPC.
    pub method: String,
    /// Object of the act.
    pub target: String,
    /// `OK`, or the gRPC code of the refusal.
    pub outcome: String,
    /// Client address.
    pub client: String,
    /// Trace id of the call.
    pub trace_id: String,
}

impl Entry {
    /// Creates the row of a successful call.
    pub fn from_call(call: &Call, target: impl Into<String>) -> Self {
        Self {
            id: Uuid::now_v7(),
            actor: call.principal.as_ref().map_or_else(|| "anonymous".to_owned(), ToString::to_string),
            method: call.method.to_owned(),
            target: target.into(),
            outcome: "OK".to_owned(),
            client: call.client.map(|a| a.to_string()).unwrap_or_default(),
            trace_id: call.trace_id.clone(),
        }
    }

    /// Creates the row of a refused call.
    pub fn refused(call: &Call, code: tonic::Code) -> Self {
        let target = call.named.get().map(String::as_str).unwrap_or_default();
        Self { outcome: format!("{code:?}"), ..Self::from_call(call, target) }
    }

    /// Creates the row of a background act of the control plane.
    pub fn system(actor: impl Into<String>, method: &str, target: impl Into<String>) -> Self {
        Self {
            id: Uuid::now_v7(),
            actor: actor.into(),
            method: method.to_owned(),
            target: target.into(),
            outcome: "OK".to_owned(),
            client: String::new(),
            trace_id: String::new(),
        }
    }
}

/// Writes a row. Pass the transaction of the act.
pub async fn record(db: impl PgExecutor<'_>, entry: &Entry) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO audit_log (id, actor, method, target, outcome, client, trace_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        entry.id,
        entry.actor,
        entry.method,
        entry.target,
        entry.outcome,
        entry.client,
        entry.trace_id,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Chains at most 1,000 rows that are at least a second old. Returns their number.
pub async fn seal(db: &Db, lease: &Lease) -> Result<usize> {
    let mut tx = db.begin().await?;
    if !lease.guard(tx.connection()?).await? {
        return Ok(0);
    }
    let last = sqlx::query!(
        "SELECT seq AS \"seq!\", chain_hash AS \"hash!\" FROM audit_log WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1"
    )
    .fetch_optional(tx.connection()?)
    .await?;
    let (mut seq, mut hash) = last.map_or((0, Vec::new()), |row| (row.seq, row.hash));
    let rows = sqlx::query!(
        "SELECT id, concat_ws(E'\\x1f', id, extract(epoch FROM at), actor, method, target, outcome, client, trace_id) AS \"text!\"
         FROM audit_log WHERE seq IS NULL AND at < now() - interval '1 second' ORDER BY at, id LIMIT 1000"
    )
    .fetch_all(tx.connection()?)
    .await?;
    for row in &rows {
        seq += 1;
        hash = link(&hash, row.text.as_bytes());
        sqlx::query!("SELECT audit_chain($1, $2, $3)", row.id, seq, hash).fetch_one(tx.connection()?).await?;
        failpoint!("controller.jobs.sealed");
    }
    tx.commit().await?;
    Ok(rows.len())
}

/// SHA-256 over the previous hash and the row.
fn link(previous: &[u8], row: &[u8]) -> Vec<u8> {
    digest(&SHA256, &[previous, row].concat()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_depends_on_the_row_and_on_all_before_it() {
        let first = link(&[], b"a");
        assert_ne!(link(&first, b"b"), link(&[], b"b"));
        assert_ne!(link(&first, b"b"), link(&first, b"c"));
        assert_eq!(first.len(), 32);
    }
}
