//! Notes of breaks: an operator on the host notes that a chain is broken, and why. The note takes a place in the chain, and the
//! rows that follow are chained to it. So the log goes on, nothing of what was wrong is hidden, and new faults are told from it.

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, SubsecRound as _, Utc};
use supalove_spec::text::is_plain;

use super::{
    Chain, Entry,
    broken::ChainError,
    checkpoints::Signer,
    digests,
    heads::{self, Head},
    record,
    verify::{self, Fault},
};
use crate::{
    database::{Connection, Db},
    error::{Error, Result},
};

/// The act in the audit log.
pub const ACT: &str = "/supalove.core/note_audit_break";
/// Characters of who noted a break.
const WHO_CHARS: usize = 80;
/// Characters of why.
const WHY_CHARS: usize = 500;

/// A noted break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// The chain.
    pub chain: Chain,
    /// Place of the note: what was wrong lies before it.
    pub seq: i64,
    /// What was found, a fault a line.
    pub found: String,
    /// Who noted it.
    pub who: String,
    /// What they know of the cause.
    pub why: String,
    /// When. PostgreSQL stores microseconds.
    pub at: DateTime<Utc>,
}

impl Repair {
    fn message(&self) -> String {
        let Self { chain, seq, found, who, why, at } = self;
        let found = hex::encode(digest(&SHA256, found.as_bytes()));
        format!("break v1\n{chain}\n{seq}\n{}\n{found}\n{who}\n{why}", at.timestamp_micros())
    }

    /// The hash to which the next row is chained.
    pub fn hash(&self) -> Vec<u8> {
        digest(&SHA256, self.message().as_bytes()).as_ref().to_vec()
    }
}

/// The notes of a chain with their signatures, by place.
pub(super) async fn all(connection: &mut Connection, chain: Chain) -> Result<Vec<(Repair, Vec<u8>)>> {
    let rows = sqlx::query!(
        "SELECT seq, found, who, why, at, signature FROM audit_repairs WHERE chain = $1 ORDER BY seq",
        chain.id(),
    );
    let rows = rows.fetch_all(connection).await?.into_iter();
    Ok(rows
        .map(|row| {
            let repair =
                Repair { chain, seq: row.seq, found: row.found, who: row.who, why: row.why, at: row.at };
            (repair, row.signature)
        })
        .collect())
}

/// Those that we have signed.
pub(super) async fn signed(
    connection: &mut Connection,
    signer: &Signer,
    chain: Chain,
) -> Result<Vec<Repair>> {
    let all = all(connection, chain).await?.into_iter();
    Ok(all
        .filter(|(repair, signature)| is_ours(signer, repair, signature))
        .map(|(repair, _)| repair)
        .collect())
}

/// True if the signature is ours.
pub(super) fn is_ours(signer: &Signer, repair: &Repair, signature: &[u8]) -> bool {
    signer.is_our_message(&repair.message(), signature)
}

/// Who notes a break, and why.
#[derive(Debug, Clone)]
pub struct Author {
    /// As they call themselves.
    pub who: String,
    /// What they know of the cause.
    pub why: String,
}

impl Author {
    fn checked(&self) -> Result<Self> {
        let text = |field: &str, text: &str, most| {
            let text = text.trim();
            if text.is_empty() || !is_plain(text, most) {
                return Err(Error::field(field, format!("must be a line of at most {most} characters")));
            }
            Ok(text.to_owned())
        };
        Ok(Self { who: text("operator", &self.who, WHO_CHARS)?, why: text("reason", &self.why, WHY_CHARS)? })
    }
}

/// Notes that a chain is broken, so that it goes on behind the note. An error if nothing is wrong with it.
pub async fn repair(db: &Db, signer: &Signer, chain: Chain, author: &Author) -> Result<Repair> {
    let Author { who, why } = author.checked()?;
    let report = verify::verify(db, signer, None).await?;
    let found: Vec<&Fault> = report.faults.iter().filter(|fault| fault.chain == Some(chain)).collect();
    if found.is_empty() {
        return Err(Error::field("chain", format!("nothing is wrong with the chain {chain}")));
    }
    let found = found.iter().map(|fault| fault.text.as_str()).collect::<Vec<_>>().join("\n");
    let mut tx = db.begin().await?;
    let connection = tx.connection()?;
    let head = heads::lock_any(connection, chain).await?.map(|(head, _)| head);
    let newest = newest(connection, chain, head.as_ref()).await?;
    let at = Utc::now().trunc_subsecs(6);
    let repair = Repair { chain, seq: newest + 1, found, who, why, at };
    let (number, chains) = number(connection, signer, chain, head.as_ref()).await?;
    sqlx::query!(
        "INSERT INTO audit_repairs (chain, seq, found, who, why, at, signature) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        chain.id(),
        repair.seq,
        repair.found,
        repair.who,
        repair.why,
        repair.at,
        signer.sign_message(&repair.message()),
    )
    .execute(&mut *connection)
    .await?;
    let head = Head { chain, number, chains, seq: repair.seq, chain_hash: repair.hash(), at };
    heads::store(connection, signer, head).await?;
    // In the platform's chain, and in that of the organization.
    let entry = Entry::system(format!("host {}", repair.who), ACT, chain.to_string());
    let entry = Entry { outcome: format!("row {}: {}", repair.seq, repair.why), ..entry };
    record(&mut *connection, &entry).await?;
    if entry.chain != Chain::Platform {
        let too = Entry { id: uuid::Uuid::now_v7(), chain: Chain::Platform, ..entry };
        record(&mut *connection, &too).await?;
    }
    tx.commit().await?;
    Ok(repair)
}

/// The newest place of which anything in the database tells.
async fn newest(connection: &mut Connection, chain: Chain, head: Option<&Head>) -> Result<i64> {
    let known = sqlx::query_scalar!(
        "SELECT greatest((SELECT max(seq) FROM audit_log WHERE chain = $1),
             (SELECT max(seq) FROM audit_checkpoints WHERE chain = $1),
             (SELECT max(seq) FROM audit_repairs WHERE chain = $1), 0) AS \"newest!\"",
        chain.id(),
    );
    let known = known.fetch_one(&mut *connection).await?;
    let digested = digests::place_of(connection, chain).await?.unwrap_or_default();
    Ok(known.max(digested).max(head.map_or(0, |head| head.seq)))
}

/// The chain's number, and how many chains there are if it is the platform's. A chain whose head is gone gets the first number
/// that is free.
async fn number(
    connection: &mut Connection,
    signer: &Signer,
    chain: Chain,
    head: Option<&Head>,
) -> Result<(i64, i64)> {
    let most = sqlx::query_scalar!("SELECT coalesce(max(number), 1) AS \"most!\" FROM audit_chains");
    let most = most.fetch_one(&mut *connection).await?;
    if chain == Chain::Platform {
        return Ok((1, most.max(head.map_or(0, |head| head.chains))));
    }
    if let Some(head) = head {
        return Ok((head.number, 0));
    }
    let first = |what: &str| {
        let why = format!("the platform's chain has {what}; note its break first: --chain platform");
        Error::field("chain", why)
    };
    let platform = match heads::lock(connection, signer, Chain::Platform).await {
        Ok(Some(platform)) => platform,
        Ok(None) => return Err(first("no head")),
        Err(ChainError::Broken(_)) => return Err(first("a head with a wrong signature")),
        Err(ChainError::Other(error)) => return Err(error),
    };
    let free = sqlx::query_scalar!(
        "SELECT min(n) AS \"free!\" FROM generate_series(2, greatest($1::bigint, $2::bigint) + 1) n
         WHERE NOT EXISTS (SELECT 1 FROM audit_chains WHERE number = n)",
        most,
        platform.chains,
    );
    let free = free.fetch_one(&mut *connection).await?;
    if free > platform.chains {
        heads::store(connection, signer, Head { chains: free, ..platform }).await?;
    }
    Ok((free, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{audit::checkpoints::tests::signer, ids::OrganizationId};

    #[test]
    fn a_signature_and_the_hash_hold_for_each_part_of_a_note() {
        let signer = signer("a");
        let note = Repair {
            chain: Chain::Platform,
            seq: 7,
            found: "row 3 was changed".into(),
            who: "Ada".into(),
            why: "restored a backup".into(),
            at: Utc::now(),
        };
        let signature = signer.sign_message(&note.message());
        assert!(is_ours(&signer, &note, &signature));
        for other in [
            Repair { chain: Chain::Organization(OrganizationId::generate()), ..note.clone() },
            Repair { seq: 8, ..note.clone() },
            Repair { found: String::new(), ..note.clone() },
            Repair { who: "Eve".into(), ..note.clone() },
            Repair { why: String::new(), ..note.clone() },
            Repair { at: note.at + chrono::TimeDelta::seconds(1), ..note.clone() },
        ] {
            assert!(!is_ours(&signer, &other, &signature), "{other:?}");
            assert_ne!(other.hash(), note.hash(), "{other:?}");
        }
    }

    #[test]
    fn who_and_why_are_asked_for() {
        let author = |who: &str, why: &str| Author { who: who.into(), why: why.into() }.checked();
        assert!(author("Ada", "restored a backup").is_ok());
        for (who, why, field) in [("", "x", "operator"), ("Ada", " ", "reason"), ("A\nda", "x", "operator")] {
            let error = author(who, why).unwrap_err();
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }
}
