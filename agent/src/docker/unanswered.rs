//! Calls that the engine has not answered yet, so that one that hangs is noticed long before its time limit: an engine can
//! answer most calls and hang in one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// All unanswered calls; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Unanswered(Arc<Mutex<Calls>>);

#[derive(Debug, Default)]
struct Calls {
    last: u64,
    /// By number: since when an answer is due.
    due: BTreeMap<u64, Instant>,
}

/// A call, until it is dropped.
pub(super) struct Call {
    all: Unanswered,
    number: u64,
}

impl Unanswered {
    /// Notes a call whose answer is not late before `due`.
    pub(super) fn begin(&self, due: Instant) -> Call {
        let mut calls = self.lock();
        calls.last += 1;
        let number = calls.last;
        calls.due.insert(number, due);
        Call { all: self.clone(), number }
    }

    /// Calls whose answer is late.
    pub(super) fn late(&self) -> usize {
        let now = Instant::now();
        self.lock().due.values().filter(|due| **due <= now).count()
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.all.lock().due.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_is_late_from_its_time_until_it_ends() {
        let calls = Unanswered::default();
        let slow = calls.begin(Instant::now() + Duration::from_secs(10));
        drop(calls.begin(Instant::now()));
        assert_eq!(calls.late(), 0);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(calls.late(), 1);
        drop(slow);
        assert_eq!(calls.late(), 0);
    }
}
