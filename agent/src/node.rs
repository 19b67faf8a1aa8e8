//! What every session of this agent shares: who the node is, its projects, and the newest epoch.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use supalove_proto::node::v1::Capacity;
use supalove_spec::Liveness;
use supalove_tasks::Tasks;
use tokio::sync::watch;

use crate::certificate::Certificate;
use crate::config::{HostSettings, Times};
use crate::docker::{Engine, EngineError};
use crate::goodbye::LastGoodbye;
use crate::identity::LiveIdentity;
use crate::images::Images;
use crate::network::{self, Taken};
use crate::reports::Reports;
use crate::stack::Supervisor;
use crate::status::StatusBoard;
use crate::usage::Spool;

/// The node, for as long as the agent runs.
#[derive(Debug)]
pub struct Node {
    pub tasks: Tasks,
    /// Identity, as on disk.
    pub identity: LiveIdentity,
    pub certificate: Arc<Certificate>,
    pub last_goodbye: LastGoodbye,
    pub host: HostSettings,
    pub times: Times,
    /// What projects may reserve.
    pub capacity: Capacity,
    /// Version of the engine when the agent started.
    pub engine_version: String,
    /// Identity of this boot of the host.
    pub boot_id: String,
    /// Identity of this run of the agent.
    pub run_id: String,
    pub supervisor: Arc<Supervisor>,
    pub reports: Reports,
    pub epochs: Epochs,
    /// How this node notices that the controller is gone: as the controller last told in Hello.
    pub liveness: watch::Sender<Liveness>,
    /// How often `WatchState` repeats the digests of all states: as the controller last told in Hello.
    pub repeat_digests: watch::Sender<Option<Duration>>,
    /// Up to how long this node waits before it dials again after a session: as the controller last told in Hello.
    pub reconnect_spread: watch::Sender<Duration>,
    /// The address at which the newest session was dialled: the bulk connection belongs to the same controller.
    pub dialled: watch::Sender<String>,
    /// The address of this host on the way to the controller, as first found. Another way, for example to another controller, must not
    /// move the projects.
    pub found_address: OnceLock<IpAddr>,
    /// What `status` shows.
    pub status: StatusBoard,
    /// What the projects use, until the controller has it.
    pub usage: Arc<Spool>,
}

impl Node {
    pub fn engine(&self) -> &Engine {
        &self.supervisor.shared().engine
    }

    pub fn images(&self) -> &Images {
        &self.supervisor.shared().images
    }

    /// Ports and networks that others use on the host.
    pub async fn taken(&self) -> Result<Taken, EngineError> {
        let limit = self.times.protocol.host_check;
        match tokio::time::timeout(limit, network::taken(self.engine(), &self.host)).await {
            Ok(taken) => taken,
            Err(_) => Err(EngineError::Timeout(limit)),
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
    /// Accepts a session's Hello; false if a newer session has said Hello already.
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
