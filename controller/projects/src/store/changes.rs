//! Changes of a project's content in progress, upgrades among them: what a project returns to if it does not come up with
//! its new content.
//!
//! While an upgrade or a resize runs, the project holds what either content needs, whichever is more: so both outcomes only
//! give capacity back, and a return never lacks it. While settings or secrets change, the rows of both versions exist; the
//! outcome decides which one stays.

use supalove_core::{
    Write,
    error::Result,
    ids::{OperationId, ProjectRef},
};
use supalove_failpoints::failpoint;
use supalove_plans::ProjectSize;
use supalove_proto::v1::ErrorReason;
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

/// A change in progress. Without an upgrade, both releases are the same; without one or a resize, both needs are. Without a
/// resize, both sizes are.
#[derive(Debug, Clone)]
pub struct Change {
    pub operation: OperationId,
    pub from: String,
    pub to: String,
    pub state_before: ProjectState,
    pub needs_before: Resources,
    pub needs_after: Resources,
    /// Size before, and what that gave.
    pub size_before: ProjectSize,
    /// Name of the size after; the project's row has what that gives.
    pub size_after: String,
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
             return_generation, return_spec, cpu_before, memory_before, disk_before, cpu_after, memory_after, disk_after,
             size_before, size_cpu_before, size_memory_before, size_disk_before, size_connections_before)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
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
        new.size_before.name,
        new.size_before.cpu_millis,
        new.size_before.memory_mib,
        new.size_before.disk_mib,
        new.size_before.connections,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// The change that an operation performs; `None` if it has ended since the caller read the operation.
async fn read(write: &mut impl Write, operation: OperationId) -> Result<Option<Change>> {
    let row = sqlx::query!(
        "SELECT from_release, to_release, state_before AS \"state_before: ProjectState\", return_generation, return_spec,
             cpu_before, memory_before, disk_before, cpu_after, memory_after, disk_after, size_before, size_cpu_before,
             size_memory_before, size_disk_before, size_connections_before,
             (SELECT p.size FROM projects p WHERE p.ref = u.project_ref) AS \"size_after!\"
         FROM project_upgrades u WHERE operation_id = $1",
        operation.0,
    )
    .fetch_optional(write.connection().await?)
    .await?;
    Ok(row.map(|row| Change {
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
        size_before: ProjectSize {
            name: row.size_before,
            cpu_millis: row.size_cpu_before,
            memory_mib: row.size_memory_before,
            disk_mib: row.size_disk_before,
            connections: row.size_connections_before,
        },
        size_after: row.size_after,
        return_generation: row.return_generation,
        return_spec: row.return_spec,
    }))
}

/// How the end of a change begins.
#[derive(Debug)]
pub enum Begun {
    /// The verdict ends no change.
    Nothing,
    Ending(Box<Ending>),
    /// Somebody else has ended it: the project is not as the verdict's snapshot says.
    TooLate,
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
pub async fn begin_end(write: &mut impl Write, project: &Snapshot, verdict: &mut Verdict) -> Result<Begun> {
    let Some(Ended { id, kind, state, failure }) = &mut verdict.end else { return Ok(Begun::Nothing) };
    let kind = *kind;
    if !kind.changes_content() {
        return Ok(Begun::Nothing);
    }
    let Some(mut change) = read(write, *id).await? else { return Ok(Begun::TooLate) };
    let returns = *state != OperationState::Succeeded;
    // An agent that could not prepare the volumes has left them as they were.
    let grown = failure.as_ref().is_none_or(|failure| failure.reason != ErrorReason::FilesFailed.text());
    if kind == OperationKind::Resize && grown {
        change.keep_disk(project);
    }
    let ending = Ending { change, kind, returns };
    capacity::shrink(write, project, ending.needs()).await?;
    let change = &ending.change;
    if returns {
        if let Some(failure) = failure {
            failure.message += "; the project returns to ";
            failure.message += &change.before(kind);
        }
        let why = failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default();
        verdict.state = Some((change.returned_state(), format!("{} failed: {why}", change.words(kind))));
    }
    Ok(Begun::Ending(Box::new(ending)))
}

impl Change {
    /// A volume that has grown stays as large, and may be full: who returns to a smaller size keeps the disk of the larger one.
    fn keep_disk(&mut self, project: &Snapshot) {
        self.needs_before.disk_mib = self.needs_before.disk_mib.max(project.needs.disk_mib);
        self.size_before.disk_mib = self.size_before.disk_mib.max(project.size.disk_mib);
    }

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
            OperationKind::ChangeSecrets => "the secrets and variables before".to_owned(),
            OperationKind::ResetDatabasePassword => "the database password before".to_owned(),
            OperationKind::RotateJwtSecret => "the signing secret and API keys before".to_owned(),
            OperationKind::Resize => format!("the size {}", self.size_before.name),
            _ => format!("release {}", self.from),
        }
    }

    /// The change, for people.
    fn words(&self, kind: OperationKind) -> String {
        match kind {
            OperationKind::UpdateSettings => "the change of settings".to_owned(),
            OperationKind::ChangeSecrets => "the change of secrets and variables".to_owned(),
            OperationKind::ResetDatabasePassword => "the reset of the database password".to_owned(),
            OperationKind::RotateJwtSecret => "the rotation of the signing secret".to_owned(),
            OperationKind::Resize => format!("the resize to {}", self.size_after),
            _ => format!("the upgrade to {}", self.to),
        }
    }
}

impl Ending {
    /// What the project reserves from the end on.
    pub fn needs(&self) -> Resources {
        if self.returns { self.change.needs_before } else { self.change.needs_after }
    }

    /// Completes the end, after the project's row was written: a failure makes the old content the newest generation.
    pub async fn complete(self, write: &mut impl Write, project: &Snapshot) -> Result<()> {
        let change = &self.change;
        let project_ref = &project.project;
        set_needs(write, project_ref, self.needs()).await?;
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
            "UPDATE projects SET release = $2, size = $3, size_cpu_millis = $4, size_memory_mib = $5, size_disk_mib = $6,
                 size_connections = $7, generation = generation + 1 WHERE ref = $1",
            project_ref.as_str(),
            change.from,
            change.size_before.name,
            change.size_before.cpu_millis,
            change.size_before.memory_mib,
            change.size_before.disk_mib,
            change.size_before.connections,
        )
        .execute(write.connection().await?)
        .await?;
        if self.kind == OperationKind::Upgrade {
            certificates::renew_now(write, project_ref).await?;
        } else {
            inputs::drop_version(write, project_ref, self.kind, change.generation()).await?;
        }
        let before = change.before(self.kind);
        // Plural for all but a release, a password and a size.
        let verb = match self.kind {
            OperationKind::Upgrade | OperationKind::ResetDatabasePassword | OperationKind::Resize => "is",
            _ => "are",
        };
        let event = NewEvent::new(EventType::ProjectReturned, format!("{before} {verb} desired again"));
        events::append(write, project_ref, &event, Some(change.operation)).await?;
        failpoint!("controller.upgrade.returned", project_ref.as_str());
        Ok(())
    }
}

/// Ends a change because a delete replaces it: the project keeps the new content, which UndeleteProject brings up. False if the
/// change has ended meanwhile.
pub async fn replaced_by_delete(write: &mut impl Write, project: &Snapshot) -> Result<bool> {
    let open = project.operation.as_ref().filter(|open| open.kind.changes_content());
    let Some(open) = open else { return Ok(true) };
    let Some(change) = read(write, open.id).await? else { return Ok(false) };
    capacity::shrink(write, project, change.needs_after).await?;
    set_needs(write, &project.project, change.needs_after).await?;
    inputs::keep_newest(write, &project.project, open.kind).await?;
    delete(write, open.id).await?;
    Ok(true)
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
