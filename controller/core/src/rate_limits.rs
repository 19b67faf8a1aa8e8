//! How often somebody may act: leaky buckets in the control database, so that they hold across restarts and replicas.
//!
//! A bucket takes `burst` acts at once and drains one act per `every` (the generic cell rate algorithm: one row says when the
//! bucket is empty). An act is counted before it is tried, so that parallel ones cannot pass; who was right gets it back.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use crate::{
    database::Db,
    error::{Error, Result},
};

/// A limit.
#[derive(Debug, Clone, Copy)]
pub struct RateLimit {
    /// Name of the limit in its rows; it separates the keys of limits.
    pub kind: &'static str,
    /// What is limited, for the error: "failed sign-ins from your address".
    pub what: &'static str,
    /// Acts at once.
    pub burst: u32,
    /// Time after which one more act is possible.
    pub every: Duration,
}

/// Whom a limit counts: the hash of an address, an account, or both. Rows do not name anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(Vec<u8>);

impl Key {
    /// The key of these texts together.
    pub fn of(parts: &[&str]) -> Self {
        let joined: Vec<u8> = parts.iter().flat_map(|part| [part.as_bytes(), b"\0"].concat()).collect();
        Self(digest(&SHA256, &joined).as_ref().to_vec())
    }
}

impl RateLimit {
    /// Counts an act; an error if there were too many. Writes at once, in no transaction: what the act becomes does not matter.
    pub async fn take(&self, db: &Db, key: &Key) -> Result<()> {
        let every = self.every.as_secs_f64();
        let taken = sqlx::query_scalar!(
            "INSERT INTO rate_limits AS r (kind, key, drained_at)
             VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
             ON CONFLICT (kind, key) DO UPDATE
                 SET drained_at = greatest(r.drained_at, clock_timestamp()) + make_interval(secs => $3)
                 WHERE r.drained_at <= clock_timestamp() + make_interval(secs => $3 * $4)
             RETURNING true AS \"taken!\"",
            self.kind,
            key.0,
            every,
            f64::from(self.burst.saturating_sub(1)),
        )
        .fetch_optional(db)
        .await?;
        if taken.is_some() { Ok(()) } else { Err(self.refusal(self.wait(db, key).await?)) }
    }

    /// An error if another act would be one too many. Counts nothing.
    pub async fn check(&self, db: &Db, key: &Key) -> Result<()> {
        let wait = self.wait(db, key).await?;
        if wait.is_zero() { Ok(()) } else { Err(self.refusal(wait)) }
    }

    /// Takes a counted act back.
    pub async fn give_back(&self, db: &Db, key: &Key) -> Result<()> {
        sqlx::query!(
            "UPDATE rate_limits SET drained_at = drained_at - make_interval(secs => $3) WHERE kind = $1 AND key = $2",
            self.kind,
            key.0,
            self.every.as_secs_f64(),
        )
        .execute(db)
        .await?;
        Ok(())
    }

    /// Time until another act is possible.
    async fn wait(&self, db: &Db, key: &Key) -> Result<Duration> {
        let drains_in = sqlx::query_scalar!(
            "SELECT extract(epoch FROM drained_at - clock_timestamp())::float8 AS \"drains_in!\" FROM rate_limits
             WHERE kind = $1 AND key = $2",
            self.kind,
            key.0,
        )
        .fetch_optional(db)
        .await?;
        Ok(wait(drains_in.unwrap_or_default(), self.every, self.burst))
    }

    fn refusal(&self, wait: Duration) -> Error {
        // Another act may have come between the two statements.
        Error::TooOften { what: self.what, retry_after: wait.max(Duration::from_secs(1)) }
    }
}

/// How long a bucket that drains in that many seconds takes no more.
fn wait(drains_in: f64, every: Duration, burst: u32) -> Duration {
    let room = every.as_secs_f64() * f64::from(burst.saturating_sub(1));
    Duration::try_from_secs_f64(drains_in - room).unwrap_or_default()
}

/// Deletes empty buckets, at most `batch`; false if there may be more.
pub async fn prune(db: &Db, batch: i64) -> Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM rate_limits WHERE (kind, key) IN (
             SELECT kind, key FROM rate_limits WHERE drained_at < clock_timestamp() ORDER BY drained_at LIMIT $1)",
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
    fn a_bucket_takes_a_burst_and_then_one_act_at_a_time() {
        let every = Duration::from_secs(10);
        assert_eq!(wait(0.0, every, 3), Duration::ZERO, "it is empty");
        assert_eq!(wait(-50.0, every, 3), Duration::ZERO, "it has been empty for long");
        assert_eq!(wait(20.0, every, 3), Duration::ZERO, "two of three are taken");
        assert_eq!(wait(30.0, every, 3), every, "it is full");
        assert_eq!(wait(24.0, every, 3), Duration::from_secs(4));
    }

    #[test]
    fn keys_of_other_parts_differ() {
        assert_ne!(Key::of(&["a", "bc"]), Key::of(&["ab", "c"]));
        assert_eq!(Key::of(&["a", "b"]), Key::of(&["a", "b"]));
    }
}
