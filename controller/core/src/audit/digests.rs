//! Digests: each hour a list of all chains with their newest places becomes part of the platform's chain, by its hash. So a place
//! in the platform's chain that somebody noted holds for all chains, and one that was rolled back, or is gone, is named.
//!
//! A digest takes over what the one before says of a chain that has no head, or an older one, now. So nothing is forgotten because
//! an hour has passed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use aws_lc_rs::digest::{Context, SHA256, digest};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    Chain, Entry,
    checkpoints::{Signer, newest_cut},
    heads, record, repairs,
    verify::Report,
};
use crate::{
    database::{Connection, Db},
    error::{Error, Result},
    leases::Lease,
};

/// The act in the audit log.
pub const ACT: &str = "/supalove.core/digest_audit_chains";
/// Chains of a part.
const CHAINS: usize = 1000;
/// What stands for the digest before the first one.
const NONE: &str = "-";

/// What a digest says of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The chain.
    pub chain: Chain,
    /// Its number.
    pub number: i64,
    /// Number of its newest row.
    pub seq: i64,
    /// Hash of that row.
    pub chain_hash: Vec<u8>,
    /// Number of the row up to which it was cut; 0 if it was not.
    pub cut: i64,
    /// For how long its rows are kept, in seconds; 0 if that is not recorded yet.
    pub kept_seconds: i64,
    /// Plan of the organization, if it is recorded.
    pub plan: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chain, number, seq, chain_hash, cut, kept_seconds, plan } = self;
        let hash = hex::encode(chain_hash);
        write!(f, "{chain} {number} {seq} {hash} {cut} {kept_seconds} {plan}")
    }
}

impl Line {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(7, ' ');
        let mut next = || parts.next();
        let line = Self {
            chain: next()?.parse().ok()?,
            number: next()?.parse().ok()?,
            seq: next()?.parse().ok()?,
            chain_hash: hex::decode(next()?).ok()?,
            cut: next()?.parse().ok()?,
            kept_seconds: next()?.parse().ok()?,
            plan: next()?.to_owned(),
        };
        (line.to_string() == text).then_some(line)
    }
}

/// A digest as its row in the platform's chain names it: `<id> <hash of its content> after <id of the one before>`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    id: Uuid,
    hash: String,
    after: Option<Uuid>,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} after ", self.id, self.hash)?;
        match self.after {
            Some(after) => write!(f, "{after}"),
            None => f.write_str(NONE),
        }
    }
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        let (id, rest) = text.split_once(' ')?;
        let (hash, after) = rest.split_once(" after ")?;
        let after = if after == NONE { None } else { Some(after.parse().ok()?) };
        Some(Self { id: id.parse().ok()?, hash: hash.to_owned(), after })
    }
}

/// The content of a digest, if all its parts are signed by us.
async fn content(connection: &mut Connection, signer: &Signer, id: Uuid) -> Result<Option<Vec<String>>> {
    let rows = sqlx::query!(
        "SELECT part, parts, content, signature FROM audit_digests WHERE digest = $1 ORDER BY part",
        id
    );
    let rows = rows.fetch_all(connection).await?;
    let whole = rows.first().is_some_and(|row| usize::try_from(row.parts) == Ok(rows.len()));
    let ours = rows
        .iter()
        .all(|row| signer.is_our_message(&message(id, row.part, row.parts, &row.content), &row.signature));
    Ok((whole && ours).then(|| rows.into_iter().map(|row| row.content).collect()))
}

fn message(id: Uuid, part: i32, parts: i32, content: &str) -> String {
    format!("digest v1\n{id}\n{part}\n{parts}\n{}", hex::encode(digest(&SHA256, content.as_bytes())))
}

fn hash(contents: &[String]) -> String {
    let mut all = Context::new(&SHA256);
    for content in contents {
        all.update(content.as_bytes());
    }
    hex::encode(all.finish())
}

fn lines(contents: &[String]) -> BTreeMap<Chain, Line> {
    let lines = contents.iter().flat_map(|content| content.lines());
    lines.filter_map(Line::parse).map(|line| (line.chain, line)).collect()
}

/// The newest digest, whether or not its row is chained.
async fn newest(connection: &mut Connection) -> Result<Option<(Uuid, DateTime<Utc>)>> {
    let newest = sqlx::query!("SELECT digest, at FROM audit_digests ORDER BY at DESC, digest DESC LIMIT 1");
    Ok(newest.fetch_optional(connection).await?.map(|row| (row.digest, row.at)))
}

/// Whether anything tells of a digest.
pub(super) async fn any(connection: &mut Connection) -> Result<bool> {
    let any = sqlx::query_scalar!(
        "SELECT EXISTS (SELECT 1 FROM audit_digests)
             OR EXISTS (SELECT 1 FROM audit_log WHERE chain = $1 AND method = $2) AS \"any!\"",
        Chain::Platform.id(),
        ACT,
    );
    Ok(any.fetch_one(connection).await?)
}

/// Whether a digest that is left names the chain.
pub(super) async fn names(connection: &mut Connection, chain: Chain) -> Result<bool> {
    let names = sqlx::query_scalar!(
        "SELECT EXISTS (SELECT 1 FROM audit_digests WHERE position($1 IN content) > 0) AS \"names!\"",
        format!("{chain} "),
    );
    Ok(names.fetch_one(connection).await?)
}

/// The newest place of a chain that the digests name, whoever signed them: a note of a break comes behind it.
pub(super) async fn place_of(connection: &mut Connection, chain: Chain) -> Result<Option<i64>> {
    let found = sqlx::query_scalar!(
        "SELECT content FROM audit_digests WHERE position($1 IN content) > 0",
        format!("{chain} "),
    );
    let contents = found.fetch_all(connection).await?;
    let places = contents.iter().flat_map(|content| content.lines()).filter_map(Line::parse);
    Ok(places.filter(|line| line.chain == chain).map(|line| line.seq).max())
}

/// Takes a digest of all chains, unless there is none yet or the newest one is younger than `spacing`.
pub async fn take(db: &Db, lease: &Lease, signer: &Signer, spacing: Duration) -> Result<()> {
    let mut tx = db.begin().await?;
    let connection = tx.connection()?;
    if !lease.guard(&mut *connection).await? {
        return Ok(());
    }
    let before = newest(connection).await?;
    let known = match before {
        Some((id, _)) => content(connection, signer, id).await?.map(|contents| lines(&contents)),
        None => None,
    };
    // One that somebody else has signed delays none of ours.
    let is_young = |at: DateTime<Utc>| (Utc::now() - at).to_std().is_ok_and(|age| age < spacing);
    if known.is_some() && before.is_some_and(|(_, at)| is_young(at)) {
        return Ok(());
    }
    // What somebody else has signed does not count: the digest then follows none, and audit verify says so.
    let after = before.map(|(id, _)| id).filter(|_| known.is_some());
    let known = known.unwrap_or_default();
    let mut newer = places(connection, signer).await?;
    // A chain that was rolled back and has grown again: what is known of it stays, so that it is named for good.
    let rolled_back = gone(connection, signer, &known).await?;
    newer.retain(|line| !rolled_back.contains(&line.chain));
    let lines = united(known, newer);
    if lines.is_empty() {
        return Ok(());
    }
    let lines: Vec<Line> = lines.into_values().collect();
    let contents: Vec<String> = lines.chunks(CHAINS).map(written).collect();
    let id = Uuid::now_v7();
    let parts = i32::try_from(contents.len()).map_err(Error::internal)?;
    for (part, text) in (0..parts).zip(&contents) {
        sqlx::query!(
            "INSERT INTO audit_digests (digest, part, parts, content, signature) VALUES ($1, $2, $3, $4, $5)",
            id,
            part,
            parts,
            text,
            signer.sign_message(&message(id, part, parts, text)),
        )
        .execute(&mut *connection)
        .await?;
    }
    let name = Name { id, hash: hash(&contents), after };
    let entry = Entry { chain: Chain::Platform, ..Entry::system("core.sign_audit", ACT, name.to_string()) };
    record(&mut *connection, &entry).await?;
    sqlx::query_scalar!("SELECT audit_forget_digests()").fetch_one(&mut *connection).await?;
    tx.commit().await?;
    if rolled_back.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = rolled_back.iter().map(ToString::to_string).collect();
    Err(Error::internal(format!(
        "the row that the last digest names is gone from these chains of the audit log: {}; run `supalove-controller audit verify`",
        names.join(", ")
    )))
}

/// Chains without the row that a digest names, although neither a cut nor a note of a break that we have signed is behind it.
async fn gone(
    connection: &mut Connection,
    signer: &Signer,
    known: &BTreeMap<Chain, Line>,
) -> Result<BTreeSet<Chain>> {
    let chains: Vec<Uuid> = known.keys().map(|chain| chain.id()).collect();
    let places: Vec<i64> = known.values().map(|line| line.seq).collect();
    let hashes: Vec<Vec<u8>> = known.values().map(|line| line.chain_hash.clone()).collect();
    let without = sqlx::query_scalar!(
        "SELECT k.chain AS \"chain!\" FROM unnest($1::uuid[], $2::bigint[], $3::bytea[]) AS k (chain, seq, hash)
         WHERE NOT EXISTS (SELECT FROM audit_log l WHERE l.chain = k.chain AND l.seq = k.seq AND l.chain_hash = k.hash)",
        &chains,
        &places,
        &hashes,
    );
    let mut gone = BTreeSet::new();
    for chain in without.fetch_all(&mut *connection).await? {
        let chain = Chain::from_id(chain);
        let Some(line) = known.get(&chain) else { continue };
        let is_cut = matches!(newest_cut(connection, signer, chain).await, Ok((seq, _)) if seq >= line.seq);
        let noted = repairs::signed(&mut *connection, signer, chain).await?;
        if !is_cut && noted.last().is_none_or(|note| note.seq < line.seq) {
            gone.insert(chain);
        }
    }
    Ok(gone)
}

/// The lines of a part.
fn written(lines: &[Line]) -> String {
    lines.iter().fold(String::new(), |text, line| text + &line.to_string() + "\n")
}

/// The places of the heads that we have signed.
async fn places(connection: &mut Connection, signer: &Signer) -> Result<Vec<Line>> {
    let decided = sqlx::query!(
        "SELECT c.chain, coalesce(p.seq, 0) AS \"cut!\", coalesce(r.kept_seconds, 0) AS \"kept!\", coalesce(r.plan, '') AS \"plan!\"
         FROM audit_chains c
         LEFT JOIN LATERAL (SELECT seq FROM audit_checkpoints k WHERE k.chain = c.chain AND k.cut ORDER BY seq DESC LIMIT 1) p ON true
         LEFT JOIN LATERAL (SELECT kept_seconds, plan FROM audit_retentions t WHERE t.chain = c.chain ORDER BY at DESC LIMIT 1) r
             ON true"
    );
    let decided = decided.fetch_all(&mut *connection).await?.into_iter();
    let decided: BTreeMap<_, _> =
        decided.map(|row| (Chain::from_id(row.chain), (row.cut, row.kept, row.plan))).collect();
    let heads = heads::all(connection).await?.into_iter();
    let ours = heads.filter(|(head, signature)| head.seq > 0 && signer.is_our_head(head, signature));
    Ok(ours
        .map(|(head, _)| {
            let (cut, kept_seconds, plan) = decided.get(&head.chain).cloned().unwrap_or_default();
            Line {
                chain: head.chain,
                number: head.number,
                seq: head.seq,
                chain_hash: head.chain_hash,
                cut,
                kept_seconds,
                plan,
            }
        })
        .collect())
}

/// What is known, with the places that are not older.
fn united(mut known: BTreeMap<Chain, Line>, places: Vec<Line>) -> BTreeMap<Chain, Line> {
    for line in places {
        if known.get(&line.chain).is_none_or(|known| known.seq <= line.seq) {
            known.insert(line.chain, line);
        }
    }
    known
}

/// What the newest digest says, and when it was taken.
#[derive(Debug, Default)]
pub struct Newest {
    /// When; empty if there is none.
    pub at: String,
    /// Of each chain.
    pub lines: BTreeMap<Chain, Line>,
}

/// Checks the digests in the platform's chain among themselves, and returns the newest one.
pub(super) async fn check(
    connection: &mut Connection,
    signer: &Signer,
    report: &mut Report,
) -> Result<Newest> {
    let rows = sqlx::query!(
        "SELECT seq AS \"seq!\", at, target FROM audit_log WHERE chain = $1 AND method = $2 AND seq IS NOT NULL ORDER BY seq",
        Chain::Platform.id(),
        ACT,
    );
    let rows = rows.fetch_all(&mut *connection).await?;
    let mut before: Option<(Uuid, String)> = None;
    let mut newest = None;
    for row in rows {
        let at = row.at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut fault = |what: String| report.fault(Some(Chain::Platform), Some(row.seq), what);
        let Some(name) = Name::parse(&row.target) else {
            fault(format!("row {} is no digest of the chains", row.seq));
            continue;
        };
        if let Some((id, of)) = before.filter(|(id, _)| Some(*id) != name.after) {
            fault(format!(
                "the digest of {at}, row {}, does not follow the one of {of} ({id}): somebody took its content away",
                row.seq
            ));
        }
        before = Some((name.id, at.clone()));
        newest = Some((name, row.seq, at));
    }
    let mut found = Newest::default();
    if let Some((name, seq, at)) = newest {
        match content(connection, signer, name.id).await? {
            Some(contents) if hash(&contents) == name.hash => {
                found = Newest { at, lines: lines(&contents) };
            }
            _ => {
                let what = format!(
                    "the digest of {at}, row {seq}, is not what the controller signed, or it is gone"
                );
                report.fault(Some(Chain::Platform), Some(seq), what);
            }
        }
    }
    if let Some(rowless) = rowless(connection, signer, report).await? {
        let what = format!(
            "no row of the platform's chain has the digest of {}: its end was taken away",
            rowless.at
        );
        report.fault(Some(Chain::Platform), None, what);
        return Ok(rowless);
    }
    Ok(found)
}

/// The newest digest, if the controller signed it and its row is gone.
async fn rowless(
    connection: &mut Connection,
    signer: &Signer,
    report: &mut Report,
) -> Result<Option<Newest>> {
    let Some((id, at)) = self::newest(connection).await? else { return Ok(None) };
    let has_row = sqlx::query_scalar!(
        "SELECT EXISTS (SELECT 1 FROM audit_log WHERE chain = $1 AND method = $2 AND starts_with(target, $3)) AS \"has!\"",
        Chain::Platform.id(),
        ACT,
        id.to_string(),
    );
    if has_row.fetch_one(&mut *connection).await? {
        return Ok(None);
    }
    let at = at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let Some(contents) = content(connection, signer, id).await? else {
        let what = format!(
            "the newest digest, of {at}, is none that the controller has signed, or it is incomplete"
        );
        report.fault(Some(Chain::Platform), None, what);
        return Ok(None);
    };
    Ok(Some(Newest { at, lines: lines(&contents) }))
}

#[cfg(test)]
mod tests {
    use supalove_fuzz::{Samples, Verdict, text};

    use super::*;
    use crate::ids::OrganizationId;

    #[test]
    fn lines_of_digests() {
        let samples =
            Samples::new([line(Chain::Platform, 7).to_string(), line(Chain::Platform, 1).to_string()]);
        text("line of a digest", &samples.words([" ", "-", "+", "platform", "org_", "0", "00"]), |input| {
            let read = Line::parse(input).ok_or("no line");
            if let Ok(line) = &read {
                assert_eq!(line.to_string(), input, "in one spelling");
            }
            Verdict::from_result(&read)
        });
    }

    fn line(chain: Chain, seq: i64) -> Line {
        Line {
            chain,
            number: 2,
            seq,
            chain_hash: vec![7; 32],
            cut: 3,
            kept_seconds: 86_400,
            plan: "pro".into(),
        }
    }

    #[test]
    fn a_line_and_a_name_are_read_as_they_are_written() {
        let chain = Chain::Organization(OrganizationId::generate());
        for line in [line(chain, 7), Line { plan: String::new(), ..line(Chain::Platform, 1) }] {
            assert_eq!(Line::parse(&line.to_string()), Some(line));
        }
        for wrong in ["", "platform", "platform 1 2 zz 0 0 ", "platform 1 2 07 0 x ", "platform +1 2 07 0 0 "]
        {
            assert_eq!(Line::parse(wrong), None, "{wrong}");
        }
        for after in [None, Some(Uuid::now_v7())] {
            let name = Name { id: Uuid::now_v7(), hash: "ab".into(), after };
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        assert_eq!(Name::parse("x ab after -"), None);
    }

    #[test]
    fn a_digest_forgets_no_chain_and_no_place() {
        let [vanished, rolled_back, grown] =
            [(); 3].map(|()| Chain::Organization(OrganizationId::generate()));
        let known = [vanished, rolled_back, grown].map(|chain| (chain, line(chain, 7))).into();
        let united = united(known, vec![line(rolled_back, 6), line(grown, 8), line(Chain::Platform, 1)]);
        let places: Vec<_> = [vanished, rolled_back, grown, Chain::Platform]
            .into_iter()
            .map(|chain| united[&chain].seq)
            .collect();
        assert_eq!(places, [7, 7, 8, 1]);
    }
}
