//! Counts refused calls of callers who are not signed in, and those of users beyond what a user has rows of in the audit log. A job
//! adds the counts of a minute to `refused_calls`.
//!
//! Such a call writes nothing by itself: whoever calls often makes a number greater, and the number of rows of a minute has a
//! limit.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::database::Db;
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use ipnet::{Ipv4Net, Ipv6Net};
use tokio::time::Instant;

use crate::{
    error::{Error, Result},
    ids::UserId,
};

/// Rows of a minute, for each replica and both with and without the network of the client.
const ROWS: usize = 64;
/// Rows that are kept, whatever their age.
const KEPT: i64 = 100_000;

/// Refused calls of a user that have rows in the audit log, at once; replicas count each for itself.
const AUDITED: u32 = 60;
/// Time after which a user's next refused call has one again.
const AUDITED_EVERY: Duration = Duration::from_secs(10);

/// The counts of this minute that the table does not have yet. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct RefusedCalls {
    counts: Arc<Mutex<Counts>>,
    users: Arc<Mutex<Buckets>>,
}

/// When the bucket of each user is empty.
type Buckets = HashMap<UserId, Instant>;

type Counts = HashMap<Key, i64>;

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    minute: DateTime<Utc>,
    method: &'static str,
    reason: String,
    /// Network of the client, or the user; empty for all the others.
    client: String,
}

impl RefusedCalls {
    /// Counts a refused call.
    pub fn count(&self, method: &'static str, reason: &str, client: Option<IpAddr>) {
        let now = Utc::now();
        let minute = now.duration_trunc(TimeDelta::minutes(1)).unwrap_or(now);
        self.add(Key {
            minute,
            method,
            reason: reason.to_owned(),
            client: client.map(site).unwrap_or_default(),
        });
    }

    /// True if a refused call of a user gets a row in the audit log; else counts it.
    pub fn is_audited(&self, method: &'static str, reason: &str, user: UserId) -> bool {
        if self.takes(user, Instant::now()) {
            return true;
        }
        let now = Utc::now();
        let minute = now.duration_trunc(TimeDelta::minutes(1)).unwrap_or(now);
        self.add(Key { minute, method, reason: reason.to_owned(), client: user.to_string() });
        false
    }

    /// A leaky bucket for each user.
    fn takes(&self, user: UserId, now: Instant) -> bool {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        // An empty bucket is none.
        users.retain(|_, empty_at| *empty_at > now);
        let empty_at = users.get(&user).copied().unwrap_or(now);
        let takes = empty_at <= now + AUDITED_EVERY * (AUDITED - 1);
        if takes {
            users.insert(user, empty_at + AUDITED_EVERY);
        }
        takes
    }

    fn add(&self, mut key: Key) {
        let mut counts = self.lock();
        if counts.len() >= ROWS && !counts.contains_key(&key) {
            key.client.clear();
        }
        *counts.entry(key).or_default() += 1;
    }

    /// Takes the counts out. What was counted in this minute stays with 0 calls, so that the minute's limit holds.
    fn take(&self, now: DateTime<Utc>) -> Counts {
        let mut counts = self.lock();
        let taken = counts.iter().filter(|(_, calls)| **calls > 0).map(|(key, calls)| (key.clone(), *calls));
        let taken = taken.collect();
        counts.retain(|key, _| now - key.minute < TimeDelta::minutes(1));
        counts.values_mut().for_each(|calls| *calls = 0);
        taken
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the counts to the table. If that fails, they count with the next ones.
    pub async fn flush(&self, db: &Db) -> Result<()> {
        let counts = self.take(Utc::now());
        if counts.is_empty() {
            return Ok(());
        }
        let written = add(db, &counts).await;
        if written.is_err() {
            let mut now = self.lock();
            for (key, calls) in counts {
                *now.entry(key).or_default() += calls;
            }
        }
        written
    }
}

/// The network of a site, in which one subscriber may have many: /24, or /48.
pub fn site(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => Ipv4Net::new(address, 24).map(|net| net.trunc().to_string()),
        IpAddr::V6(address) => Ipv6Net::new(address, 48).map(|net| net.trunc().to_string()),
    }
    .unwrap_or_default()
}

async fn add(db: &Db, counts: &Counts) -> Result<()> {
    let minutes: Vec<_> = counts.keys().map(|key| key.minute).collect();
    let methods: Vec<_> = counts.keys().map(|key| key.method.to_owned()).collect();
    let reasons: Vec<_> = counts.keys().map(|key| key.reason.clone()).collect();
    let clients: Vec<_> = counts.keys().map(|key| key.client.clone()).collect();
    let calls: Vec<_> = counts.values().copied().collect();
    sqlx::query!(
        "INSERT INTO refused_calls (minute, method, reason, client, calls)
         SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::bigint[]) ORDER BY 1, 2, 3, 4
         ON CONFLICT (minute, method, reason, client) DO UPDATE SET calls = refused_calls.calls + EXCLUDED.calls",
        &minutes,
        &methods,
        &reasons,
        &clients,
        &calls,
    )
    .execute(db)
    .await
    .map_err(Error::from)?;
    Ok(())
}

/// Deletes counts that are older than 30 days, or too many; false if there may be more.
pub async fn prune(db: &Db, batch: i64) -> Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM refused_calls WHERE minute IN (
             SELECT minute FROM refused_calls
             WHERE minute < greatest(now() - interval '30 days',
                 (SELECT minute FROM refused_calls ORDER BY minute DESC OFFSET $1 LIMIT 1))
             ORDER BY minute LIMIT $2)",
        KEPT,
        batch,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() < batch.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_a_minute_have_a_limit_and_no_call_is_lost() {
        let refusals = RefusedCalls::default();
        for host in 0..10_000_u32 {
            let client = IpAddr::from((0x0a00_0000 + host * 256).to_be_bytes());
            refusals.count("/s/M", "BAD_CREDENTIALS", Some(client));
        }
        let taken = refusals.take(Utc::now());
        // The test may run at the turn of a minute.
        assert!(taken.len() <= ROWS + 2, "{}", taken.len());
        assert_eq!(taken.values().sum::<i64>(), 10_000);
        assert!(refusals.take(Utc::now()).is_empty());
        refusals.count("/s/M", "BAD_CREDENTIALS", Some(IpAddr::from([192, 0, 2, 1])));
        assert_eq!(refusals.take(Utc::now()).len(), 1, "one row more");
    }

    #[test]
    fn a_user_has_rows_up_to_a_rate_and_is_counted_beyond_it() {
        let refusals = RefusedCalls::default();
        let [user, other] = [UserId::generate(), UserId::generate()];
        let now = Instant::now();
        let taken = |user, at, calls: u32| (0..calls).filter(|_| refusals.takes(user, at)).count();
        assert_eq!(taken(user, now, 1000), 60);
        assert_eq!(taken(other, now, 10), 10, "another user has a bucket of their own");
        assert_eq!(taken(user, now + AUDITED_EVERY * 3, 1000), 3);
        assert_eq!(taken(user, now + Duration::from_hours(1), 1000), 60);
        for _ in 0..100 {
            refusals.is_audited("/s/M", "NOT_FOUND", user);
        }
        let counted = refusals.take(Utc::now());
        assert!(counted.keys().all(|key| key.client == user.to_string() && key.reason == "NOT_FOUND"));
        assert!(counted.values().sum::<i64>() >= 39, "{counted:?}");
    }

    #[test]
    fn clients_are_counted_by_their_network() {
        let of = |address: &str| site(address.parse().unwrap());
        assert_eq!(of("203.0.113.77"), "203.0.113.0/24");
        assert_eq!(of("::ffff:203.0.113.77"), "203.0.113.0/24");
        assert_eq!(of("2001:db8:1:2::3"), "2001:db8:1::/48");
    }
}
