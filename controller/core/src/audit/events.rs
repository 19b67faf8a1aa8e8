//! Rows of a chain for people: filtered, newest first in pages, or oldest first for an export.

use chrono::{DateTime, TimeZone as _, Utc};
use uuid::Uuid;

use super::{Chain, Shown};
use crate::{
    database::Db,
    error::{Error, Result},
};

/// Which rows.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// User, token, node or job; empty: any.
    pub actor: String,
    /// RPC, with or without its service; empty: any.
    pub method: String,
    /// Object, or the object that its parts belong to; empty: any.
    pub target: String,
    /// `OK`, or the code of the refusal; empty: any.
    pub outcome: String,
    /// The oldest.
    pub from: Option<DateTime<Utc>>,
    /// They are older than this.
    pub until: Option<DateTime<Utc>>,
}

impl Filter {
    fn from(&self) -> DateTime<Utc> {
        self.from.unwrap_or(DateTime::UNIX_EPOCH)
    }

    fn until(&self) -> DateTime<Utc> {
        self.until.unwrap_or_else(end_of_time)
    }
}

/// Later than every row.
fn end_of_time() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(9999, 1, 1, 0, 0, 0).single().unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// A row.
#[derive(Debug, Clone)]
pub struct Event {
    /// Id of the row.
    pub id: Uuid,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// Who acted.
    pub actor: String,
    /// What the actor showed; `None` in rows from before this was written.
    pub shown: Option<Shown>,
    /// RPC, or name of the background act.
    pub method: String,
    /// Object of the act.
    pub target: String,
    /// `OK`, or the code of the refusal.
    pub outcome: String,
    /// Client address.
    pub client: String,
    /// Trace id of the call.
    pub trace_id: String,
    /// Place in the chain, and chain hash; `None` until it is chained.
    pub place: Option<(i64, Vec<u8>)>,
}

/// A row's place in the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    at: DateTime<Utc>,
    id: Uuid,
}

impl Position {
    /// Of a row.
    pub fn of(event: &Event) -> Self {
        Self { at: event.at, id: event.id }
    }

    /// As the key of a page token.
    pub fn key(self) -> String {
        format!("{}.{}", self.at.timestamp_micros(), self.id.as_simple())
    }

    /// From the key of a page token.
    pub fn from_key(key: &str) -> Result<Self> {
        key.split_once('.')
            .and_then(|(micros, id)| {
                let at = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
                Some(Self { at, id: Uuid::try_parse(id).ok()? })
            })
            .filter(|position| (DateTime::UNIX_EPOCH..=end_of_time()).contains(&position.at))
            .ok_or_else(|| Error::field("page_token", "must be the next_page_token of the previous page"))
    }
}

/// Returns at most `limit` rows before `before`, newest first.
pub async fn newest_first(
    db: &Db,
    chain: Chain,
    filter: &Filter,
    before: Option<Position>,
    limit: i64,
) -> Result<Vec<Event>> {
    let before = before.unwrap_or_else(|| Position { at: end_of_time(), id: Uuid::max() });
    let rows = sqlx::query_as!(
        Row,
        "SELECT id, at, actor, credential AS \"shown: Shown\", method, target, outcome, client, trace_id, seq, chain_hash
         FROM audit_log
         WHERE chain = $1 AND (at, id) < ($2, $3) AND at >= $4 AND at < $5
             AND ($6 = '' OR $6 = ANY (string_to_array(actor, ' ')))
             AND ($7 = '' OR method = $7 OR right(method, length($7) + 1) = '/' || $7)
             AND ($8 = '' OR target = $8 OR starts_with(target, $8 || '/') OR starts_with(target, $8 || ' '))
             AND ($9 = '' OR lower(outcome) = lower($9))
         ORDER BY at DESC, id DESC LIMIT $10",
        chain.id(),
        before.at,
        before.id,
        filter.from(),
        filter.until(),
        filter.actor,
        filter.method,
        filter.target,
        filter.outcome,
        limit,
    );
    Ok(rows.fetch_all(db).await?.into_iter().map(Event::from).collect())
}

/// How far the rows of a chain are complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The newest place. No row gets an older one any more.
    pub seq: i64,
    /// No row before this time is missing among those up to that place.
    pub until: DateTime<Utc>,
}

/// Says how far the rows of a chain are complete now. A row has the time at which its transaction began, and is seen when that
/// has ended; so rows that are not chained yet may be older than ones that are, but not older than every open transaction.
pub async fn extent(db: &Db, chain: Chain) -> Result<Extent> {
    // Before the rows are looked at: what is open now may have ended by then. Without `track_activities` no time is known.
    let open = sqlx::query_scalar!(
        "SELECT coalesce(min(xact_start) FILTER (WHERE pid <> pg_backend_pid()), now(), now())
             - CASE WHEN current_setting('track_activities')::bool THEN interval '0' ELSE interval '1 minute' END AS \"open!\"
         FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user AND backend_type = 'client backend'"
    );
    let open = open.fetch_one(db).await?;
    let rows = sqlx::query!(
        "SELECT coalesce((SELECT max(seq) FROM audit_log WHERE chain = $1), 0) AS \"seq!\",
             (SELECT min(at) FROM audit_log WHERE chain = $1 AND seq IS NULL) AS waiting",
        chain.id()
    );
    let rows = rows.fetch_one(db).await?;
    Ok(Extent { seq: rows.seq, until: rows.waiting.map_or(open, |waiting| waiting.min(open)) })
}

/// Returns at most `limit` rows behind `after`, oldest first, of those that are chained up to the place `most`. Others may still
/// come before ones that were read.
pub async fn oldest_first(
    db: &Db,
    chain: Chain,
    filter: &Filter,
    most: i64,
    after: Option<Position>,
    limit: i64,
) -> Result<Vec<Event>> {
    let after = after.unwrap_or_else(|| Position { at: DateTime::UNIX_EPOCH, id: Uuid::nil() });
    let rows = sqlx::query_as!(
        Row,
        "SELECT id, at, actor, credential AS \"shown: Shown\", method, target, outcome, client, trace_id, seq, chain_hash
         FROM audit_log
         WHERE chain = $1 AND (at, id) > ($2, $3) AND at >= $4 AND at < $5
             AND ($6 = '' OR $6 = ANY (string_to_array(actor, ' ')))
             AND ($7 = '' OR method = $7 OR right(method, length($7) + 1) = '/' || $7)
             AND ($8 = '' OR target = $8 OR starts_with(target, $8 || '/') OR starts_with(target, $8 || ' '))
             AND ($9 = '' OR lower(outcome) = lower($9))
             AND seq <= $11
         ORDER BY at, id LIMIT $10",
        chain.id(),
        after.at,
        after.id,
        filter.from(),
        filter.until(),
        filter.actor,
        filter.method,
        filter.target,
        filter.outcome,
        limit,
        most,
    );
    Ok(rows.fetch_all(db).await?.into_iter().map(Event::from).collect())
}

/// Since when a chain has rows: the time of its oldest one.
pub async fn oldest(db: &Db, chain: Chain) -> Result<Option<DateTime<Utc>>> {
    let oldest =
        sqlx::query_scalar!("SELECT at FROM audit_log WHERE chain = $1 ORDER BY at LIMIT 1", chain.id());
    Ok(oldest.fetch_optional(db).await?)
}

struct Row {
    id: Uuid,
    at: DateTime<Utc>,
    actor: String,
    shown: Option<Shown>,
    method: String,
    target: String,
    outcome: String,
    client: String,
    trace_id: String,
    seq: Option<i64>,
    chain_hash: Option<Vec<u8>>,
}

impl From<Row> for Event {
    fn from(row: Row) -> Self {
        let Row { id, at, actor, shown, method, target, outcome, client, trace_id, seq, chain_hash } = row;
        Self { id, at, actor, shown, method, target, outcome, client, trace_id, place: seq.zip(chain_hash) }
    }
}

#[cfg(test)]
mod tests {
    use supalove_fuzz::{Samples, Verdict, text};

    use super::*;

    #[test]
    fn page_token_keys() {
        let key = |micros: i64| {
            let at = DateTime::from_timestamp_micros(micros).unwrap();
            Position { at, id: Uuid::from_u128(7) }.key()
        };
        let samples = Samples::new([key(1_700_000_000_000_000), key(0)]);
        text("page token of audit events", &samples.words([".", "-", "9223372036854775807"]), |input| {
            let read = Position::from_key(input);
            if let Ok(position) = &read {
                assert_eq!(Position::from_key(&position.key()).unwrap(), *position);
            }
            Verdict::from_result(&read)
        });
    }
}
