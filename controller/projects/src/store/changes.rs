//! Changes of a project's content in progress, upgrades among them: what a project returns to if it does not come up with
//! its new content.
//!
//! While an upgrade runs, the project holds what either release needs, whichever is more: so both outcomes only give
//! capacity back, and a return never lacks it. While settings or secrets change, the rows of both versions exist; the outcome
//! decides which one stays.

use supalove_core::{
    Write,
    error::Result,
    ids::{OperationId, ProjectRef},
};
use supalove_failpoints::failpoint;
use supalove_scheduler::Resources;

use crate::{
    capacity,
    store::{
        certificates,
        events::{self, NewEvent},
        inputs, secrets,
        snapshot::Snapshot,
    },
    types::{EventType, OperationKind, OperationState, ProjectState},
    verdict::{Ended, Verdict},
};

/// A change in progress. Without an upgrade, both releases and both needs are the same.
#[derive(Debug, Clone)]
pub struct Change {
    pub operation: OperationId,
    pub from: String,
    pub to: String,
    pub state_before: ProjectState,
    pub needs_before: Resources,
    pub needs_after: Resources,
    /// Generation with which `return_spec` is sealed: the one after the change's.
    pub return_generation: i64,
    /// The old content, sealed as that generation.
    pub return_spec: Vec<u8>,
}

/// What a project needs while it may run either release.
pub fn during(before: Resources, after: Resources) -> Resources {
    Resources {
        cpu_millis: before.cpu_millis.max(after.cpu_millis),
        memory_mib: before.memory_mib.max(after.memory_mib),
        disk_mib: before.disk_mib.max(after.disk_mib),
    }
}

pub async fn insert(write: &mut impl Write, project: &ProjectRef, new: &Change) -> Result<()> {
    sqlx::query!(
        "INSERT INTO project_upgrades (project_ref, operation_id, from_release, to_release, state_before,
             return_generation, return_spec, cpu_before, memory_before, disk_before, cpu_after, memory_after, disk_after)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        project.as_str(),
        new.operation.0,
        new.from,
        new.to,
        new.state_before.as_sql(),
        new.return_generation,
        new.return_spec,
        new.needs_before.cpu_millis,
        new.needs_before.memory_mib,
        new.needs_before.disk_mib,
        new.needs_after.cpu_millis,
        new.needs_after.memory_mib,
        new.needs_after.disk_mib,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// The change that an operation performs.
async fn read(write: &mut impl Write, operation: OperationId) -> Result<Change> {
    let row = sqlx::query!(
        "SELECT from_release, to_release, state_before AS \"state_before: ProjectState\", return_generation, return_spec,
             cpu_before, memory_before, disk_before, cpu_after, memory_after, disk_after
         FROM project_upgrades WHERE operation_id = $1",
        operation.0,
    )
    .fetch_one(write.connection().await?)
    .await?;
    Ok(Change {
        operation,
        from: row.from_release,
        to: row.to_release,
        state_before: row.state_before,
        needs_before: Resources {
            cpu_millis: row.cpu_before,
            memory_mib: row.memory_before,
            disk_mib: row.disk_before,
        },
        needs_after: Resources {
            cpu_millis: row.cpu_after,
            memory_mib: row.memory_after,
            disk_mib: row.disk_after,
        },
        return_generation: row.return_generation,
        return_spec: row.return_spec,
    })
}

/// How a change ends.
#[derive(Debug)]
pub struct Ending {
    change: Change,
    kind: OperationKind,
    returns: bool,
}

/// Begins the end of a change, if the verdict ends one: gives capacity back, before anybody locks the project's row, and
/// completes the verdict with what a failure returns to.
pub async fn begin_end(
    write: &mut impl Write,
    project: &Snapshot,
    verdict: &mut Verdict,
) -> Result<Option<Ending>> {
    let Some(Ended { id, kind, state, failure }) = &mut verdict.end else { return Ok(None) };
    let kind = *kind;
    if !kind.changes_content() {
        return Ok(None);
    }
    let change = read(write, *id).await?;
    let returns = *state != OperationState::Succeeded;
    let needs = if returns { change.needs_before } else { change.needs_after };
    capacity::shrink(write, project, needs).await?;
    if returns {
        if let Some(failure) = failure {
            failure.message += "; the project returns to ";
            failure.message += &change.before(kind);
        }
        let why = failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default();
        verdict.state = Some((change.returned_state(), format!("{} failed: {why}", change.words(kind))));
    }
    Ok(Some(Ending { change, kind, returns }))
}

impl Change {
    /// State of a project that returns. One that was up is up again when its agent says so.
    fn returned_state(&self) -> ProjectState {
        match self.state_before {
            ProjectState::ActiveHealthy => ProjectState::ActiveUnhealthy,
            other => other,
        }
    }

    /// Generation that brought the change.
    fn generation(&self) -> i64 {
        self.return_generation - 1
    }

    /// What a project returns to, for people.
    fn before(&self, kind: OperationKind) -> String {
        match kind {
            OperationKind::UpdateSettings => "the settings before".to_owned(),
            OperationKind::ChangeSecrets => "the secrets before".to_owned(),
            OperationKind::ResetDatabasePassword => "the database password before".to_owned(),
            OperationKind::RotateJwtSecret => "the signing secret and API keys before".to_owned(),
            _ => format!("release {}", self.from),
        }
    }

    /// The change, for people.
    fn words(&self, kind: OperationKind) -> String {
        match kind {
            OperationKind::UpdateSettings => "the change of settings".to_owned(),
            OperationKind::ChangeSecrets => "the change of secrets".to_owned(),
            OperationKind::ResetDatabasePassword => "the reset of the database password".to_owned(),
            OperationKind::RotateJwtSecret => "the rotation of the signing secret".to_owned(),
            _ => format!("the upgrade to {}", self.to),
        }
    }
}

impl Ending {
    /// Completes the end, after the project's row was written: a failure makes the old content the newest generation.
    pub async fn complete(self, write: &mut impl Write, project: &Snapshot) -> Result<()> {
        let change = &self.change;
        let project_ref = &project.project;
        let needs = if self.returns { change.needs_before } else { change.needs_after };
        set_needs(write, project_ref, needs).await?;
        if self.returns {
            self.go_back(write, project_ref).await?;
        } else {
            inputs::keep_newest(write, project_ref, self.kind).await?;
        }
        failpoint!("controller.change.settled", project_ref.as_str());
        delete(write, change.operation).await
    }

    async fn go_back(&self, write: &mut impl Write, project_ref: &ProjectRef) -> Result<()> {
        let change = &self.change;
        secrets::insert_spec(write, project_ref, change.return_generation, &change.return_spec).await?;
        sqlx::query!(
            "UPDATE projects SET release = $2, generation = generation + 1 WHERE ref = $1",
            project_ref.as_str(),
            change.from,
        )
        .execute(write.connection().await?)
        .await?;
        if self.kind == OperationKind::Upgrade {
            certificates::renew_now(write, project_ref).await?;
        } else {
            inputs::drop_version(write, project_ref, self.kind, change.generation()).await?;
        }
        let before = change.before(self.kind);
        // Plural for all but a release and a password.
        let verb = match self.kind {
            OperationKind::Upgrade | OperationKind::ResetDatabasePassword => "is",
            _ => "are",
        };
        let event = NewEvent::new(EventType::ProjectReturned, format!("{before} {verb} desired again"));
        events::append(write, project_ref, &event, Some(change.operation)).await?;
        failpoint!("controller.upgrade.returned", project_ref.as_str());
        Ok(())
    }
}

/// Ends a change because a delete replaces it: the project keeps the new content, which UndeleteProject brings up.
pub async fn replaced_by_delete(write: &mut impl Write, project: &Snapshot) -> Result<()> {
    let open = project.operation.as_ref().filter(|open| open.kind.changes_content());
    let Some(open) = open else { return Ok(()) };
    let change = read(write, open.id).await?;
    capacity::shrink(write, project, change.needs_after).await?;
    set_needs(write, &project.project, change.needs_after).await?;
    inputs::keep_newest(write, &project.project, open.kind).await?;
    delete(write, open.id).await
}

async fn set_needs(write: &mut impl Write, project: &ProjectRef, needs: Resources) -> Result<()> {
    sqlx::query!(
        "UPDATE projects SET cpu_millis = $2, memory_mib = $3, disk_mib = $4 WHERE ref = $1",
        project.as_str(),
        needs.cpu_millis,
        needs.memory_mib,
        needs.disk_mib,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

async fn delete(write: &mut impl Write, operation: OperationId) -> Result<()> {
    sqlx::query!("DELETE FROM project_upgrades WHERE operation_id = $1", operation.0)
        .execute(write.connection().await?)
        .await?;
    Ok(())
}
