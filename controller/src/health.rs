//! Whether the controller serves: `grpc.health.v1`, and `/healthz` for load balancers. Serving means that the control
//! database answers and takes writes, and that no job of this replica is late: one whose runs hang, or to which the database
//! does not answer.
//! `/healthz` also names the jobs that fail on this replica; failures do not change whether it serves.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use http::StatusCode;
use supalove_core::{
    Core, Room,
    access::{Lasts, Permission::Public, Rule, Scope::Anyone},
    database::{Db, Refusal},
    jobs::{Job, Jobs, Rhythm::Every},
};
use tonic_health::{ServingStatus, server::HealthReporter};

/// How long an answer of the database is good for `/healthz`: strangers may call it as often as they like.
const FRESH: Duration = Duration::from_secs(1);
/// For the database to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// Rows of the health service.
pub const RULES: &[Rule] = &[
    Rule::read("/grpc.health.v1.Health/Check", Anyone, Public),
    Rule::read("/grpc.health.v1.Health/List", Anyone, Public),
    Rule::read("/grpc.health.v1.Health/Watch", Anyone, Public).lasting(Lasts::Stream),
];

/// Reports database health; NOT_SERVING on shutdown.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
    /// Jobs that the log says are late.
    late: Arc<Mutex<Vec<&'static str>>>,
    /// Why the database took no writes when it was last asked.
    refusal: Arc<Mutex<Option<Refusal>>>,
}

impl Health {
    /// The room, and the way to announce the end.
    pub async fn open(core: &Core) -> (Self, Room) {
        let (reporter, service) = tonic_health::server::health_reporter();
        let health = Self { reporter, late: Arc::default(), refusal: Arc::default() };
        health.report(ServingStatus::Serving).await;
        let (db, jobs) = (core.for_work().db, core.jobs.clone());
        let report = {
            let (health, jobs) = (health.clone(), jobs.clone());
            move |_| {
                let (health, db, jobs) = (health.clone(), db.clone(), jobs.clone());
                async move {
                    health.look(&db, &jobs).await;
                    Ok(())
                }
            }
        };
        let mut room = Room::new("health", RULES).service(service).job(Job::on_each(
            "health.report",
            Every(core.times.health),
            report,
        ));
        let (last, asked) = (Arc::new(LastAnswer::new(core.db.clone())), health.clone());
        room.http = Router::new().route("/healthz", get(async move || asked.healthz(&last, &jobs).await));
        (health, room)
    }

    /// The controller is about to stop.
    pub async fn announce_end(&self) {
        self.report(ServingStatus::NotServing).await;
    }

    /// Reports, and logs when jobs become late and when none is late any more.
    async fn look(&self, db: &Db, jobs: &Jobs) {
        let late = jobs.late();
        let serves = answers(db).await && self.takes_writes(db).await && late.is_empty();
        self.report(if serves { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
        let mut logged = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        if *logged == late {
            return;
        }
        if late.is_empty() {
            tracing::info!("jobs are on time again");
        } else {
            tracing::error!(
                jobs = late.join(" "),
                "jobs are late: they hang, or the control database does not answer them"
            );
        }
        *logged = late;
    }

    /// Asks the database, and logs each change of its answer.
    async fn takes_writes(&self, db: &Db) -> bool {
        // A database that does not answer is another matter.
        let refusal = db.refuses_writes().await.unwrap_or_default();
        let mut before = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        match refusal {
            Some(refusal) if *before != Some(refusal) => {
                tracing::error!(error = %refusal, "control database takes no writes");
            }
            None if before.is_some() => tracing::info!("control database takes writes again"),
            _ => {}
        }
        *before = refusal;
        refusal.is_none()
    }

    fn refusal(&self) -> Option<Refusal> {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn healthz(&self, last: &LastAnswer, jobs: &Jobs) -> (StatusCode, String) {
        let (code, first_line) = if !last.get().await {
            (StatusCode::SERVICE_UNAVAILABLE, "the control database does not answer".to_owned())
        } else if let Some(refusal) = self.refusal() {
            (StatusCode::SERVICE_UNAVAILABLE, refusal.to_string())
        } else if let late @ [_, ..] = &*jobs.late() {
            (StatusCode::SERVICE_UNAVAILABLE, format!("late jobs: {}", late.join(" ")))
        } else {
            (StatusCode::OK, "ok".to_owned())
        };
        (code, text(&first_line, &jobs.failing()))
    }

    async fn report(&self, status: ServingStatus) {
        self.reporter.set_service_status("", status).await;
    }
}

async fn answers(db: &Db) -> bool {
    let asked = sqlx::query_scalar!("SELECT true AS \"answers!\"").fetch_one(db);
    matches!(tokio::time::timeout(ANSWER, asked).await, Ok(Ok(true)))
}

/// Whether the database answers, asked at most once a second however many want to know.
struct LastAnswer {
    db: Db,
    last: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

impl LastAnswer {
    fn new(db: Db) -> Self {
        Self { db, last: tokio::sync::Mutex::default() }
    }

    async fn get(&self) -> bool {
        let mut last = self.last.lock().await;
        if let Some((at, answered)) = *last
            && at.elapsed() < FRESH
        {
            return answered;
        }
        let answered = answers(&self.db).await;
        *last = Some((Instant::now(), answered));
        answered
    }
}

/// The first line, and a line for each job that fails. Strangers read it: no errors and no ids.
fn text(first_line: &str, failing: &[(&str, Option<Duration>)]) -> String {
    let mut text = format!("{first_line}\n");
    for (job, success) in failing {
        // Writing to a String cannot fail.
        let _ = match success {
            Some(ago) => writeln!(text, "job {job}: last success {} s ago", ago.as_secs()),
            None => writeln!(text, "job {job}: no success yet"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_that_fail_follow_the_first_line() {
        assert_eq!(text("ok", &[]), "ok\n");
        let failing = [("fleet.prune", Some(Duration::from_millis(12_900))), ("core.prune", None)];
        let expected = "ok\njob fleet.prune: last success 12 s ago\njob core.prune: no success yet\n";
        assert_eq!(text("ok", &failing), expected);
    }
}
