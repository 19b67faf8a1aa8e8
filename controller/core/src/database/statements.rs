//! Counts the statements that a call sends to the control database, for its line in the log. A call that asks for more than its
//! like does so for a reason that its answer may hide.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use tokio::task::futures::TaskLocalFuture;

tokio::task_local! {
    static COUNT: Statements;
}

/// The statements of a call so far. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Statements(Arc<AtomicU32>);

impl Statements {
    /// Counts the statements of `work`, except those that it leaves to another task.
    pub fn count<F: Future>(&self, work: F) -> TaskLocalFuture<Self, F> {
        COUNT.scope(self.clone(), work)
    }

    /// Returns how many there were.
    pub fn total(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Notes a statement of the call that runs, if one runs.
pub(super) fn note() {
    // Jobs and sessions have no count.
    let _ = COUNT.try_with(|statements| statements.0.fetch_add(1, Ordering::Relaxed));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_call_has_its_own_count() {
        let (one, other) = (Statements::default(), Statements::default());
        let work = |number| async move {
            for _ in 0..number {
                note();
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(one.count(work(3)), other.count(work(5)), work(7));
        assert_eq!((one.total(), other.total()), (3, 5));
    }
}
