//! The signed head of each chain: the place of its newest row. It is written in the transaction that chains the row, so a row
//! that is missing at the end, or one that somebody added behind it, is noticed at once. The heads are numbered, and that of the
//! platform's chain says how many there are, so that no whole chain can vanish.

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, SubsecRound as _, Utc};

use super::{
    Chain,
    broken::{Broken, ChainError},
    checkpoints::Signer,
    digests,
};
use crate::{database::Connection, error::Result};

/// The newest place of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub chain: Chain,
    /// Number of the chain; that of the platform is 1.
    pub number: i64,
    /// Of the platform's: how many chains there are; else 0.
    pub chains: i64,
    /// Number of the newest row; 0 if there is none.
    pub seq: i64,
    /// Its hash; empty if there is none.
    pub chain_hash: Vec<u8>,
    /// When it was signed. PostgreSQL stores microseconds.
    pub at: DateTime<Utc>,
}

impl Head {
    /// What is signed.
    pub fn message(&self, fleet: &str) -> Vec<u8> {
        let Self { chain, number, chains, seq, chain_hash, at } = self;
        let hash = hex::encode(chain_hash);
        let at = at.timestamp_micros();
        format!("supalove audit head v1\n{fleet}\n{chain}\n{number}\n{chains}\n{seq}\n{hash}\n{at}")
            .into_bytes()
    }
}

/// SHA-256 over the previous hash and the row.
pub fn link(previous: &[u8], row: &[u8]) -> Vec<u8> {
    digest(&SHA256, &[previous, row].concat()).as_ref().to_vec()
}

/// All heads with their signatures, by number.
pub async fn all(connection: &mut Connection) -> Result<Vec<(Head, Vec<u8>)>> {
    let rows = sqlx::query!(
        "SELECT chain, number, chains, seq, chain_hash, at, signature FROM audit_chains ORDER BY number"
    )
    .fetch_all(connection)
    .await?;
    let heads = rows.into_iter().map(|row| {
        let head = Head {
            chain: Chain::from_id(row.chain),
            number: row.number,
            chains: row.chains,
            seq: row.seq,
            chain_hash: row.chain_hash,
            at: row.at,
        };
        (head, row.signature)
    });
    Ok(heads.collect())
}

/// Locks and returns the head of a chain, checked; `None` for a chain without one.
pub async fn lock(
    connection: &mut Connection,
    signer: &Signer,
    chain: Chain,
) -> Result<Option<Head>, ChainError> {
    let Some((head, signature)) = lock_any(connection, chain).await? else { return Ok(None) };
    // Whoever forged it must not get a signature for what is chained to it.
    if !signer.is_our_head(&head, &signature) {
        return Err(Broken(format!(
            "the head of the audit chain {chain} has a wrong signature: run `supalove-controller audit verify`"
        ))
        .into());
    }
    Ok(Some(head))
}

/// The same with its signature, which may be anybody's.
pub(super) async fn lock_any(connection: &mut Connection, chain: Chain) -> Result<Option<(Head, Vec<u8>)>> {
    let row = sqlx::query!(
        "SELECT number, chains, seq, chain_hash, at, signature FROM audit_chains WHERE chain = $1 FOR UPDATE",
        chain.id(),
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let head = Head {
        chain,
        number: row.number,
        chains: row.chains,
        seq: row.seq,
        chain_hash: row.chain_hash,
        at: row.at,
    };
    Ok(Some((head, row.signature)))
}

/// Opens a chain: takes its number, and counts it in the platform's head. A chain of which rows or a digest tell is not opened
/// again.
pub async fn open(connection: &mut Connection, signer: &Signer, chain: Chain) -> Result<Head, ChainError> {
    let platform = match lock(connection, signer, Chain::Platform).await? {
        Some(platform) => platform,
        None => adopt(connection, signer).await?,
    };
    if chain == Chain::Platform {
        return Ok(platform);
    }
    let rows = sqlx::query_scalar!(
        "SELECT EXISTS (SELECT 1 FROM audit_log WHERE chain = $1 AND seq IS NOT NULL) AS \"rows!\"",
        chain.id()
    );
    if rows.fetch_one(&mut *connection).await? {
        return Err(headless(chain, "rows"));
    }
    if digests::names(connection, chain).await? {
        return Err(headless(chain, "a digest that names it"));
    }
    let number = platform.chains + 1;
    store(connection, signer, Head { chains: number, ..platform }).await?;
    let head = Head { chain, number, chains: 0, seq: 0, chain_hash: Vec::new(), at: Utc::now() };
    Ok(store(connection, signer, head).await?)
}

/// Writes the head of the platform's chain: at the first start, or behind the rows that a controller before heads has chained.
async fn adopt(connection: &mut Connection, signer: &Signer) -> Result<Head, ChainError> {
    let others = sqlx::query_scalar!("SELECT EXISTS (SELECT 1 FROM audit_chains) AS \"others!\"");
    if others.fetch_one(&mut *connection).await? {
        return Err(headless(Chain::Platform, "other chains beside it"));
    }
    if digests::any(connection).await? {
        return Err(headless(Chain::Platform, "digests"));
    }
    let newest = sqlx::query!(
        "SELECT seq AS \"seq!\", chain_hash AS \"hash!\" FROM audit_log
         WHERE chain = '00000000-0000-0000-0000-000000000000' AND seq IS NOT NULL ORDER BY seq DESC LIMIT 1"
    );
    let newest = newest.fetch_optional(&mut *connection).await?;
    let (seq, chain_hash) = newest.map_or((0, Vec::new()), |row| (row.seq, row.hash));
    let head = Head { chain: Chain::Platform, number: 1, chains: 1, seq, chain_hash, at: Utc::now() };
    Ok(store(connection, signer, head).await?)
}

fn headless(chain: Chain, has: &str) -> ChainError {
    Broken(format!(
        "the audit chain {chain} has {has} but no head, so somebody took it away: run `supalove-controller audit verify`"
    ))
    .into()
}

/// Signs and stores a head. The caller holds the lease of the sealer, and the row's lock.
pub async fn store(connection: &mut Connection, signer: &Signer, head: Head) -> Result<Head> {
    let head = Head { at: Utc::now().trunc_subsecs(6), ..head };
    sqlx::query!(
        "INSERT INTO audit_chains (chain, number, chains, seq, chain_hash, at, signature)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (chain) DO UPDATE SET chains = EXCLUDED.chains, seq = EXCLUDED.seq, chain_hash = EXCLUDED.chain_hash,
             at = EXCLUDED.at, signature = EXCLUDED.signature",
        head.chain.id(),
        head.number,
        head.chains,
        head.seq,
        head.chain_hash,
        head.at,
        signer.sign_head(&head),
    )
    .execute(connection)
    .await?;
    Ok(head)
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
