//! How many reports of one node the controller stores: a node that an attacker has taken over cannot fill the database.
//! Progress above the budget is dropped, since it only informs; a state waits, and the agent meanwhile replaces it by newer
//! ones.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use supalove_core::ids::NodeId;
use tokio::time::Instant;

/// Reports that a node may send at once: a host that comes up reports a few dozen for each of its projects.
const BURST: f64 = 2000.0;
/// Reports per second over a longer time.
const RATE: f64 = 10.0;
/// What a report costs that changed nothing: an agent tells all its states again after each short loss of its line.
const UNCHANGED: f64 = 0.1;

/// The budgets of all nodes. Cheap to clone.
#[derive(Clone, Default)]
pub struct Budget(Arc<Mutex<HashMap<NodeId, Bucket>>>);

struct Bucket {
    left: f64,
    at: Instant,
}

impl Budget {
    /// Spends one report of the node, or returns how long until there is one to spend.
    pub fn spend(&self, node: NodeId) -> Result<(), Duration> {
        let now = Instant::now();
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(node).or_insert(Bucket { left: BURST, at: now });
        let earned = now.duration_since(bucket.at).as_secs_f64() * RATE;
        bucket.left = (bucket.left + earned).min(BURST);
        bucket.at = now;
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / RATE));
        }
        bucket.left -= 1.0;
        Ok(())
    }

    /// Gives back what a report cost, since it changed nothing.
    pub fn was_unchanged(&self, node: NodeId) {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get_mut(&node) {
            bucket.left = (bucket.left + 1.0 - UNCHANGED).min(BURST);
        }
    }

    /// Waits until the node has a report to spend, and spends it.
    pub async fn wait(&self, node: NodeId) {
        while let Err(wait) = self.spend(node) {
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_node_spends_its_own_budget_and_earns_it_again() {
        let budget = Budget::default();
        let (node, other) = (NodeId::generate(), NodeId::generate());
        let spent = (0..5000).take_while(|_| budget.spend(node).is_ok()).count();
        assert_eq!(spent, 2000);
        assert!(budget.spend(other).is_ok(), "another node has its own");
        let began = Instant::now();
        for _ in 0..100 {
            budget.wait(node).await;
        }
        let took = began.elapsed();
        assert!(took >= Duration::from_secs(9) && took <= Duration::from_secs(11), "{took:?}");
        let began = Instant::now();
        for _ in 0..100 {
            budget.wait(node).await;
            budget.was_unchanged(node);
        }
        let took = began.elapsed();
        assert!(took <= Duration::from_secs(2), "what changes nothing costs little: {took:?}");
    }
}
