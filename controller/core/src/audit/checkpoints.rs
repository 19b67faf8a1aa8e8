//! Signed checkpoints of the audit log.
//!
//! A checkpoint says: row `seq` of the chain has this hash. Its key is sealed under the master key, so who can only write to the
//! database can forge none. Each hour the newest row gets one, and the controller's log has it, too; before rows are deleted
//! because of their age, the last one of them gets one that says so (`cut`).

use std::{fmt, time::Duration};

use crate::database::{Connection, Db};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use chrono::{DateTime, SubsecRound as _, Utc};
use zeroize::Zeroizing;

use crate::{
    error::{Error, Result},
    leases::Lease,
    platform,
    vault::Vault,
};

/// A place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// True if the rows up to this one were deleted.
    pub cut: bool,
    /// Number of the row.
    pub seq: i64,
    /// Chain hash of the row.
    pub chain_hash: Vec<u8>,
    /// When it was signed.
    pub at: DateTime<Utc>,
}

/// Signs and checks checkpoints of one installation.
pub struct Signer {
    key: Ed25519KeyPair,
    fleet: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("fleet", &self.fleet).finish_non_exhaustive()
    }
}

impl Signer {
    /// Uses the platform's key; the first one to ask generates it.
    pub async fn open(db: &Db, vault: &Vault, fleet: &str) -> Result<Self> {
        let key = platform::secret(db, vault, "audit-checkpoint-key", || {
            let key = Ed25519KeyPair::generate().map_err(Error::internal)?;
            let document = key.to_pkcs8v1().map_err(Error::internal)?;
            Ok(Zeroizing::new(document.as_ref().to_vec()))
        });
        let key = Ed25519KeyPair::from_pkcs8(&key.await?).map_err(|e| Error::internal(e.to_string()))?;
        Ok(Self { key, fleet: fleet.to_owned() })
    }

    /// Signs a checkpoint.
    pub fn sign(&self, checkpoint: &Checkpoint) -> Vec<u8> {
        self.key.sign(&self.message(checkpoint)).as_ref().to_vec()
    }

    /// True if the signature is ours.
    pub fn is_ours(&self, checkpoint: &Checkpoint, signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, self.key.public_key().as_ref());
        key.verify(&self.message(checkpoint), signature).is_ok()
    }

    fn message(&self, checkpoint: &Checkpoint) -> Vec<u8> {
        let Checkpoint { cut, seq, chain_hash, at } = checkpoint;
        let hash = hex::encode(chain_hash);
        let at = at.timestamp_micros();
        format!("supalove audit checkpoint v1\n{}\n{cut}\n{seq}\n{hash}\n{at}", self.fleet).into_bytes()
    }
}

/// Signs the newest row of the chain, stores that, and writes it to the log.
pub async fn sign_newest(db: &Db, lease: &Lease, signer: &Signer) -> Result<()> {
    let mut tx = db.begin().await?;
    if !lease.guard(tx.connection()?).await? {
        return Ok(());
    }
    let newest = sqlx::query!(
        "SELECT seq AS \"seq!\", chain_hash AS \"hash!\" FROM audit_log WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1"
    )
    .fetch_optional(tx.connection()?)
    .await?;
    let Some(newest) = newest else { return Ok(()) };
    let hash = hex::encode(&newest.hash);
    store(tx.connection()?, signer, false, newest.seq, newest.hash).await?;
    tx.commit().await?;
    tracing::info!(
        seq = newest.seq,
        hash,
        "audit log: newest row; `audit verify --seen` takes it as <seq>:<hash>"
    );
    Ok(())
}

async fn store(tx: &mut Connection, signer: &Signer, cut: bool, seq: i64, chain_hash: Vec<u8>) -> Result<()> {
    // PostgreSQL stores microseconds.
    let checkpoint = Checkpoint { cut, seq, chain_hash, at: Utc::now().trunc_subsecs(6) };
    sqlx::query!(
        "INSERT INTO audit_checkpoints (cut, seq, chain_hash, at, signature) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT DO NOTHING",
        checkpoint.cut,
        checkpoint.seq,
        checkpoint.chain_hash,
        checkpoint.at,
        signer.sign(&checkpoint),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Deletes at most `batch` rows, the oldest, that are older than `kept`, behind a checkpoint that says so. The newest row
/// stays, since the next one is chained to it. False if there may be more.
pub async fn cut(db: &Db, lease: &Lease, signer: &Signer, kept: Duration, batch: i64) -> Result<bool> {
    let mut tx = db.begin().await?;
    if !lease.guard(tx.connection()?).await? {
        return Ok(true);
    }
    let last = sqlx::query!(
        "WITH oldest AS (
             SELECT seq, chain_hash, at < now() - make_interval(secs => $1) AS old FROM audit_log
             WHERE seq IS NOT NULL ORDER BY seq LIMIT $2)
         SELECT seq AS \"seq!\", chain_hash AS \"hash!\" FROM oldest
         WHERE old AND seq < coalesce((SELECT min(seq) FROM oldest WHERE NOT old), (SELECT max(seq) FROM audit_log))
         ORDER BY seq DESC LIMIT 1",
        kept.as_secs_f64(),
        batch,
    )
    .fetch_optional(tx.connection()?)
    .await?;
    let Some(last) = last else { return Ok(true) };
    store(tx.connection()?, signer, true, last.seq, last.hash).await?;
    let deleted = sqlx::query_scalar!("SELECT audit_cut($1) AS \"deleted!\"", last.seq)
        .fetch_one(tx.connection()?)
        .await?;
    tx.commit().await?;
    Ok(deleted < batch)
}

/// All checkpoints with their signatures, by place.
pub(super) async fn all(db: &Db) -> Result<Vec<(Checkpoint, Vec<u8>)>> {
    let rows =
        sqlx::query!("SELECT cut, seq, chain_hash, at, signature FROM audit_checkpoints ORDER BY seq, cut")
            .fetch_all(db)
            .await?;
    let found = rows.into_iter().map(|row| {
        (Checkpoint { cut: row.cut, seq: row.seq, chain_hash: row.chain_hash, at: row.at }, row.signature)
    });
    Ok(found.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(fleet: &str) -> Signer {
        Signer { key: Ed25519KeyPair::generate().unwrap(), fleet: fleet.to_owned() }
    }

    #[test]
    fn a_signature_holds_for_each_part_of_a_checkpoint() {
        let signer = signer("a");
        let checkpoint = Checkpoint { cut: false, seq: 7, chain_hash: vec![1; 32], at: Utc::now() };
        let signature = signer.sign(&checkpoint);
        assert!(signer.is_ours(&checkpoint, &signature));
        for other in [
            Checkpoint { cut: true, ..checkpoint.clone() },
            Checkpoint { seq: 8, ..checkpoint.clone() },
            Checkpoint { chain_hash: vec![2; 32], ..checkpoint.clone() },
            Checkpoint { at: checkpoint.at + chrono::TimeDelta::seconds(1), ..checkpoint.clone() },
        ] {
            assert!(!signer.is_ours(&other, &signature), "{other:?}");
        }
        assert!(!super::tests::signer("a").is_ours(&checkpoint, &signature), "another key");
    }
}
