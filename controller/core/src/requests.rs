//! Idempotency: a call with a `request_id` acts once. The act's transaction stores the key, so a repeated call finds
//! either the whole act or nothing. The row keeps only names of created objects, never a response, so no secret is
//! stored.

use crate::database::Db;
use aws_lc_rs::digest::{SHA256, digest};
use prost::Message;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::{
    access::Call,
    database::violates,
    error::{Error, Result},
    ids::{OperationId, UserId},
    wire::request_id,
};

/// Idempotency key of a call.
#[derive(Debug, Clone)]
pub struct Request {
    /// Caller.
    pub user: UserId,
    /// RPC.
    pub method: &'static str,
    /// The caller's key.
    pub id: Uuid,
    /// SHA-256 of the request.
    pub body: Vec<u8>,
    /// What else it may be: the same request under an older key.
    pub or: Vec<Vec<u8>>,
}

impl Request {
    /// Reads the key of a call, if it has one.
    pub fn from_call(call: &Call, id: &str, body: &impl Message) -> Result<Option<Self>> {
        let Some(id) = request_id(id)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            user: call.principal()?.user,
            method: call.method,
            id,
            body: sha256(body),
            or: Vec::new(),
        }))
    }
}

fn sha256(body: &impl Message) -> Vec<u8> {
    digest(&SHA256, &body.encode_to_vec()).as_ref().to_vec()
}

impl Request {
    /// Accepts these bodies, too, as the same request.
    #[must_use]
    pub fn or(self, bodies: &[impl Message]) -> Self {
        Self { or: bodies.iter().map(sha256).collect(), ..self }
    }
}

/// Result of an answered call.
#[derive(Debug, Clone)]
pub struct Answered {
    /// Project ref or organization slug.
    pub resource: String,
    /// Operation it started.
    pub operation: Option<OperationId>,
}

/// Looks up the result of the same call before. Returns an error if the key was used with another body.
pub async fn replayed(db: &Db, request: Option<&Request>) -> Result<Option<Answered>> {
    let Some(request) = request else {
        return Ok(None);
    };
    let row = sqlx::query!(
        "SELECT body_sha256, resource, operation FROM requests WHERE user_id = $1 AND method = $2 AND request_id = $3",
        request.user.0,
        request.method,
        request.id,
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    if row.body_sha256 != request.body && !request.or.contains(&row.body_sha256) {
        return Err(Error::field(
            "request_id",
            "was used with another request; use a new UUID for a new request",
        ));
    }
    Ok(Some(Answered { resource: row.resource, operation: row.operation.map(OperationId) }))
}

/// Stores the key at the begin of the act's transaction. If the same call runs elsewhere, this one waits for it and
/// then fails.
pub async fn begin(db: impl PgExecutor<'_>, request: &Request) -> Result<()> {
    sqlx::query!(
        "INSERT INTO requests (user_id, method, request_id, body_sha256, resource) VALUES ($1, $2, $3, $4, '')",
        request.user.0,
        request.method,
        request.id,
        request.body,
    )
    .execute(db)
    .await
    .map_err(lost_race)?;
    Ok(())
}

/// Stores the result of the act, at the end of its transaction.
pub async fn complete(
    db: impl PgExecutor<'_>,
    request: &Request,
    resource: &str,
    operation: Option<OperationId>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE requests SET resource = $4, operation = $5 WHERE user_id = $1 AND method = $2 AND request_id = $3",
        request.user.0,
        request.method,
        request.id,
        resource,
        operation.map(|o| o.0),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Converts a duplicate key: the same call was answered a moment ago.
pub fn lost_race(error: sqlx::Error) -> Error {
    if violates(&error, "requests_pkey") {
        return Error::Aborted("another call with the same request_id is in progress");
    }
    error.into()
}

/// Deletes keys older than `age_seconds`, at most `batch`; false if there may be more.
pub async fn forget(db: &Db, age_seconds: f64, batch: i64) -> Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM requests WHERE (user_id, method, request_id) IN (
             SELECT user_id, method, request_id FROM requests
             WHERE created_at < now() - make_interval(secs => $1) ORDER BY created_at LIMIT $2)",
        age_seconds,
        batch,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() < batch.unsigned_abs())
}
