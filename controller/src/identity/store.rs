//! Users and sessions in PostgreSQL.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use supalove_proto::v1::ErrorReason;

use super::{Opaque, User};
use crate::{
    access::Caller,
    audit,
    error::{Error, Result},
    ids::{SessionId, UserId},
};

/// What a sign-in is checked against.
pub struct Credentials {
    /// The user.
    pub user: User,
    /// Argon2id.
    pub password_hash: String,
}

/// A session to be.
pub struct NewSession {
    /// Id.
    pub id: SessionId,
    /// Refresh token.
    pub refresh: Opaque,
    /// Deliver it as a cookie.
    pub in_cookie: bool,
    /// End.
    pub expires_at: DateTime<Utc>,
}

fn wrong_setup_token() -> Error {
    Error::Unauthenticated {
        reason: ErrorReason::SetupTokenInvalid,
        message: "the setup token is wrong or was used; the controller makes one at its start while there is no user"
            .to_owned(),
    }
}

/// Refuses a wrong setup token before anything costly is done for it.
pub async fn check_setup_token(db: &PgPool, token: &Opaque) -> Result<()> {
    let right = sqlx::query_scalar!(
        "SELECT true AS \"right!\" FROM platform WHERE setup_token_hash = $1",
        token.hash()
    )
    .fetch_optional(db)
    .await?;
    right.map(|_: bool| ()).ok_or_else(wrong_setup_token)
}

/// Makes the first user if the token is right and there is none; one transaction.
pub async fn set_up(
    db: &PgPool,
    token: &Opaque,
    user: &User,
    password_hash: &str,
    session: &NewSession,
    entry: &audit::Entry,
) -> Result<()> {
    let mut tx = db.begin().await?;
    let spent = sqlx::query!(
        "UPDATE platform SET setup_token_hash = NULL
         WHERE setup_token_hash = $1 AND NOT EXISTS (SELECT 1 FROM users)",
        token.hash(),
    )
    .execute(&mut *tx)
    .await?;
    if spent.rows_affected() != 1 {
        return Err(wrong_setup_token());
    }
    sqlx::query!(
        "INSERT INTO users (id, email, display_name, password_hash, operator, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
        user.id.0,
        user.email,
        user.display_name,
        password_hash,
        user.operator,
        user.created_at,
    )
    .execute(&mut *tx)
    .await?;
    insert_session(&mut tx, user.id, session).await?;
    audit::record(&mut *tx, entry).await?;
    tx.commit().await?;
    Ok(())
}

/// The user with this address.
pub async fn credentials(db: &PgPool, email: &str) -> Result<Option<Credentials>> {
    let row = sqlx::query!(
        "SELECT id, email, display_name, password_hash, operator, created_at FROM users WHERE email = $1",
        email
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|r| Credentials {
        user: User {
            id: UserId(r.id),
            email: r.email,
            display_name: r.display_name,
            operator: r.operator,
            created_at: r.created_at,
        },
        password_hash: r.password_hash,
    }))
}

/// The user with this id.
pub async fn user(db: &PgPool, id: UserId) -> Result<User> {
    let r =
        sqlx::query!("SELECT id, email, display_name, operator, created_at FROM users WHERE id = $1", id.0)
            .fetch_one(db)
            .await?;
    Ok(User {
        id: UserId(r.id),
        email: r.email,
        display_name: r.display_name,
        operator: r.operator,
        created_at: r.created_at,
    })
}

/// Starts a session.
pub async fn start_session(
    db: &PgPool,
    user: UserId,
    session: &NewSession,
    entry: &audit::Entry,
) -> Result<()> {
    let mut tx = db.begin().await?;
    insert_session(&mut tx, user, session).await?;
    audit::record(&mut *tx, entry).await?;
    tx.commit().await?;
    Ok(())
}

async fn insert_session(tx: &mut sqlx::PgConnection, user: UserId, session: &NewSession) -> Result<()> {
    sqlx::query!(
        "INSERT INTO user_sessions (id, user_id, refresh_hash, in_cookie, expires_at) VALUES ($1, $2, $3, $4, $5)",
        session.id.0,
        user.0,
        session.refresh.hash(),
        session.in_cookie,
        session.expires_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// What a refresh gave.
pub struct Refreshed {
    /// Session.
    pub session: SessionId,
    /// User.
    pub user: UserId,
    /// Deliver the new token as a cookie.
    pub in_cookie: bool,
}

/// Trades a refresh token for the next one. One that was used before ends its session: either the caller or a thief
/// has an old copy, and only the caller can sign in again.
pub async fn refresh(
    db: &PgPool,
    old: &Opaque,
    new: &Opaque,
    expires_at: DateTime<Utc>,
) -> Result<Option<Refreshed>> {
    let row = sqlx::query!(
        "UPDATE user_sessions SET previous_hash = refresh_hash, refresh_hash = $2, expires_at = $3
         WHERE refresh_hash = $1 AND ended_at IS NULL AND expires_at > now() RETURNING id, user_id, in_cookie",
        old.hash(),
        new.hash(),
        expires_at,
    )
    .fetch_optional(db)
    .await?;
    if row.is_none() {
        let stolen = sqlx::query!(
            "UPDATE user_sessions SET ended_at = now() WHERE previous_hash = $1 AND ended_at IS NULL RETURNING id",
            old.hash()
        )
        .fetch_optional(db)
        .await?;
        if let Some(session) = stolen {
            tracing::warn!(session = %SessionId(session.id), "a refresh token was used twice; its session has ended");
        }
    }
    Ok(row.map(|r| Refreshed { session: SessionId(r.id), user: UserId(r.user_id), in_cookie: r.in_cookie }))
}

/// The caller of a live session.
pub async fn caller(db: &PgPool, session: SessionId) -> Result<Option<Caller>> {
    let row = sqlx::query!(
        "SELECT u.id, u.operator FROM user_sessions s JOIN users u ON u.id = s.user_id
         WHERE s.id = $1 AND s.ended_at IS NULL AND s.expires_at > now()",
        session.0
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|r| Caller { user: UserId(r.id), session, operator: r.operator }))
}

/// Ends a session.
pub async fn end_session(db: &PgPool, session: SessionId, entry: &audit::Entry) -> Result<()> {
    let mut tx = db.begin().await?;
    sqlx::query!("UPDATE user_sessions SET ended_at = now() WHERE id = $1 AND ended_at IS NULL", session.0)
        .execute(&mut *tx)
        .await?;
    audit::record(&mut *tx, entry).await?;
    tx.commit().await?;
    Ok(())
}
