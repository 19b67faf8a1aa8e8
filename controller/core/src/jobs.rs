//! Work in the background: each job has a name and a rhythm, and leaves its last result where an operator can read it.

mod failures;
mod results;
mod state;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::{
    sync::Notify,
    time::{Instant, Interval, MissedTickBehavior, sleep},
};

use crate::{
    error::{Error, Result, chain},
    hints::{Hint, Listener},
    kernel::Core,
    leases::{self, Lease},
};

pub use self::failures::Failures;
use self::state::RunEnd;
pub(crate) use results::forget;
pub use results::{JobStatus, LastResults, list};
pub use state::{Jobs, Schedule, State};

/// When a job runs.
#[derive(Debug, Clone)]
pub enum Rhythm {
    /// Every so often.
    Every(Duration),
    /// At a hint, and every so often.
    Woken(Hint, Duration),
    /// It goes on until it fails, and begins again after a poll.
    Always,
}

/// Which replicas run a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replicas {
    /// Each for itself.
    Each,
    /// One at a time, by a lease of the job's name.
    One,
}

/// What a run of a job has.
#[derive(Debug, Clone)]
pub struct Run {
    /// Held, if only one replica runs the job.
    pub lease: Option<Lease>,
    /// How long the control database has answered this job without a break.
    pub database_up: Duration,
    /// A job that runs until it fails notifies this each time its work has done something. Its silence is shown.
    pub at_work: Arc<Notify>,
}

type Work = Arc<dyn Fn(Run) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// A job.
pub struct Job {
    /// `room.what`, for logs and operators.
    pub name: &'static str,
    /// When it runs.
    pub rhythm: Rhythm,
    /// Where it runs.
    pub replicas: Replicas,
    work: Work,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("name", &self.name).field("rhythm", &self.rhythm).finish_non_exhaustive()
    }
}

impl Job {
    /// A job that each replica runs.
    pub fn on_each<F>(
        name: &'static str,
        rhythm: Rhythm,
        work: impl Fn(Run) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        Self { name, rhythm, replicas: Replicas::Each, work: Arc::new(move |run| Box::pin(work(run))) }
    }

    /// A job that one replica runs at a time.
    pub fn leased<F>(
        name: &'static str,
        rhythm: Rhythm,
        work: impl Fn(Run) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        Self { replicas: Replicas::One, ..Self::on_each(name, rhythm, work) }
    }

    /// Runs the job in its rhythm as a task of the core: it ends when the controller stops, and a panic in it ends the
    /// process.
    pub fn start(self, core: &Core) {
        core.jobs.add(&self, &core.times);
        core.tasks.job(self.name, self.run(core.for_work()));
    }

    async fn run(self, core: Core) {
        let mut up_since = Instant::now();
        let mut turns = Turns::new(&self.rhythm, &core);
        let mut lease = LeaseKeeper::default();
        let mut results = Results::default();
        let mut failures = Failures::default();
        let at_work = Arc::new(Notify::new());
        let mut again = None;
        loop {
            turns.next(again).await;
            let result = match self.rhythm {
                Rhythm::Always => tokio::select! {
                    result = self.run_once(&core, &mut lease, up_since.elapsed(), &at_work) => result,
                    never = self.show_at_work(&core, &mut results, &at_work) => never,
                },
                _ => self.run_once(&core, &mut lease, up_since.elapsed(), &at_work).await,
            };
            let end = match &result {
                Ok(Some(())) => RunEnd::Succeeded,
                Ok(None) => RunEnd::Elsewhere,
                Err(Error::Unavailable { .. }) => RunEnd::NoDatabase,
                Err(_) => RunEnd::Failed,
            };
            again = None;
            if end == RunEnd::NoDatabase {
                up_since = Instant::now();
                again = Some(RETRY);
            }
            core.jobs.note(self.name, end);
            if let Some(ran) = result.transpose() {
                let ran = ran.map_err(|error| chain(&error));
                failures.note(self.name, ran.as_ref().err());
                results.keep(&core, self.name, ran).await;
            }
        }
    }

    /// A job that goes on until it fails has no end that would be its success: that it is still at work is one.
    async fn show_at_work(&self, core: &Core, results: &mut Results, at_work: &Notify) -> Result<Option<()>> {
        loop {
            at_work.notified().await;
            core.jobs.note(self.name, RunEnd::Succeeded);
            results.keep(core, self.name, Ok(())).await;
        }
    }

    /// `None` if another replica runs the job.
    async fn run_once(
        &self,
        core: &Core,
        keeper: &mut LeaseKeeper,
        database_up: Duration,
        at_work: &Arc<Notify>,
    ) -> Result<Option<()>> {
        let lease = match self.replicas {
            Replicas::Each => None,
            Replicas::One => match keeper.lease(core, self.name).await? {
                Some(lease) => Some(lease),
                None => return Ok(None),
            },
        };
        (self.work)(Run { lease, database_up, at_work: at_work.clone() }).await.map(Some)
    }
}

/// When the next run is due.
struct Turns {
    tick: Interval,
    hint: Option<Listener>,
}

impl Turns {
    fn new(rhythm: &Rhythm, core: &Core) -> Self {
        let (period, hint) = match rhythm {
            Rhythm::Every(period) => (*period, None),
            Rhythm::Woken(hint, poll) => (*poll, Some(core.hints.listen(hint.clone()))),
            Rhythm::Always => (core.times.poll, None),
        };
        let mut tick = tokio::time::interval(period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { tick, hint }
    }

    /// Waits for the turn; at most until `again`, if it is set.
    async fn next(&mut self, again: Option<Duration>) {
        let hinted = async {
            match &mut self.hint {
                Some(hint) => hint.woken().await,
                None => std::future::pending().await,
            }
        };
        let again = async {
            match again {
                Some(pause) => sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.tick.tick() => return,
            () = hinted => {}
            () = again => {}
        }
        self.tick.reset();
    }
}

/// A job to which the database did not answer runs again after this time, even if its turn is in an hour.
const RETRY: Duration = Duration::from_secs(5);

/// Between two writes of the same result.
const REWRITE: Duration = Duration::from_secs(5);

/// Writes results down, but not every second the same one.
#[derive(Default)]
struct Results {
    written: Option<(Instant, bool)>,
}

impl Results {
    /// A result that cannot be written is no failure of the job: the database is away, and the next result follows.
    async fn keep(&mut self, core: &Core, job: &str, result: Result<(), String>) {
        let same = |(at, ok): (Instant, bool)| ok == result.is_ok() && at.elapsed() < REWRITE;
        if self.written.is_some_and(same) {
            return;
        }
        self.written = match results::write(core, job, &result).await {
            Ok(()) => Some((Instant::now(), result.is_ok())),
            Err(_) => None,
        };
    }
}

/// Takes a lease and renews it in time.
#[derive(Default)]
struct LeaseKeeper {
    held: Option<Lease>,
    renew_at: Option<Instant>,
}

impl LeaseKeeper {
    async fn lease(&mut self, core: &Core, name: &'static str) -> Result<Option<Lease>> {
        if self.held.is_none() || self.renew_at.is_none_or(|at| Instant::now() >= at) {
            self.held = None;
            self.held = leases::take(&core.db, name, core.controller, &core.times).await?;
            self.renew_at = Some(Instant::now() + core.times.lease_renew);
        }
        Ok(self.held.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_job_without_its_database_runs_again_long_before_its_turn() {
        let mut tick = tokio::time::interval(Duration::from_hours(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turns = Turns { tick, hint: None };
        turns.next(None).await;
        let began = Instant::now();
        turns.next(Some(RETRY)).await;
        assert_eq!(began.elapsed(), RETRY);
        turns.next(None).await;
        assert_eq!(began.elapsed(), RETRY + Duration::from_hours(1));
    }
}
