//! What agents report, written down: observed states through a verdict, progress as events.

use sqlx::PgConnection;
use supalove_failpoints::failpoint;
use supalove_proto::{
    node::v1::{ObservedStack, Progress, ProgressStep},
    v1::ErrorReason,
};

use super::{
    Projects,
    changes::Change,
    events::{self, NewEvent},
    observe::{judge, printable},
    operations,
    snapshot::{self, Snapshot},
    types::{EventType, ProjectState},
    verdict::{self, Source, Verdict},
};
use crate::{
    error::{Error, Result},
    ids::ProjectRef,
};

/// Times a report is judged anew because the project changed under it.
const TRIES: usize = 20;

impl Projects {
    /// Judges a report and writes the verdict. Reports on projects that are not placed on the node are ignored.
    pub(super) async fn observed(&self, source: Source, report: &ObservedStack) -> Result<()> {
        let Ok(project) = report.project_ref.parse::<ProjectRef>() else {
            return Ok(());
        };
        failpoint!("controller.report.received", project.as_str());
        let judged = |found: &Snapshot| {
            if found.placement.is_none_or(|p| p.node != source.node) {
                Verdict::default()
            } else {
                judge(found, report)
            }
        };
        self.decide_from(Some(source), &project, judged).await
    }

    /// Reads a project, decides, writes; again if it changed in between.
    pub(super) async fn decide(
        &self,
        project: &ProjectRef,
        judge: impl Fn(&Snapshot) -> Verdict,
    ) -> Result<()> {
        self.decide_from(None, project, judge).await
    }

    async fn decide_from(
        &self,
        source: Option<Source>,
        project: &ProjectRef,
        judge: impl Fn(&Snapshot) -> Verdict,
    ) -> Result<()> {
        for _ in 0..TRIES {
            let mut connection = self.db.acquire().await?;
            let Some(found) = snapshot::read(&mut connection, project).await? else {
                return Ok(());
            };
            drop(connection);
            let verdict = judge(&found);
            let frees = verdict.free_compute || verdict.remove;
            if verdict::write(&self.db, &found, verdict, source).await? {
                self.changes.wake(Change::Project(project.clone()));
                if frees {
                    self.changes.wake(Change::Room);
                }
                return Ok(());
            }
            if let Some(source) = source
                && !source.is_newest(&self.db).await?
            {
                return Err(Error::Aborted("a newer session of the node has begun"));
            }
        }
        Err(Error::Aborted("the project keeps changing"))
    }

    /// Writes a step as an event, and as the open operation's status.
    pub(super) async fn progress(&self, source: Source, step: &Progress) -> Result<()> {
        let Ok(project) = step.project_ref.parse::<ProjectRef>() else {
            return Ok(());
        };
        let mut tx = self.db.begin().await?;
        let Some(found) = snapshot::read(&mut tx, &project).await? else {
            return Ok(());
        };
        let current = i64::try_from(step.generation) == Ok(found.generation);
        let elsewhere = found.placement.is_none_or(|p| p.node != source.node);
        if !current || elsewhere || found.state == ProjectState::Removed {
            return Ok(());
        }
        write_step(&mut tx, &found, step).await?;
        if !source.is_newest(&mut *tx).await? {
            return Err(Error::Aborted("a newer session of the node has begun"));
        }
        failpoint!("controller.progress.written", project.as_str());
        tx.commit().await?;
        failpoint!("controller.progress.committed", project.as_str());
        self.changes.wake(Change::Project(project));
        Ok(())
    }

    /// The agent will not take this generation: the open operation fails with its words.
    pub(super) async fn refused(&self, project: &ProjectRef, generation: i64, why: &str) -> Result<()> {
        self.decide(project, |found| {
            let Some(operation) = found.operation.as_ref().filter(|_| found.generation == generation) else {
                return Verdict::default();
            };
            let failure = operations::Failure::new(ErrorReason::RefusedByAgent, why);
            Verdict::failed(operation.id, operation.kind, failure)
        })
        .await
    }
}

async fn write_step(tx: &mut PgConnection, project: &Snapshot, step: &Progress) -> Result<()> {
    // "Ready" comes with the observed state, which also says which generation is ready.
    let (kind, what) = match step.step() {
        ProgressStep::Pulling => (EventType::ServicePulling, "pulling its image"),
        ProgressStep::Preparing => (EventType::ProjectPreparing, "preparing network, volumes and files"),
        ProgressStep::Created => (EventType::ServiceCreated, "created"),
        ProgressStep::Started => (EventType::ServiceStarted, "started"),
        ProgressStep::Stopping => (EventType::ServiceStopping, "stopping"),
        ProgressStep::Removed => (EventType::ServiceRemoved, "removed"),
        ProgressStep::Ready | ProgressStep::Unspecified => return Ok(()),
    };
    let (service, said) = (printable(&step.service), printable(&step.message));
    let message = match (service.as_str(), said.as_str()) {
        ("", "") => what.to_owned(),
        (service, "") => format!("{service}: {what}"),
        ("", said) if kind == EventType::ProjectPreparing => format!("preparing {said}"),
        (_, said) => said.to_owned(),
    };
    let event = NewEvent {
        percent: i32::try_from(step.percent).unwrap_or(100).min(100),
        ..NewEvent::of_service(kind, &service, message.clone())
    };
    let operation = project.operation.as_ref().map(|o| o.id);
    events::append(tx, &project.project, &event, operation).await?;
    if let Some(id) = operation {
        operations::set_status(tx, id, &message).await?;
    }
    Ok(())
}
