//! A count of what this replica has done since it started. Rooms count, and `PlatformService.ListJobs` shows it to the operator.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// See the module. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Counts one more.
    pub fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
