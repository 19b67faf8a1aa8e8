//! One project's task: works towards the newest desired state, and drops that work the moment a newer one arrives.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::select_all;
use ipnet::Ipv4Net;
use supalove_failpoints::failpoint;
use supalove_proto::node::v1::{RunState, VolumeSpec};
use tokio::sync::watch;
use tokio::time::sleep;

use super::context::{Project, blocking};
use super::diff::Existing;
use super::disk::{Guard, Room};
use super::failure::StepFailure;
use super::plan::{self, ServicePlan};
use super::prepare;
use super::redact::Redactor;
use super::service::{Gone, Service};
use super::teardown;
use super::view::Goal;
use crate::backoff::Backoff;
use crate::state::{Record, Removal};

/// Runs until the agent ends, or forgets the project once it is removed.
pub async fn run(project: Project, mut desired: watch::Receiver<Arc<Record>>) {
    loop {
        let record = desired.borrow_and_update().clone();
        tokio::select! {
            changed = desired.changed() => if changed.is_err() { return },
            // Ends only when a removal is done.
            () = pursue(&project, &record) => if desired.changed().await.is_err() { return },
        }
    }
}

async fn pursue(project: &Project, record: &Record) {
    let mut backoff = retry_backoff(project);
    project.view.redact(Redactor::from_record(record));
    loop {
        let plans = plan::plan(record, &project.shared.host);
        // A record that cannot be planned can still be removed.
        if let Some(removal) = record.removal {
            return remove(project, &plans.unwrap_or_default(), removal).await;
        }
        match plans {
            Ok(plans) if is_stopped(record) => stay_stopped(project, record, &plans).await,
            Ok(plans) => stay_running(project, record, &plans).await,
            Err(failure) => {
                begin(project, record, Goal::Running);
                project.view.fail(failure);
                sleep(backoff.next_pause()).await;
            }
        }
    }
}

fn is_stopped(record: &Record) -> bool {
    record.apply.as_ref().is_some_and(|apply| apply.run_state() == RunState::Stopped)
}

/// Never returns.
async fn stay_running(project: &Project, record: &Record, plans: &[ServicePlan]) {
    begin(project, record, Goal::Running);
    let mut backoff = retry_backoff(project);
    loop {
        match prepared(project, record, plans).await {
            Ok(containers) => {
                backoff.reset();
                project.view.prepared();
                let volumes = record.spec().map(|spec| spec.volumes.as_slice()).unwrap_or_default();
                let room = Room::default();
                let guard = Guard::new(project, record.generation(), plans, volumes, &room).await;
                tokio::select! {
                    Gone = supervise(project, plans, volumes, &containers, &room) => {}
                    () = guard.run() => {}
                }
            }
            Err(failure) => {
                project.view.fail(failure);
                sleep(backoff.next_pause()).await;
                project.view.retry();
            }
        }
    }
}

async fn prepared(
    project: &Project,
    record: &Record,
    plans: &[ServicePlan],
) -> Result<HashMap<String, Existing>, StepFailure> {
    let subnet: Ipv4Net = record
        .placement()
        .and_then(|placement| placement.subnet.parse().ok())
        .ok_or_else(|| StepFailure::new("SPEC_INVALID", "the stored record has no network"))?;
    let apply = record
        .apply
        .as_ref()
        .ok_or_else(|| StepFailure::new("SPEC_INVALID", "the stored record is incomplete"))?;
    prepare::prepare(project, plans, apply, subnet).await
}

/// Runs all services side by side until one of their containers is gone.
async fn supervise(
    project: &Project,
    plans: &[ServicePlan],
    volumes: &[VolumeSpec],
    containers: &HashMap<String, Existing>,
    room: &Room,
) -> Gone {
    let health: HashMap<&str, watch::Sender<bool>> =
        plans.iter().map(|plan| (plan.spec.name.as_str(), watch::Sender::new(false))).collect();
    let services = plans.iter().filter_map(|plan| {
        let name = plan.spec.name.as_str();
        let needs = plan.spec.depends_on.iter().filter_map(|need| health.get(need.as_str()));
        let service = Service::new(
            project,
            plan,
            volumes,
            containers.get(name)?.clone(),
            needs.map(watch::Sender::subscribe).collect(),
            health.get(name)?.clone(),
            room,
        );
        Some(Box::pin(service.run()))
    });
    let services: Vec<_> = services.collect();
    if services.is_empty() {
        return std::future::pending().await;
    }
    select_all(services).await.0
}

/// Never returns; containers that appear are stopped again.
async fn stay_stopped(project: &Project, record: &Record, plans: &[ServicePlan]) {
    begin(project, record, Goal::Stopping);
    let mut truth = project.shared.truth.clone();
    loop {
        until_done(project, || teardown::stop(project, plans)).await;
        project.view.reach(Goal::Stopped);
        let mine = |all: &Arc<super::context::Truth>| all.contains_key(&*project.project_ref);
        truth.mark_unchanged();
        while truth.changed().await.is_ok() {
            if mine(&truth.borrow_and_update()) {
                break;
            }
        }
    }
}

async fn remove(project: &Project, plans: &[ServicePlan], removal: Removal) {
    project.view.begin(removal.generation, Goal::Removing, plans.iter().map(|plan| plan.spec.name.as_str()));
    let finished = until_done(project, || async {
        teardown::remove(project, plans, removal.delete_volumes).await?;
        let shared = project.shared.clone();
        let project_ref = project.project_ref.clone();
        let finish =
            move || shared.store.finish_removal(&project_ref, removal).map_err(std::io::Error::other);
        Ok(blocking(finish).await?)
    })
    .await;
    if !finished {
        // A newer request is stored; it is about to arrive here and replaces this one.
        std::future::pending::<()>().await;
    }
    failpoint!("agent.removal.done", &project.project_ref);
    project.view.reach(Goal::Removed);
}

/// Retries with back-off until it works.
async fn until_done<T, F>(project: &Project, work: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, StepFailure>>,
{
    let mut backoff = retry_backoff(project);
    loop {
        match work().await {
            Ok(done) => return done,
            Err(failure) => project.view.fail(failure),
        }
        sleep(backoff.next_pause()).await;
        project.view.retry();
    }
}

fn begin(project: &Project, record: &Record, goal: Goal) {
    let services = record.spec().map(|spec| spec.services.as_slice()).unwrap_or_default();
    project.view.begin(record.generation(), goal, services.iter().map(|service| service.name.as_str()));
}

fn retry_backoff(project: &Project) -> Backoff {
    Backoff::new(project.shared.times.retry_first, project.shared.times.retry_cap)
}
