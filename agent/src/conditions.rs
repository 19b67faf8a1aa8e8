//! What is wrong with this node, beside its projects. In: whoever watches a part of the host raises and clears a
//! condition. Out: the list, for the controller and for `status`; and, while a blocking condition stands, projects that
//! are not reported as healthy.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use supalove_proto::node::v1::{NodeCondition, StackError};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::reports::Reports;

/// The engine does not answer.
pub const ENGINE_SILENT: &str = "ENGINE_SILENT";
/// The engine answers, but not one of the agent's calls.
pub const ENGINE_SLOW: &str = "ENGINE_SLOW";
/// The engine's chains of the packet filter are gone.
pub const FIREWALL_CHAINS_MISSING: &str = "FIREWALL_CHAINS_MISSING";
/// A disk of the host fills up.
pub const DISK_FILLING: &str = "DISK_FILLING";
/// The engine's restart would stop every project.
pub const LIVE_RESTORE_OFF: &str = "LIVE_RESTORE_OFF";
/// Published ports of running services do not answer.
pub const PORTS_GONE: &str = "PORTS_GONE";

/// What to do when the engine's chains are missing: the engine makes them when it starts, and only then.
pub const CHAINS_ADVICE: &str = "the Docker Engine's chains are missing in the packet filter of this host, most likely \
    because somebody flushed it; restart the Docker Engine (systemctl restart docker): it makes them again, and with \
    live-restore no container stops";

/// The node's conditions; cheap to clone.
#[derive(Debug, Clone)]
pub struct Conditions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    reports: Reports,
    all: watch::Sender<Vec<NodeCondition>>,
    /// When a blocking condition last stood.
    disturbed: Mutex<Option<Instant>>,
}

impl Conditions {
    /// No conditions. While a blocking one stands, `reports` shows no project as healthy.
    pub fn new(reports: Reports) -> Self {
        Self(Arc::new(Inner { reports, all: watch::Sender::new(Vec::new()), disturbed: Mutex::default() }))
    }

    /// Says that something is wrong that lets new projects fail, and old ones work badly or not at all.
    pub fn raise_blocking(&self, reason: &'static str, message: String) {
        self.raise(reason, message, true);
    }

    /// Says that something is wrong that stops nobody.
    pub fn raise_note(&self, reason: &'static str, message: String) {
        self.raise(reason, message, false);
    }

    fn raise(&self, reason: &'static str, message: String, blocking: bool) {
        self.change(|all| match all.iter_mut().find(|known| known.reason == reason) {
            Some(known) if known.message == message && known.blocking == blocking => false,
            Some(known) => {
                tracing::debug!(reason, message, "node condition changed");
                known.message = message;
                known.blocking = blocking;
                true
            }
            None => {
                tracing::warn!(reason, message, "node condition began");
                let since = Some(SystemTime::now().into());
                all.push(NodeCondition { reason: reason.to_owned(), message, since, blocking });
                all.sort_by(|one, other| one.reason.cmp(&other.reason));
                true
            }
        });
    }

    /// Says that it is no longer so.
    pub fn clear(&self, reason: &str) {
        self.change(|all| {
            let before = all.len();
            all.retain(|known| known.reason != reason);
            let ended = all.len() < before;
            if ended {
                tracing::info!(reason, "node condition ended");
            }
            ended
        });
    }

    /// The reports are told under the lock, so that they never lag behind the conditions.
    fn change(&self, change: impl FnOnce(&mut Vec<NodeCondition>) -> bool) {
        let mut disturbed = self.disturbed();
        self.0.all.send_if_modified(|all| {
            let was_blocked = all.iter().any(|one| one.blocking);
            let changed = change(all);
            let blocking = all.iter().find(|one| one.blocking);
            if was_blocked || blocking.is_some() {
                *disturbed = Some(Instant::now());
            }
            if changed {
                self.0.reports.set_trouble(blocking.map(trouble));
            }
            changed
        });
    }

    /// The list now, and each change.
    pub fn subscribe(&self) -> watch::Receiver<Vec<NodeCondition>> {
        self.0.all.subscribe()
    }

    pub fn all(&self) -> Vec<NodeCondition> {
        self.0.all.borrow().clone()
    }

    /// True while the condition of this reason stands.
    pub fn stands(&self, reason: &str) -> bool {
        self.0.all.borrow().iter().any(|one| one.reason == reason)
    }

    /// True if no blocking condition stands or stood within this time.
    pub fn calm_for(&self, time: Duration) -> bool {
        let disturbed = self.disturbed();
        let blocked = self.0.all.borrow().iter().any(|one| one.blocking);
        !blocked && disturbed.is_none_or(|at| at.elapsed() >= time)
    }

    fn disturbed(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.disturbed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The condition as the reason why a project is not healthy.
fn trouble(condition: &NodeCondition) -> StackError {
    StackError {
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        ..StackError::default()
    }
}

#[cfg(test)]
mod tests {
    use supalove_proto::node::v1::{ObservedService, ObservedStack, ServiceState, StackPhase};

    use super::*;

    fn healthy() -> ObservedStack {
        let service = ObservedService {
            name: "postgres".into(),
            state: ServiceState::Healthy.into(),
            ..ObservedService::default()
        };
        ObservedStack {
            project_ref: "a".into(),
            generation: 1,
            phase: StackPhase::Healthy.into(),
            services: vec![service],
            ..ObservedStack::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_blocking_condition_makes_healthy_projects_unhealthy_for_as_long_as_it_stands() {
        let reports = Reports::default();
        let conditions = Conditions::new(reports.clone());
        reports.publish(healthy());
        let stopped = ObservedStack {
            project_ref: "b".into(),
            phase: StackPhase::Stopped.into(),
            ..ObservedStack::default()
        };
        reports.publish(stopped.clone());
        let mut watcher = reports.subscribe();
        watcher.snapshot();
        conditions.raise_note(PORTS_GONE, "one".into());
        assert_eq!(reports.all()[0].phase(), StackPhase::Healthy);
        assert!(conditions.calm_for(Duration::from_mins(1)));

        conditions.raise_blocking(ENGINE_SILENT, "silent".into());
        let told = watcher.snapshot();
        assert_eq!(told.len(), 1, "the stopped one is as it was: {told:?}");
        assert_eq!(told[0].phase(), StackPhase::Unhealthy);
        assert_eq!(told[0].error.as_ref().unwrap().reason, ENGINE_SILENT);
        assert_eq!(told[0].services[0].state(), ServiceState::Unhealthy);
        assert_eq!(told[0].services[0].message, "silent");
        let reasons: Vec<_> = conditions.all().into_iter().map(|one| one.reason).collect();
        assert_eq!(reasons, [ENGINE_SILENT, PORTS_GONE]);

        let since = conditions.all()[0].since;
        conditions.raise_blocking(ENGINE_SILENT, "still silent".into());
        assert_eq!(conditions.all()[0].since, since, "it began when it began");
        conditions.clear(ENGINE_SILENT);
        let told = watcher.snapshot();
        assert_eq!((told.len(), told[0].phase()), (1, StackPhase::Healthy));
        assert_eq!(told[0].error, None);
        assert!(!conditions.calm_for(Duration::from_mins(1)), "it has only just ended");
        tokio::time::advance(Duration::from_mins(1)).await;
        assert!(conditions.calm_for(Duration::from_mins(1)));
    }

    #[test]
    fn a_condition_is_told_once() {
        let conditions = Conditions::new(Reports::default());
        let mut told = conditions.subscribe();
        conditions.raise_note(PORTS_GONE, "one".into());
        assert!(told.has_changed().unwrap());
        told.mark_unchanged();
        conditions.raise_note(PORTS_GONE, "one".into());
        conditions.clear(ENGINE_SLOW);
        assert!(!told.has_changed().unwrap());
        conditions.clear(PORTS_GONE);
        assert!(told.borrow_and_update().is_empty());
    }
}
