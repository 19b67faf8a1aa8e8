//! What every session of this agent shares: who the node is, what it looks after, and the newest epoch.

use std::sync::Arc;
use std::time::Duration;

use supalove_proto::node::v1::Capacity;
use tokio::sync::watch;

use crate::config::{HostSettings, Times};
use crate::docker::{Engine, EngineError};
use crate::identity::LiveIdentity;
use crate::network::{self, Taken};
use crate::renewal::Wishes;
use crate::reports::Reports;
use crate::stack::Supervisor;
use crate::standing::Standing;
use crate::status::StatusBoard;

/// Longest look at what the host's ports and networks are used for, so that Hello is answered in time.
const TAKEN_LIMIT: Duration = Duration::from_secs(5);

/// The node, for as long as the agent runs.
#[derive(Debug)]
pub struct Node {
    /// Identity, as on disk.
    pub identity: LiveIdentity,
    /// What sessions wish for it.
    pub wishes: Wishes,
    /// What the controller has said of this node.
    pub standing: Standing,
    /// The host's settings.
    pub host: HostSettings,
    /// All times.
    pub times: Times,
    /// What may be reserved.
    pub capacity: Capacity,
    /// Version of the engine when the agent started.
    pub engine_version: String,
    /// Identity of this boot of the host.
    pub boot_id: String,
    /// Identity of this run of the agent.
    pub run_id: String,
    /// All projects.
    pub supervisor: Arc<Supervisor>,
    /// What is reported.
    pub reports: Reports,
    /// The newest session.
    pub epochs: Epochs,
    /// What `status` shows.
    pub status: StatusBoard,
}

impl Node {
    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.supervisor.shared().engine
    }

    /// What others hold on the host.
    pub async fn taken(&self) -> Result<Taken, EngineError> {
        match tokio::time::timeout(TAKEN_LIMIT, network::taken(self.engine())).await {
            Ok(taken) => taken,
            Err(_) => Err(EngineError::Timeout(TAKEN_LIMIT)),
        }
    }
}

/// The newest epoch that has said Hello. Newest session wins.
#[derive(Debug)]
pub struct Epochs(watch::Sender<u64>);

impl Default for Epochs {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Epochs {
    /// Takes a session's Hello; false if a newer session has said Hello already.
    pub fn raise(&self, epoch: u64) -> bool {
        let mut accepted = false;
        self.0.send_if_modified(|newest| {
            accepted = epoch >= *newest && epoch > 0;
            let newer = accepted && epoch > *newest;
            if newer {
                *newest = epoch;
            }
            newer
        });
        accepted
    }

    /// The newest epoch; 0 = none yet.
    pub fn newest(&self) -> u64 {
        *self.0.borrow()
    }

    /// Returns when a session newer than `epoch` has said Hello.
    pub async fn superseded(&self, epoch: u64) {
        // The sender lives as long as self.
        let _ = self.0.subscribe().wait_for(|newest| *newest > epoch).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_session_wins() {
        let epochs = Epochs::default();
        assert!(!epochs.raise(0));
        assert!(epochs.raise(3) && epochs.raise(3));
        assert!(!epochs.raise(2));
        assert_eq!(epochs.newest(), 3);
        assert!(epochs.raise(4));
        epochs.superseded(3).await;
    }
}
