//! Upgrades in progress: what a project returns to if it does not come up with its new release.
//!
//! While an upgrade runs, the project holds what either release needs, whichever is more: so both outcomes only give
//! capacity back, and a return never lacks it.

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
        secrets,
        snapshot::Snapshot,
    },
    types::{EventType, OperationKind, OperationState, ProjectState},
    verdict::{Ended, Verdict},
};

/// An upgrade in progress.
#[derive(Debug, Clone)]
pub struct Upgrade {
    pub operation: OperationId,
    pub from: String,
    pub to: String,
    pub state_before: ProjectState,
    pub needs_before: Resources,
    pub needs_after: Resources,
    /// Generation with which `return_spec` is sealed: the one after the upgrade's.
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

pub async fn insert(write: &mut impl Write, project: &ProjectRef, new: &Upgrade) -> Result<()> {
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

/// The upgrade that an operation performs.
async fn read(write: &mut impl Write, operation: OperationId) -> Result<Upgrade> {
    let row = sqlx::query!(
        "SELECT from_release, to_release, state_before AS \"state_before: ProjectState\", return_generation, return_spec,
             cpu_before, memory_before, disk_before, cpu_after, memory_after, disk_after
         FROM project_upgrades WHERE operation_id = $1",
        operation.0,
    )
    .fetch_one(write.connection().await?)
    .await?;
    Ok(Upgrade {
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

/// How an upgrade ends.
#[derive(Debug)]
pub struct Ending {
    upgrade: Upgrade,
    returns: bool,
}

/// Begins the end of an upgrade, if the verdict ends one: gives capacity back, before anybody locks the project's row, and
/// completes the verdict with what a failure returns to.
pub async fn begin_end(
    write: &mut impl Write,
    project: &Snapshot,
    verdict: &mut Verdict,
) -> Result<Option<Ending>> {
    let Some(Ended { id, kind: OperationKind::Upgrade, state, failure }) = &mut verdict.end else {
        return Ok(None);
    };
    let upgrade = read(write, *id).await?;
    let returns = *state != OperationState::Succeeded;
    let needs = if returns { upgrade.needs_before } else { upgrade.needs_after };
    capacity::shrink(write, project, needs).await?;
    if returns {
        if let Some(failure) = failure {
            failure.message += "; the project returns to release ";
            failure.message += &upgrade.from;
        }
        let why = failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default();
        verdict.state =
            Some((upgrade.returned_state(), format!("the upgrade to {} failed: {why}", upgrade.to)));
    }
    Ok(Some(Ending { upgrade, returns }))
}

impl Upgrade {
    /// State of a project that returns. One that was up is up again when its agent says so.
    fn returned_state(&self) -> ProjectState {
        match self.state_before {
            ProjectState::ActiveHealthy => ProjectState::ActiveUnhealthy,
            other => other,
        }
    }
}

impl Ending {
    /// Completes the end, after the project's row was written: a failure makes the old content the newest generation.
    pub async fn complete(self, write: &mut impl Write, project: &Snapshot) -> Result<()> {
        let upgrade = &self.upgrade;
        let project_ref = &project.project;
        let needs = if self.returns { upgrade.needs_before } else { upgrade.needs_after };
        set_needs(write, project_ref, needs).await?;
        if self.returns {
            secrets::insert_spec(write, project_ref, upgrade.return_generation, &upgrade.return_spec).await?;
            sqlx::query!(
                "UPDATE projects SET release = $2, generation = generation + 1 WHERE ref = $1",
                project_ref.as_str(),
                upgrade.from,
            )
            .execute(write.connection().await?)
            .await?;
            certificates::renew_now(write, project_ref).await?;
            let message = format!("release {} is desired again", upgrade.from);
            let event = NewEvent::new(EventType::ProjectReturned, message);
            events::append(write, project_ref, &event, Some(upgrade.operation)).await?;
            failpoint!("controller.upgrade.returned", project_ref.as_str());
        }
        delete(write, upgrade.operation).await
    }
}

/// Ends an upgrade because a delete replaces it: the project keeps the new release, which UndeleteProject brings up.
pub async fn replaced_by_delete(write: &mut impl Write, project: &Snapshot) -> Result<()> {
    let open = project.operation.as_ref().filter(|open| open.kind == OperationKind::Upgrade);
    let Some(open) = open else { return Ok(()) };
    let upgrade = read(write, open.id).await?;
    capacity::shrink(write, project, upgrade.needs_after).await?;
    set_needs(write, &project.project, upgrade.needs_after).await?;
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
