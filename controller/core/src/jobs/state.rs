//! Whether a job goes as it should, decided from when it last succeeded and failed; and what this replica knows of its own
//! jobs, without asking the database.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{Job, REWRITE, Replicas, Rhythm};
use crate::times::Times;

/// How often a job may miss its period before it is overdue.
const MISSED: u32 = 3;

/// How a job goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its last run succeeded, in time.
    Ok,
    /// Its last run failed, or it is overdue.
    Failing,
    /// It has not run yet, and is not overdue.
    NotYetRun,
    /// Its replica shows no sign of life.
    Gone,
}

/// When and where a job runs.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// When.
    pub rhythm: Rhythm,
    /// Where.
    pub replicas: Replicas,
    /// Longest time between two runs.
    pub period: Duration,
}

impl Schedule {
    pub(super) fn of_job(job: &Job, times: &Times) -> Self {
        let period = match &job.rhythm {
            Rhythm::Every(period) | Rhythm::Woken(_, period) => *period,
            // It shows that it is at work as often as results are written.
            Rhythm::Always => REWRITE.max(times.poll),
        };
        Self { rhythm: job.rhythm.clone(), replicas: job.replicas, period }
    }

    /// Without a success for longer than this, the job is overdue. An equal result is written every few seconds only, and a
    /// lease takes its time to pass to another replica.
    fn patience(&self) -> Duration {
        self.period.max(REWRITE) * MISSED
    }
}

/// How long ago a job's last results were.
#[derive(Debug, Clone, Copy)]
pub struct Ages {
    /// Since whoever runs the job has been there.
    pub known: Duration,
    /// Since the last success.
    pub success: Option<Duration>,
    /// Since the last failure.
    pub failure: Option<Duration>,
}

impl Ages {
    /// True if the last run failed.
    pub fn failed_last(&self) -> bool {
        self.failure.is_some_and(|failure| self.success.is_none_or(|success| failure < success))
    }

    /// True if there was no success in time.
    pub fn is_overdue(&self, schedule: &Schedule) -> bool {
        self.success.unwrap_or(self.known) > schedule.patience()
    }

    /// How a job goes.
    pub fn state(&self, schedule: &Schedule) -> State {
        if self.failed_last() || self.is_overdue(schedule) {
            State::Failing
        } else if self.success.is_none() {
            State::NotYetRun
        } else {
            State::Ok
        }
    }
}

/// How a run of a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunEnd {
    /// With a success.
    Succeeded,
    /// With an error of its own.
    Failed,
    /// The control database did not answer.
    NoDatabase,
    /// Another replica runs the job.
    Elsewhere,
}

/// The jobs of this replica, and how each went last. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Jobs(Arc<Mutex<BTreeMap<&'static str, Entry>>>);

#[derive(Debug)]
struct Entry {
    schedule: Schedule,
    /// Since this replica runs the job; `None` while another replica does.
    since: Option<Instant>,
    success: Option<Instant>,
    failure: Option<Instant>,
    /// When a run last came to an end to which the database had answered.
    answered: Option<Instant>,
}

impl Jobs {
    /// The jobs that this replica has started, by name.
    pub fn schedules(&self) -> BTreeMap<&'static str, Schedule> {
        self.lock().iter().map(|(name, entry)| (*name, entry.schedule.clone())).collect()
    }

    /// The jobs that fail on this replica: the name, and how long ago each last succeeded.
    pub fn failing(&self) -> Vec<(&'static str, Option<Duration>)> {
        self.failing_at(Instant::now())
    }

    fn failing_at(&self, now: Instant) -> Vec<(&'static str, Option<Duration>)> {
        let entries = self.lock();
        let failing = entries.iter().filter_map(|(name, entry)| {
            let ages = entry.ages(now)?;
            (ages.state(&entry.schedule) == State::Failing).then_some((*name, ages.success))
        });
        failing.collect()
    }

    /// The jobs of this replica that are late, by name: for three periods no run of them has come to an end to which the
    /// database had answered. A job that fails at its own work is not late.
    pub fn late(&self) -> Vec<&'static str> {
        self.late_at(Instant::now())
    }

    fn late_at(&self, now: Instant) -> Vec<&'static str> {
        let entries = self.lock();
        let late = entries.iter().filter(|(_, entry)| {
            let last = entry.answered.max(entry.since);
            entry.since.is_some() && last.is_some_and(|last| now - last > entry.schedule.patience())
        });
        late.map(|(name, _)| *name).collect()
    }

    /// This replica runs the job from now on. A leased job counts from when its lease is here.
    pub(super) fn add(&self, job: &Job, times: &Times) {
        let since = (job.replicas == Replicas::Each).then(Instant::now);
        let schedule = Schedule::of_job(job, times);
        self.lock().insert(job.name, Entry { schedule, since, success: None, failure: None, answered: None });
    }

    /// Notes how a run ended.
    pub(super) fn note(&self, job: &str, end: RunEnd) {
        self.note_at(Instant::now(), job, end);
    }

    fn note_at(&self, now: Instant, job: &str, end: RunEnd) {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(job) else { return };
        match end {
            RunEnd::Succeeded => entry.success = Some(now),
            RunEnd::Failed | RunEnd::NoDatabase => entry.failure = Some(now),
            RunEnd::Elsewhere => {
                entry.success = None;
                entry.failure = None;
            }
        }
        if end != RunEnd::NoDatabase {
            entry.answered = Some(now);
        }
        entry.since = (end != RunEnd::Elsewhere).then(|| entry.since.unwrap_or(now));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn ages(&self, now: Instant) -> Option<Ages> {
        Some(Ages {
            known: now - self.since?,
            success: self.success.map(|at| now - at),
            failure: self.failure.map(|at| now - at),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(replicas: Replicas) -> Job {
        let every = Rhythm::Every(Duration::from_mins(1));
        Job { replicas, ..Job::on_each("room.what", every, |_| async { Ok(()) }) }
    }

    fn state(known: u64, success: Option<u64>, failure: Option<u64>) -> State {
        let schedule = Schedule::of_job(&job(Replicas::Each), &Times::default());
        let s = Duration::from_secs;
        Ages { known: s(known), success: success.map(s), failure: failure.map(s) }.state(&schedule)
    }

    #[test]
    fn the_newest_result_decides_unless_it_is_too_old() {
        assert_eq!(state(1, None, None), State::NotYetRun);
        assert_eq!(state(181, None, None), State::Failing, "its first run hangs, or it has no turn");
        assert_eq!(state(900, Some(180), None), State::Ok);
        assert_eq!(state(900, Some(181), None), State::Failing, "three periods without a success");
        assert_eq!(state(900, Some(50), Some(51)), State::Ok);
        assert_eq!(state(900, Some(50), Some(49)), State::Failing);
        assert_eq!(state(2, None, Some(1)), State::Failing);
    }

    #[test]
    fn a_short_period_leaves_time_for_results_that_are_written_every_few_seconds() {
        let every = Rhythm::Every(Duration::from_millis(100));
        let job = Job { rhythm: every, ..job(Replicas::Each) };
        assert_eq!(Schedule::of_job(&job, &Times::default()).patience(), REWRITE * MISSED);
    }

    #[test]
    fn a_leased_job_fails_only_where_its_lease_is() {
        let jobs = Jobs::default();
        jobs.add(&job(Replicas::One), &Times::default());
        let began = Instant::now() + Duration::from_mins(10);
        let later = |seconds| began + Duration::from_secs(seconds);
        assert!(jobs.failing_at(began).is_empty(), "it runs elsewhere");
        jobs.note_at(began, "room.what", RunEnd::Succeeded);
        jobs.note_at(later(12), "room.what", RunEnd::Failed);
        assert_eq!(jobs.failing_at(later(13)), [("room.what", Some(Duration::from_secs(13)))]);
        jobs.note_at(later(14), "room.what", RunEnd::Elsewhere);
        assert!(jobs.failing_at(later(999)).is_empty(), "another replica has the lease now");
    }

    #[test]
    fn a_job_of_each_replica_without_a_result_fails_in_time() {
        let jobs = Jobs::default();
        jobs.add(&job(Replicas::Each), &Times::default());
        assert!(jobs.failing().is_empty());
        let late = Instant::now() + Duration::from_secs(181);
        assert_eq!(jobs.failing_at(late), [("room.what", None)]);
        jobs.note_at(late, "room.what", RunEnd::Succeeded);
        assert!(jobs.failing_at(late).is_empty());
    }

    #[test]
    fn a_job_is_late_while_the_database_does_not_answer_it_but_not_when_its_own_work_fails() {
        let jobs = Jobs::default();
        jobs.add(&job(Replicas::Each), &Times::default());
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        assert!(jobs.late_at(after(179)).is_empty());
        assert_eq!(jobs.late_at(after(182)), ["room.what"], "its first run hangs");
        jobs.note_at(after(190), "room.what", RunEnd::NoDatabase);
        assert_eq!(jobs.late_at(after(191)), ["room.what"]);
        jobs.note_at(after(200), "room.what", RunEnd::Failed);
        assert!(jobs.late_at(after(379)).is_empty());
        jobs.note_at(after(380), "room.what", RunEnd::Elsewhere);
        assert!(jobs.late_at(after(9999)).is_empty(), "another replica has it");
    }
}
