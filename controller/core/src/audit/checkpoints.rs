//! Signed checkpoints of the audit log.
//!
//! A checkpoint says: row `seq` of a chain has this hash. Its key is sealed under the master key, so who can only write to the
//! database can forge none. Each hour the newest row of each chain gets one, and the controller's log has that of the platform's
//! chain, too; before rows are deleted because of their age, the last one of them gets one that says so (`cut`), and for how long
//! rows were to be kept then. Rows that do not fit the chain are not deleted: somebody may have made them old.

use std::{fmt, time::Duration};

use crate::database::{Connection, Db};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use chrono::{DateTime, SubsecRound as _, Utc};
use zeroize::Zeroizing;

use super::{
    Chain,
    broken::{Alarms, Broken, ChainError},
    heads::{self, Head, link},
    repairs::{self, Repair},
};
use crate::{
    error::{Error, Result},
    leases::Lease,
    platform,
    retention::Kept,
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
    /// Of a cut; `None` in cuts from before this was written.
    pub retention: Option<Retention>,
}

/// What was decided at a cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// For how long rows are kept, in seconds.
    pub kept_seconds: i64,
    /// Plan of the organization; empty for the platform.
    pub plan: String,
    /// Time of the newest deleted row.
    pub row_at: DateTime<Utc>,
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

    /// Signs another statement on the log of this installation. Its words tell it from those above.
    pub(super) fn sign_message(&self, message: &str) -> Vec<u8> {
        self.signature(self.own(message).as_bytes())
    }

    /// True if the signature of such a statement is ours.
    pub(super) fn is_our_message(&self, message: &str, signature: &[u8]) -> bool {
        self.verifies(self.own(message).as_bytes(), signature)
    }

    fn own(&self, message: &str) -> String {
        format!("supalove audit {message}\n{}", self.fleet)
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(message).as_ref().to_vec()
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.key.public_key().as_ref()).verify(message, signature).is_ok()
    }

    /// What is signed. That of the platform's chain is as it was before there were others.
    fn message(&self, checkpoint: &Checkpoint) -> Vec<u8> {
        let Checkpoint { chain, cut, seq, chain_hash, at, retention } = checkpoint;
        let hash = hex::encode(chain_hash);
        let at = at.timestamp_micros();
        let fleet = &self.fleet;
        if let Some(Retention { kept_seconds, plan, row_at }) = retention {
            let row_at = row_at.timestamp_micros();
            return format!(
                "supalove audit checkpoint v3\n{fleet}\n{chain}\n{cut}\n{seq}\n{hash}\n{at}\n{kept_seconds}\n{row_at}\n{plan}"
            )
            .into_bytes();
        }
        match chain {
            Chain::Platform => format!("supalove audit checkpoint v1\n{fleet}\n{cut}\n{seq}\n{hash}\n{at}"),
            Chain::Organization(_) => {
                format!("supalove audit checkpoint v2\n{fleet}\n{chain}\n{cut}\n{seq}\n{hash}\n{at}")
            }
        }
        .into_bytes()
    }
}

/// Signs the newest row of each chain that has no checkpoint yet, in batches; an error at the end names the chains that are
/// broken. The place of the platform's chain goes to the log.
pub async fn sign_newest(db: &Db, lease: &Lease, signer: &Signer, batch: i64) -> Result<()> {
    let mut alarms = Alarms::default();
    let mut after = Some(0);
    while let Some(number) = after {
        after = sign_after(db, lease, signer, number, batch, &mut alarms).await?;
    }
    alarms.raise("signed")
}

/// Signs a batch of the chains with a higher number. Returns the last number; `None` if no chain is left.
async fn sign_after(
    db: &Db,
    lease: &Lease,
    signer: &Signer,
    after: i64,
    batch: i64,
    alarms: &mut Alarms,
) -> Result<Option<i64>> {
    let mut tx = db.begin().await?;
    if !lease.guard(tx.connection()?).await? {
        return Ok(None);
    }
    let newest = sqlx::query!(
        "SELECT chain, number FROM audit_chains c
         WHERE seq > 0 AND number > $2 AND NOT EXISTS (
             SELECT 1 FROM audit_checkpoints p WHERE p.chain = c.chain AND p.seq = c.seq AND NOT p.cut)
         ORDER BY number LIMIT $1",
        batch,
        after,
    )
    .fetch_all(tx.connection()?)
    .await?;
    let last = newest.last().map(|row| row.number);
    let mut noted = None;
    for row in newest {
        let chain = Chain::from_id(row.chain);
        // Who forged the head gets no signature for it.
        let Some(Some(head)) = alarms.pass(chain, heads::lock(tx.connection()?, signer, chain).await)? else {
            continue;
        };
        if chain == Chain::Platform {
            noted = Some((head.seq, hex::encode(&head.chain_hash)));
        }
        store(tx.connection()?, signer, chain, head.seq, head.chain_hash, None).await?;
    }
    tx.commit().await?;
    if let Some((seq, hash)) = noted {
        tracing::info!(seq, hash, "audit log: newest row; `audit verify --seen` takes it as <seq>:<hash>");
    }
    Ok(last)
}

async fn store(
    tx: &mut Connection,
    signer: &Signer,
    chain: Chain,
    seq: i64,
    chain_hash: Vec<u8>,
    retention: Option<Retention>,
) -> Result<()> {
    // PostgreSQL stores microseconds.
    let at = Utc::now().trunc_subsecs(6);
    let checkpoint = Checkpoint { chain, cut: retention.is_some(), seq, chain_hash, at, retention };
    let retention = checkpoint.retention.as_ref();
    sqlx::query!(
        "INSERT INTO audit_checkpoints (chain, cut, seq, chain_hash, at, signature, kept_seconds, plan, row_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT DO NOTHING",
        checkpoint.chain.id(),
        checkpoint.cut,
        checkpoint.seq,
        checkpoint.chain_hash,
        checkpoint.at,
        signer.sign(&checkpoint),
        retention.map(|retention| retention.kept_seconds),
        retention.map(|retention| retention.plan.as_str()),
        retention.map(|retention| retention.row_at),
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

/// A row that may be cut.
struct Candidate {
    seq: i64,
    hash: Vec<u8>,
    at: DateTime<Utc>,
    old: bool,
    text: String,
}

/// Deletes at most `batch` rows of a chain, the oldest, that are older than they are kept, behind a checkpoint that says so. The
/// newest row stays, since the next one is chained to it. False if there may be more.
pub async fn cut(
    db: &Db,
    lease: &Lease,
    signer: &Signer,
    chain: Chain,
    kept: &Kept,
    batch: i64,
) -> Result<bool, ChainError> {
    let mut tx = db.begin().await?;
    if !lease.guard(tx.connection()?).await? {
        return Ok(true);
    }
    let rows = sqlx::query_as!(
        Candidate,
        "SELECT seq AS \"seq!\", chain_hash AS \"hash!\", at, at < now() - make_interval(secs => $2) AS \"old!\",
             concat_ws(E'\\x1f', id, extract(epoch FROM at), actor, method, target, outcome, client, trace_id, credential,
                 nullif(chain, '00000000-0000-0000-0000-000000000000')) AS \"text!\"
         FROM audit_log WHERE chain = $1 AND seq IS NOT NULL
             AND seq < (SELECT max(seq) FROM audit_log WHERE chain = $1)
         ORDER BY seq LIMIT $3",
        chain.id(),
        kept.time.as_secs_f64(),
        batch,
    )
    .fetch_all(tx.connection()?)
    .await?;
    let rows: Vec<Candidate> = rows.into_iter().take_while(|row| row.old).collect();
    let Some(last) = rows.last() else { return Ok(true) };
    let start = newest_cut(tx.connection()?, signer, chain).await?;
    let noted = repairs::signed(tx.connection()?, signer, chain).await?;
    if let (Some(note), Some(first)) = (noted.last(), rows.first())
        && first.seq < note.seq
        && (Utc::now() - note.at).to_std().unwrap_or_default() < kept.time
    {
        // What is before a note is not checked, so its times may be false: it stays as long as the note is kept.
        return Ok(true);
    }
    fits(start, noted.last(), &rows)?;
    let retention = Retention {
        kept_seconds: i64::try_from(kept.time.as_secs()).unwrap_or(i64::MAX),
        plan: kept.plan.clone(),
        row_at: last.at,
    };
    store(tx.connection()?, signer, chain, last.seq, last.hash.clone(), Some(retention)).await?;
    let deleted = sqlx::query_scalar!("SELECT audit_cut($1, $2) AS \"deleted!\"", chain.id(), last.seq)
        .fetch_one(tx.connection()?)
        .await?;
    tx.commit().await?;
    Ok(deleted < batch)
}

/// Number and hash of the row up to which a chain was cut.
pub(super) async fn newest_cut(
    connection: &mut Connection,
    signer: &Signer,
    chain: Chain,
) -> Result<(i64, Vec<u8>), ChainError> {
    let row = sqlx::query_as!(
        Stored,
        "SELECT cut, seq, chain_hash, at, signature, kept_seconds, plan, row_at FROM audit_checkpoints
         WHERE chain = $1 AND cut ORDER BY seq DESC LIMIT 1",
        chain.id(),
    );
    let Some(row) = row.fetch_optional(connection).await? else { return Ok((0, Vec::new())) };
    let (cut, signature) = row.checkpoint(chain);
    if signer.is_ours(&cut, &signature) {
        return Ok((cut.seq, cut.chain_hash));
    }
    Err(Broken(format!("the checkpoint of row {} has a wrong signature", cut.seq)).into())
}

/// Checks the rows to be cut: they are chained to the cut before, or to the note of a break.
fn fits(start: (i64, Vec<u8>), noted: Option<&Repair>, rows: &[Candidate]) -> Result<(), Broken> {
    let (mut seq, mut hash) = start;
    let noted = noted.map(|repair| (repair.seq, repair.hash()));
    for row in rows {
        if let Some((place, of_note)) = &noted {
            if row.seq < *place {
                // What is wrong there is noted.
                continue;
            }
            if seq < *place {
                (seq, hash) = (*place, of_note.clone());
            }
        }
        if row.seq != seq + 1 {
            return Err(Broken(format!("row {} is expected, the next is row {}", seq + 1, row.seq)));
        }
        if row.hash != link(&hash, row.text.as_bytes()) {
            return Err(Broken(format!("row {} was changed: it may not be as old as it says", row.seq)));
        }
        (seq, hash) = (row.seq, row.hash.clone());
    }
    Ok(())
}

/// A row of the table.
struct Stored {
    cut: bool,
    seq: i64,
    chain_hash: Vec<u8>,
    at: DateTime<Utc>,
    signature: Vec<u8>,
    kept_seconds: Option<i64>,
    plan: Option<String>,
    row_at: Option<DateTime<Utc>>,
}

impl Stored {
    fn checkpoint(self, chain: Chain) -> (Checkpoint, Vec<u8>) {
        let Self { cut, seq, chain_hash, at, signature, kept_seconds, plan, row_at } = self;
        let retention = match (kept_seconds, plan, row_at) {
            (Some(kept_seconds), Some(plan), Some(row_at)) => Some(Retention { kept_seconds, plan, row_at }),
            _ => None,
        };
        (Checkpoint { chain, cut, seq, chain_hash, at, retention }, signature)
    }
}

/// All checkpoints of a chain with their signatures, by place.
pub(super) async fn all(connection: &mut Connection, chain: Chain) -> Result<Vec<(Checkpoint, Vec<u8>)>> {
    let rows = sqlx::query_as!(
        Stored,
        "SELECT cut, seq, chain_hash, at, signature, kept_seconds, plan, row_at FROM audit_checkpoints
         WHERE chain = $1 ORDER BY seq, cut",
        chain.id(),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| row.checkpoint(chain)).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ids::OrganizationId;

    pub(in crate::audit) fn signer(fleet: &str) -> Signer {
        Signer { key: Ed25519KeyPair::generate().unwrap(), fleet: fleet.to_owned() }
    }

    fn old(seq: i64, before: &[u8], text: &str) -> Candidate {
        Candidate {
            seq,
            hash: link(before, text.as_bytes()),
            at: Utc::now(),
            old: true,
            text: text.to_owned(),
        }
    }

    #[test]
    fn rows_that_do_not_fit_the_chain_are_not_cut() {
        let first = old(1, &[], "a");
        let second = old(2, &first.hash, "b");
        let third = old(3, &second.hash, "c");
        let start = (1, first.hash.clone());
        assert_eq!(fits((0, Vec::new()), None, &[first]), Ok(()));
        let mut rows = [second, third];
        assert_eq!(fits(start.clone(), None, &rows), Ok(()));
        let missing = fits((0, Vec::new()), None, &rows).unwrap_err();
        assert!(missing.0.contains("row 1 is expected, the next is row 2"), "{missing}");
        rows[1].text = "older than it was".to_owned();
        let changed = fits(start.clone(), None, &rows).unwrap_err();
        assert!(changed.0.contains("row 3 was changed"), "{changed}");
        // What lies before a noted break was wrong; what comes after it is chained to the note.
        let note = Repair {
            chain: Chain::Platform,
            seq: 4,
            found: "row 3 was changed".into(),
            who: "Ada".into(),
            why: "a test".into(),
            at: Utc::now(),
        };
        let [second, third] = rows;
        let after = old(5, &note.hash(), "d");
        let next = old(6, &after.hash, "e");
        assert_eq!(fits(start.clone(), Some(&note), &[second, third, after, next]), Ok(()));
        assert!(fits(start, Some(&note), &[old(5, &[], "d")]).is_err());
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
            retention: None,
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
        let retention = Retention { kept_seconds: 86_400, plan: "free".into(), row_at: checkpoint.at };
        let cut = Checkpoint { cut: true, retention: Some(retention.clone()), ..checkpoint };
        let signature = signer.sign(&cut);
        assert!(signer.is_ours(&cut, &signature));
        for other in [
            None,
            Some(Retention { kept_seconds: 86_401, ..retention.clone() }),
            Some(Retention { plan: "pro".into(), ..retention.clone() }),
            Some(Retention { row_at: cut.at - chrono::TimeDelta::days(1), ..retention }),
        ] {
            let other = Checkpoint { retention: other, ..cut.clone() };
            assert!(!signer.is_ours(&other, &signature), "{other:?}");
        }
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
