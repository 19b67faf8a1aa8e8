//! Links of mails in PostgreSQL.

use chrono::{DateTime, Utc};
use supalove_core::{
    Write,
    database::Db,
    error::Result,
    ids::{SessionId, UserId},
};
use uuid::Uuid;

use crate::{
    Opaque,
    links::{For, LinkKind},
};

/// Rows that one statement deletes.
const BATCH: i64 = 1000;

/// A link that works.
#[derive(Debug)]
pub struct Found {
    pub email: String,
    pub user: Option<UserId>,
    pub session: Option<SessionId>,
}

pub async fn insert(
    write: &mut impl Write,
    kind: LinkKind,
    whose: &For<'_>,
    token: &Opaque,
    expires_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO account_links (id, kind, user_id, email, token_hash, session_id, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        Uuid::now_v7(),
        kind.as_sql(),
        whose.user.map(|user| user.0),
        whose.email,
        token.hash(),
        whose.session.map(|session| session.0),
        expires_at,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Returns the link of a token. One for a password works only while the account has the address that it was for, one for a new
/// address only while the session lives that requested it.
pub async fn find(db: &Db, kind: LinkKind, token: &Opaque) -> Result<Option<Found>> {
    let found = sqlx::query_as!(
        Found,
        "SELECT l.email, l.user_id AS \"user: UserId\", l.session_id AS \"session: SessionId\" FROM account_links l
         LEFT JOIN users u ON u.id = l.user_id
         WHERE l.token_hash = $1 AND l.kind = $2 AND l.expires_at > now()
             AND (l.kind <> 'RESET_PASSWORD' OR u.email = l.email)
             AND (l.kind <> 'CHANGE_EMAIL' OR EXISTS (
                 SELECT FROM user_sessions s WHERE s.id = l.session_id AND s.ended_at IS NULL AND s.expires_at > now()))",
        token.hash(),
        kind.as_sql(),
    );
    Ok(found.fetch_optional(db).await?)
}

/// Uses a link up; false if somebody else was faster.
pub async fn spend(write: &mut impl Write, kind: LinkKind, token: &Opaque) -> Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM account_links WHERE token_hash = $1 AND kind = $2 AND expires_at > now()",
        token.hash(),
        kind.as_sql(),
    )
    .execute(write.connection().await?)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Deletes all links of an account: after a change of its password or address none of them is wanted any more.
pub async fn forget(write: &mut impl Write, user: UserId) -> Result<()> {
    sqlx::query!("DELETE FROM account_links WHERE user_id = $1", user.0)
        .execute(write.connection().await?)
        .await?;
    Ok(())
}

/// Deletes links that have expired; false if there may be more.
pub async fn prune(write: &mut impl Write) -> Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM account_links WHERE id IN (
             SELECT id FROM account_links WHERE expires_at < now() ORDER BY expires_at LIMIT $1)",
        BATCH,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(done.rows_affected() < BATCH.unsigned_abs())
}
