//! When the control database last did not answer. A server that has failed over without a word leaves connections that
//! look open; after the first that does not answer the pool uses none that was opened before.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Cheap to clone; the clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Silence(Arc<Mutex<Option<Instant>>>);

impl Silence {
    /// A connection was given up: it did not answer, or its server no longer takes writes.
    pub(super) fn begins(&self, what: &str) {
        let now = Instant::now();
        let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
        if before.is_none_or(|before| now - before > Duration::from_mins(1)) {
            tracing::warn!(what, "control database is silent: replacing all connections to it");
        }
    }

    /// True if a connection of this age was opened before the last silence.
    pub(super) fn is_suspect(&self, age: Duration) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| age >= last.elapsed())
    }

    /// Looks at how a statement ended. A server that has become read-only was the primary before a failover (SQLSTATE
    /// 25006, `read_only_sql_transaction`): another server takes the writes now.
    pub(super) fn note<T>(&self, result: &Result<T, sqlx::Error>) {
        if let Err(sqlx::Error::Database(said)) = result
            && said.code().as_deref() == Some("25006")
        {
            self.begins("the control database is read-only");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_connections_from_before_the_silence_are_suspect() {
        let silence = Silence::default();
        assert!(!silence.is_suspect(Duration::from_hours(1)), "there was no silence");
        silence.begins("a test");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(silence.is_suspect(Duration::from_secs(6)) && silence.is_suspect(Duration::from_secs(5)));
        assert!(!silence.is_suspect(Duration::from_secs(4)), "it was opened since");
    }
}
