//! SQL of the outbox. A mail is claimed before it is sent: its next attempt is set to the end of the claim, and the number of
//! attempts is the fence of what the claimant notes afterwards.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Letter;
use crate::{
    SystemWrite, Write,
    database::{Connection, Db},
    error::Result,
    ids::MailId,
};

/// How a mail ended after an attempt.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// The mail server took it.
    Sent,
    /// The mail server refused it for good.
    Refused,
}

impl End {
    const fn as_sql(self) -> &'static str {
        match self {
            Self::Sent => "SENT",
            Self::Refused => "REFUSED",
        }
    }
}

/// A mail that this replica has claimed.
pub(super) struct Claimed {
    pub id: MailId,
    pub recipient: String,
    pub kind: String,
    pub sealed: Vec<u8>,
    pub attempts: i32,
    pub created_at: DateTime<Utc>,
}

/// Mails that wait.
#[derive(Debug)]
pub(super) struct Waiting {
    pub count: i64,
    pub since: Option<DateTime<Utc>>,
}

pub(super) async fn add(
    connection: &mut Connection,
    id: MailId,
    letter: &Letter<'_>,
    sealed: &[u8],
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO mails (id, recipient, kind, sealed, expires_at) VALUES ($1, $2, $3, $4, $5)",
        id.0,
        letter.to,
        letter.kind,
        sealed,
        letter.expires_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Claims the mail that has been due for longest. The claim is committed before anything is sent.
pub(super) async fn claim(db: &Db, claim: Duration) -> Result<Option<Claimed>> {
    let claimed = sqlx::query_as!(
        Claimed,
        "UPDATE mails SET attempts = attempts + 1, next_attempt_at = now() + make_interval(secs => $1)
         WHERE id = (SELECT id FROM mails WHERE state = 'WAITING' AND next_attempt_at <= now() AND expires_at > now()
             ORDER BY next_attempt_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING id AS \"id: MailId\", recipient, kind, sealed AS \"sealed!\", attempts, created_at",
        claim.as_secs_f64(),
    )
    .fetch_optional(db)
    .await?;
    Ok(claimed)
}

/// Notes that the mail has ended, and deletes its content. One that expired while the server took it was sent.
pub(super) async fn end(db: &Db, mail: &Claimed, end: End, error: &str) -> Result<()> {
    sqlx::query!(
        "UPDATE mails SET state = $3, sealed = NULL, ended_at = now(), last_error = $4
         WHERE id = $1 AND attempts = $2 AND (state = 'WAITING' OR state = 'EXPIRED' AND $3 = 'SENT')",
        mail.id.0,
        mail.attempts,
        end.as_sql(),
        error,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that an attempt failed and when the next one is due.
pub(super) async fn delay(db: &Db, mail: &Claimed, pause: Duration, error: &str) -> Result<()> {
    sqlx::query!(
        "UPDATE mails SET next_attempt_at = now() + make_interval(secs => $3), last_error = $4
         WHERE id = $1 AND attempts = $2 AND state = 'WAITING'",
        mail.id.0,
        mail.attempts,
        pause.as_secs_f64(),
        error,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A mail that expired.
pub(super) struct Expired {
    pub id: MailId,
    pub kind: String,
    pub attempts: i32,
    pub last_error: String,
}

/// Drops what has expired, and its content.
pub(super) async fn expire(db: &Db) -> Result<Vec<Expired>> {
    let expired = sqlx::query_as!(
        Expired,
        "UPDATE mails SET state = 'EXPIRED', sealed = NULL, ended_at = now()
         WHERE id IN (SELECT id FROM mails WHERE state = 'WAITING' AND expires_at <= now() ORDER BY expires_at LIMIT 100
             FOR UPDATE SKIP LOCKED)
         RETURNING id AS \"id: MailId\", kind, attempts, last_error",
    )
    .fetch_all(db)
    .await?;
    Ok(expired)
}

/// True if a mail is due.
pub(super) async fn is_due(db: &Db) -> Result<bool> {
    let due = sqlx::query_scalar!(
        "SELECT EXISTS (SELECT 1 FROM mails WHERE state = 'WAITING' AND next_attempt_at <= now() AND expires_at > now())
             AS \"due!\"",
    )
    .fetch_one(db)
    .await?;
    Ok(due)
}

/// How many mails wait, and since when the oldest.
pub(super) async fn waiting(db: &Db) -> Result<Waiting> {
    let waiting = sqlx::query_as!(
        Waiting,
        "SELECT count(*) AS \"count!\", min(created_at) AS since FROM mails WHERE state = 'WAITING'",
    )
    .fetch_one(db)
    .await?;
    Ok(waiting)
}

/// Deletes rows of mails that ended long ago, at most `batch`; false if there may be more.
pub(crate) async fn prune(write: &mut SystemWrite, kept: Duration, batch: i64) -> Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM mails WHERE id IN (
             SELECT id FROM mails WHERE state <> 'WAITING' AND ended_at < now() - make_interval(secs => $1)
             ORDER BY ended_at LIMIT $2)",
        kept.as_secs_f64(),
        batch,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(done.rows_affected() < batch.unsigned_abs())
}
