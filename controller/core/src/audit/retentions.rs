//! Decisions on how long the rows of an organization's chain are kept. Each change becomes a row of the platform's chain, and a
//! shorter time holds only [`DELAY`] after that: who can change a plan in the database cannot have rows cut before somebody could
//! see it. The database holds to it (`audit_kept_seconds`), and [`check`] looks whether each cut did.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{
    Chain, Entry,
    checkpoints::{Checkpoint, Retention},
    record,
    verify::{Report, of},
};
use crate::{
    Core,
    database::{Connection, Db},
    error::{Error, Result},
    ids::OrganizationId,
    leases::Lease,
    retention::Kept,
};

/// The act in the audit log.
pub const ACT: &str = "/supalove.core/keep_audit_rows";
/// How long the longer time holds on. The function `audit_kept_seconds` has the same.
pub const DELAY: TimeDelta = TimeDelta::days(7);

/// How long rows of a chain are kept now. Records it, if it has changed; `None` if this replica no longer holds the lease.
pub async fn decide(core: &Core, lease: &Lease, chain: Chain) -> Result<Option<Kept>> {
    let now = core.audit_retention(chain).await?;
    let Chain::Organization(organization) = chain else { return Ok(Some(now)) };
    let seconds = i64::try_from(now.time.as_secs()).unwrap_or(i64::MAX);
    let recorded = sqlx::query!(
        "SELECT kept_seconds, plan FROM audit_retentions WHERE chain = $1 ORDER BY at DESC LIMIT 1",
        chain.id()
    );
    let recorded = recorded.fetch_optional(&core.db).await?;
    let same = |kept_seconds, plan: &str| kept_seconds == seconds && plan == now.plan;
    if !recorded.is_some_and(|row| same(row.kept_seconds, &row.plan))
        && !write(&core.db, lease, organization, seconds, &now.plan).await?
    {
        return Ok(None);
    }
    let holds = sqlx::query_scalar!("SELECT audit_kept_seconds($1) AS \"seconds!\"", chain.id());
    let holds = u64::try_from(holds.fetch_one(&core.db).await?).map_err(Error::internal)?;
    Ok(Some(Kept { time: Duration::from_secs(holds).max(now.time), plan: now.plan }))
}

/// False if this replica no longer holds the lease.
async fn write(
    db: &Db,
    lease: &Lease,
    organization: OrganizationId,
    seconds: i64,
    plan: &str,
) -> Result<bool> {
    let mut tx = db.begin().await?;
    if !lease.guard(tx.connection()?).await? {
        return Ok(false);
    }
    let entry = Entry {
        chain: Chain::Platform,
        outcome: outcome(seconds, plan),
        ..Entry::system("core.prune", ACT, organization.to_string())
    };
    record(tx.connection()?, &entry).await?;
    sqlx::query!(
        "INSERT INTO audit_retentions (id, chain, kept_seconds, plan) VALUES ($1, $2, $3, $4)",
        entry.id,
        organization.0,
        seconds,
        plan,
    )
    .execute(tx.connection()?)
    .await?;
    tx.commit().await?;
    Ok(true)
}

/// What the row in the platform's chain says: `KEPT 604800 s, plan pro`.
fn outcome(seconds: i64, plan: &str) -> String {
    if plan.is_empty() { format!("KEPT {seconds} s") } else { format!("KEPT {seconds} s, plan {plan}") }
}

fn kept_seconds(outcome: &str) -> Option<i64> {
    outcome.strip_prefix("KEPT ")?.split_once(" s").and_then(|(seconds, _)| seconds.parse().ok())
}

/// The decisions that the platform's chain has, by chain, the oldest first.
pub type Decisions = BTreeMap<Chain, Vec<(DateTime<Utc>, i64)>>;

/// Reads them. A row that the table has and the chain has not, or with something else, is a fault.
pub(super) async fn all(connection: &mut Connection, report: &mut Report) -> Result<Decisions> {
    let rows = sqlx::query!(
        "SELECT id, at, target, outcome FROM audit_log WHERE chain = $1 AND method = $2 ORDER BY at, id",
        Chain::Platform.id(),
        ACT,
    );
    let mut decisions = Decisions::new();
    let mut said: BTreeMap<Uuid, (Chain, i64)> = BTreeMap::new();
    for row in rows.fetch_all(&mut *connection).await? {
        let (Ok(chain), Some(seconds)) = (row.target.parse::<Chain>(), kept_seconds(&row.outcome)) else {
            continue;
        };
        said.insert(row.id, (chain, seconds));
        decisions.entry(chain).or_default().push((row.at, seconds));
    }
    let oldest = decisions.values().flatten().map(|(at, _)| *at).min();
    let recorded = sqlx::query!("SELECT id, chain, at, kept_seconds FROM audit_retentions ORDER BY at");
    for row in recorded.fetch_all(connection).await? {
        let chain = Chain::from_id(row.chain);
        // Those of before were cut from the platform's chain.
        let is_left = oldest.is_some_and(|oldest| row.at >= oldest);
        if is_left && said.get(&row.id) != Some(&(chain, row.kept_seconds)) {
            let at = row.at.format("%Y-%m-%dT%H:%M:%SZ");
            report.fault(
                Some(chain),
                None,
                format!(
                    "{}how long rows are kept was decided at {at}, but no row of the platform's chain says the same",
                    of(chain)
                ),
            );
        }
    }
    Ok(decisions)
}

/// The least age at which rows may have been cut then, as far as the decisions tell.
fn least(decisions: &[(DateTime<Utc>, i64)], at: DateTime<Utc>) -> Option<i64> {
    let known = decisions.iter().filter(|(decided, _)| *decided <= at);
    let from = known.clone().map(|(decided, _)| *decided).filter(|decided| *decided <= at - DELAY).max();
    known.filter(|(decided, _)| from.is_none_or(|from| *decided >= from)).map(|(_, seconds)| *seconds).max()
}

/// Says what is wrong with a cut, if anything: it took rows that were to be kept.
pub(super) fn fault(decisions: &Decisions, cut: &Checkpoint) -> Option<String> {
    let Retention { kept_seconds, row_at, .. } = cut.retention.as_ref()?;
    let at = cut.at.format("%Y-%m-%dT%H:%M:%SZ");
    // The clocks of the controller and of the database differ by seconds.
    let age = (cut.at - *row_at).num_seconds() + 60;
    if age < *kept_seconds {
        return Some(format!(
            "rows up to {} were cut at {at}, {age} s after the newest of them, though they were kept for {kept_seconds} s",
            cut.seq
        ));
    }
    let least = decisions.get(&cut.chain).and_then(|decisions| least(decisions, cut.at))?;
    (*kept_seconds < least).then(|| {
        format!(
            "rows up to {} were cut at {at} as if rows were kept for {kept_seconds} s, but until then {least} s were decided",
            cut.seq
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    #[test]
    fn a_shorter_retention_holds_a_week_after_it_was_recorded() {
        let now = Utc::now();
        let ago = |days, seconds| (now - TimeDelta::days(days), seconds);
        for (decisions, expected) in [
            (&[][..], None),
            (&[ago(1, DAY)], Some(DAY)),
            (&[ago(100, 90 * DAY), ago(1, DAY)], Some(90 * DAY)),
            (&[ago(100, 90 * DAY), ago(6, DAY), ago(1, 2 * DAY)], Some(90 * DAY)),
            (&[ago(100, 90 * DAY), ago(8, DAY)], Some(DAY)),
            (&[ago(100, 90 * DAY), ago(8, DAY), ago(1, 30 * DAY)], Some(30 * DAY)),
            (&[ago(-1, 90 * DAY)], None),
        ] {
            assert_eq!(least(decisions, now), expected, "{decisions:?}");
        }
        for (seconds, plan) in [(DAY, ""), (7 * DAY, "pro")] {
            assert_eq!(kept_seconds(&outcome(seconds, plan)), Some(seconds));
        }
        assert_eq!(kept_seconds("OK"), None);
    }

    #[test]
    fn a_cut_that_took_too_much_is_named() {
        let chain = Chain::Organization(OrganizationId::generate());
        let at = Utc::now();
        let cut = |kept_seconds, age| Checkpoint {
            chain,
            cut: true,
            seq: 7,
            chain_hash: Vec::new(),
            at,
            retention: Some(Retention {
                kept_seconds,
                plan: "free".into(),
                row_at: at - TimeDelta::seconds(age),
            }),
        };
        let decisions = Decisions::from([(chain, vec![(at - TimeDelta::days(30), 90 * DAY)])]);
        assert_eq!(fault(&decisions, &cut(90 * DAY, 91 * DAY)), None);
        assert!(fault(&decisions, &cut(90 * DAY, 89 * DAY)).unwrap().contains("though they were kept"));
        assert!(fault(&decisions, &cut(DAY, 91 * DAY)).unwrap().contains("as if rows were kept for 86400 s"));
        assert_eq!(fault(&Decisions::new(), &cut(DAY, 91 * DAY)), None);
        assert_eq!(fault(&decisions, &Checkpoint { retention: None, ..cut(DAY, DAY) }), None);
    }
}
