//! What happened to a project: numbered from its row, gap-free, so that a watch can resume.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::types::{EventType, ProjectState};
use supalove_core::{
    Write,
    error::Result,
    ids::{OperationId, ProjectRef},
};

/// An event to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// What happened.
    pub kind: EventType,
    /// For people.
    pub message: String,
    /// Service it is about.
    pub service: String,
    /// Of a pull.
    pub percent: i32,
}

impl NewEvent {
    /// About the project as a whole.
    pub fn new(kind: EventType, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), service: String::new(), percent: 0 }
    }

    /// About a service.
    pub fn of_service(kind: EventType, service: &str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), service: service.to_owned(), percent: 0 }
    }
}

/// An event.
#[derive(Debug, Clone)]
pub struct Event {
    /// From 1.
    pub seq: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// What happened.
    pub kind: EventType,
    /// For people.
    pub message: String,
    /// Service it is about.
    pub service: String,
    /// Of a pull.
    pub percent: i32,
    /// State after it.
    pub state: ProjectState,
    /// Operation it belongs to.
    pub operation: Option<OperationId>,
}

/// Adds an event with the next number.
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

/// Events after a number, oldest first.
pub async fn after(db: &PgPool, project: &ProjectRef, seq: i64, limit: i64) -> Result<Vec<Event>> {
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
