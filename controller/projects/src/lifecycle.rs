//! Start, stop, restart, delete, undelete and cancel: a caller's act becomes a new generation of the desired state and an
//! operation, in one transaction.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use supalove_failpoints::failpoint;
use supalove_proto::v1::ErrorReason;

use super::{
    Projects,
    events::{self, NewEvent},
    operations::{self, Failure, NewOperation},
    snapshot::{self, Snapshot},
    transitions::Act,
    types::{Desired, EventType, OperationKind, OperationState, ProjectState},
    verdict::{self, Ended, Verdict},
};
use supalove_core::{
    access::Call,
    audit,
    error::{Error, Result},
    hints::Hint,
    ids::{OperationId, ProjectRef},
    requests::{self, Request},
};

/// Times an act is decided anew because the project changed under it.
const TRIES: usize = 5;

/// What an act makes of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    kind: OperationKind,
    desired: Desired,
    desired_before_delete: Option<Desired>,
    /// Keep the data so long; `None` while the project is not deleted.
    undo_window: Option<Duration>,
    new_restart_token: bool,
}

impl Plan {
    fn new(kind: OperationKind, desired: Desired) -> Self {
        Self { kind, desired, desired_before_delete: None, undo_window: None, new_restart_token: false }
    }

    /// What `act` makes of a project in this state, or why it may not.
    fn of(act: Act, project: &Snapshot, undo_window: Duration) -> Result<Self> {
        act.check(project.state, project.operation.as_ref().map(|open| open.kind))?;
        let unplaced = project.placement.is_none();
        match act {
            Act::Start => Ok(Self::new(OperationKind::Start, Desired::Running)),
            Act::Stop | Act::Restart if unplaced => Err(Error::FailedPrecondition {
                reason: ErrorReason::NotPlaced,
                message: "the project waits for room on a node; cancel its operation or delete it".to_owned(),
            }),
            Act::Stop => Ok(Self::new(OperationKind::Stop, Desired::Stopped)),
            Act::Restart => {
                Ok(Self { new_restart_token: true, ..Self::new(OperationKind::Restart, Desired::Running) })
            }
            Act::Delete => Self::delete(project, undo_window),
            Act::Undelete => Self::undelete(project),
        }
    }

    fn delete(project: &Snapshot, undo_window: Duration) -> Result<Self> {
        if project.desired == Desired::Removed {
            return Err(Error::FailedPrecondition {
                reason: ErrorReason::WrongState,
                message: "the project's data is being deleted already".to_owned(),
            });
        }
        let desired = if undo_window.is_zero() { Desired::Removed } else { Desired::Stopped };
        let before = project.desired_before_delete.unwrap_or(project.desired);
        Ok(Self {
            undo_window: Some(undo_window),
            desired_before_delete: Some(before),
            ..Self::new(OperationKind::Delete, desired)
        })
    }

    fn undelete(project: &Snapshot) -> Result<Self> {
        let open = project.desired != Desired::Removed && project.purge_at.is_some() && !project.purge_due;
        let before =
            project.desired_before_delete.filter(|_| open).ok_or_else(|| Error::FailedPrecondition {
                reason: ErrorReason::UndoWindowClosed,
                message: "the undo window is over and the data is gone; create a new project".to_owned(),
            })?;
        Ok(Self::new(OperationKind::Undelete, before))
    }

    /// State of the project while the operation runs.
    fn state(&self) -> ProjectState {
        match (self.kind, self.desired) {
            (OperationKind::Undelete, Desired::Stopped) => ProjectState::Pausing,
            (kind, _) => kind.state(),
        }
    }
}

/// Who asked, for the rows an act leaves behind.
pub(super) struct Origin<'a> {
    call: &'a Call,
    request: Option<Request>,
    /// The operation that is being cancelled; it must still be open.
    of: Option<OperationId>,
}

impl<'a> Origin<'a> {
    /// Of a call.
    pub fn new(call: &'a Call, request: Option<Request>) -> Self {
        Self { call, request, of: None }
    }
}

impl Projects {
    /// Does an act; answers its operation. A repeated call answers the first one's.
    pub(super) async fn act(
        &self,
        origin: &Origin<'_>,
        project: &ProjectRef,
        act: Act,
        undo_window: Duration,
    ) -> Result<OperationId> {
        if let Some(answered) = requests::replayed(&self.db, origin.request.as_ref()).await? {
            return answered.operation.ok_or_else(|| Error::internal("an act without an operation"));
        }
        for _ in 0..TRIES {
            let mut tx = self.db.begin().await?;
            let found = snapshot::expect(&mut tx, project).await?;
            if origin.of.is_some() && origin.of != found.operation.as_ref().map(|open| open.id) {
                return Err(not_cancellable("the operation has ended"));
            }
            let plan = Plan::of(act, &found, undo_window)?;
            if let Some(operation) = self.carry_out(&mut tx, origin, &found, &plan).await? {
                tx.commit().await?;
                failpoint!("controller.act.committed", project.as_str());
                self.wake(&found);
                return Ok(operation);
            }
        }
        Err(Error::Aborted("the project changed at the same time"))
    }

    /// Writes a plan; `None` if the project changed meanwhile.
    async fn carry_out(
        &self,
        tx: &mut PgConnection,
        origin: &Origin<'_>,
        project: &Snapshot,
        plan: &Plan,
    ) -> Result<Option<OperationId>> {
        let operation = OperationId::generate();
        let removes_at_once = project.placement.is_none() && plan.kind == OperationKind::Delete;
        if removes_at_once {
            lock_organization(tx, project).await?;
        }
        let room = self.take_compute(tx, project, plan).await?;
        if !write_desired(tx, project, plan, room.as_deref().unwrap_or("")).await? {
            return Ok(None);
        }
        failpoint!("controller.act.desired_written", project.project.as_str());
        overtake(tx, project, plan.kind).await?;
        let new = NewOperation {
            id: operation,
            project: &project.project,
            kind: plan.kind,
            generation: project.generation + 1,
            by: origin.call.principal()?.user,
            time: room.is_none().then(|| plan.kind.time(&self.times)),
            status_message: room.as_deref().unwrap_or(""),
        };
        operations::insert(tx, &new).await?;
        let message = plan.kind.as_sql().to_lowercase().replace('_', " ");
        events::append(
            tx,
            &project.project,
            &NewEvent::new(EventType::OperationStarted, message),
            Some(operation),
        )
        .await?;
        failpoint!("controller.act.operation_written", project.project.as_str());
        if let Some(request) = &origin.request {
            requests::record(&mut *tx, request, project.project.as_str(), Some(operation)).await?;
        }
        audit::record(&mut *tx, &audit::Entry::from_call(origin.call, project.project.as_str())).await?;
        failpoint!("controller.act.written", project.project.as_str());
        if removes_at_once {
            remove_unplaced(tx, &project.project, operation).await?;
        }
        Ok(Some(operation))
    }

    /// Takes cpu and memory again for a project that comes back. Answers why it must wait, if it must.
    async fn take_compute(
        &self,
        tx: &mut PgConnection,
        project: &Snapshot,
        plan: &Plan,
    ) -> Result<Option<String>> {
        if plan.desired != Desired::Running {
            return Ok(None);
        }
        match project.placement {
            None => Ok(Some("waits for room on a node".to_owned())),
            Some(placement) if placement.holds_compute => Ok(None),
            Some(_) if take_compute(tx, project, self.times.silent_after).await? => Ok(None),
            Some(placement) => Ok(Some(format!(
                "node {} lacks {} MiB memory or {} millicores, or is not connected",
                placement.node, project.needs.memory_mib, project.needs.cpu_millis
            ))),
        }
    }

    /// Gives an operation up. A create becomes a delete, a start a stop.
    pub(super) async fn cancel(&self, call: &Call, id: OperationId) -> Result<()> {
        let operation = operations::get(&self.db, id).await?;
        let origin = Origin { call, request: None, of: Some(id) };
        for _ in 0..TRIES {
            let mut tx = self.db.begin().await?;
            let found = snapshot::expect(&mut tx, &operation.project).await?;
            let open = found.operation.as_ref().filter(|open| open.id == id);
            let open = open.ok_or_else(|| not_cancellable("the operation has ended"))?;
            let act = match (open.kind, open.state) {
                (OperationKind::Start, OperationState::Pending) => {
                    if self.give_up_pending_start(&mut tx, call, &found, id).await? {
                        tx.commit().await?;
                        self.wake(&found);
                        return Ok(());
                    }
                    continue;
                }
                (OperationKind::Create, _) => Act::Delete,
                (OperationKind::Start, _) => Act::Stop,
                _ => {
                    return Err(not_cancellable(
                        "this kind of operation cannot be taken back; wait for its end",
                    ));
                }
            };
            drop(tx);
            self.act(&origin, &operation.project, act, Duration::ZERO).await?;
            return Ok(());
        }
        Err(Error::Aborted("the project changed at the same time"))
    }

    /// A start that still waits for room: nothing has begun, so nothing is to be stopped.
    async fn give_up_pending_start(
        &self,
        tx: &mut PgConnection,
        call: &Call,
        found: &Snapshot,
        id: OperationId,
    ) -> Result<bool> {
        let state = if found.placement.is_some() { ProjectState::Inactive } else { ProjectState::InitFailed };
        let verdict = Verdict {
            state: Some((state, String::new())),
            end: Some(cancelled(id, OperationKind::Start, "cancelled")),
            ..Verdict::default()
        };
        if !verdict::write_in(tx, found, &verdict).await? {
            return Ok(false);
        }
        sqlx::query!(
            "UPDATE projects SET desired = 'STOPPED', generation = generation + 1 WHERE ref = $1",
            found.project.as_str()
        )
        .execute(&mut *tx)
        .await?;
        audit::record(&mut *tx, &audit::Entry::from_call(call, found.project.as_str())).await?;
        Ok(true)
    }

    fn wake(&self, project: &Snapshot) {
        self.hints.wake(Hint::Project(project.project.clone()));
        match project.placement {
            Some(placement) => self.hints.wake(Hint::Node(placement.node)),
            None => self.hints.wake(Hint::Capacity),
        }
    }
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

/// First in the lock order, for acts that end in a removal.
async fn lock_organization(tx: &mut PgConnection, project: &Snapshot) -> Result<()> {
    sqlx::query!("SELECT id FROM organizations WHERE id = $1 FOR UPDATE", project.organization.0)
        .fetch_one(tx)
        .await?;
    Ok(())
}

/// The new desired state; false if the project changed meanwhile.
async fn write_desired(tx: &mut PgConnection, project: &Snapshot, plan: &Plan, reason: &str) -> Result<bool> {
    let token = plan.new_restart_token.then(|| uuid::Uuid::new_v4().simple().to_string());
    let done = sqlx::query!(
        "UPDATE projects SET desired = $3, desired_before_delete = $4, state = $5, state_reason = $6,
             generation = generation + 1, revision = revision + 1, restart_token = coalesce($7, restart_token),
             deleted_at = CASE WHEN $8::float8 IS NULL THEN NULL ELSE coalesce(deleted_at, now()) END,
             purge_at = now() + make_interval(secs => $8)
         WHERE ref = $1 AND revision = $2",
        project.project.as_str(),
        project.revision,
        plan.desired.as_sql(),
        plan.desired_before_delete.map(Desired::as_sql),
        plan.state().as_sql(),
        reason,
        token,
        plan.undo_window.map(|w| w.as_secs_f64()),
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends the open operation in favour of the new one.
async fn overtake(tx: &mut PgConnection, project: &Snapshot, by: OperationKind) -> Result<()> {
    let Some(open) = &project.operation else {
        return Ok(());
    };
    let why = Failure::new(
        ErrorReason::Overtaken,
        format!("overtaken by {}", by.as_sql().to_lowercase().replace('_', " ")),
    );
    operations::end(tx, open.id, OperationState::Cancelled, Some(&why)).await?;
    let event = NewEvent::new(EventType::OperationCancelled, why.message.clone());
    events::append(tx, &project.project, &event, Some(open.id)).await
}

/// The guarded update of a start. Also the placer's.
pub(super) async fn take_compute(
    tx: &mut PgConnection,
    project: &Snapshot,
    silent_after: Duration,
) -> Result<bool> {
    let Some(placement) = project.placement else {
        return Ok(false);
    };
    let done = sqlx::query!(
        "UPDATE nodes SET cpu_used = cpu_used + $2, memory_used = memory_used + $3
         WHERE id = $1 AND seen_at > now() - make_interval(secs => $4)
             AND cpu_used + $2 <= cpu_cap AND memory_used + $3 <= memory_cap",
        placement.node.0,
        project.needs.cpu_millis,
        project.needs.memory_mib,
        silent_after.as_secs_f64(),
    )
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    let taken = sqlx::query!(
        "UPDATE placements SET holds_compute = true WHERE project_ref = $1 AND node_id = $2 AND NOT holds_compute",
        project.project.as_str(),
        placement.node.0,
    )
    .execute(tx)
    .await?;
    failpoint!("controller.act.compute_taken", project.project.as_str());
    if taken.rows_affected() == 1 {
        Ok(true)
    } else {
        Err(Error::Aborted("the project changed at the same time"))
    }
}

/// A project that never had a node is gone at once.
async fn remove_unplaced(tx: &mut PgConnection, project: &ProjectRef, operation: OperationId) -> Result<()> {
    let found = snapshot::expect(tx, project).await?;
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
    if verdict::write_in(tx, &found, &verdict).await? {
        Ok(())
    } else {
        Err(Error::internal("a locked row changed"))
    }
}

/// Projects whose undo window is over get the tombstone. Answers which.
pub(super) async fn purge_due(db: &PgPool) -> Result<Vec<(ProjectRef, Option<uuid::Uuid>)>> {
    let rows = sqlx::query!(
        "UPDATE projects p SET desired = 'REMOVED', generation = generation + 1, revision = revision + 1,
             state_reason = 'the undo window is over; the data is being deleted'
         WHERE p.ref IN (SELECT ref FROM projects WHERE purge_at <= now() AND desired <> 'REMOVED' AND removed_at IS NULL
                         ORDER BY purge_at LIMIT 100 FOR UPDATE SKIP LOCKED)
         RETURNING p.ref, (SELECT node_id FROM placements l WHERE l.project_ref = p.ref AND l.role = 'ACTIVE') AS node_id"
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(|row| Ok((row.r#ref.parse().map_err(Error::internal)?, row.node_id))).collect()
}
