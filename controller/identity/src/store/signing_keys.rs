//! Keys of access tokens in PostgreSQL.

use std::time::Duration;

use chrono::{DateTime, Utc};
use supalove_core::{Write, database::Db, error::Result};

/// A stored key.
pub struct Row {
    pub id: String,
    pub sealed: Vec<u8>,
    pub public_key: Vec<u8>,
    pub signs_at: DateTime<Utc>,
    pub retires_at: Option<DateTime<Utc>>,
}

/// A key to store.
pub struct New<'a> {
    pub id: &'a str,
    pub sealed: &'a [u8],
    pub public_key: &'a [u8],
    /// How long it is known before it signs.
    pub notice: Duration,
    /// How long tokens of the others work after that; `None`: they end now, and no clock delays it.
    pub others_live: Option<Duration>,
}

/// All keys that are not retired, newest first.
pub async fn list(db: &Db) -> Result<Vec<Row>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT id, sealed, public_key, signs_at, retires_at FROM signing_keys
         WHERE retires_at IS NULL OR retires_at > now() ORDER BY signs_at DESC, id",
    );
    Ok(rows.fetch_all(db).await?)
}

/// Stores a key; returns when it begins to sign, by the database's clock. Two callers run one after the other.
pub async fn replace(write: &mut impl Write, new: &New<'_>) -> Result<DateTime<Utc>> {
    sqlx::query!("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE")
        .execute(write.connection().await?)
        .await?;
    match new.others_live {
        Some(live) => {
            sqlx::query!(
                "UPDATE signing_keys SET retires_at = least(retires_at, now() + make_interval(secs => $1))",
                (new.notice + live).as_secs_f64(),
            )
            .execute(write.connection().await?)
            .await?;
        }
        None => {
            sqlx::query!("DELETE FROM signing_keys").execute(write.connection().await?).await?;
        }
    }
    let signs_at = sqlx::query_scalar!(
        "INSERT INTO signing_keys (id, sealed, public_key, signs_at)
         VALUES ($1, $2, $3, now() + make_interval(secs => $4)) RETURNING signs_at",
        new.id,
        new.sealed,
        new.public_key,
        new.notice.as_secs_f64(),
    );
    Ok(signs_at.fetch_one(write.connection().await?).await?)
}

/// Deletes retired keys.
pub async fn prune(write: &mut impl Write) -> Result<()> {
    sqlx::query!("DELETE FROM signing_keys WHERE retires_at < now()")
        .execute(write.connection().await?)
        .await?;
    Ok(())
}
