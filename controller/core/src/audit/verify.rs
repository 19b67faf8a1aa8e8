//! Checks the audit log: the chain of its rows, its checkpoints and their signatures, and a place that somebody noted elsewhere.

use std::collections::BTreeMap;

use crate::database::Db;

use super::{
    checkpoints::{self, Checkpoint, Signer},
    link,
};
use crate::error::Result;

/// Rows that are read at once.
const PAGE: i64 = 10_000;
/// Faults that are listed.
const FAULTS: usize = 20;

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Rows in the chain.
    pub rows: u64,
    /// The first and the newest row: number and hash (hex).
    pub ends: Option<(i64, i64, String)>,
    /// Checkpoints that are signed by us.
    pub checkpoints: usize,
    /// The noted place lies behind the newest cut, so it cannot be checked.
    pub seen_was_cut: bool,
    /// Rows that wait to be chained for more than a minute.
    pub unchained: i64,
    /// What is wrong, at most 20.
    pub faults: Vec<String>,
}

impl Report {
    fn fault(&mut self, what: String) {
        if self.faults.len() < FAULTS {
            self.faults.push(what);
        }
    }
}

/// A place in the chain that somebody noted: number and hash.
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

/// Checks the log.
pub async fn verify(db: &Db, signer: &Signer, seen: Option<&Seen>) -> Result<Report> {
    let mut report = Report::default();
    let ours = signed(db, signer, &mut report).await?;
    let mut expected = Expected::new();
    for checkpoint in &ours {
        expected.entry(checkpoint.seq).or_default().push((checkpoint.chain_hash.clone(), "a checkpoint"));
    }
    if let Some(seen) = seen {
        expected.entry(seen.seq).or_default().push((seen.hash.clone(), "the noted hash"));
    }
    let cut = ours.iter().rev().find(|checkpoint| checkpoint.cut);
    let start = cut.map_or((0, Vec::new()), |cut| (cut.seq, cut.chain_hash.clone()));
    walk(db, start.clone(), &mut expected, &mut report).await?;
    let newest = report.ends.as_ref().map_or(start.0, |ends| ends.1);
    report.seen_was_cut = seen.is_some_and(|seen| seen.seq < start.0);
    // What is left was met by no row: it is behind the cut, or its row is gone.
    for (seq, said) in expected.into_iter().filter(|(seq, _)| *seq > start.0) {
        for (_, who) in said {
            report.fault(format!("row {seq}, of which {who} tells, is missing; the newest row is {newest}"));
        }
    }
    let waiting = sqlx::query_scalar!(
        "SELECT count(*) AS \"count!\" FROM audit_log WHERE seq IS NULL AND at < now() - interval '1 minute'"
    );
    report.unchained = waiting.fetch_one(db).await?;
    Ok(report)
}

/// The checkpoints that we have signed.
async fn signed(db: &Db, signer: &Signer, report: &mut Report) -> Result<Vec<Checkpoint>> {
    let mut ours = Vec::new();
    for (checkpoint, signature) in checkpoints::all(db).await? {
        if signer.is_ours(&checkpoint, &signature) {
            ours.push(checkpoint);
        } else {
            report.fault(format!("the checkpoint of row {} has a wrong signature", checkpoint.seq));
        }
    }
    report.checkpoints = ours.len();
    Ok(ours)
}

/// Walks the chain from behind `start`; takes out of `expected` what it meets.
async fn walk(
    db: &Db,
    (mut seq, mut hash): (i64, Vec<u8>),
    expected: &mut Expected,
    report: &mut Report,
) -> Result<()> {
    let mut first = true;
    let mut after = i64::MIN;
    loop {
        let rows = sqlx::query!(
            "SELECT seq AS \"seq!\", chain_hash AS \"hash!\",
                 concat_ws(E'\\x1f', id, extract(epoch FROM at), actor, method, target, outcome, client, trace_id) AS \"text!\"
             FROM audit_log WHERE seq > $1 ORDER BY seq LIMIT $2",
            after,
            PAGE,
        )
        .fetch_all(db)
        .await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.seq;
        for row in rows {
            if row.seq != seq + 1 {
                let what = if first { "the log begins with" } else { "a gap: after it comes" };
                report.fault(format!("row {} is expected, {what} row {}", seq + 1, row.seq));
            } else if row.hash != link(&hash, row.text.as_bytes()) {
                report.fault(format!("row {} was changed, or the hash of the row before it", row.seq));
            }
            for (_, who) in
                expected.remove(&row.seq).into_iter().flatten().filter(|(expected, _)| *expected != row.hash)
            {
                report.fault(format!("row {} has another hash than {who} says", row.seq));
            }
            let from = report.ends.as_ref().map_or(row.seq, |ends| ends.0);
            report.ends = Some((from, row.seq, hex::encode(&row.hash)));
            report.rows += 1;
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
