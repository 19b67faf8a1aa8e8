//! `job_results`: how each job last went on each replica. A replica writes its own rows; all replicas' rows together are what
//! an operator sees; rows of replicas that are gone are deleted.

use crate::database::Db;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chrono::{DateTime, Utc};

use super::{
    Replicas,
    state::{Ages, Schedule, State},
};
use crate::{Core, error::Result, ids::ControllerId, times::Times};

/// Characters of an error that are kept.
const ERROR_CHARS: usize = 1000;

/// Writes a job's result on this replica.
pub(super) async fn write(core: &Core, job: &str, result: &Result<(), String>) -> Result<()> {
    let error = result.as_ref().err().map(|error| error.chars().take(ERROR_CHARS).collect::<String>());
    sqlx::query!(
        "INSERT INTO job_results (job, controller_id, succeeded_at, failed_at, error)
         VALUES ($1, $2, CASE WHEN $3::text IS NULL THEN now() END, CASE WHEN $3 IS NOT NULL THEN now() END, coalesce($3, ''))
         ON CONFLICT (job, controller_id) DO UPDATE SET
             succeeded_at = coalesce(EXCLUDED.succeeded_at, job_results.succeeded_at),
             failed_at = coalesce(EXCLUDED.failed_at, job_results.failed_at),
             error = CASE WHEN $3 IS NULL THEN job_results.error ELSE EXCLUDED.error END",
        job,
        core.controller.0,
        error,
    )
    .execute(&core.db)
    .await?;
    Ok(())
}

/// Deletes results of replicas that have shown no sign of life for long. A result that a replica writes is one, too.
pub(crate) async fn forget(db: &Db, times: &Times) -> Result<()> {
    sqlx::query!(
        "DELETE FROM job_results WHERE controller_id IN (
             SELECT c.id FROM controllers c JOIN job_results r ON r.controller_id = c.id GROUP BY c.id
             HAVING greatest(c.seen_at, max(greatest(r.succeeded_at, r.failed_at))) < now() - make_interval(secs => $1))",
        times.replica_forgotten.as_secs_f64(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A job as an operator sees it.
#[derive(Debug)]
pub struct JobStatus {
    /// `room.what`.
    pub name: String,
    /// The replica that runs it; of a job that one replica runs at a time, the one that ran it last. `None` if none has.
    pub controller: Option<ControllerId>,
    /// `None` if this replica does not know the job: one of another version runs it.
    pub schedule: Option<Schedule>,
    /// How it goes.
    pub state: State,
    /// True if it did not succeed in time.
    pub overdue: bool,
    /// Its last results.
    pub last: LastResults,
}

/// The last results of a job.
#[derive(Debug, Clone, Default)]
pub struct LastResults {
    /// Last run that succeeded.
    pub success: Option<DateTime<Utc>>,
    /// Last run that failed.
    pub failure: Option<DateTime<Utc>>,
    /// What the last failed run said.
    pub error: String,
}

/// All jobs of all replicas, by name.
pub async fn list(core: &Core) -> Result<Vec<JobStatus>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT c.id AS \"controller: ControllerId\", c.version = $2 AS \"same_version!\", c.started_at, c.seen_at, now() AS \"now!\", r.job AS \"job?\",
             r.succeeded_at AS \"success?\", r.failed_at AS \"failure?\", r.error AS \"error?\"
         FROM controllers c LEFT JOIN job_results r ON r.controller_id = c.id
         WHERE r.job IS NOT NULL OR c.seen_at > now() - make_interval(secs => $1) ORDER BY c.started_at, c.id",
        core.times.replica_gone.as_secs_f64(),
        env!("CARGO_PKG_VERSION"),
    )
    .fetch_all(&core.db)
    .await?;
    Ok(combine(&rows, &core.jobs.schedules(), core.times.replica_gone))
}

/// A replica, and perhaps a job's results there.
struct Row {
    controller: ControllerId,
    /// It has the jobs that this replica has.
    same_version: bool,
    started_at: DateTime<Utc>,
    seen_at: DateTime<Utc>,
    now: DateTime<Utc>,
    job: Option<String>,
    success: Option<DateTime<Utc>>,
    failure: Option<DateTime<Utc>>,
    error: Option<String>,
}

impl Row {
    fn last(&self) -> LastResults {
        let error = self.error.clone().unwrap_or_default();
        LastResults { success: self.success, failure: self.failure, error }
    }

    /// When the replica showed a sign of life here.
    fn seen(&self) -> Option<DateTime<Utc>> {
        Some(self.seen_at).max(self.success).max(self.failure)
    }
}

struct Replica {
    id: ControllerId,
    started: DateTime<Utc>,
    gone: bool,
    same_version: bool,
}

fn replicas(rows: &[Row], gone_after: Duration) -> Vec<Replica> {
    let mut replicas: Vec<Replica> = Vec::new();
    for row in rows {
        let gone = row.seen().is_none_or(|seen| age(row.now, seen) > gone_after);
        match replicas.last_mut().filter(|last| last.id == row.controller) {
            Some(last) => last.gone &= gone,
            None => replicas.push(Replica {
                id: row.controller,
                started: row.started_at,
                gone,
                same_version: row.same_version,
            }),
        }
    }
    replicas
}

fn combine(
    rows: &[Row],
    schedules: &BTreeMap<&'static str, Schedule>,
    gone_after: Duration,
) -> Vec<JobStatus> {
    let Some(now) = rows.first().map(|row| row.now) else {
        return Vec::new();
    };
    let replicas = replicas(rows, gone_after);
    let known = schedules.keys().copied();
    let names: BTreeSet<&str> = known.chain(rows.iter().filter_map(|row| row.job.as_deref())).collect();
    let mut jobs = Vec::new();
    for name in names {
        let schedule = schedules.get(name);
        let of_job: Vec<&Row> = rows.iter().filter(|row| row.job.as_deref() == Some(name)).collect();
        if schedule.is_some_and(|schedule| schedule.replicas == Replicas::One) {
            jobs.push(leased(name, schedule, &of_job, &replicas, now));
            continue;
        }
        for replica in &replicas {
            let row = of_job.iter().find(|row| row.controller == replica.id);
            // Another version need not have the job, and one that is gone will not run it.
            if row.is_some() || (schedule.is_some() && replica.same_version && !replica.gone) {
                let last = row.map(|row| row.last()).unwrap_or_default();
                jobs.push(on_replica(name, schedule, last, replica, now));
            }
        }
    }
    jobs
}

/// A job of each replica.
fn on_replica(
    name: &str,
    schedule: Option<&Schedule>,
    last: LastResults,
    replica: &Replica,
    now: DateTime<Utc>,
) -> JobStatus {
    let mut job = judged(name, schedule, last, age(now, replica.started), now);
    job.controller = Some(replica.id);
    if replica.gone {
        job.state = State::Gone;
        job.overdue = false;
    }
    job
}

/// A job that one replica runs at a time: whichever replica ran it, its newest results count.
fn leased(
    name: &str,
    schedule: Option<&Schedule>,
    rows: &[&Row],
    replicas: &[Replica],
    now: DateTime<Utc>,
) -> JobStatus {
    let failed = rows.iter().max_by_key(|row| row.failure);
    let newest = rows.iter().max_by_key(|row| row.success.max(row.failure));
    let last = LastResults {
        success: rows.iter().filter_map(|row| row.success).max(),
        ..failed.map(|row| row.last()).unwrap_or_default()
    };
    // Nobody can have run it for longer than a replica has been there.
    let known =
        replicas.iter().filter(|replica| !replica.gone).map(|replica| age(now, replica.started)).max();
    let mut job = judged(name, schedule, last, known.unwrap_or_default(), now);
    job.controller = newest.map(|row| row.controller);
    job
}

fn judged(
    name: &str,
    schedule: Option<&Schedule>,
    last: LastResults,
    known: Duration,
    now: DateTime<Utc>,
) -> JobStatus {
    let ago = |at: Option<DateTime<Utc>>| at.map(|at| age(now, at));
    let ages = Ages { known, success: ago(last.success), failure: ago(last.failure) };
    let state = match schedule {
        Some(schedule) => ages.state(schedule),
        None if ages.failed_last() => State::Failing,
        None => State::Ok,
    };
    JobStatus {
        name: name.to_owned(),
        controller: None,
        schedule: schedule.cloned(),
        state,
        overdue: schedule.is_some_and(|schedule| ages.is_overdue(schedule)),
        last,
    }
}

/// By the database's clock, as all these times are.
fn age(now: DateTime<Utc>, at: DateTime<Utc>) -> Duration {
    (now - at).to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::jobs::Rhythm;

    const LEASED: &str = "room.leased";
    const EACH: &str = "room.each";
    const GONE_AFTER: Duration = Duration::from_secs(20);

    fn schedules() -> BTreeMap<&'static str, Schedule> {
        let period = Duration::from_secs(10);
        let schedule = |replicas| Schedule { rhythm: Rhythm::Every(period), replicas, period };
        BTreeMap::from([(LEASED, schedule(Replicas::One)), (EACH, schedule(Replicas::Each))])
    }

    /// A replica that started and was seen so many seconds ago.
    fn row(controller: ControllerId, started: i64, seen: i64) -> Row {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(1);
        let at = |ago| now - TimeDelta::seconds(ago);
        Row {
            controller,
            same_version: true,
            started_at: at(started),
            seen_at: at(seen),
            now,
            job: None,
            success: None,
            failure: None,
            error: None,
        }
    }

    fn with(mut row: Row, job: &str, success: Option<i64>, failure: Option<i64>) -> Row {
        let now = row.now;
        let at = |ago: Option<i64>| ago.map(|ago| now - TimeDelta::seconds(ago));
        row.job = Some(job.to_owned());
        row.success = at(success);
        row.failure = at(failure);
        row.error = failure.map(|_| "no".to_owned());
        row
    }

    fn seen(rows: &[Row]) -> Vec<(String, Option<ControllerId>, State, bool)> {
        let jobs = combine(rows, &schedules(), GONE_AFTER);
        jobs.into_iter().map(|job| (job.name, job.controller, job.state, job.overdue)).collect()
    }

    #[test]
    fn a_job_that_never_ran_is_shown_and_overdue_in_time() {
        let one = ControllerId::generate();
        let expected = |state, overdue| {
            [(EACH.to_owned(), Some(one), state, overdue), (LEASED.to_owned(), None, state, overdue)]
        };
        assert_eq!(seen(&[row(one, 5, 1)]), expected(State::NotYetRun, false));
        assert_eq!(seen(&[row(one, 31, 1)]), expected(State::Failing, true));
    }

    #[test]
    fn a_leased_job_is_judged_by_its_newest_results_wherever_they_were() {
        let (one, other) = (ControllerId::generate(), ControllerId::generate());
        let rows = [
            with(row(one, 900, 600), LEASED, Some(610), Some(600)),
            with(row(other, 500, 1), LEASED, Some(2), None),
        ];
        let jobs = combine(&rows, &schedules(), GONE_AFTER);
        let leased = jobs.iter().find(|job| job.name == LEASED).unwrap();
        assert_eq!((leased.controller, leased.state), (Some(other), State::Ok));
        assert_eq!(leased.last.error, "no", "the last failure stays to be seen");
        // Nobody has taken it over.
        let rows = [with(row(one, 900, 60), LEASED, Some(60), None), row(other, 500, 1)];
        assert!(seen(&rows).contains(&(LEASED.to_owned(), Some(one), State::Failing, true)));
    }

    #[test]
    fn a_replica_is_gone_without_any_sign_of_life() {
        let one = ControllerId::generate();
        let gone = [with(row(one, 900, 21), EACH, Some(25), None)];
        assert!(seen(&gone).contains(&(EACH.to_owned(), Some(one), State::Gone, false)));
        // Only its heartbeat does not work.
        let alive = [with(row(one, 900, 300), EACH, Some(3), None)];
        assert!(seen(&alive).contains(&(EACH.to_owned(), Some(one), State::Ok, false)));
    }

    #[test]
    fn a_replica_of_another_version_does_not_owe_this_versions_jobs() {
        let one = ControllerId::generate();
        let old = Row { same_version: false, ..row(one, 900, 1) };
        assert!(!seen(&[old]).iter().any(|(name, ..)| name == EACH));
    }

    #[test]
    fn a_job_of_another_version_is_shown_without_a_schedule() {
        let one = ControllerId::generate();
        let jobs = combine(&[with(row(one, 9, 1), "room.new", None, Some(1))], &schedules(), GONE_AFTER);
        let new = jobs.iter().find(|job| job.name == "room.new").unwrap();
        assert!(new.schedule.is_none() && new.state == State::Failing && !new.overdue);
    }
}
