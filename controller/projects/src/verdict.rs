//! A decision about a project, and its writing: one transaction in the lock order organization, node, project, guarded
//! by the revision the decision was made on.

use sqlx::types::Json;
use supalove_failpoints::failpoint;

use crate::{
    capacity,
    store::{
        events::{self, NewEvent},
        operations::{self, Failure},
        projects::ServiceStatus,
        removal,
        snapshot::Snapshot,
    },
    types::{EventType, OperationKind, OperationState, ProjectState},
};
use supalove_core::{
    Core, Write,
    error::Result,
    ids::{NodeId, OperationId},
};

/// What is to be written. The default changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// New state and its reason.
    pub state: Option<(ProjectState, String)>,
    /// New services.
    pub services: Option<Vec<ServiceStatus>>,
    /// The open operation ends.
    pub end: Option<Ended>,
    /// What the open operation is doing.
    pub status: Option<String>,
    /// What went wrong so far, kept for the operation's end.
    pub trouble: Option<Failure>,
    /// Events.
    pub events: Vec<NewEvent>,
    /// Cpu and memory become free.
    pub free_compute: bool,
    /// Nothing is left of the project.
    pub remove: bool,
    /// Counts for or against the node.
    pub node: Option<NodeRecord>,
}

/// An operation's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub id: OperationId,
    /// What.
    pub kind: OperationKind,
    /// How.
    pub state: OperationState,
    /// Why.
    pub failure: Option<Failure>,
}

/// What a start says about a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeRecord {
    /// It works.
    Started,
    /// It may not.
    Failed,
}

impl Verdict {
    /// The operation fails, and with it what it wanted of the project. What is desired stays.
    pub fn failed(id: OperationId, kind: OperationKind, failure: Failure) -> Self {
        Self {
            state: Some((kind.failed_state(), failure.message.clone())),
            end: Some(Ended { id, kind, state: OperationState::Failed, failure: Some(failure) }),
            ..Self::default()
        }
    }

    /// It changes nothing.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Drops parts of the verdict that would change nothing.
    fn reduced(mut self, project: &Snapshot) -> Self {
        let same = |(state, reason): &(ProjectState, String)| {
            *state == project.state && *reason == project.state_reason && !self.remove
        };
        if self.state.as_ref().is_some_and(same) {
            self.state = None;
        }
        if project.operation.as_ref().map(|o| &o.status_message) == self.status.as_ref() {
            self.status = None;
            self.trouble = None;
        }
        self.free_compute &= project.placement.is_some_and(|p| p.holds_compute);
        if self.end.is_none() && self.state.is_none() {
            self.node = None;
        }
        self
    }
}

/// The session that a report came on.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// Node.
    pub node: NodeId,
    /// Number of the session.
    pub epoch: i64,
}

impl Source {
    /// Whether it is still the node's newest session: what an older one reports late is not written, on any replica.
    pub async fn is_newest(self, db: impl sqlx::PgExecutor<'_>) -> Result<bool> {
        let newest = sqlx::query_scalar!(
            "SELECT true AS \"newest!\" FROM nodes WHERE id = $1 AND greeted_epoch = $2",
            self.node.0,
            self.epoch,
        );
        Ok(newest.fetch_optional(db).await?.is_some())
    }
}

/// Writes a verdict; false if the project changed meanwhile, or the report's session is not the newest any more, and then
/// nothing was written.
pub async fn write(
    core: &Core,
    actor: &str,
    project: &Snapshot,
    verdict: Verdict,
    source: Option<Source>,
) -> Result<bool> {
    let verdict = verdict.reduced(project);
    if verdict.is_nothing() {
        return Ok(true);
    }
    let mut write = core.system_write(actor);
    let written = write_in(&mut write, project, &verdict).await?;
    // Last, when the project's row is locked: whoever takes over from here on finds the row as it is left.
    let newest = match source {
        Some(source) => source.is_newest(write.connection().await?).await?,
        None => true,
    };
    if written && newest {
        failpoint!("controller.report.written", project.project.as_str());
        write.commit([]).await?;
        failpoint!("controller.report.committed", project.project.as_str());
    }
    Ok(written && newest)
}

/// The same within a transaction.
pub async fn write_in(write: &mut impl Write, project: &Snapshot, verdict: &Verdict) -> Result<bool> {
    if verdict.remove {
        removal::release(write, project).await?;
    } else if verdict.free_compute {
        capacity::release_compute(write, project).await?;
    }
    if let (Some(record), Some(placement)) = (verdict.node, project.placement) {
        capacity::record_start(write, placement.node, record).await?;
    }
    if !update_project(write, project, verdict).await? {
        return Ok(false);
    }
    failpoint!("controller.report.project_written", project.project.as_str());
    write_operation(write, project, verdict).await?;
    for event in &verdict.events {
        events::append(write, &project.project, event, project.operation.as_ref().map(|o| o.id)).await?;
    }
    if let Some((state, reason)) = &verdict.state
        && *state != project.state
    {
        let message = if reason.is_empty() {
            state.as_sql().to_owned()
        } else {
            format!("{}: {reason}", state.as_sql())
        };
        let event = NewEvent::new(EventType::StateChanged, message);
        events::append(write, &project.project, &event, project.operation.as_ref().map(|o| o.id)).await?;
    }
    Ok(true)
}

async fn update_project(write: &mut impl Write, project: &Snapshot, verdict: &Verdict) -> Result<bool> {
    let (state, reason) = verdict.state.clone().unwrap_or((project.state, project.state_reason.clone()));
    let services = verdict.services.as_ref().unwrap_or(&project.services);
    let done = sqlx::query!(
        "UPDATE projects SET state = $3, state_reason = $4, services = $5, revision = revision + 1,
             removed_at = CASE WHEN $3 = 'REMOVED' THEN now() END
         WHERE ref = $1 AND revision = $2",
        project.project.as_str(),
        project.revision,
        state.as_sql(),
        reason,
        Json(services) as _,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(done.rows_affected() == 1)
}

async fn write_operation(write: &mut impl Write, project: &Snapshot, verdict: &Verdict) -> Result<()> {
    if let Some(ended) = &verdict.end {
        if operations::end(write, ended.id, ended.state, ended.failure.as_ref()).await? {
            failpoint!("controller.report.operation_ended", project.project.as_str());
            events::append(write, &project.project, &end_event(ended), Some(ended.id)).await?;
        }
    } else if let Some(operation) = &project.operation {
        if let Some(status) = &verdict.status {
            operations::set_status(write, operation.id, status).await?;
        }
        if let Some(trouble) = &verdict.trouble {
            operations::set_trouble(write, operation.id, trouble).await?;
        }
    }
    Ok(())
}

fn end_event(ended: &Ended) -> NewEvent {
    let what = ended.kind.as_sql().to_lowercase().replace('_', " ");
    match (&ended.state, &ended.failure) {
        (OperationState::Succeeded, _) => {
            NewEvent::new(EventType::OperationSucceeded, format!("{what}: done"))
        }
        (OperationState::Cancelled, Some(why)) => {
            NewEvent::new(EventType::OperationCancelled, format!("{what}: {}", why.message))
        }
        (_, Some(why)) => {
            NewEvent::of_service(EventType::OperationFailed, &why.service, format!("{what}: {}", why.message))
        }
        (_, None) => NewEvent::new(EventType::OperationFailed, what),
    }
}
