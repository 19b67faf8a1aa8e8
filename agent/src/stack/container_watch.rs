//! Notices that one container may have changed: by an event, or because a full list does not show it running. It only
//! raises a suspicion; the caller inspects the container.

use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use super::context::{Project, Truth};
use crate::docker::Hint;

#[derive(Debug)]
pub struct ContainerWatch {
    project_ref: Arc<str>,
    container: String,
    hints: broadcast::Receiver<Hint>,
    truth: watch::Receiver<Arc<Truth>>,
    suspicious: bool,
}

impl ContainerWatch {
    /// Starts with a suspicion: nothing is known of the container yet.
    pub fn new(project: &Project, container: &str) -> Self {
        let mut truth = project.shared.truth.clone();
        truth.mark_unchanged();
        Self {
            project_ref: project.project_ref.clone(),
            container: container.to_owned(),
            hints: project.hints.subscribe(),
            truth,
            suspicious: true,
        }
    }

    /// True once after each suspicion.
    pub fn take_suspicion(&mut self) -> bool {
        std::mem::take(&mut self.suspicious)
    }

    /// Raises a suspicion.
    pub fn suspect(&mut self) {
        self.suspicious = true;
    }

    /// Returns when there is a suspicion. Can be cancelled at any time.
    pub async fn changed(&mut self) {
        loop {
            let suspicious = tokio::select! {
                hint = self.hints.recv() => match hint {
                    Ok(hint) => hint.container == self.container,
                    Err(broadcast::error::RecvError::Lagged(_)) => true,
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                },
                changed = self.truth.changed() => match changed {
                    Ok(()) => !self.is_listed_running(),
                    Err(_) => std::future::pending().await,
                },
            };
            if suspicious {
                self.suspicious = true;
                return;
            }
        }
    }

    fn is_listed_running(&mut self) -> bool {
        let truth = self.truth.borrow_and_update();
        let listed = truth.get(&*self.project_ref).map(Vec::as_slice).unwrap_or_default();
        listed.iter().any(|container| container.id == self.container && container.running)
    }
}
