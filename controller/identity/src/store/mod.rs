//! Users and sessions in PostgreSQL.

pub mod links;
pub mod personal_access_tokens;
pub mod signing_keys;

use std::time::Duration;

use chrono::{DateTime, Utc};
use supalove_proto::v1::ErrorReason;

use super::{
    Opaque, Session, User,
    api::has_account,
    family::{Answer, Presented, answer},
    session_ended,
};
use supalove_core::{
    Write,
    access::{Credential, Principal},
    database::{Db, violates},
    error::{Error, Result},
    ids::{SessionId, UserId},
    times::Times,
};

/// Sessions of a user that are kept. Another sign-in ends the oldest one.
const SESSIONS: i64 = 100;
/// Rows that one statement deletes.
const BATCH: i64 = 1000;

/// A user with the password hash.
pub struct Credentials {
    pub user: User,
    /// Argon2id.
    pub password_hash: String,
}

/// A session to store.
pub struct NewSession {
    pub id: SessionId,
    /// True to deliver the refresh token as a cookie.
    pub in_cookie: bool,
    pub expires_at: DateTime<Utc>,
    /// Client address; empty if unknown.
    pub client: String,
    pub user_agent: String,
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
    insert_user(write, user, password_hash).await
}

/// Creates a user; an error if the address has an account.
pub async fn insert_user(write: &mut impl Write, user: &User, password_hash: &str) -> Result<()> {
    sqlx::query!(
        "INSERT INTO users (id, email, display_name, password_hash, operator, created_at, email_verified_at)
         VALUES ($1, $2, $3, $4, $5, $6, CASE WHEN $7 THEN $6::timestamptz END)",
        user.id.0,
        user.email,
        user.display_name,
        password_hash,
        user.operator,
        user.created_at,
        user.email_verified,
    )
    .execute(write.connection().await?)
    .await
    .map_err(|error| address_taken(error, &user.email))?;
    Ok(())
}

fn address_taken(error: sqlx::Error, email: &str) -> Error {
    if violates(&error, "users_email_key") { has_account(email) } else { error.into() }
}

/// Returns the user with this address.
pub async fn credentials(db: &Db, email: &str) -> Result<Option<Credentials>> {
    let row = sqlx::query!(
        "SELECT id AS \"id: UserId\", email, display_name, password_hash, operator, created_at,
             email_verified_at IS NOT NULL AS \"email_verified!\"
         FROM users WHERE email = $1 AND deleted_at IS NULL",
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
            email_verified: row.email_verified,
            created_at: row.created_at,
        },
        password_hash: row.password_hash,
    }))
}

/// Returns the user with this id.
pub async fn user(db: &Db, id: UserId) -> Result<User> {
    let user = sqlx::query_as!(
        User,
        "SELECT id AS \"id: UserId\", email, display_name, operator, created_at,
             email_verified_at IS NOT NULL AS \"email_verified!\"
         FROM users WHERE id = $1",
        id.0
    );
    Ok(user.fetch_one(db).await?)
}

pub async fn set_display_name(write: &mut impl Write, id: UserId, display_name: &str) -> Result<()> {
    sqlx::query!("UPDATE users SET display_name = $2 WHERE id = $1", id.0, display_name)
        .execute(write.connection().await?)
        .await?;
    Ok(())
}

/// Returns the Argon2id hash of a user's password.
pub async fn password_hash(db: &Db, id: UserId) -> Result<String> {
    Ok(sqlx::query_scalar!("SELECT password_hash FROM users WHERE id = $1", id.0).fetch_one(db).await?)
}

/// Keeps a user's password from changing until the transaction ends; false if its hash is another one already. So no session
/// begins with the old password after ChangePassword has ended the others.
pub async fn lock_password(write: &mut impl Write, id: UserId, hash: &str) -> Result<bool> {
    let row = sqlx::query!("SELECT id FROM users WHERE id = $1 AND password_hash = $2 FOR SHARE", id.0, hash)
        .fetch_optional(write.connection().await?)
        .await?;
    Ok(row.is_some())
}

/// Locks the caller's account, so that changes of it run one after the other, and returns the caller's session; an error if it
/// has ended meanwhile. A call may wait long for its body or its turn.
pub async fn lock_account(write: &mut impl Write, principal: &Principal) -> Result<SessionId> {
    let session = principal.session()?;
    sqlx::query!("SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE", principal.user.0)
        .fetch_one(write.connection().await?)
        .await?;
    let lives = sqlx::query!(
        "SELECT id FROM user_sessions WHERE id = $1 AND ended_at IS NULL AND expires_at > now() FOR SHARE",
        session.0
    )
    .fetch_optional(write.connection().await?)
    .await?;
    if lives.is_some() { Ok(session) } else { Err(session_ended()) }
}

/// Replaces a user's password hash; an error if it is not `old` any more.
pub async fn replace_password(write: &mut impl Write, id: UserId, old: &str, new: &str) -> Result<()> {
    let done = sqlx::query!(
        "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2",
        id.0,
        old,
        new
    )
    .execute(write.connection().await?)
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(Error::Aborted("the password was changed meanwhile")) }
}

/// Locks an account, so that changes of it run one after the other, and returns its address.
pub async fn lock_user(write: &mut impl Write, id: UserId) -> Result<String> {
    let email = sqlx::query_scalar!("SELECT email FROM users WHERE id = $1 FOR NO KEY UPDATE", id.0);
    Ok(email.fetch_one(write.connection().await?).await?)
}

/// The same; false if the account has another address than this one.
pub async fn lock_address(write: &mut impl Write, id: UserId, email: &str) -> Result<bool> {
    Ok(lock_user(write, id).await? == email)
}

/// Sets a password for somebody who reads the account's mails. Call [`lock_address`] first.
pub async fn reset_password(write: &mut impl Write, id: UserId, hash: &str) -> Result<()> {
    sqlx::query!(
        "UPDATE users SET password_hash = $2, email_verified_at = coalesce(email_verified_at, now()) WHERE id = $1",
        id.0,
        hash
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Gives an account another address, whose mails its user has read; an error if that has an account.
pub async fn set_email(write: &mut impl Write, id: UserId, email: &str) -> Result<()> {
    sqlx::query!("UPDATE users SET email = $2, email_verified_at = now() WHERE id = $1", id.0, email)
        .execute(write.connection().await?)
        .await
        .map_err(|error| address_taken(error, email))?;
    Ok(())
}

/// Returns an error if nobody but this user runs the platform. Of two operators who go at once the second waits.
pub async fn check_other_operator(write: &mut impl Write, id: UserId) -> Result<()> {
    let operators = sqlx::query_scalar!("SELECT id FROM users WHERE operator ORDER BY id FOR NO KEY UPDATE")
        .fetch_all(write.connection().await?)
        .await?;
    if operators.iter().any(|operator| *operator != id.0) {
        return Ok(());
    }
    Err(Error::FailedPrecondition {
        reason: ErrorReason::LastOperator,
        message: "the account is the platform's only operator".to_owned(),
    })
}

/// Deletes an account: its row stays for those who refer to it, and names nobody.
pub async fn delete_user(write: &mut impl Write, id: UserId) -> Result<()> {
    end_sessions_but(write, id, &[]).await?;
    links::forget(write, id).await?;
    personal_access_tokens::end_all(write, id).await?;
    // Nobody can guess the new address, and so nobody can hold it.
    sqlx::query!(
        "UPDATE users SET deleted_at = now(), operator = false, email_verified_at = NULL, password_hash = '',
             email = gen_random_uuid()::text || '@deleted.invalid', display_name = 'deleted user' WHERE id = $1",
        id.0
    )
    .execute(write.connection().await?)
    .await?;
    // Where the user signed in from.
    sqlx::query!("UPDATE user_sessions SET client = '', user_agent = '' WHERE user_id = $1", id.0)
        .execute(write.connection().await?)
        .await?;
    Ok(())
}

/// Addresses from which somebody has signed in to an account.
pub async fn clients(db: &Db, email: &str) -> Result<Vec<String>> {
    let clients = sqlx::query_scalar!(
        "SELECT DISTINCT s.client FROM user_sessions s JOIN users u ON u.id = s.user_id WHERE u.email = $1",
        email
    );
    Ok(clients.fetch_all(db).await?)
}

/// Stores a session. Deletes the user's oldest ones if there are too many.
pub async fn insert_session(write: &mut impl Write, user: UserId, session: &NewSession) -> Result<()> {
    sqlx::query!(
        "INSERT INTO user_sessions (id, user_id, in_cookie, expires_at, client, user_agent) VALUES ($1, $2, $3, $4, $5, $6)",
        session.id.0,
        user.0,
        session.in_cookie,
        session.expires_at,
        session.client,
        session.user_agent,
    )
    .execute(write.connection().await?)
    .await?;
    sqlx::query!(
        "DELETE FROM user_sessions WHERE id IN (
             SELECT id FROM user_sessions WHERE user_id = $1 ORDER BY id DESC OFFSET $2)",
        user.0,
        SESSIONS,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// A session whose refresh token was presented.
pub struct Refreshed {
    pub session: SessionId,
    pub user: UserId,
    /// True to deliver the new token as a cookie.
    pub in_cookie: bool,
    /// What the caller gets.
    pub answer: Answer,
    /// When the token that the caller gets expires.
    pub expires_at: DateTime<Utc>,
}

/// Answers a refresh token of a live session, and changes the session accordingly; `None` if it is not such a token.
pub async fn refresh(
    write: &mut impl Write,
    presented: &Presented,
    times: &Times,
) -> Result<Option<Refreshed>> {
    let (id, hash, number) = match presented {
        Presented::Numbered(session, number) => (Some(session.0), None, *number),
        Presented::Unnumbered(hash) => (None, Some(hash.as_slice()), 0),
    };
    // Of two calls with the same token, the second waits here and finds what the first has done.
    let row = sqlx::query!(
        "SELECT id AS \"session: SessionId\", user_id AS \"user: UserId\", in_cookie, refresh_number, expires_at,
             greatest(extract(epoch FROM clock_timestamp() - refreshed_at), 0)::float8 AS \"age!\"
         FROM user_sessions WHERE (id = $1 OR refresh_hash = $2) AND ended_at IS NULL AND expires_at > now() FOR UPDATE",
        id,
        hash,
    )
    .fetch_optional(write.connection().await?)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let age = Duration::try_from_secs_f64(row.age).unwrap_or(Duration::MAX);
    let answer = answer(number, row.refresh_number, age, times.refresh_grace);
    let expires_at = match answer {
        Answer::Next(next) => advance(write, row.session, next, times).await?,
        Answer::Same(_) => row.expires_at,
        Answer::Reused => {
            end_session(write, row.session).await?;
            row.expires_at
        }
    };
    Ok(Some(Refreshed { session: row.session, user: row.user, in_cookie: row.in_cookie, answer, expires_at }))
}

/// Makes the next token the one that works. A session lasts from refresh to refresh, but not without end.
async fn advance(
    write: &mut impl Write,
    session: SessionId,
    number: i64,
    times: &Times,
) -> Result<DateTime<Utc>> {
    let expires_at = sqlx::query_scalar!(
        "UPDATE user_sessions SET refresh_number = $2, refreshed_at = clock_timestamp(),
             expires_at = least(now() + make_interval(secs => $3), created_at + make_interval(secs => $4))
         WHERE id = $1 RETURNING expires_at",
        session.0,
        number,
        times.refresh_token.as_secs_f64(),
        times.session.as_secs_f64(),
    )
    .fetch_one(write.connection().await?)
    .await?;
    Ok(expires_at)
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
    Ok(row.map(|r| Principal { user: r.id, credential: Credential::Session(session), operator: r.operator }))
}

pub async fn end_session(write: &mut impl Write, session: SessionId) -> Result<()> {
    sqlx::query!("UPDATE user_sessions SET ended_at = now() WHERE id = $1 AND ended_at IS NULL", session.0)
        .execute(write.connection().await?)
        .await?;
    Ok(())
}

/// Lists a user's live sessions, newest first.
pub async fn sessions(db: &Db, user: UserId) -> Result<Vec<Session>> {
    let found = sqlx::query_as!(
        Session,
        "SELECT id AS \"id: SessionId\", created_at, refreshed_at, expires_at, client, user_agent FROM user_sessions
         WHERE user_id = $1 AND ended_at IS NULL AND expires_at > now() ORDER BY id DESC LIMIT $2",
        user.0,
        SESSIONS,
    );
    Ok(found.fetch_all(db).await?)
}

/// Ends a live session of this user; false if there is none.
pub async fn end_session_of(write: &mut impl Write, user: UserId, session: SessionId) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE user_sessions SET ended_at = now()
         WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > now()",
        session.0,
        user.0
    )
    .execute(write.connection().await?)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends a user's live sessions but these; returns their number.
pub async fn end_sessions_but(write: &mut impl Write, user: UserId, kept: &[SessionId]) -> Result<u32> {
    let kept: Vec<_> = kept.iter().map(|session| session.0).collect();
    let done = sqlx::query!(
        "UPDATE user_sessions SET ended_at = now()
         WHERE user_id = $1 AND id <> ALL($2) AND ended_at IS NULL AND expires_at > now()",
        user.0,
        &kept
    )
    .execute(write.connection().await?)
    .await?;
    Ok(u32::try_from(done.rows_affected()).unwrap_or(u32::MAX))
}

/// Deletes sessions that expired more than 30 days ago; false if there may be more.
pub async fn prune(write: &mut impl Write) -> Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM user_sessions WHERE id IN (
             SELECT id FROM user_sessions WHERE expires_at < now() - interval '30 days' ORDER BY expires_at LIMIT $1)",
        BATCH,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(done.rows_affected() < BATCH.unsigned_abs())
}
