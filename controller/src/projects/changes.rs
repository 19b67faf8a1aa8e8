//! Wake-ups inside this process. Hints only: whoever waits also looks at the database every poll.

use tokio::sync::broadcast;

use crate::ids::{NodeId, ProjectRef};

const BACKLOG: usize = 1024;

/// Something changed.
#[derive(Debug, Clone)]
pub enum Change {
    /// A project's row or events.
    Project(ProjectRef),
    /// Desired state of a project on a node.
    Node(NodeId),
    /// Room on a node, or somebody waits for it.
    Room,
}

/// Sends and receives wake-ups.
#[derive(Debug, Clone)]
pub struct Changes(broadcast::Sender<Change>);

impl Default for Changes {
    fn default() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }
}

impl Changes {
    /// Wakes. Nobody listening is fine.
    pub fn wake(&self, change: Change) {
        let _ = self.0.send(change);
    }

    /// Listens from now on.
    pub fn subscribe(&self) -> Listener {
        Listener(self.0.subscribe())
    }
}

/// Listens for wake-ups.
#[derive(Debug)]
pub struct Listener(broadcast::Receiver<Change>);

impl Listener {
    /// Returns at the first change of interest, or after missing some.
    pub async fn wait(&mut self, interesting: impl Fn(&Change) -> bool) {
        loop {
            match self.0.recv().await {
                Ok(change) if !interesting(&change) => {}
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    /// Returns at the first change of this project.
    pub async fn project(&mut self, project: &ProjectRef) {
        self.wait(|change| matches!(change, Change::Project(changed) if changed == project)).await;
    }
}
