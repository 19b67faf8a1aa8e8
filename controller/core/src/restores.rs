//! A control database that was restored from a backup knows less than the fleet. Agents that are ahead of it show that, and a
//! replica whose own heartbeat is lost. Until an operator confirms the restore, nothing is purged: what is deleted here may have been undeleted since the backup.

use uuid::Uuid;

use crate::{
    database::Db,
    error::Result,
    mutation::{SystemWrite, Write},
};

/// Notes that the database lacks what it confirmed; says so in log and audit log the first time.
pub async fn note(write: &mut SystemWrite, target: &str, detail: &str) -> Result<()> {
    let first = sqlx::query!(
        "UPDATE platform SET restore_seen_at = now(), restore_detail = $1 WHERE restore_seen_at IS NULL",
        detail
    )
    .execute(write.connection().await?)
    .await?;
    tracing::error!(
        target,
        detail,
        "the control database lacks what it confirmed: it was restored from a backup"
    );
    if first.rows_affected() == 1 {
        write.audit_outcome("/supalove.node.v1.NodeAgentService/Hello", target, "DATABASE_RESTORED");
    }
    Ok(())
}

/// Confirms a restore: purges go on, and the database has a new identity. Returns what had shown the restore; `None` if there is
/// no unconfirmed one.
pub async fn confirm(write: &mut impl Write) -> Result<Option<String>> {
    let detail = sqlx::query_scalar!(
        "UPDATE platform SET restore_seen_at = NULL, restore_detail = '', incarnation = gen_random_uuid()
         FROM (SELECT restore_detail AS detail FROM platform FOR UPDATE) before
         WHERE restore_seen_at IS NOT NULL RETURNING before.detail AS \"detail!\""
    )
    .fetch_optional(write.connection().await?)
    .await?;
    Ok(detail)
}

/// Returns the identity of the database.
pub async fn incarnation(db: &Db) -> Result<Uuid> {
    Ok(sqlx::query_scalar!("SELECT incarnation FROM platform").fetch_one(db).await?)
}
