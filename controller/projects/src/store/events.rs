//! Events of a project. A counter in its row numbers them without gaps, so that a watch can resume.

use chrono::{DateTime, Utc};

use crate::types::{EventType, ProjectState};
use supalove_core::{
    Write,
    database::Db,
    error::Result,
    ids::{OperationId, ProjectRef},
};

/// An event to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    pub kind: EventType,
    pub message: String,
    /// Service that it concerns; empty if none.
    pub service: String,
    /// Progress of an image pull, 0 to 100.
    pub percent: i32,
}

impl NewEvent {
    /// Creates an event that concerns the whole project.
    pub fn new(kind: EventType, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), service: String::new(), percent: 0 }
    }

    /// Creates an event that concerns a service.
    pub fn for_service(kind: EventType, service: &str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), service: service.to_owned(), percent: 0 }
    }
}

#[derive(Debug, Clone)]
pub struct Event {
    /// From 1.
    pub seq: i64,
    pub at: DateTime<Utc>,
    pub kind: EventType,
    pub message: String,
    /// Service that it concerns; empty if none.
    pub service: String,
    /// Progress of an image pull, 0 to 100.
    pub percent: i32,
    /// State of the project after the event.
    pub state: ProjectState,
    /// Operation it belongs to.
    pub operation: Option<OperationId>,
}

/// Appends an event with the next sequence number.
pub async fn append(
    write: &mut impl Write,
    project: &ProjectRef,
    event: &NewEvent,
    operation: Option<OperationId>,
) -> Result<()> {
    sqlx::query!(
        "SELECT append_event($1, $2, $3, $4, $5, $6)",
        project.as_str(),
        event.kind.as_sql(),
        event.message,
        event.service,
        event.percent,
        operation.map(|o| o.0),
    )
    .fetch_one(write.connection().await?)
    .await?;
    Ok(())
}

/// True if the project had the same event of the same service within a second: another one would tell nothing new.
pub async fn is_repeated(write: &mut impl Write, project: &ProjectRef, event: &NewEvent) -> Result<bool> {
    let repeated = sqlx::query_scalar!(
        "SELECT EXISTS (SELECT 1 FROM (SELECT type, service, at FROM project_events WHERE project_ref = $1
                                       ORDER BY seq DESC LIMIT 20) AS newest
             WHERE type = $2 AND service = $3 AND at > now() - interval '1 second') AS \"repeated!\"",
        project.as_str(),
        event.kind.as_sql(),
        event.service,
    )
    .fetch_one(write.connection().await?)
    .await?;
    Ok(repeated)
}

/// Returns the events after a sequence number, oldest first.
pub async fn after(db: &Db, project: &ProjectRef, seq: i64, limit: i64) -> Result<Vec<Event>> {
    let found = sqlx::query_as!(
        Event,
        "SELECT seq, at, type AS \"kind: EventType\", message, service, percent, state AS \"state: ProjectState\",
             operation_id AS \"operation: OperationId\"
         FROM project_events WHERE project_ref = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        project.as_str(),
        seq,
        limit,
    );
    Ok(found.fetch_all(db).await?)
}
