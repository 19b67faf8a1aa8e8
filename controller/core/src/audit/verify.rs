//! Checks the audit log: the chains of its rows, their signed heads and checkpoints, what the newest digest says of each chain,
//! whether cuts took what was to be kept, and a place that somebody noted elsewhere. All of it as of one moment, so that a sealer
//! at work is no fault. What lies before the note of a break is named, and is no new fault.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Chain,
    checkpoints::{self, Checkpoint, Signer},
    digests,
    heads::{self, Head, link},
    repairs::{self, Repair},
    retentions,
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
    /// When the newest digest of all chains was taken; empty if there is none.
    pub digest: String,
    /// What is wrong, at most 20, or for one chain one.
    pub faults: Vec<Fault>,
    /// Breaks that somebody has noted.
    pub noted: Vec<Repair>,
    /// What is wrong before them, at most 20.
    pub faults_noted: Vec<String>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// With this chain; `None` if with none, or several.
    pub chain: Option<Chain>,
    /// For people.
    pub text: String,
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
    /// Adds what is wrong with a chain, with the row of this number. What a note tells of is no new fault. Of each chain one fault
    /// is kept, whatever their number.
    pub(super) fn fault(&mut self, chain: Option<Chain>, seq: Option<i64>, text: String) {
        let is_noted = |note: &Repair| Some(note.chain) == chain && seq.is_some_and(|seq| seq <= note.seq);
        if self.noted.iter().any(is_noted) {
            if self.faults_noted.len() < FAULTS {
                self.faults_noted.push(text);
            }
            return;
        }
        let first = chain.is_some() && self.faults.iter().all(|fault| fault.chain != chain);
        if first || self.faults.len() < FAULTS {
            self.faults.push(Fault { chain, text });
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
type Expected = BTreeMap<i64, Vec<(Vec<u8>, String)>>;

/// What is known of a chain beside its rows.
struct Known<'a> {
    head: Option<&'a Head>,
    digest: Option<(&'a digests::Line, &'a str)>,
    seen: Option<&'a Seen>,
}

/// Checks the log. `seen` is a place in the platform's chain.
pub async fn verify(db: &Db, signer: &Signer, seen: Option<&Seen>) -> Result<Report> {
    let mut tx = db.begin().await?;
    let snapshot = sqlx::query!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY");
    snapshot.execute(tx.connection()?).await?;
    let mut report = Report::default();
    let connection = tx.connection()?;
    let mut chains = known(connection).await?;
    for chain in &chains {
        notes(connection, signer, *chain, &mut report).await?;
    }
    let heads = signed_heads(connection, signer, &mut report).await?;
    let digest = digests::check(connection, signer, &mut report).await?;
    let decisions = retentions::all(connection, &mut report).await?;
    chains.extend(heads.keys().chain(digest.lines.keys()));
    for chain in chains {
        let known = Known {
            head: heads.get(&chain),
            digest: digest.lines.get(&chain).map(|line| (line, digest.at.as_str())),
            seen: seen.filter(|_| chain == Chain::Platform),
        };
        let found = verify_chain(connection, signer, chain, &known, &decisions, &mut report).await?;
        if chain == Chain::Platform {
            report.platform = found;
        } else if found.rows > 0 {
            report.organizations += 1;
            report.in_organizations.rows += found.rows;
            report.in_organizations.checkpoints += found.checkpoints;
        }
    }
    report.digest = digest.at;
    let waiting = sqlx::query_scalar!(
        "SELECT count(*) AS \"count!\" FROM audit_log WHERE seq IS NULL AND at < now() - interval '10 seconds'"
    );
    let waiting = waiting.fetch_one(tx.connection()?).await?;
    if waiting > 0 {
        let what = format!("{waiting} rows wait to be chained for more than 10 s: is a controller running?");
        report.fault(None, None, what);
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
            let what =
                format!("chain number {} is expected, the next is {}, of {chain}", number + 1, head.number);
            report.fault(None, None, what);
        }
        number = head.number;
        if signer.is_our_head(&head, &signature) {
            ours.insert(chain, head);
        } else {
            let what = format!("the head of the chain {chain}, row {}, has a wrong signature", head.seq);
            report.fault(Some(chain), None, what);
        }
    }
    if number != counted {
        let what = format!("there are chains up to number {number}, the platform's head counts {counted}");
        report.fault(None, None, what);
    }
    Ok(ours)
}

/// Chains that rows, checkpoints or notes of breaks name.
async fn known(connection: &mut Connection) -> Result<BTreeSet<Chain>> {
    // One step of the index for each chain, not one for each row.
    let chains = sqlx::query_scalar!(
        "WITH RECURSIVE chains (chain) AS (
             (SELECT chain FROM audit_log WHERE seq IS NOT NULL ORDER BY chain LIMIT 1)
             UNION ALL
             SELECT (SELECT l.chain FROM audit_log l WHERE l.seq IS NOT NULL AND l.chain > c.chain ORDER BY l.chain LIMIT 1)
             FROM chains c WHERE c.chain IS NOT NULL)
         SELECT chain AS \"chain!\" FROM chains WHERE chain IS NOT NULL
         UNION SELECT DISTINCT chain FROM audit_checkpoints UNION SELECT chain FROM audit_repairs"
    );
    Ok(chains.fetch_all(connection).await?.into_iter().map(Chain::from_id).collect())
}

/// The notes of breaks that we have signed.
async fn notes(
    connection: &mut Connection,
    signer: &Signer,
    chain: Chain,
    report: &mut Report,
) -> Result<()> {
    for (note, signature) in repairs::all(connection, chain).await? {
        if repairs::is_ours(signer, &note, &signature) {
            report.noted.push(note);
        } else {
            let what = format!("{}the note of a break at row {} has a wrong signature", of(chain), note.seq);
            report.fault(Some(chain), Some(note.seq), what);
        }
    }
    Ok(())
}

/// What a fault of a chain begins with; nothing for the platform's.
pub(super) fn of(chain: Chain) -> String {
    match chain {
        Chain::Platform => String::new(),
        Chain::Organization(id) => format!("{id}: "),
    }
}

async fn verify_chain(
    connection: &mut Connection,
    signer: &Signer,
    chain: Chain,
    known: &Known<'_>,
    decisions: &retentions::Decisions,
    report: &mut Report,
) -> Result<Found> {
    let Known { head, digest, seen } = *known;
    let ours = signed(connection, signer, chain, report).await?;
    let mut expected = Expected::new();
    let mut expect = |seq: i64, hash: &Vec<u8>, who: &str| {
        expected.entry(seq).or_default().push((hash.clone(), who.to_owned()));
    };
    for checkpoint in &ours {
        expect(checkpoint.seq, &checkpoint.chain_hash, "a checkpoint");
    }
    if let Some(head) = head.filter(|head| head.seq > 0) {
        expect(head.seq, &head.chain_hash, "the chain's head");
    }
    if let Some((line, at)) = digest {
        expect(line.seq, &line.chain_hash, &format!("the digest of {at}"));
    }
    if let Some(seen) = seen {
        expect(seen.seq, &seen.hash, "the noted hash");
    }
    let cut = ours.iter().rev().find(|checkpoint| checkpoint.cut);
    if let Some(cut) = cut
        && let Some(what) = retentions::fault(decisions, cut)
    {
        report.fault(Some(chain), Some(cut.seq), format!("{}{what}", of(chain)));
    }
    let start = cut.map_or((0, Vec::new()), |cut| (cut.seq, cut.chain_hash.clone()));
    let noted: Vec<(i64, Vec<u8>)> =
        report.noted.iter().filter(|note| note.chain == chain).map(|note| (note.seq, note.hash())).collect();
    // A note has a place of its own, and is no row.
    for (seq, hash) in &noted {
        for (expected, who) in expected.remove(seq).into_iter().flatten() {
            if expected != *hash {
                let what = format!("{}the note at row {seq} has another hash than {who} says", of(chain));
                report.fault(Some(chain), None, what);
            }
        }
    }
    let mut found = walk(connection, chain, start.clone(), &noted, &mut expected, report).await?;
    found.checkpoints = ours.len();
    let newest = found.ends.as_ref().map_or(start.0, |ends| ends.1);
    report.seen_was_cut |= seen.is_some_and(|seen| seen.seq < start.0);
    // What is left was met by no row: it is behind the cut, or its row is gone.
    for (seq, said) in expected.into_iter().filter(|(seq, _)| *seq > start.0) {
        for (_, who) in said {
            let what = format!(
                "{}row {seq}, of which {who} tells, is missing; the newest row is {newest}",
                of(chain)
            );
            report.fault(Some(chain), Some(seq), what);
        }
    }
    match head {
        Some(head) if newest > head.seq => {
            let what = format!(
                "{}rows up to {newest} are chained, the chain's head is row {}: somebody added rows",
                of(chain),
                head.seq
            );
            report.fault(Some(chain), None, what);
        }
        None if newest > 0 || digest.is_some() => {
            let what = format!(
                "{}the chain has no signed head; a controller of this version writes it within seconds of its start",
                of(chain)
            );
            report.fault(Some(chain), None, what);
        }
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
            let what = format!("{}the checkpoint of row {} has a wrong signature", of(chain), checkpoint.seq);
            report.fault(Some(chain), Some(checkpoint.seq), what);
        }
    }
    Ok(ours)
}

/// Walks a chain from behind `start`, and from each place of a note on behind that; takes out of `expected` what it meets.
async fn walk(
    connection: &mut Connection,
    chain: Chain,
    (mut seq, mut hash): (i64, Vec<u8>),
    noted: &[(i64, Vec<u8>)],
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
            if let Some((place, of_note)) = noted.iter().rfind(|(place, _)| seq < *place && *place < row.seq)
            {
                (seq, hash) = (*place, of_note.clone());
            }
            if row.seq != seq + 1 {
                let what = if first { "the log begins with" } else { "a gap: after it comes" };
                let what = format!("{}row {} is expected, {what} row {}", of(chain), seq + 1, row.seq);
                report.fault(Some(chain), Some(row.seq), what);
            } else if row.hash != link(&hash, row.text.as_bytes()) {
                let what =
                    format!("{}row {} was changed, or the hash of the row before it", of(chain), row.seq);
                report.fault(Some(chain), Some(row.seq), what);
            }
            for (_, who) in
                expected.remove(&row.seq).into_iter().flatten().filter(|(expected, _)| *expected != row.hash)
            {
                let what = format!("{}row {} has another hash than {who} says", of(chain), row.seq);
                report.fault(Some(chain), Some(row.seq), what);
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
