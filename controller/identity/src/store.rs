//! Users and sessions in PostgreSQL.

use chrono::{DateTime, Utc};
use supalove_core::database::Db;
use supalove_proto::v1::ErrorReason;

use super::{Opaque, User};
use supalove_core::{
    Write,
    access::Principal,
    error::{Error, Result},
    ids::{SessionId, UserId},
};

/// A user with the password hash.
pub struct Credentials {
    pub user: User,
    /// Argon2id.
    pub password_hash: String,
}

/// A session to store.
pub struct NewSession {
    pub id: SessionId,
    pub refresh: Opaque,
    /// True to deliver the refresh token as a cookie.
    pub in_cookie: bool,
    pub expires_at: DateTime<Utc>,
}

fn wrong_setup_token() -> Error {
    Error::Unauthenticated {
        reason: ErrorReason::SetupTokenInvalid,
        message: "the setup token is wrong or was used; the controller generates one at each start while there is no user"
            .to_owned(),
    }
}

/// Rejects a wrong setup token before the costly password hash.
pub async fn check_setup_token(db: &Db, token: &Opaque) -> Result<()> {
    let right = sqlx::query_scalar!(
        "SELECT true AS \"right!\" FROM platform WHERE setup_token_hash = $1",
        token.hash()
    )
    .fetch_optional(db)
    .await?;
    right.map(|_: bool| ()).ok_or_else(wrong_setup_token)
}

/// Creates the first user if the token is right and there is no user.
pub async fn insert_first_user(
    write: &mut impl Write,
    token: &Opaque,
    user: &User,
    password_hash: &str,
) -> Result<()> {
    let spent = sqlx::query!(
        "UPDATE platform SET setup_token_hash = NULL
         WHERE setup_token_hash = $1 AND NOT EXISTS (SELECT 1 FROM users)",
        token.hash(),
    )
    .execute(write.connection().await?)
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
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Returns the user with this address.
pub async fn credentials(db: &Db, email: &str) -> Result<Option<Credentials>> {
    let row = sqlx::query!(
        "SELECT id AS \"id: UserId\", email, display_name, password_hash, operator, created_at FROM users WHERE email = $1",
        email
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Credentials {
        user: User {
            id: row.id,
            email: row.email,
            display_name: row.display_name,
            operator: row.operator,
            created_at: row.created_at,
        },
        password_hash: row.password_hash,
    }))
}

/// Returns the user with this id.
pub async fn user(db: &Db, id: UserId) -> Result<User> {
    let user = sqlx::query_as!(
        User,
        "SELECT id AS \"id: UserId\", email, display_name, operator, created_at FROM users WHERE id = $1",
        id.0
    );
    Ok(user.fetch_one(db).await?)
}

pub async fn insert_session(write: &mut impl Write, user: UserId, session: &NewSession) -> Result<()> {
    sqlx::query!(
        "INSERT INTO user_sessions (id, user_id, refresh_hash, in_cookie, expires_at) VALUES ($1, $2, $3, $4, $5)",
        session.id.0,
        user.0,
        session.refresh.hash(),
        session.in_cookie,
        session.expires_at,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Result of a refresh.
pub struct Refreshed {
    pub session: SessionId,
    pub user: UserId,
    /// True to deliver the new token as a cookie.
    pub in_cookie: bool,
}

/// Replaces a refresh token by the next one; `None` if it is not the token of a live session.
pub async fn rotate(
    write: &mut impl Write,
    old: &Opaque,
    new: &Opaque,
    expires_at: DateTime<Utc>,
) -> Result<Option<Refreshed>> {
    let row = sqlx::query_as!(
        Refreshed,
        "UPDATE user_sessions SET previous_hash = refresh_hash, refresh_hash = $2, expires_at = $3
         WHERE refresh_hash = $1 AND ended_at IS NULL AND expires_at > now()
         RETURNING id AS \"session: SessionId\", user_id AS \"user: UserId\", in_cookie",
        old.hash(),
        new.hash(),
        expires_at,
    )
    .fetch_optional(write.connection().await?)
    .await?;
    Ok(row)
}

/// Ends the session whose refresh token is used a second time: either the caller or a thief has an old copy, and only
/// the caller can sign in again.
pub async fn end_reused(write: &mut impl Write, old: &Opaque) -> Result<Option<SessionId>> {
    let session = sqlx::query_scalar!(
        "UPDATE user_sessions SET ended_at = now() WHERE previous_hash = $1 AND ended_at IS NULL
         RETURNING id AS \"id: SessionId\"",
        old.hash()
    )
    .fetch_optional(write.connection().await?)
    .await?;
    Ok(session)
}

/// Returns the principal of a live session.
pub async fn principal(db: &Db, session: SessionId) -> Result<Option<Principal>> {
    let row = sqlx::query!(
        "SELECT u.id AS \"id: UserId\", u.operator FROM user_sessions s JOIN users u ON u.id = s.user_id
         WHERE s.id = $1 AND s.ended_at IS NULL AND s.expires_at > now()",
        session.0
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|r| Principal { user: r.id, session, operator: r.operator }))
}

pub async fn end_session(write: &mut impl Write, session: SessionId) -> Result<()> {
    sqlx::query!("UPDATE user_sessions SET ended_at = now() WHERE id = $1 AND ended_at IS NULL", session.0)
        .execute(write.connection().await?)
        .await?;
    Ok(())
}

/// Deletes sessions that ended more than 30 days ago.
pub async fn prune(write: &mut impl Write) -> Result<()> {
    sqlx::query!(
        "DELETE FROM user_sessions WHERE greatest(expires_at, ended_at) < now() - interval '30 days'"
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}
