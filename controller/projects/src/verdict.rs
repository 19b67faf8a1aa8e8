//! A decision about a project, and the transaction that writes it: in the lock order organization, node, its capacity, placements, project, and
//! only if the project still has the revision on which the decision was made.

use sqlx::types::Json;
use supalove_failpoints::failpoint;

use crate::{
    capacity,
    restriction::Bounds,
    store::{
        changes::{self, Begun},
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

/// The changes to write. The default changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// New state and its reason.
    pub state: Option<(ProjectState, String)>,
    pub services: Option<Vec<ServiceStatus>>,
    /// Another rule that bounds it now, or that none does any more.
    pub restriction: Option<Bounds>,
    /// End of the open operation.
    pub end: Option<Ended>,
    /// New status of the open operation.
    pub status: Option<String>,
    /// Last trouble, which becomes the error if the operation misses its deadline.
    pub trouble: Option<Failure>,
    pub events: Vec<NewEvent>,
    /// Release cpu and memory.
    pub free_compute: bool,
    /// Remove the project: its agent has removed everything.
    pub remove: bool,
    /// Count a successful or failed start of the node.
    pub node: Option<NodeRecord>,
    /// Method and outcome of an audit row.
    pub audit: Option<(&'static str, &'static str)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub id: OperationId,
    pub kind: OperationKind,
    pub state: OperationState,
    pub failure: Option<Failure>,
}

/// Result of a start, for the record of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeRecord {
    Started,
    /// The start failed, perhaps because of the node.
    Failed,
}

impl Verdict {
    /// Fails the operation and sets the project's failed state. The desired state stays.
    pub fn failed(id: OperationId, kind: OperationKind, failure: Failure) -> Self {
        Self {
            state: Some((kind.failed_state(), failure.message.clone())),
            end: Some(Ended { id, kind, state: OperationState::Failed, failure: Some(failure) }),
            ..Self::default()
        }
    }

    /// True if the verdict makes a new generation: a failed change of content returns to the old one.
    pub fn returns(&self) -> bool {
        self.end
            .as_ref()
            .is_some_and(|end| end.kind.changes_content() && end.state != OperationState::Succeeded)
    }

    /// True if the verdict changes nothing.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Drops parts of the verdict that would change nothing.
    pub(crate) fn reduced(mut self, project: &Snapshot) -> Self {
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

/// The session of a report.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    pub node: NodeId,
    /// Epoch of the session.
    pub epoch: i64,
}

impl Source {
    /// True if it is still the node's newest session. No replica stores late reports of an older session.
    pub async fn is_newest(self, db: impl sqlx::PgExecutor<'_>) -> Result<bool> {
        let newest = sqlx::query_scalar!(
            "SELECT true AS \"newest!\" FROM nodes WHERE id = $1 AND greeted_epoch = $2",
            self.node.0,
            self.epoch,
        );
        Ok(newest.fetch_optional(db).await?.is_some())
    }
}

/// Writes a verdict, and returns the revision of the project's row afterwards. `None`, with nothing written, if the project
/// changed meanwhile or the report's session is no longer the newest.
pub async fn write(
    core: &Core,
    actor: &str,
    project: &Snapshot,
    verdict: Verdict,
    source: Option<Source>,
) -> Result<Option<i64>> {
    let verdict = verdict.reduced(project);
    if verdict.is_nothing() {
        return Ok(Some(project.revision));
    }
    let mut write = core.system_write(actor);
    let written = write_in(&mut write, project, &verdict).await?;
    if let Some((method, outcome)) = verdict.audit {
        write.audit_outcome_in(project.organization, method, project.project.as_str(), outcome);
    }
    // Last, while the project's row is locked: a newer session reads the row only after this transaction.
    let newest = match source {
        Some(source) => source.is_newest(write.connection().await?).await?,
        None => true,
    };
    if written && newest {
        failpoint!("controller.report.written", project.project.as_str());
        write.commit([]).await?;
        failpoint!("controller.report.committed", project.project.as_str());
    }
    Ok((written && newest).then_some(project.revision + 1))
}

/// The same within a transaction.
pub async fn write_in(write: &mut impl Write, project: &Snapshot, verdict: &Verdict) -> Result<bool> {
    let mut verdict = verdict.clone();
    let change = match changes::begin_end(write, project, &mut verdict).await? {
        Begun::Nothing => None,
        Begun::Ending(ending) => Some(ending),
        Begun::TooLate => return Ok(false),
    };
    // What the change has given back already is not given back with the rest.
    let project = &match &change {
        Some(change) => Snapshot { needs: change.needs(), ..project.clone() },
        None => project.clone(),
    };
    let verdict = &verdict;
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
    if let Some(change) = change {
        change.complete(write, project).await?;
    }
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
    let restriction = verdict.restriction.as_ref().map_or(&project.restriction, |found| &found.0).as_ref();
    // Nothing bounds what does not run.
    let restriction =
        restriction.filter(|_| !matches!(state, ProjectState::Inactive | ProjectState::Removed));
    let done = sqlx::query!(
        "UPDATE projects SET state = $3, state_reason = $4, services = $5, revision = revision + 1,
             restriction = $6, restriction_message = $7,
             restricted_at = CASE WHEN $6 = restriction THEN restricted_at WHEN $6 IS NOT NULL THEN now() END,
             removed_at = CASE WHEN $3 = 'REMOVED' THEN now() END
         WHERE ref = $1 AND revision = $2",
        project.project.as_str(),
        project.revision,
        state.as_sql(),
        reason,
        Json(services) as _,
        restriction.map(|found| found.rule.as_sql()),
        restriction.map_or("", |found| found.message.as_str()),
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
        (_, Some(why)) => NewEvent::for_service(
            EventType::OperationFailed,
            &why.service,
            format!("{what}: {}", why.message),
        ),
        (_, None) => NewEvent::new(EventType::OperationFailed, what),
    }
}
