//! Checks the audit log: the chains of its rows, their signed heads and checkpoints, and a place that somebody noted elsewhere.
//! All of it as of one moment, so that a sealer at work is no fault.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Chain,
    checkpoints::{self, Checkpoint, Signer},
    heads::{self, Head, link},
};
use crate::{
    database::{Connection, Db},
    error::Result,
};

/// Rows that are read at once.
const PAGE: i64 = 10_000;
/// Faults that are listed.
const FAULTS: usize = 20;

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// The platform's chain.
    pub platform: Found,
    /// Chains of organizations that have rows.
    pub organizations: usize,
    /// The sum of what was found in them.
    pub in_organizations: Found,
    /// The noted place lies behind the newest cut, so it cannot be checked.
    pub seen_was_cut: bool,
    /// What is wrong, at most 20.
    pub faults: Vec<String>,
}

/// What a chain has.
#[derive(Debug, Default)]
pub struct Found {
    /// Rows in the chain.
    pub rows: u64,
    /// The first and the newest row: number and hash (hex).
    pub ends: Option<(i64, i64, String)>,
    /// Checkpoints that are signed by us.
    pub checkpoints: usize,
}

impl Report {
    fn fault(&mut self, what: String) {
        if self.faults.len() < FAULTS {
            self.faults.push(what);
        }
    }
}

/// A place in a chain that somebody noted: number and hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Number of the row.
    pub seq: i64,
    /// Its hash.
    pub hash: Vec<u8>,
}

impl std::str::FromStr for Seen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "must be <seq>:<hash>, as the controller logs it each hour";
        let (seq, hash) = text.split_once(':').ok_or(wrong)?;
        let seq = seq.parse().ok().filter(|seq| *seq > 0).ok_or(wrong)?;
        let hash = hex::decode(hash).ok().filter(|hash| hash.len() == 32).ok_or(wrong)?;
        Ok(Self { seq, hash })
    }
}

/// What hash a row must have, and who says so.
type Expected = BTreeMap<i64, Vec<(Vec<u8>, &'static str)>>;

/// Checks the log. `seen` is a place in the platform's chain.
pub async fn verify(db: &Db, signer: &Signer, seen: Option<&Seen>) -> Result<Report> {
    let mut tx = db.begin().await?;
    let snapshot = sqlx::query!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY");
    snapshot.execute(tx.connection()?).await?;
    let mut report = Report::default();
    let heads = signed_heads(tx.connection()?, signer, &mut report).await?;
    let mut chains: BTreeSet<Chain> = heads.keys().copied().collect();
    chains.extend(known(tx.connection()?).await?);
    for chain in chains {
        let seen = seen.filter(|_| chain == Chain::Platform);
        let found =
            verify_chain(tx.connection()?, signer, chain, heads.get(&chain), seen, &mut report).await?;
        if chain == Chain::Platform {
            report.platform = found;
        } else if found.rows > 0 {
            report.organizations += 1;
            report.in_organizations.rows += found.rows;
            report.in_organizations.checkpoints += found.checkpoints;
        }
    }
    let waiting = sqlx::query_scalar!(
        "SELECT count(*) AS \"count!\" FROM audit_log WHERE seq IS NULL AND at < now() - interval '10 seconds'"
    );
    let waiting = waiting.fetch_one(tx.connection()?).await?;
    if waiting > 0 {
        report
            .fault(format!("{waiting} rows wait to be chained for more than 10 s: is a controller running?"));
    }
    Ok(report)
}

/// The heads that we have signed, after a look at their numbers.
async fn signed_heads(
    connection: &mut Connection,
    signer: &Signer,
    report: &mut Report,
) -> Result<BTreeMap<Chain, Head>> {
    let mut ours = BTreeMap::new();
    let mut number = 0;
    let all = heads::all(connection).await?;
    let counted =
        all.iter().find(|(head, _)| head.chain == Chain::Platform).map_or(0, |(head, _)| head.chains);
    for (head, signature) in all {
        let chain = head.chain;
        if head.number != number + 1 {
            report.fault(format!(
                "chain number {} is expected, the next is {}, of {chain}",
                number + 1,
                head.number
            ));
        }
        number = head.number;
        if signer.is_our_head(&head, &signature) {
            ours.insert(chain, head);
        } else {
            report.fault(format!("the head of the chain {chain}, row {}, has a wrong signature", head.seq));
        }
    }
    if number != counted {
        report.fault(format!("there are chains up to number {number}, the platform's head counts {counted}"));
    }
    Ok(ours)
}

/// Chains that rows or checkpoints name.
async fn known(connection: &mut Connection) -> Result<Vec<Chain>> {
    // One step of the index for each chain, not one for each row.
    let chains = sqlx::query_scalar!(
        "WITH RECURSIVE chains (chain) AS (
             (SELECT chain FROM audit_log WHERE seq IS NOT NULL ORDER BY chain LIMIT 1)
             UNION ALL
             SELECT (SELECT l.chain FROM audit_log l WHERE l.seq IS NOT NULL AND l.chain > c.chain ORDER BY l.chain LIMIT 1)
             FROM chains c WHERE c.chain IS NOT NULL)
         SELECT chain AS \"chain!\" FROM chains WHERE chain IS NOT NULL
         UNION SELECT DISTINCT chain FROM audit_checkpoints"
    );
    Ok(chains.fetch_all(connection).await?.into_iter().map(Chain::from_id).collect())
}

/// What a fault of a chain begins with; nothing for the platform's.
fn of(chain: Chain) -> String {
    match chain {
        Chain::Platform => String::new(),
        Chain::Organization(id) => format!("{id}: "),
    }
}

async fn verify_chain(
    connection: &mut Connection,
    signer: &Signer,
    chain: Chain,
    head: Option<&Head>,
    seen: Option<&Seen>,
    report: &mut Report,
) -> Result<Found> {
    let ours = signed(connection, signer, chain, report).await?;
    let mut expected = Expected::new();
    for checkpoint in &ours {
        expected.entry(checkpoint.seq).or_default().push((checkpoint.chain_hash.clone(), "a checkpoint"));
    }
    if let Some(head) = head.filter(|head| head.seq > 0) {
        expected.entry(head.seq).or_default().push((head.chain_hash.clone(), "the chain's head"));
    }
    if let Some(seen) = seen {
        expected.entry(seen.seq).or_default().push((seen.hash.clone(), "the noted hash"));
    }
    let cut = ours.iter().rev().find(|checkpoint| checkpoint.cut);
    let start = cut.map_or((0, Vec::new()), |cut| (cut.seq, cut.chain_hash.clone()));
    let mut found = walk(connection, chain, start.clone(), &mut expected, report).await?;
    found.checkpoints = ours.len();
    let newest = found.ends.as_ref().map_or(start.0, |ends| ends.1);
    report.seen_was_cut |= seen.is_some_and(|seen| seen.seq < start.0);
    // What is left was met by no row: it is behind the cut, or its row is gone.
    for (seq, said) in expected.into_iter().filter(|(seq, _)| *seq > start.0) {
        for (_, who) in said {
            report.fault(format!(
                "{}row {seq}, of which {who} tells, is missing; the newest row is {newest}",
                of(chain)
            ));
        }
    }
    match head {
        Some(head) if newest > head.seq => report.fault(format!(
            "{}rows up to {newest} are chained, the chain's head is row {}: somebody added rows",
            of(chain),
            head.seq
        )),
        None if newest > 0 => report.fault(format!(
            "{}the chain has no signed head; a controller of this version writes it within seconds of its start",
            of(chain)
        )),
        _ => {}
    }
    Ok(found)
}

/// The checkpoints that we have signed.
async fn signed(
    connection: &mut Connection,
    signer: &Signer,
    chain: Chain,
    report: &mut Report,
) -> Result<Vec<Checkpoint>> {
    let mut ours = Vec::new();
    for (checkpoint, signature) in checkpoints::all(connection, chain).await? {
        if signer.is_ours(&checkpoint, &signature) {
            ours.push(checkpoint);
        } else {
            report.fault(format!(
                "{}the checkpoint of row {} has a wrong signature",
                of(chain),
                checkpoint.seq
            ));
        }
    }
    Ok(ours)
}

/// Walks a chain from behind `start`; takes out of `expected` what it meets.
async fn walk(
    connection: &mut Connection,
    chain: Chain,
    (mut seq, mut hash): (i64, Vec<u8>),
    expected: &mut Expected,
    report: &mut Report,
) -> Result<Found> {
    let mut found = Found::default();
    let mut first = true;
    let mut after = i64::MIN;
    loop {
        let rows = sqlx::query!(
            "SELECT seq AS \"seq!\", chain_hash AS \"hash!\",
                 concat_ws(E'\\x1f', id, extract(epoch FROM at), actor, method, target, outcome, client, trace_id, credential,
                     nullif(chain, '00000000-0000-0000-0000-000000000000')) AS \"text!\"
             FROM audit_log WHERE chain = $1 AND seq > $2 ORDER BY seq LIMIT $3",
            chain.id(),
            after,
            PAGE,
        )
        .fetch_all(&mut *connection)
        .await?;
        let Some(last) = rows.last() else { return Ok(found) };
        after = last.seq;
        for row in rows {
            if row.seq != seq + 1 {
                let what = if first { "the log begins with" } else { "a gap: after it comes" };
                report.fault(format!("{}row {} is expected, {what} row {}", of(chain), seq + 1, row.seq));
            } else if row.hash != link(&hash, row.text.as_bytes()) {
                report.fault(format!(
                    "{}row {} was changed, or the hash of the row before it",
                    of(chain),
                    row.seq
                ));
            }
            for (_, who) in
                expected.remove(&row.seq).into_iter().flatten().filter(|(expected, _)| *expected != row.hash)
            {
                report.fault(format!("{}row {} has another hash than {who} says", of(chain), row.seq));
            }
            let from = found.ends.as_ref().map_or(row.seq, |ends| ends.0);
            found.ends = Some((from, row.seq, hex::encode(&row.hash)));
            found.rows += 1;
            (seq, hash, first) = (row.seq, row.hash, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use supalove_fuzz::{Samples, Verdict, text};

    use super::*;

    #[test]
    fn noted_places() {
        let hash = "5f".repeat(32);
        let samples = Samples::new([format!("4711:{hash}"), format!("1:{}", "00".repeat(32))]);
        text("--seen", &samples.words([":", "-", "+", "9223372036854775807", "0", "\u{661}"]), |input| {
            let read = input.parse::<Seen>();
            match &read {
                Ok(seen) => {
                    assert!(seen.seq > 0 && seen.hash.len() == 32);
                    let hash = hex::encode(&seen.hash);
                    assert!(input.to_ascii_lowercase().ends_with(&format!(":{hash}")), "{input:?}");
                    assert_eq!(format!("{}:{hash}", seen.seq).parse().as_ref(), Ok(seen));
                }
                Err(why) => assert!(why.contains("<seq>:<hash>")),
            }
            Verdict::from_result(&read)
        });
    }

    #[test]
    fn a_noted_place_is_read_as_it_is_logged() {
        let hash = "ab".repeat(32);
        assert_eq!(format!("7:{hash}").parse(), Ok(Seen { seq: 7, hash: vec![0xab; 32] }));
        for wrong in ["", "7", ":", "x:ab", "0:ab", &format!("-1:{hash}"), &format!("7:{hash}00")] {
            assert!(wrong.parse::<Seen>().is_err(), "{wrong}");
        }
    }
}
