//! Start, stop, restart, delete, undelete and cancel: a caller's act becomes a new generation of the desired state
//! and an operation, in one transaction.

use std::time::Duration;

use prost::Message;
use supalove_failpoints::failpoint;
use supalove_proto::v1::ErrorReason;

use crate::{
    acts::{Acts, transitions::Act},
    capacity,
    store::{
        changes,
        events::{self, NewEvent},
        operations::{self, Failure, NewOperation},
        snapshot::{self, Snapshot},
    },
    types::{Desired, EventType, OperationKind, OperationState, ProjectState},
    verdict::{self, Ended, Verdict},
};
use supalove_core::{
    Mutation, SystemWrite, Write,
    access::Call,
    error::{Error, Result},
    hints::Hint,
    ids::{NodeId, OperationId, OrganizationId, ProjectRef},
};

/// Attempts before ABORTED when concurrent writers keep changing the project.
pub(super) const TRIES: usize = 5;

/// The change of a project that an act causes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    kind: OperationKind,
    desired: Desired,
    desired_before_delete: Option<Desired>,
    /// How long to keep the data; `None` if the project is not deleted.
    undo_window: Option<Duration>,
    new_restart_token: bool,
    /// Data volumes whose loss is accepted.
    new_volumes: Vec<String>,
}

impl Plan {
    fn simple(kind: OperationKind, desired: Desired) -> Self {
        Self {
            kind,
            desired,
            desired_before_delete: None,
            undo_window: None,
            new_restart_token: false,
            new_volumes: Vec::new(),
        }
    }

    /// Plans an act on a project, or returns why its state does not allow it.
    fn new(act: Act, project: &Snapshot) -> Result<Self> {
        act.check(project.state, project.operation.as_ref().map(|open| open.kind))?;
        let unplaced = project.placement.is_none();
        match act {
            Act::Start => Ok(Self::simple(OperationKind::Start, Desired::Running)),
            Act::Stop | Act::Restart if unplaced => Err(Error::FailedPrecondition {
                reason: ErrorReason::NotPlaced,
                message: "the project waits for capacity on a node; cancel its operation or delete it"
                    .to_owned(),
            }),
            Act::Stop => Ok(Self::simple(OperationKind::Stop, Desired::Stopped)),
            Act::Restart => {
                Ok(Self { new_restart_token: true, ..Self::simple(OperationKind::Restart, Desired::Running) })
            }
            Act::Delete { undo_window, named } => Self::delete(project, undo_window, named),
            Act::Undelete => Self::undelete(project),
            Act::Upgrade | Act::Change | Act::Resize | Act::Transfer => {
                Err(Error::internal("an act that has a plan of its own"))
            }
        }
    }

    /// A delete of a deleted project may shorten its undo window to nothing, and repeat a delete that failed.
    fn delete(project: &Snapshot, undo_window: Duration, named: bool) -> Result<Self> {
        let undo_window = match project.undo_window {
            Some(_) if project.desired == Desired::Removed => Duration::ZERO,
            Some(kept) if !named => kept,
            Some(kept) if !undo_window.is_zero() && !is_same(kept, undo_window) => {
                return Err(Error::FailedPrecondition {
                    reason: ErrorReason::WrongState,
                    message: format!(
                        "the project is deleted, with an undo window of {} s; undelete it first to delete it with another \
                         one, or delete it with an undo window of 0, now",
                        kept.as_secs()
                    ),
                });
            }
            // It ends at once, since no node has anything of it.
            _ if project.placement.is_none() => Duration::ZERO,
            _ => undo_window,
        };
        let desired = if undo_window.is_zero() { Desired::Removed } else { Desired::Stopped };
        let before = project.desired_before_delete.unwrap_or(project.desired);
        Ok(Self {
            undo_window: Some(undo_window),
            desired_before_delete: Some(before),
            ..Self::simple(OperationKind::Delete, desired)
        })
    }

    fn undelete(project: &Snapshot) -> Result<Self> {
        let open = project.desired != Desired::Removed && project.purge_at.is_some() && !project.purge_due;
        let before =
            project.desired_before_delete.filter(|_| open).ok_or_else(|| Error::FailedPrecondition {
                reason: ErrorReason::UndoWindowClosed,
                message: "the undo window has ended and the data is deleted; create a new project".to_owned(),
            })?;
        Ok(Self::simple(OperationKind::Undelete, before))
    }

    /// State of the project while the operation runs.
    fn state(&self) -> ProjectState {
        match (self.kind, self.desired) {
            (OperationKind::Undelete, Desired::Stopped) => ProjectState::Pausing,
            (kind, _) => kind.state(),
        }
    }
}

impl Acts {
    /// Performs an act and returns its operation. A repeated call returns the operation of the first one.
    pub async fn act(
        &self,
        call: &Call,
        request_id: &str,
        body: &impl Message,
        project: &ProjectRef,
        act: Act,
        new_volumes: &[String],
    ) -> Result<OperationId> {
        let mut mutation = self.core.mutation(call).once(call, request_id, body).await?;
        if let Some(done) = mutation.replayed() {
            return done.operation.ok_or_else(|| Error::internal("an act without an operation"));
        }
        for _ in 0..TRIES {
            let found = snapshot::expect(mutation.connection().await?, project).await?;
            check_organization(call, &found)?;
            if let Some(operation) = Self::deleted_before(&mut mutation, &found, act).await? {
                mutation.starts(operation);
                mutation.commit(found.project.as_str(), []).await?;
                return Ok(operation);
            }
            match self.try_act(mutation, call, &found, act, new_volumes).await? {
                Ok(operation) => return Ok(operation),
                Err(again) => mutation = again,
            }
        }
        Err(Error::Aborted("the project changed at the same time"))
    }

    /// Returns the operation of an earlier delete that did what this act asks for. A delete that is repeated changes nothing
    /// and does not move the end of the undo window; only a window of 0 ends it now.
    async fn deleted_before(
        mutation: &mut Mutation,
        found: &Snapshot,
        act: Act,
    ) -> Result<Option<OperationId>> {
        let Act::Delete { undo_window, named } = act else { return Ok(None) };
        let Some(kept) = found.undo_window else { return Ok(None) };
        let same = !named || found.desired == Desired::Removed || is_same(kept, undo_window);
        if same && found.state == ProjectState::GoingDown {
            operations::last_delete(mutation.connection().await?, &found.project).await
        } else {
            Ok(None)
        }
    }

    /// Decides on a snapshot and writes. If the project changed meanwhile, rolls back and returns the mutation for a
    /// retry.
    async fn try_act(
        &self,
        mut mutation: Mutation,
        call: &Call,
        found: &Snapshot,
        act: Act,
        new_volumes: &[String],
    ) -> Result<Result<OperationId, Mutation>> {
        let plan = Plan { new_volumes: new_volumes.to_vec(), ..Plan::new(act, found)? };
        let Some(operation) = self.carry_out(&mut mutation, call, found, &plan).await? else {
            mutation.roll_back();
            return Ok(Err(mutation));
        };
        mutation.starts(operation);
        mutation.commit(found.project.as_str(), hints(found)).await?;
        failpoint!("controller.act.committed", found.project.as_str());
        Ok(Ok(operation))
    }

    /// Writes a plan; returns `None` if the project changed meanwhile.
    async fn carry_out(
        &self,
        write: &mut impl Write,
        call: &Call,
        project: &Snapshot,
        plan: &Plan,
    ) -> Result<Option<OperationId>> {
        let operation = OperationId::generate();
        let removes_at_once = project.placement.is_none() && plan.kind == OperationKind::Delete;
        if removes_at_once {
            lock_organization(write, project).await?;
        }
        if !changes::replaced_by_delete(write, project).await? {
            return Ok(None);
        }
        let room = self.take_compute(write, project, plan).await?;
        if !write_desired(write, project, plan, room.as_deref().unwrap_or("")).await? {
            return Ok(None);
        }
        failpoint!("controller.act.desired_written", project.project.as_str());
        overtake(write, project, plan.kind).await?;
        let new = NewOperation {
            id: operation,
            project: &project.project,
            kind: plan.kind,
            generation: project.generation + 1,
            by: call.principal()?.user,
            time: room.is_none().then(|| plan.kind.time(&self.core.times)),
            status_message: room.as_deref().unwrap_or(""),
        };
        operations::insert(write, &new).await?;
        let message = plan.kind.as_sql().to_lowercase().replace('_', " ");
        events::append(
            write,
            &project.project,
            &NewEvent::new(EventType::OperationStarted, message),
            Some(operation),
        )
        .await?;
        failpoint!("controller.act.operation_written", project.project.as_str());
        failpoint!("controller.act.written", project.project.as_str());
        if removes_at_once {
            remove_unplaced(write, &project.project, operation).await?;
        }
        Ok(Some(operation))
    }

    /// Reserves cpu and memory for a project that starts again. Returns the reason if it must wait.
    async fn take_compute(
        &self,
        write: &mut impl Write,
        project: &Snapshot,
        plan: &Plan,
    ) -> Result<Option<String>> {
        if plan.desired != Desired::Running {
            return Ok(None);
        }
        match project.placement {
            None => Ok(Some("waits for capacity on a node".to_owned())),
            Some(placement) if placement.holds_compute => Ok(None),
            Some(_) if capacity::reserve_compute(&self.core, write, project).await? => Ok(None),
            Some(placement) => Ok(Some(format!(
                "node {} lacks {} MiB memory or {} millicores, is draining, or is not connected",
                placement.node, project.needs.memory_mib, project.needs.cpu_millis
            ))),
        }
    }

    /// Cancels an operation. A create becomes a delete, a start a stop.
    pub async fn cancel(&self, call: &Call, id: OperationId) -> Result<()> {
        let operation = operations::get(&self.core.db, id).await?;
        let mut mutation = self.core.mutation(call);
        for _ in 0..TRIES {
            let found = snapshot::expect(mutation.connection().await?, &operation.project).await?;
            check_organization(call, &found)?;
            let open = found.operation.as_ref().filter(|open| open.id == id);
            let open = open.ok_or_else(|| not_cancellable("the operation has ended"))?;
            let act = match (open.kind, open.state) {
                (OperationKind::Start, OperationState::Pending) => {
                    if self.give_up_pending_start(&mut mutation, &found, id).await? {
                        return mutation.commit(found.project.as_str(), hints(&found)).await;
                    }
                    mutation.roll_back();
                    continue;
                }
                (OperationKind::Create, _) => Act::Delete { undo_window: Duration::ZERO, named: true },
                (OperationKind::Start, _) => Act::Stop,
                _ => {
                    return Err(not_cancellable(
                        "operations of this kind cannot be cancelled; wait until it ends",
                    ));
                }
            };
            match self.try_act(mutation, call, &found, act, &[]).await? {
                Ok(_) => return Ok(()),
                Err(again) => mutation = again,
            }
        }
        Err(Error::Aborted("the project changed at the same time"))
    }

    /// Cancels a start that still waits for capacity. Nothing runs yet, so there is nothing to stop.
    async fn give_up_pending_start(
        &self,
        write: &mut impl Write,
        found: &Snapshot,
        id: OperationId,
    ) -> Result<bool> {
        let state = if found.placement.is_some() { ProjectState::Inactive } else { ProjectState::InitFailed };
        let verdict = Verdict {
            state: Some((state, String::new())),
            end: Some(cancelled(id, OperationKind::Start, "cancelled")),
            ..Verdict::default()
        };
        if !verdict::write_in(write, found, &verdict).await? {
            return Ok(false);
        }
        sqlx::query!(
            "UPDATE projects SET desired = 'STOPPED', generation = generation + 1 WHERE ref = $1",
            found.project.as_str()
        )
        .execute(write.connection().await?)
        .await?;
        Ok(true)
    }
}

/// PostgreSQL rounds to microseconds.
fn is_same(one: Duration, other: Duration) -> bool {
    one.abs_diff(other) < Duration::from_millis(1)
}

/// Hints to publish after a change of the project's desired state.
pub(super) fn hints(project: &Snapshot) -> [Hint; 3] {
    let next = project.placement.map_or(Hint::Capacity, |placement| Hint::Node(placement.node));
    // The organization counts a project less if this one is removed at once.
    [Hint::Project(project.project.clone()), next, Hint::Organization(project.organization)]
}

/// A transfer may have come between the caller's authorization and this look at the project: the caller's rights, and the audit
/// row, belong to the organization of then. A new call decides anew.
pub(super) fn check_organization(call: &Call, project: &Snapshot) -> Result<()> {
    if call.organization.get() == Some(&project.organization) {
        return Ok(());
    }
    Err(Error::Aborted("the project was transferred to another organization"))
}

fn not_cancellable(why: &str) -> Error {
    Error::FailedPrecondition { reason: ErrorReason::NotCancellable, message: why.to_owned() }
}

fn cancelled(id: OperationId, kind: OperationKind, why: &str) -> Ended {
    Ended {
        id,
        kind,
        state: OperationState::Cancelled,
        failure: Some(Failure::new(ErrorReason::Cancelled, why)),
    }
}

/// Locks the organization, which is first in the lock order, for acts that end in a removal.
async fn lock_organization(write: &mut impl Write, project: &Snapshot) -> Result<()> {
    sqlx::query!("SELECT id FROM organizations WHERE id = $1 FOR NO KEY UPDATE", project.organization.0)
        .fetch_one(write.connection().await?)
        .await?;
    Ok(())
}

/// Writes the new desired state; false if the project changed meanwhile.
async fn write_desired(
    write: &mut impl Write,
    project: &Snapshot,
    plan: &Plan,
    reason: &str,
) -> Result<bool> {
    let token = plan.new_restart_token.then(|| uuid::Uuid::new_v4().simple().to_string());
    let done = sqlx::query!(
        "UPDATE projects SET desired = $3, desired_before_delete = $4, state = $5, state_reason = $6,
             generation = generation + 1, revision = revision + 1, restart_token = coalesce($7, restart_token),
             deleted_at = CASE WHEN $8::float8 IS NULL THEN NULL ELSE coalesce(deleted_at, now()) END,
             purge_at = CASE WHEN $8 > 0 THEN coalesce(purge_at, now() + make_interval(secs => $8))
                 ELSE now() + make_interval(secs => $8) END,
             new_volumes = $9, new_volumes_for = generation + 1
         WHERE ref = $1 AND revision = $2",
        project.project.as_str(),
        project.revision,
        plan.desired.as_sql(),
        plan.desired_before_delete.map(Desired::as_sql),
        plan.state().as_sql(),
        reason,
        token,
        plan.undo_window.map(|w| w.as_secs_f64()),
        &plan.new_volumes,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Cancels the open operation because a new one replaces it.
pub(super) async fn overtake(write: &mut impl Write, project: &Snapshot, by: OperationKind) -> Result<()> {
    let Some(open) = &project.operation else {
        return Ok(());
    };
    let why = Failure::new(
        ErrorReason::Overtaken,
        format!("replaced by {}", by.as_sql().to_lowercase().replace('_', " ")),
    );
    operations::end(write, open.id, OperationState::Cancelled, Some(&why)).await?;
    let event = NewEvent::new(EventType::OperationCancelled, why.message.clone());
    events::append(write, &project.project, &event, Some(open.id)).await
}

/// Removes a project that never had a node, at once.
async fn remove_unplaced(write: &mut impl Write, project: &ProjectRef, operation: OperationId) -> Result<()> {
    let found = snapshot::expect(write.connection().await?, project).await?;
    let verdict = Verdict {
        state: Some((ProjectState::Removed, String::new())),
        end: Some(Ended {
            id: operation,
            kind: OperationKind::Delete,
            state: OperationState::Succeeded,
            failure: None,
        }),
        remove: true,
        ..Verdict::default()
    };
    if verdict::write_in(write, &found, &verdict).await? {
        Ok(())
    } else {
        Err(Error::internal("a locked row changed"))
    }
}

/// What a forgotten node means for its projects.
pub const FORGOTTEN: &str =
    "the project's node is lost, and the operator has given it up with the data on it";

/// Marks projects for removal whose undo window has ended, or whose node is forgotten. Returns them with their nodes. Waits while a
/// restore of the control database is not confirmed, and for the node of each project: its agent may know more than this
/// database; of projects on forgotten nodes for what is under way.
pub async fn purge_due(
    write: &mut SystemWrite,
    replica_gone: std::time::Duration,
) -> Result<Vec<(ProjectRef, Option<NodeId>)>> {
    let rows = sqlx::query!(
        "UPDATE projects p SET desired = 'REMOVED', generation = generation + 1, revision = revision + 1,
             purge_at = coalesce(purge_at, now()), deleted_at = coalesce(deleted_at, now()),
             state_reason = CASE WHEN purge_at <= now() THEN 'the undo window is over; the data is being deleted' ELSE $2 END
         WHERE p.ref IN (SELECT ref FROM projects WHERE (purge_at <= now() OR EXISTS (
                                 SELECT 1 FROM placements f JOIN nodes n ON n.id = f.node_id
                                 WHERE f.project_ref = projects.ref AND n.forgotten_at IS NOT NULL) AND NOT EXISTS (
                                     SELECT 1 FROM operations o WHERE o.project_ref = projects.ref AND o.state IN ('PENDING', 'RUNNING')
                                         AND o.kind <> 'DELETE'))
                             AND desired <> 'REMOVED' AND removed_at IS NULL
                             AND NOT EXISTS (SELECT 1 FROM platform WHERE restore_seen_at IS NOT NULL)
                             AND NOT EXISTS (SELECT 1 FROM placements l JOIN nodes n ON n.id = l.node_id
                                 JOIN restore_claims r ON r.cluster_id = n.cluster_id
                                 WHERE l.project_ref = projects.ref AND n.forgotten_at IS NULL AND r.confirmed_at IS NULL)
                             AND NOT EXISTS (SELECT 1 FROM placements l JOIN nodes n ON n.id = l.node_id
                                 WHERE l.project_ref = projects.ref AND n.revoked_at IS NULL AND NOT EXISTS (
                                     SELECT 1 FROM node_sessions s JOIN controllers c ON c.id = s.controller_id
                                     WHERE s.node_id = n.id AND s.epoch = n.greeted_epoch
                                         AND c.seen_at > now() - make_interval(secs => $1)))
                         ORDER BY purge_at LIMIT 100 FOR UPDATE SKIP LOCKED)
         RETURNING p.ref AS \"project: ProjectRef\", p.organization_id AS \"organization: OrganizationId\",
             (SELECT node_id FROM placements l WHERE l.project_ref = p.ref AND l.role = 'ACTIVE') AS \"node: NodeId\"",
        replica_gone.as_secs_f64(),
        FORGOTTEN,
    )
    .fetch_all(write.connection().await?)
    .await?;
    for row in &rows {
        let method = "/supalove.projects/close_undo_window";
        write.audit_outcome_in(row.organization, method, row.project.as_str(), "PURGED");
    }
    Ok(rows.into_iter().map(|row| (row.project, row.node)).collect())
}
