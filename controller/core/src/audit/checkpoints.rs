//! Signed checkpoints of the audit log.
//!
//! A checkpoint says: row `seq` of a chain has this hash. Its key is sealed under the master key, so who can only write to the
//! database can forge none. Each hour the newest row of each chain gets one, and the controller's log has that of the platform's
//! chain, too; before rows are deleted because of their age, the last one of them gets one that says so (`cut`).

use std::{fmt, time::Duration};

use crate::database::{Connection, Db};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use chrono::{DateTime, SubsecRound as _, Utc};
use zeroize::Zeroizing;

use super::{
    Chain,
    heads::{self, Head},
};
use crate::{
    error::{Error, Result},
    leases::Lease,
    platform,
    vault::Vault,
};

/// A place in a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The chain.
    pub chain: Chain,
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
        self.signature(&self.message(checkpoint))
    }

    /// True if the signature is ours.
    pub fn is_ours(&self, checkpoint: &Checkpoint, signature: &[u8]) -> bool {
        self.verifies(&self.message(checkpoint), signature)
    }

    /// Signs the head of a chain.
    pub(super) fn sign_head(&self, head: &Head) -> Vec<u8> {
        self.signature(&head.message(&self.fleet))
    }

    /// True if the signature of a head is ours.
    pub(super) fn is_our_head(&self, head: &Head, signature: &[u8]) -> bool {
        self.verifies(&head.message(&self.fleet), signature)
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(message).as_ref().to_vec()
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.key.public_key().as_ref()).verify(message, signature).is_ok()
    }

    /// What is signed. That of the platform's chain is as it was before there were others.
    fn message(&self, checkpoint: &Checkpoint) -> Vec<u8> {
        let Checkpoint { chain, cut, seq, chain_hash, at } = checkpoint;
        let hash = hex::encode(chain_hash);
        let at = at.timestamp_micros();
        let fleet = &self.fleet;
        match chain {
            Chain::Platform => format!("supalove audit checkpoint v1\n{fleet}\n{cut}\n{seq}\n{hash}\n{at}"),
            Chain::Organization(_) => {
                format!("supalove audit checkpoint v2\n{fleet}\n{chain}\n{cut}\n{seq}\n{hash}\n{at}")
            }
        }
        .into_bytes()
    }
}

/// Signs at most `batch` chains whose newest row has no checkpoint yet; false if there may be more. The place of the platform's
/// chain goes to the log.
pub async fn sign_newest(db: &Db, lease: &Lease, signer: &Signer, batch: i64) -> Result<bool> {
    let mut tx = db.begin().await?;
    if !lease.guard(tx.connection()?).await? {
        return Ok(true);
    }
    let newest = sqlx::query!(
        "SELECT chain, seq, chain_hash FROM audit_chains c
         WHERE seq > 0 AND NOT EXISTS (
             SELECT 1 FROM audit_checkpoints p WHERE p.chain = c.chain AND p.seq = c.seq AND NOT p.cut)
         ORDER BY number LIMIT $1",
        batch,
    )
    .fetch_all(tx.connection()?)
    .await?;
    let done = i64::try_from(newest.len()).unwrap_or(i64::MAX) < batch;
    let mut noted = None;
    for row in newest {
        let chain = Chain::from_id(row.chain);
        // Who forged the head gets no signature for it.
        let Some(head) = heads::lock(tx.connection()?, signer, chain).await? else { continue };
        if chain == Chain::Platform {
            noted = Some((head.seq, hex::encode(&head.chain_hash)));
        }
        store(tx.connection()?, signer, chain, false, head.seq, head.chain_hash).await?;
    }
    tx.commit().await?;
    if let Some((seq, hash)) = noted {
        tracing::info!(seq, hash, "audit log: newest row; `audit verify --seen` takes it as <seq>:<hash>");
    }
    Ok(done)
}

async fn store(
    tx: &mut Connection,
    signer: &Signer,
    chain: Chain,
    cut: bool,
    seq: i64,
    chain_hash: Vec<u8>,
) -> Result<()> {
    // PostgreSQL stores microseconds.
    let checkpoint = Checkpoint { chain, cut, seq, chain_hash, at: Utc::now().trunc_subsecs(6) };
    sqlx::query!(
        "INSERT INTO audit_checkpoints (chain, cut, seq, chain_hash, at, signature) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT DO NOTHING",
        checkpoint.chain.id(),
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

/// Chains behind `after` (all zeros: from the first), at most `batch`, in the order of their ids, with the age of their oldest
/// row.
pub async fn oldest(db: &Db, after: Option<Chain>, batch: i64) -> Result<Vec<(Chain, Duration)>> {
    let rows = sqlx::query!(
        "SELECT c.chain, extract(epoch FROM now() - a.at)::float8 AS \"age!\" FROM audit_chains c,
             LATERAL (SELECT at FROM audit_log l WHERE l.chain = c.chain ORDER BY at LIMIT 1) a
         WHERE $1::uuid IS NULL OR c.chain > $1 ORDER BY c.chain LIMIT $2",
        after.map(Chain::id),
        batch,
    );
    let rows = rows.fetch_all(db).await?.into_iter();
    Ok(rows
        .map(|row| (Chain::from_id(row.chain), Duration::try_from_secs_f64(row.age).unwrap_or_default()))
        .collect())
}

/// Deletes at most `batch` rows of a chain, the oldest, that are older than `kept`, behind a checkpoint that says so. The newest
/// row stays, since the next one is chained to it. False if there may be more.
pub async fn cut(
    db: &Db,
    lease: &Lease,
    signer: &Signer,
    chain: Chain,
    kept: Duration,
    batch: i64,
) -> Result<bool> {
    let mut tx = db.begin().await?;
    if !lease.guard(tx.connection()?).await? {
        return Ok(true);
    }
    let last = sqlx::query!(
        "WITH oldest AS (
             SELECT seq, chain_hash, at < now() - make_interval(secs => $1) AS old FROM audit_log
             WHERE chain = $3 AND seq IS NOT NULL ORDER BY seq LIMIT $2)
         SELECT seq AS \"seq!\", chain_hash AS \"hash!\" FROM oldest
         WHERE old AND seq < coalesce((SELECT min(seq) FROM oldest WHERE NOT old),
             (SELECT max(seq) FROM audit_log WHERE chain = $3))
         ORDER BY seq DESC LIMIT 1",
        kept.as_secs_f64(),
        batch,
        chain.id(),
    )
    .fetch_optional(tx.connection()?)
    .await?;
    let Some(last) = last else { return Ok(true) };
    store(tx.connection()?, signer, chain, true, last.seq, last.hash).await?;
    let deleted = sqlx::query_scalar!("SELECT audit_cut($1, $2) AS \"deleted!\"", chain.id(), last.seq)
        .fetch_one(tx.connection()?)
        .await?;
    tx.commit().await?;
    Ok(deleted < batch)
}

/// All checkpoints of a chain with their signatures, by place.
pub(super) async fn all(connection: &mut Connection, chain: Chain) -> Result<Vec<(Checkpoint, Vec<u8>)>> {
    let rows = sqlx::query!(
        "SELECT cut, seq, chain_hash, at, signature FROM audit_checkpoints WHERE chain = $1 ORDER BY seq, cut",
        chain.id(),
    )
    .fetch_all(connection)
    .await?;
    let found = rows.into_iter().map(|row| {
        (
            Checkpoint { chain, cut: row.cut, seq: row.seq, chain_hash: row.chain_hash, at: row.at },
            row.signature,
        )
    });
    Ok(found.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::OrganizationId;

    fn signer(fleet: &str) -> Signer {
        Signer { key: Ed25519KeyPair::generate().unwrap(), fleet: fleet.to_owned() }
    }

    #[test]
    fn a_signature_holds_for_each_part_of_a_checkpoint() {
        let signer = signer("a");
        let checkpoint = Checkpoint {
            chain: Chain::Platform,
            cut: false,
            seq: 7,
            chain_hash: vec![1; 32],
            at: Utc::now(),
        };
        let signature = signer.sign(&checkpoint);
        assert!(signer.is_ours(&checkpoint, &signature));
        for other in [
            Checkpoint { cut: true, ..checkpoint.clone() },
            Checkpoint { seq: 8, ..checkpoint.clone() },
            Checkpoint { chain_hash: vec![2; 32], ..checkpoint.clone() },
            Checkpoint { chain: Chain::Organization(OrganizationId::generate()), ..checkpoint.clone() },
            Checkpoint { at: checkpoint.at + chrono::TimeDelta::seconds(1), ..checkpoint.clone() },
        ] {
            assert!(!signer.is_ours(&other, &signature), "{other:?}");
        }
        assert!(!super::tests::signer("a").is_ours(&checkpoint, &signature), "another key");
    }

    #[test]
    fn a_signature_holds_for_each_part_of_a_head() {
        let signer = signer("a");
        let head = Head {
            chain: Chain::Platform,
            number: 1,
            chains: 3,
            seq: 7,
            chain_hash: vec![1; 32],
            at: Utc::now(),
        };
        let signature = signer.sign_head(&head);
        assert!(signer.is_our_head(&head, &signature));
        for other in [
            Head { chain: Chain::Organization(OrganizationId::generate()), ..head.clone() },
            Head { number: 2, ..head.clone() },
            Head { chains: 2, ..head.clone() },
            Head { seq: 6, ..head.clone() },
            Head { chain_hash: vec![2; 32], ..head.clone() },
            Head { at: head.at - chrono::TimeDelta::seconds(1), ..head.clone() },
        ] {
            assert!(!signer.is_our_head(&other, &signature), "{other:?}");
        }
    }
}
