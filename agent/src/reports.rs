//! What the agent reports to its subscribers. In: observed states and progress. Out: for each subscriber every project
//! once, then the latest state of each that changed. States are coalesced but never lost; progress may be lost. While the node
//! itself is in trouble no project is shown as healthy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use prost::Message as _;
use supalove_proto::node::v1::{
    ObservedStack, Progress, ServiceState, StackError, StackPhase, StateDigest, StateDigests,
};
use tokio::sync::{broadcast, watch};

/// Progress reports kept for a slow subscriber.
const PROGRESS_KEPT: usize = 256;

/// Where states are published; cheap to clone.
#[derive(Debug, Clone)]
pub struct Reports {
    states: Arc<Mutex<States>>,
    version: watch::Sender<u64>,
    progress: broadcast::Sender<Progress>,
}

#[derive(Debug, Default)]
struct States {
    last: u64,
    /// By project: the version of its last change, and its state.
    stacks: BTreeMap<String, (u64, ObservedStack)>,
    /// What is wrong with the node, so that no project on it is healthy.
    trouble: Option<StackError>,
}

impl States {
    /// A project's state as it is shown.
    fn shown(&self, stack: &ObservedStack) -> ObservedStack {
        match &self.trouble {
            Some(trouble) if stack.phase() == StackPhase::Healthy => {
                let mut shown = troubled(stack.clone(), trouble);
                shown.digest = digest(&shown);
                shown
            }
            _ => stack.clone(),
        }
    }
}

impl Default for Reports {
    fn default() -> Self {
        Self {
            states: Arc::default(),
            version: watch::Sender::new(0),
            progress: broadcast::Sender::new(PROGRESS_KEPT),
        }
    }
}

impl Reports {
    /// Publishes a project's state, unless nothing but the time is new.
    pub fn publish(&self, mut stack: ObservedStack) {
        stack.observed_at = None;
        stack.digest = digest(&stack);
        let mut states = self.lock();
        let known = states.stacks.get(&stack.project_ref);
        if known.is_some_and(|(_, known)| ObservedStack { observed_at: None, ..known.clone() } == stack) {
            return;
        }
        if known.map(|(_, known)| (known.generation, known.phase)) != Some((stack.generation, stack.phase)) {
            let project = stack.project_ref.as_str();
            let phase = stack.phase().as_str_name();
            tracing::info!(project, generation = stack.generation, phase, "project phase changed");
        }
        stack.observed_at = Some(SystemTime::now().into());
        states.last += 1;
        let version = states.last;
        states.stacks.insert(stack.project_ref.clone(), (version, stack));
        drop(states);
        self.version.send_replace(version);
    }

    /// Digests of all states.
    fn digests(states: &States) -> StateDigests {
        let all = states.stacks.values().map(|(_, stack)| states.shown(stack)).map(|shown| StateDigest {
            project_ref: shown.project_ref,
            generation: shown.generation,
            digest: shown.digest,
        });
        StateDigests { digests: all.collect() }
    }

    /// Publishes a step; nobody may be listening.
    pub fn progress(&self, progress: Progress) {
        let _ = self.progress.send(progress);
    }

    /// Says that the node is in trouble, or no longer: healthy projects are shown as unhealthy meanwhile.
    pub fn set_trouble(&self, trouble: Option<StackError>) {
        let mut states = self.lock();
        if states.trouble == trouble {
            return;
        }
        states.trouble = trouble;
        let States { last, stacks, .. } = &mut *states;
        let healthy = stacks.values_mut().filter(|(_, stack)| stack.phase() == StackPhase::Healthy);
        for (version, stack) in healthy {
            *last += 1;
            *version = *last;
            stack.observed_at = Some(SystemTime::now().into());
        }
        let version = states.last;
        drop(states);
        self.version.send_replace(version);
    }

    /// All states as they are.
    pub fn all(&self) -> Vec<ObservedStack> {
        let states = self.lock();
        states.stacks.values().map(|(_, stack)| states.shown(stack)).collect()
    }

    /// Projects that have been REMOVED for at least `age`.
    pub fn removed_for(&self, age: Duration) -> Vec<String> {
        let now = SystemTime::now();
        let is_old = |stack: &ObservedStack| {
            let seen = stack.observed_at.and_then(|time| SystemTime::try_from(time).ok());
            // If the clock was set back, the age is counted from now.
            seen.is_some_and(|seen| now.duration_since(seen).is_ok_and(|passed| passed >= age))
        };
        let states = self.lock();
        let stacks = states.stacks.values().map(|(_, stack)| stack);
        let old = stacks.filter(|stack| stack.phase() == StackPhase::Removed && is_old(stack));
        old.map(|stack| stack.project_ref.clone()).collect()
    }

    /// Reports nothing about a project any more.
    pub fn forget(&self, project_ref: &str) {
        self.lock().stacks.remove(project_ref);
    }

    /// A new subscriber, which has seen nothing yet.
    pub fn subscribe(&self) -> Subscription {
        Subscription {
            reports: self.clone(),
            seen: 0,
            version: self.version.subscribe(),
            progress: self.progress.subscribe(),
        }
    }

    fn since(&self, seen: u64) -> (u64, Vec<ObservedStack>) {
        Self::news(&self.lock(), seen)
    }

    fn news(states: &States, seen: u64) -> (u64, Vec<ObservedStack>) {
        let mut news: Vec<_> = states.stacks.values().filter(|(version, _)| *version > seen).collect();
        news.sort_by_key(|(version, _)| *version);
        (states.last, news.into_iter().map(|(_, stack)| states.shown(stack)).collect())
    }

    fn lock(&self) -> MutexGuard<'_, States> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A healthy project on a node that is in trouble.
fn troubled(mut stack: ObservedStack, trouble: &StackError) -> ObservedStack {
    stack.phase = StackPhase::Unhealthy.into();
    stack.error = Some(trouble.clone());
    for service in &mut stack.services {
        if service.state() == ServiceState::Healthy {
            service.state = ServiceState::Unhealthy.into();
            service.message.clone_from(&trouble.message);
        }
    }
    stack
}

/// SHA-256 over a state without its time and digest, cut to 16 bytes.
fn digest(stack: &ObservedStack) -> Vec<u8> {
    let content = ObservedStack { observed_at: None, digest: Vec::new(), ..stack.clone() };
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &content.encode_to_vec()).as_ref()[..16].to_vec()
}

#[derive(Debug)]
pub struct Subscription {
    reports: Reports,
    seen: u64,
    version: watch::Receiver<u64>,
    progress: broadcast::Receiver<Progress>,
}

/// What a subscriber gets.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// Latest states of the projects that changed.
    States(Vec<ObservedStack>),
    Progress(Progress),
}

impl Subscription {
    /// Every project as it is now; what comes next is what changes after it.
    pub fn snapshot(&mut self) -> Vec<ObservedStack> {
        self.version.mark_unchanged();
        self.take()
    }

    /// What changed since the last answer, and the digests of all states as they are with it.
    pub fn levels(&mut self) -> (Vec<ObservedStack>, StateDigests) {
        self.version.mark_unchanged();
        let states = self.reports.lock();
        let (seen, news) = Reports::news(&states, self.seen);
        let digests = Reports::digests(&states);
        drop(states);
        self.seen = seen;
        (news, digests)
    }

    /// Waits for something new; none when the agent stops.
    pub async fn next(&mut self) -> Option<News> {
        loop {
            tokio::select! {
                biased;
                changed = self.version.changed() => {
                    changed.ok()?;
                    let states = self.take();
                    if !states.is_empty() {
                        return Some(News::States(states));
                    }
                }
                progress = self.progress.recv() => match progress {
                    Ok(progress) => return Some(News::Progress(progress)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
            }
        }
    }

    fn take(&mut self) -> Vec<ObservedStack> {
        let (seen, states) = self.reports.since(self.seen);
        self.seen = seen;
        states
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(project_ref: &str, generation: u64) -> ObservedStack {
        ObservedStack { project_ref: project_ref.into(), generation, ..ObservedStack::default() }
    }

    #[tokio::test]
    async fn a_subscriber_gets_all_then_the_latest_of_what_changed() {
        let reports = Reports::default();
        reports.publish(stack("a", 1));
        reports.publish(stack("b", 1));
        let mut watcher = reports.subscribe();
        assert_eq!(watcher.snapshot().len(), 2);
        for generation in 2..100 {
            reports.publish(stack("a", generation));
        }
        reports.publish(stack("b", 1));
        let Some(News::States(states)) = watcher.next().await else { panic!("no states") };
        assert_eq!(states.len(), 1, "b did not change, a is coalesced");
        assert_eq!(states[0].generation, 99);
        assert!(states[0].observed_at.is_some());
    }

    #[test]
    fn only_what_has_been_removed_for_a_while_may_be_forgotten() {
        let reports = Reports::default();
        reports.publish(stack("a", 1));
        reports.publish(ObservedStack { phase: StackPhase::Removed.into(), ..stack("b", 1) });
        assert_eq!(reports.removed_for(Duration::from_mins(1)), [""; 0]);
        assert_eq!(reports.removed_for(Duration::ZERO), ["b"]);
        reports.forget("b");
        assert_eq!(reports.all().len(), 1);
        assert_eq!(reports.subscribe().snapshot(), reports.all());
    }

    #[test]
    fn digests_follow_the_states_that_they_belong_to() {
        let reports = Reports::default();
        reports.publish(stack("a", 1));
        let mut watcher = reports.subscribe();
        let told = watcher.snapshot().remove(0).digest;
        assert_eq!(told.len(), 16);
        reports.publish(stack("b", 1));
        let (states, digests) = watcher.levels();
        assert_eq!(states.len(), 1, "a was told before");
        let of = |name: &str| digests.digests.iter().find(|d| d.project_ref == name).unwrap().digest.clone();
        assert_eq!((of("a"), of("b")), (told.clone(), states[0].digest.clone()));
        reports.publish(stack("a", 2));
        let (states, _) = watcher.levels();
        assert_ne!(states[0].digest, told);
    }

    #[tokio::test]
    async fn progress_is_lost_before_states_are() {
        let reports = Reports::default();
        let mut watcher = reports.subscribe();
        watcher.snapshot();
        for percent in 0..1000 {
            reports.progress(Progress { percent, ..Progress::default() });
        }
        reports.publish(stack("a", 1));
        assert!(matches!(watcher.next().await, Some(News::States(_))));
        assert!(matches!(watcher.next().await, Some(News::Progress(_))));
    }
}
