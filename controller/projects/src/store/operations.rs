//! Operations in PostgreSQL.

use chrono::{DateTime, Utc};
use supalove_core::database::{Connection, Db};
use supalove_proto::v1::ErrorReason;
use uuid::Uuid;

use crate::types::{OperationKind, OperationState};
use supalove_core::{
    Write,
    error::{Error, Result},
    ids::{OperationId, ProjectRef, UserId},
};

/// Operations of a project that are kept; the oldest goes when another one begins.
const KEPT: i64 = 500;

/// An operation on a project.
#[derive(Debug, Clone)]
pub struct Operation {
    pub id: OperationId,
    pub project: ProjectRef,
    pub kind: OperationKind,
    pub state: OperationState,
    /// Current step or the reason for waiting, for people.
    pub status_message: String,
    /// Why it failed or was cancelled.
    pub error: Option<Failure>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it fails; `None` while it is pending.
    pub deadline: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// Why an operation failed or was cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub reason: String,
    pub message: String,
    pub service: String,
    /// Last log lines of the container.
    pub log_tail: Vec<String>,
}

impl Failure {
    /// Creates a failure that concerns no service.
    pub fn new(reason: ErrorReason, message: impl Into<String>) -> Self {
        Self {
            reason: reason.text().to_owned(),
            message: message.into(),
            service: String::new(),
            log_tail: Vec::new(),
        }
    }
}

struct Row {
    id: OperationId,
    project: ProjectRef,
    kind: OperationKind,
    state: OperationState,
    status_message: String,
    error_reason: Option<String>,
    error_message: Option<String>,
    error_service: Option<String>,
    error_log: Option<Vec<String>>,
    created_at: DateTime<Utc>,
    deadline: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
}

impl From<Row> for Operation {
    fn from(row: Row) -> Self {
        let error = row.error_reason.map(|reason| Failure {
            reason,
            message: row.error_message.unwrap_or_default(),
            service: row.error_service.unwrap_or_default(),
            log_tail: row.error_log.unwrap_or_default(),
        });
        Self {
            id: row.id,
            project: row.project,
            kind: row.kind,
            state: row.state,
            status_message: row.status_message,
            error,
            created_at: row.created_at,
            deadline: row.deadline,
            ended_at: row.ended_at,
        }
    }
}

pub async fn get(db: &Db, id: OperationId) -> Result<Operation> {
    let found = query(db, Wanted { id: Some(id), ..Wanted::default() }, 1).await?.into_iter().next();
    found.ok_or_else(|| Error::NotFound { kind: "operation", name: id.to_string() })
}

/// Returns the newest delete of a project, unless it failed.
pub async fn last_delete(db: &mut Connection, project: &ProjectRef) -> Result<Option<OperationId>> {
    let row = sqlx::query!(
        "SELECT id AS \"id: OperationId\", state AS \"state: OperationState\" FROM operations
         WHERE project_ref = $1 AND kind = 'DELETE_PROJECT' ORDER BY created_at DESC, id DESC LIMIT 1",
        project.as_str(),
    )
    .fetch_optional(db)
    .await?;
    let good = |state| !matches!(state, OperationState::Failed | OperationState::Cancelled);
    Ok(row.filter(|row| good(row.state)).map(|row| row.id))
}

/// A project's operations, newest first.
pub async fn list(db: &Db, project: &ProjectRef, before: Option<Uuid>, limit: i64) -> Result<Vec<Operation>> {
    query(db, Wanted { project: Some(project), before, ..Wanted::default() }, limit).await
}

#[derive(Default)]
struct Wanted<'a> {
    id: Option<OperationId>,
    project: Option<&'a ProjectRef>,
    /// Made before this one.
    before: Option<Uuid>,
}

async fn query(db: &Db, wanted: Wanted<'_>, limit: i64) -> Result<Vec<Operation>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT id AS \"id: OperationId\", project_ref AS \"project: ProjectRef\", kind AS \"kind: OperationKind\",
             state AS \"state: OperationState\", status_message, error_reason, error_message, error_service, error_log,
             created_at, deadline, ended_at
         FROM operations
         WHERE ($1::uuid IS NULL OR id = $1) AND ($2::text IS NULL OR project_ref = $2) AND ($3::uuid IS NULL OR id < $3)
         ORDER BY id DESC LIMIT $4",
        wanted.id.map(|id| id.0),
        wanted.project.map(ProjectRef::as_str),
        wanted.before,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(Operation::from).collect())
}

/// An operation to store.
pub struct NewOperation<'a> {
    pub id: OperationId,
    pub project: &'a ProjectRef,
    pub kind: OperationKind,
    /// The operation succeeds when the agent reports this generation as done.
    pub generation: i64,
    /// Caller who started it.
    pub by: UserId,
    /// How long it may take; `None` while it waits for capacity.
    pub time: Option<std::time::Duration>,
    /// Current step or the reason for waiting, for people.
    pub status_message: &'a str,
}

/// Stores an operation, and deletes the oldest if there are too many. The caller must have ended the project's open
/// operation.
pub async fn insert(write: &mut impl Write, new: &NewOperation<'_>) -> Result<()> {
    let state = if new.time.is_some() { OperationState::Running } else { OperationState::Pending };
    sqlx::query!(
        "INSERT INTO operations (id, project_ref, kind, state, generation, created_by, deadline, status_message)
         VALUES ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7), $8)",
        new.id.0,
        new.project.as_str(),
        new.kind.as_sql(),
        state.as_sql(),
        new.generation,
        new.by.0,
        new.time.map(|d| d.as_secs_f64()),
        new.status_message,
    )
    .execute(write.connection().await?)
    .await?;
    sqlx::query!(
        "DELETE FROM operations WHERE ended_at IS NOT NULL AND id IN (
             SELECT id FROM operations WHERE project_ref = $1 ORDER BY created_at DESC, id DESC OFFSET $2)",
        new.project.as_str(),
        KEPT,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Lets a change end although these services are not ready: they were not before it, and it does not touch them.
pub async fn set_red_before(write: &mut impl Write, id: OperationId, services: &[String]) -> Result<()> {
    sqlx::query!("UPDATE operations SET red_before = $2 WHERE id = $1", id.0, services)
        .execute(write.connection().await?)
        .await?;
    Ok(())
}

/// Makes a pending operation running and sets its deadline.
pub async fn begin(
    write: &mut impl Write,
    id: OperationId,
    time: std::time::Duration,
    generation: i64,
) -> Result<()> {
    sqlx::query!(
        "UPDATE operations SET state = 'RUNNING', deadline = now() + make_interval(secs => $2), generation = $3,
             status_message = 'room was found' WHERE id = $1 AND state = 'PENDING'",
        id.0,
        time.as_secs_f64(),
        generation,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Ends an open operation; false if it had already ended. On success the status names the end state, not the last step.
pub async fn end(
    write: &mut impl Write,
    id: OperationId,
    state: OperationState,
    failure: Option<&Failure>,
) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE operations SET state = $2, ended_at = now(), error_reason = $3, error_message = $4, error_service = $5,
             error_log = $6, status_message = CASE WHEN $2 <> 'SUCCEEDED' THEN status_message ELSE CASE kind
                 WHEN 'STOP_PROJECT' THEN 'stopped; data kept' WHEN 'DELETE_PROJECT' THEN 'deleted'
                 WHEN 'UNDELETE_PROJECT' THEN 'undeleted' WHEN 'UPGRADE_PROJECT' THEN 'upgraded'
                 WHEN 'UPDATE_SETTINGS' THEN 'changed' WHEN 'CHANGE_SECRETS' THEN 'changed'
                 WHEN 'RESET_DATABASE_PASSWORD' THEN 'changed' WHEN 'ROTATE_JWT_SECRET' THEN 'changed'
                 WHEN 'RESIZE_PROJECT' THEN 'resized' ELSE 'up' END END
         WHERE id = $1 AND state IN ('PENDING', 'RUNNING')",
        id.0,
        state.as_sql(),
        failure.map(|f| f.reason.as_str()),
        failure.map(|f| f.message.as_str()),
        failure.map(|f| f.service.as_str()),
        failure.map(|f| f.log_tail.as_slice()),
    )
    .execute(write.connection().await?)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Sets the status of an open operation.
pub async fn set_status(write: &mut impl Write, id: OperationId, message: &str) -> Result<()> {
    sqlx::query!(
        "UPDATE operations SET status_message = $2 WHERE id = $1 AND state IN ('PENDING', 'RUNNING')",
        id.0,
        message
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Stores the last trouble, which becomes the error if the operation misses its deadline.
pub async fn set_trouble(write: &mut impl Write, id: OperationId, failure: &Failure) -> Result<()> {
    sqlx::query!(
        "UPDATE operations SET error_reason = $2, error_message = $3, error_service = $4, error_log = $5
         WHERE id = $1 AND state IN ('PENDING', 'RUNNING')",
        id.0,
        failure.reason,
        failure.message,
        failure.service,
        &failure.log_tail,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}
