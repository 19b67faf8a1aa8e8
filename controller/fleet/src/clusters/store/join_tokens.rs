//! Join tokens in PostgreSQL, by their hashes.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::clusters;
use supalove_core::{
    Write,
    error::{Error, Result},
    ids::{ClusterId, JoinTokenId},
};

/// Rows that one statement deletes.
const BATCH: i64 = 1000;

/// A join token to store.
pub struct New<'a> {
    pub id: JoinTokenId,
    /// Cluster that hosts join with it.
    pub cluster: ClusterId,
    /// SHA-256 of its secret.
    pub secret_hash: &'a [u8],
    /// How many hosts may join with it.
    pub max_uses: i32,
    pub ttl: Duration,
}

/// Stores a join token's hash; returns when it expires. Waits for the deletion of its cluster.
pub async fn insert(write: &mut impl Write, new: &New<'_>) -> Result<DateTime<Utc>> {
    let expires_at = sqlx::query_scalar!(
        "INSERT INTO join_tokens (id, cluster_id, secret_hash, max_uses, expires_at)
         SELECT $1, id, $3, $4, now() + make_interval(secs => $5) FROM clusters WHERE id = $2 AND deleted_at IS NULL FOR KEY SHARE
         RETURNING expires_at",
        new.id.0,
        new.cluster.0,
        new.secret_hash,
        new.max_uses,
        new.ttl.as_secs_f64(),
    )
    .fetch_optional(write.connection().await?)
    .await?;
    expires_at.ok_or_else(|| clusters::gone(new.cluster))
}

/// A join token without its secret.
#[derive(Debug, Clone)]
pub struct JoinToken {
    pub id: JoinTokenId,
    /// Cluster that hosts join with it.
    pub cluster: ClusterId,
    /// Hosts that have joined with it.
    pub uses: i32,
    /// How many hosts may join with it.
    pub max_uses: i32,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    /// True if it has expired, by the database's clock.
    pub expired: bool,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// Only of this cluster.
    pub cluster: Option<ClusterId>,
    /// Only created before this one.
    pub before: Option<Uuid>,
    pub id: Option<JoinTokenId>,
    /// Include tokens with which no host can join any more.
    pub ended: bool,
}

/// Join tokens, newest first.
pub async fn list(db: impl sqlx::PgExecutor<'_>, wanted: Wanted, limit: i64) -> Result<Vec<JoinToken>> {
    let found = sqlx::query_as!(
        JoinToken,
        "SELECT id AS \"id: JoinTokenId\", cluster_id AS \"cluster: ClusterId\", uses, max_uses, created_at, expires_at,
             expires_at <= now() AS \"expired!\", revoked_at
         FROM join_tokens
         WHERE ($1::uuid IS NULL OR cluster_id = $1) AND ($2::uuid IS NULL OR id < $2) AND ($3::uuid IS NULL OR id = $3)
             AND ($4 OR (revoked_at IS NULL AND expires_at > now() AND uses < max_uses))
         ORDER BY id DESC LIMIT $5",
        wanted.cluster.map(|id| id.0),
        wanted.before,
        wanted.id.map(|id| id.0),
        wanted.ended,
        limit,
    );
    Ok(found.fetch_all(db).await?)
}

/// Revokes a join token. Waits for a join that has locked the row.
pub async fn revoke(write: &mut impl Write, id: JoinTokenId) -> Result<JoinToken> {
    sqlx::query!("UPDATE join_tokens SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL", id.0)
        .execute(write.connection().await?)
        .await?;
    let wanted = Wanted { id: Some(id), ended: true, ..Wanted::default() };
    let found = list(write.connection().await?, wanted, 1).await?.into_iter().next();
    found.ok_or_else(|| Error::NotFound { kind: "join token", name: id.to_string() })
}

/// A stored join token, its row locked.
pub struct Stored {
    /// Cluster that hosts join with it.
    pub cluster: ClusterId,
    /// SHA-256 of its secret.
    pub secret_hash: Vec<u8>,
    pub expired: bool,
    /// True if it has uses left.
    pub usable: bool,
    /// An operator revoked it.
    pub revoked: bool,
}

/// Locks and reads a join token.
pub async fn lock(write: &mut impl Write, id: Uuid) -> Result<Option<Stored>> {
    let row = sqlx::query!(
        "SELECT cluster_id AS \"cluster: ClusterId\", secret_hash, expires_at <= now() AS \"expired!\",
             uses < max_uses AS \"usable!\", revoked_at IS NOT NULL AS \"revoked!\"
         FROM join_tokens WHERE id = $1 FOR UPDATE",
        id
    )
    .fetch_optional(write.connection().await?)
    .await?;
    Ok(row.map(|r| Stored {
        cluster: r.cluster,
        secret_hash: r.secret_hash,
        expired: r.expired,
        usable: r.usable,
        revoked: r.revoked,
    }))
}

/// Counts a host that joins with a locked token.
pub async fn use_up(write: &mut impl Write, id: Uuid) -> Result<()> {
    sqlx::query!("UPDATE join_tokens SET uses = uses + 1 WHERE id = $1", id)
        .execute(write.connection().await?)
        .await?;
    Ok(())
}

/// Deletes tokens that ended long ago; false if there may be more.
pub async fn prune(write: &mut impl Write, kept: Duration) -> Result<bool> {
    let gone = sqlx::query!(
        "DELETE FROM join_tokens WHERE id IN (
             SELECT id FROM join_tokens WHERE expires_at < now() - make_interval(secs => $1) LIMIT $2)",
        kept.as_secs_f64(),
        BATCH,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(gone.rows_affected() < BATCH.unsigned_abs())
}
