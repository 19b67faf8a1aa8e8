//! Personal access tokens in PostgreSQL.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use supalove_core::{
    Write,
    access::{Credential, Principal, TokenScope, TokenScopes},
    database::Db,
    error::{Error, Result},
    ids::{PersonalAccessTokenId, UserId},
};

use uuid::Uuid;

use super::BATCH;

/// Tokens of a user that work.
pub const TOKENS: i64 = 50;

/// A token without its secret.
#[derive(Debug, Clone)]
pub struct PersonalAccessToken {
    pub id: PersonalAccessTokenId,
    pub name: String,
    pub scopes: TokenScopes,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    /// `None` if it was never used.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// A token that a caller presents, and as whom it acts.
pub struct Presented {
    pub principal: Principal,
    pub expired: bool,
}

/// Stores a token; an error if the user has too many. Deletes the user's oldest expired ones if there are too many. Call
/// [`lock_account`](super::lock_account) first.
pub async fn insert(
    write: &mut impl Write,
    user: UserId,
    token: &PersonalAccessToken,
    hash: &[u8],
) -> Result<()> {
    sqlx::query!(
        "DELETE FROM personal_access_tokens WHERE id IN (
             SELECT id FROM personal_access_tokens WHERE user_id = $1 AND expires_at <= now()
             ORDER BY expires_at DESC OFFSET $2)",
        user.0,
        TOKENS,
    )
    .execute(write.connection().await?)
    .await?;
    let scopes: Vec<String> = token.scopes.iter().map(|scope| scope.as_sql().to_owned()).collect();
    let done = sqlx::query!(
        "INSERT INTO personal_access_tokens (id, user_id, name, token_hash, scopes, created_at, expires_at)
         SELECT $1, $2, $3, $4, $5, $6, $7
         WHERE (SELECT count(*) FROM personal_access_tokens WHERE user_id = $2 AND expires_at > now()) < $8",
        token.id.0,
        user.0,
        token.name,
        hash,
        &scopes,
        token.created_at,
        token.expires_at,
        TOKENS,
    )
    .execute(write.connection().await?)
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(too_many()) }
}

fn too_many() -> Error {
    Error::Quota {
        subject: "user:personal_access_tokens".to_owned(),
        message: format!("you have {TOKENS} personal access tokens, which is the maximum; revoke one"),
    }
}

/// Lists a user's tokens that work, newest first.
pub async fn list(db: &Db, user: UserId) -> Result<Vec<PersonalAccessToken>> {
    let rows = sqlx::query!(
        "SELECT id AS \"id: PersonalAccessTokenId\", name, scopes, created_at, expires_at, last_used_at
         FROM personal_access_tokens WHERE user_id = $1 AND expires_at > now() ORDER BY id DESC LIMIT $2",
        user.0,
        TOKENS,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(PersonalAccessToken {
                id: row.id,
                name: row.name,
                scopes: scopes(&row.scopes)?,
                created_at: row.created_at,
                expires_at: row.expires_at,
                last_used_at: row.last_used_at,
            })
        })
        .collect()
}

/// Number of a user's tokens that work.
pub async fn count(write: &mut impl Write, user: UserId) -> Result<u32> {
    let count = sqlx::query_scalar!(
        "SELECT count(*) AS \"count!\" FROM personal_access_tokens WHERE user_id = $1 AND expires_at > now()",
        user.0
    )
    .fetch_one(write.connection().await?)
    .await?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Deletes a user's token; false if there is none.
pub async fn delete(write: &mut impl Write, user: UserId, token: PersonalAccessTokenId) -> Result<bool> {
    let done =
        sqlx::query!("DELETE FROM personal_access_tokens WHERE id = $1 AND user_id = $2", token.0, user.0)
            .execute(write.connection().await?)
            .await?;
    Ok(done.rows_affected() == 1)
}

/// Finds a token by its hash.
pub async fn find(db: &Db, hash: &[u8]) -> Result<Option<Presented>> {
    let row = sqlx::query!(
        "SELECT t.id AS \"id: PersonalAccessTokenId\", t.scopes, t.expires_at <= now() AS \"expired!\",
             u.id AS \"user: UserId\", u.operator
         FROM personal_access_tokens t JOIN users u ON u.id = t.user_id WHERE t.token_hash = $1",
        hash
    )
    .fetch_optional(db)
    .await?;
    row.map(|row| {
        Ok(Presented {
            principal: Principal {
                user: row.user,
                credential: Credential::Token(row.id, scopes(&row.scopes)?),
                operator: row.operator,
            },
            expired: row.expired,
        })
    })
    .transpose()
}

/// Returns the principal of a token that works.
pub async fn principal(
    db: &Db,
    token: PersonalAccessTokenId,
    scopes: TokenScopes,
) -> Result<Option<Principal>> {
    let row = sqlx::query!(
        "SELECT u.id AS \"user: UserId\", u.operator FROM personal_access_tokens t JOIN users u ON u.id = t.user_id
         WHERE t.id = $1 AND t.expires_at > now()",
        token.0
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Principal {
        user: row.user,
        credential: Credential::Token(token, scopes),
        operator: row.operator,
    }))
}

/// Writes down when tokens were used. Several controllers may have noted the same token.
pub async fn note_uses(
    write: &mut impl Write,
    uses: &BTreeMap<PersonalAccessTokenId, DateTime<Utc>>,
) -> Result<()> {
    let (ids, times): (Vec<Uuid>, Vec<DateTime<Utc>>) = uses.iter().map(|(token, at)| (token.0, *at)).unzip();
    sqlx::query!(
        "UPDATE personal_access_tokens t SET last_used_at = greatest(last_used_at, u.at)
         FROM unnest($1::uuid[], $2::timestamptz[]) AS u (id, at) WHERE t.id = u.id",
        &ids,
        &times,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Deletes tokens that expired more than 30 days ago, which until then are told so; false if there may be more.
pub async fn prune(write: &mut impl Write) -> Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM personal_access_tokens WHERE id IN (
             SELECT id FROM personal_access_tokens WHERE expires_at < now() - interval '30 days'
             ORDER BY expires_at LIMIT $1)",
        BATCH,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(done.rows_affected() < BATCH.unsigned_abs())
}

fn scopes(texts: &[String]) -> Result<TokenScopes> {
    let scopes: Result<TokenScopes, _> = texts.iter().map(|text| text.parse::<TokenScope>()).collect();
    Ok(scopes?)
}

/// Deletes all tokens of a user; returns their number.
pub async fn end_all(write: &mut impl Write, user: UserId) -> Result<u32> {
    let done = sqlx::query!("DELETE FROM personal_access_tokens WHERE user_id = $1", user.0)
        .execute(write.connection().await?)
        .await?;
    Ok(u32::try_from(done.rows_affected()).unwrap_or(u32::MAX))
}
