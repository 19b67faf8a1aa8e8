//! The calls that bring one node to the desired state: which projects are called now, and what a refusal means.
//!
//! A call that failed is repeated after a pause that doubles. A refusal that no repetition can change ends the calls until
//! the project has another generation. Projects whose calls fail or hang take at most half of a node's places, so the others
//! have their turn.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use rand::RngExt as _;
use supalove_net::status::{metadata, reason};
use supalove_proto::v1::ErrorReason;
use tokio::{
    task::{Id, JoinSet},
    time::Instant,
};
use tonic::{Code, Status};

use super::due::Due;
use supalove_core::ids::ProjectRef;

/// Maximum number of concurrent calls to one node.
const PARALLEL: usize = 16;
/// Of them, calls for projects whose last call failed.
const REPEATED: usize = PARALLEL / 2;
/// First pause before the repetition of a call that failed.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// What a failed call means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No answer, or one that may be another one next time.
    Passing,
    /// Another project or an older act stands in the way: the operation fails, but the way may become free.
    Blocked,
    /// The agent refuses this content for good.
    Final,
    /// The agent has a newer generation: the control database was restored from a backup.
    Ahead {
        /// The agent's generation.
        stored: i64,
        /// The agent has removed the project.
        removed: bool,
    },
}

impl Refusal {
    pub(super) fn from_status(status: &Status) -> Self {
        let reason = reason(status).and_then(|text| ErrorReason::from_text(&text));
        match (status.code(), reason) {
            (Code::FailedPrecondition, Some(ErrorReason::StaleGeneration)) => {
                let stored = metadata(status, "stored_generation").and_then(|text| text.parse().ok());
                match stored {
                    Some(stored) => Self::Ahead {
                        stored,
                        removed: metadata(status, "removed").as_deref() == Some("true"),
                    },
                    None => Self::Final,
                }
            }
            (
                Code::FailedPrecondition,
                Some(ErrorReason::RemovalInProgress | ErrorReason::StaleEpoch | ErrorReason::HelloFirst),
            ) => Self::Passing,
            (Code::FailedPrecondition, Some(ErrorReason::SlotTaken)) => Self::Blocked,
            (Code::FailedPrecondition | Code::InvalidArgument, _) => Self::Final,
            _ => Self::Passing,
        }
    }
}

/// Result of a call for a project.
#[derive(Debug)]
pub(super) struct Done {
    pub project: ProjectRef,
    pub generation: i64,
    /// It was about a leftover.
    pub leftover: bool,
    pub result: Result<(), Status>,
}

/// A project that was called.
#[derive(Debug)]
struct Called {
    generation: i64,
    /// Failures of this generation in a row.
    failures: u32,
    next: Next,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// A call is in progress.
    Running,
    At(Instant),
    /// With the next generation only.
    Never,
}

/// The calls of one session.
#[derive(Default)]
pub(super) struct Calls {
    running: JoinSet<Result<(), Status>>,
    tasks: HashMap<Id, (ProjectRef, i64, bool)>,
    called: HashMap<ProjectRef, Called>,
}

impl Calls {
    /// Starts the calls that may be made now.
    pub(super) fn start<F>(&mut self, due: Vec<Due>, call: impl Fn(Due) -> F)
    where
        F: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let now = Instant::now();
        let mut due: Vec<(u32, Due)> = due
            .into_iter()
            .filter(|due| self.may_call(due, now))
            .map(|due| (self.failures(&due), due))
            .collect();
        // Stable: of equals the oldest placement first.
        due.sort_by_key(|(failures, _)| *failures);
        for (failures, due) in due {
            let repeated = self.called.values().filter(|c| c.failures > 0 && c.next == Next::Running).count();
            if self.running.len() >= PARALLEL || (failures > 0 && repeated >= REPEATED) {
                return;
            }
            let project = due.project.clone();
            let generation = due.generation;
            let leftover = due.leftover;
            let task = self.running.spawn(call(due)).id();
            self.tasks.insert(task, (project.clone(), generation, leftover));
            self.called.insert(project, Called { generation, failures, next: Next::Running });
        }
    }

    fn may_call(&self, due: &Due, now: Instant) -> bool {
        self.called.get(&due.project).is_none_or(|called| match called.next {
            Next::Running => false,
            Next::At(at) => called.generation != due.generation || at <= now,
            Next::Never => called.generation != due.generation,
        })
    }

    fn failures(&self, due: &Due) -> u32 {
        let known = self.called.get(&due.project).filter(|called| called.generation == due.generation);
        known.map_or(0, |called| called.failures)
    }

    /// Returns how long until the next failed call may be repeated.
    pub(super) fn next_repetition(&self) -> Option<Duration> {
        let now = Instant::now();
        let times = self.called.values().filter_map(|called| match called.next {
            Next::At(at) => Some(at.saturating_duration_since(now)),
            Next::Running | Next::Never => None,
        });
        // Those that are due now wait for a place, which the end of a call gives.
        times.filter(|left| !left.is_zero()).min()
    }

    /// Waits for the end of a call; `None` if there is none. A call that panics has failed.
    pub(super) async fn next(&mut self) -> Option<Done> {
        let (task, result) = match self.running.join_next_with_id().await? {
            Ok((task, result)) => (task, result),
            Err(error) => (error.id(), Err(Status::internal(format!("the call ended: {error}")))),
        };
        let (project, generation, leftover) = self.tasks.remove(&task)?;
        Some(Done { project, generation, leftover, result })
    }

    /// Notes a call that succeeded.
    pub(super) fn succeeded(&mut self, project: &ProjectRef) {
        self.called.remove(project);
    }

    /// Notes a call that failed. Returns how often this generation has failed now.
    pub(super) fn failed(&mut self, project: &ProjectRef, refusal: Refusal) -> u32 {
        let Some(called) = self.called.get_mut(project) else { return 0 };
        called.failures = called.failures.saturating_add(1);
        called.next = match refusal {
            Refusal::Final => Next::Never,
            _ => Next::At(Instant::now() + pause(called.failures)),
        };
        called.failures
    }

    /// Forgets projects that need no call any more.
    pub(super) fn retain(&mut self, due: &[Due]) {
        let due: HashSet<&ProjectRef> = due.iter().map(|due| &due.project).collect();
        self.called.retain(|project, called| called.next == Next::Running || due.contains(project));
    }
}

/// Doubles with each failure; at random, so that projects that failed together are not repeated together.
fn pause(failures: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(LONGEST_PAUSE).mul_f64(rand::rng().random_range(0.75..1.25))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use supalove_net::status::{with_metadata, with_reason};

    use super::*;
    use crate::types::Desired;

    fn due(project: &ProjectRef, generation: i64) -> Due {
        Due {
            project: project.clone(),
            generation,
            desired: Desired::Running,
            restart_token: String::new(),
            slot: 0,
            port_base: 5500,
            subnet: String::new(),
            host: String::new(),
            new_volumes: Vec::new(),
            leftover: false,
        }
    }

    fn hanging(_: Due) -> impl Future<Output = Result<(), Status>> + Send + 'static {
        std::future::pending()
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_until_the_project_has_another_generation() {
        let project = ProjectRef::generate();
        let mut calls = Calls::default();
        let began = Instant::now();
        let mut gaps = Vec::new();
        for _ in 0..9 {
            let before = Instant::now();
            while calls.running.is_empty() {
                tokio::time::advance(Duration::from_millis(100)).await;
                calls.start(vec![due(&project, 1)], async |_| Err(Status::unavailable("no")));
            }
            gaps.push(before.elapsed());
            let done = calls.next().await.unwrap();
            calls.failed(&done.project, Refusal::from_status(&done.result.unwrap_err()));
        }
        assert!(began.elapsed() > Duration::from_mins(5), "{gaps:?}");
        assert!(gaps[8] > gaps[1] * 20 && gaps[8] < LONGEST_PAUSE * 2, "{gaps:?}");
        calls.start(vec![due(&project, 2)], async |_| Ok(()));
        assert_eq!(calls.running.len(), 1, "another generation is called at once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_final_refusal_ends_the_calls_of_a_generation() {
        let project = ProjectRef::generate();
        let mut calls = Calls::default();
        calls.start(vec![due(&project, 1)], async |_| Err(Status::invalid_argument("never")));
        let done = calls.next().await.unwrap();
        calls.failed(&done.project, Refusal::from_status(&done.result.unwrap_err()));
        tokio::time::advance(Duration::from_hours(24)).await;
        calls.start(vec![due(&project, 1)], async |_| Ok(()));
        assert!(calls.running.is_empty() && calls.next_repetition().is_none());
        calls.start(vec![due(&project, 2)], async |_| Ok(()));
        assert_eq!(calls.running.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn projects_whose_calls_hang_leave_places_for_others() {
        let hung: Vec<Due> = (0..40).map(|_| due(&ProjectRef::generate(), 1)).collect();
        let again = || hung.iter().map(|hung| due(&hung.project, 1));
        let mut calls = Calls::default();
        for hung in &hung {
            let called = Called { generation: 1, failures: 1, next: Next::At(Instant::now()) };
            calls.called.insert(hung.project.clone(), called);
        }
        let fresh = ProjectRef::generate();
        let started = Arc::new(Mutex::new(Vec::new()));
        let note = started.clone();
        calls.start(again().chain([due(&fresh, 1)]).collect(), move |due| {
            note.lock().unwrap().push(due.project.clone());
            hanging(due)
        });
        assert_eq!(started.lock().unwrap()[0], fresh, "it never failed, so it comes first");
        assert_eq!(calls.running.len(), REPEATED + 1);
        let late = ProjectRef::generate();
        calls.start(again().chain([due(&late, 1)]).collect(), hanging);
        assert_eq!(calls.running.len(), REPEATED + 2, "a place was left for it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_panics_has_failed_and_is_repeated() {
        let project = ProjectRef::generate();
        let mut calls = Calls::default();
        calls.start(vec![due(&project, 1)], async |_| panic!("as a test asks"));
        let done = calls.next().await.expect("its end is told");
        assert_eq!((&done.project, done.result.is_err()), (&project, true));
        calls.failed(&project, Refusal::Passing);
        tokio::time::advance(FIRST_PAUSE * 2).await;
        calls.start(vec![due(&project, 1)], async |_| Ok(()));
        assert_eq!(calls.running.len(), 1);
    }

    #[test]
    fn a_refusal_is_read_from_its_reason() {
        let refused =
            |reason: &str| Refusal::from_status(&with_reason(Code::FailedPrecondition, reason, "no"));
        assert_eq!(refused("GENERATION_CONFLICT"), Refusal::Final);
        assert_eq!(refused("REMOVAL_IN_PROGRESS"), Refusal::Passing);
        assert_eq!(refused("SLOT_TAKEN"), Refusal::Blocked);
        assert_eq!(refused("STALE_GENERATION"), Refusal::Final, "an older agent does not say which it has");
        let facts = [("stored_generation", "7".to_owned()), ("removed", "true".to_owned())];
        let ahead = with_metadata(Code::FailedPrecondition, "STALE_GENERATION", "no", facts);
        assert_eq!(Refusal::from_status(&ahead), Refusal::Ahead { stored: 7, removed: true });
        assert_eq!(Refusal::from_status(&Status::deadline_exceeded("")), Refusal::Passing);
        assert_eq!(Refusal::from_status(&Status::invalid_argument("")), Refusal::Final);
    }
}
