//! A project's row with its placement and open operation, the input of decisions. Reads take no lock; a write
//! checks the revision, and its caller reads again if another writer was first.

use std::time::Duration;
use supalove_core::database::Connection;

use chrono::{DateTime, Utc};
use sqlx::types::Json;

use crate::{
    restriction::{Restriction, Rule},
    store::projects::ServiceStatus,
    types::{Desired, OperationKind, OperationState, ProjectState},
};
use supalove_core::{
    error::{Error, Result},
    ids::{ClusterId, NodeId, OperationId, OrganizationId, ProjectRef},
};
use supalove_plans::ProjectSize;
use supalove_scheduler::Resources;

#[derive(Debug, Clone)]
pub struct Snapshot {
    pub project: ProjectRef,
    pub organization: OrganizationId,
    pub cluster: ClusterId,
    pub state: ProjectState,
    pub state_reason: String,
    pub desired: Desired,
    /// Desired state that UndeleteProject restores.
    pub desired_before_delete: Option<Desired>,
    /// Version of the desired state.
    pub generation: i64,
    /// Revision that a write must still find.
    pub revision: i64,
    /// Resources that its placement reserves.
    pub needs: Resources,
    /// Its size, and what that gave it.
    pub size: ProjectSize,
    pub services: Vec<ServiceStatus>,
    /// The rule that bounds it, as reported last.
    pub restriction: Option<Restriction>,
    /// When its data is deleted; set while the project is deleted.
    pub purge_at: Option<DateTime<Utc>>,
    /// How long its data is kept since it was deleted; set while the project is deleted.
    pub undo_window: Option<Duration>,
    /// True if the undo window has ended.
    pub purge_due: bool,
    /// How long its node has been silent.
    pub node_silence: Duration,
    /// Its placement, if any.
    pub placement: Option<PlacementRow>,
    pub operation: Option<OpenOperation>,
}

/// Placement of a project.
#[derive(Debug, Clone, Copy)]
pub struct PlacementRow {
    pub node: NodeId,
    pub slot: i32,
    /// True if it reserves cpu and memory.
    pub holds_compute: bool,
}

/// An operation that has not ended.
#[derive(Debug, Clone)]
pub struct OpenOperation {
    pub id: OperationId,
    pub kind: OperationKind,
    pub state: OperationState,
    /// The operation succeeds when the agent reports this generation as done.
    pub generation: i64,
    /// Current step or the reason for waiting, for people.
    pub status_message: String,
    /// Services that were not ready before it and that it does not touch: it ends without them.
    pub red_before: Vec<String>,
}

/// Reads a project; `None` if it does not exist.
pub async fn read(db: &mut Connection, project: &ProjectRef) -> Result<Option<Snapshot>> {
    let row = sqlx::query!(
        r#"SELECT p.organization_id AS "organization: OrganizationId", p.cluster_id AS "cluster: ClusterId",
               p.state AS "state: ProjectState", p.state_reason, p.desired AS "desired: Desired",
               p.desired_before_delete AS "desired_before_delete: Desired", p.generation, p.revision, p.cpu_millis,
               p.memory_mib, p.disk_mib, p.size, p.size_cpu_millis, p.size_memory_mib, p.size_disk_mib, p.size_connections,
               p.services AS "services: Json<Vec<ServiceStatus>>", p.restriction AS "restriction: Rule", p.restriction_message, p.purge_at,
               extract(epoch FROM p.purge_at - p.deleted_at)::float8 AS undo_seconds,
               coalesce(p.purge_at <= now(), false) AS "purge_due!",
               coalesce((SELECT greatest(extract(epoch FROM now() - n.seen_at), 0) FROM nodes n WHERE n.id = l.node_id), 0)::float8
                   AS "node_silence!",
               l.node_id AS "node?: NodeId", l.slot AS "slot?", l.holds_compute AS "holds_compute?",
               o.id AS "operation?: OperationId", o.kind AS "kind?: OperationKind",
               o.state AS "operation_state?: OperationState", o.generation AS "operation_generation?",
               o.status_message AS "status_message?", o.red_before AS "red_before?"
           FROM projects p
           LEFT JOIN placements l ON l.project_ref = p.ref AND l.role = 'ACTIVE'
           LEFT JOIN operations o ON o.project_ref = p.ref AND o.state IN ('PENDING', 'RUNNING')
           WHERE p.ref = $1"#,
        project.as_str(),
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let placement = match (row.node, row.slot, row.holds_compute) {
        (Some(node), Some(slot), Some(holds_compute)) => Some(PlacementRow { node, slot, holds_compute }),
        _ => None,
    };
    let operation = match (row.operation, row.kind, row.operation_state, row.operation_generation) {
        (Some(id), Some(kind), Some(state), Some(generation)) => {
            let status_message = row.status_message.unwrap_or_default();
            let red_before = row.red_before.unwrap_or_default();
            Some(OpenOperation { id, kind, state, generation, status_message, red_before })
        }
        _ => None,
    };
    Ok(Some(Snapshot {
        project: project.clone(),
        organization: row.organization,
        cluster: row.cluster,
        state: row.state,
        state_reason: row.state_reason,
        desired: row.desired,
        desired_before_delete: row.desired_before_delete,
        generation: row.generation,
        revision: row.revision,
        needs: Resources { cpu_millis: row.cpu_millis, memory_mib: row.memory_mib, disk_mib: row.disk_mib },
        size: ProjectSize {
            name: row.size,
            cpu_millis: row.size_cpu_millis,
            memory_mib: row.size_memory_mib,
            disk_mib: row.size_disk_mib,
            connections: row.size_connections,
        },
        services: row.services.0,
        restriction: row.restriction.map(|rule| Restriction { rule, message: row.restriction_message }),
        purge_at: row.purge_at,
        undo_window: row.undo_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        purge_due: row.purge_due,
        node_silence: Duration::from_secs_f64(row.node_silence),
        placement,
        operation,
    }))
}

/// Reads a project that must exist.
pub async fn expect(db: &mut Connection, project: &ProjectRef) -> Result<Snapshot> {
    read(db, project).await?.ok_or_else(|| Error::NotFound { kind: "project", name: project.to_string() })
}
