//! A control database that was restored from a backup knows less than the fleet. Agents that are ahead of it show that, and a
//! replica whose own heartbeat is lost. Until an operator confirms the restore, nothing is purged: what is deleted here may have been undeleted since the backup.

use uuid::Uuid;

use crate::{
    database::Db,
    error::Result,
    ids::NodeId,
    mutation::{SystemWrite, Write},
};

/// By how much a generation or an epoch of an agent may exceed the database's: a backup is not that old. What is above it is made
/// up, and would soon be the largest number that a column holds.
pub const LEAP: i64 = 1_000_000;
/// Claims of a node that are remembered; one that was forgotten counts again.
const CLAIMS: i64 = 1000;

/// What an agent has that is newer than the database.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Whose agent.
    pub node: NodeId,
    /// Project ref, or "epoch".
    pub subject: &'a str,
    /// The agent's generation or epoch.
    pub newest: i64,
}

/// Notes that an agent is ahead of the database. Each claim counts once.
pub async fn note_claim(write: &mut SystemWrite, claim: Claim<'_>, detail: &str) -> Result<()> {
    let new = sqlx::query!(
        "INSERT INTO restore_claims (node_id, subject, claim) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        claim.node.0,
        claim.subject,
        claim.newest,
    )
    .execute(write.connection().await?)
    .await?;
    if new.rows_affected() == 0 {
        return Ok(());
    }
    sqlx::query!(
        "DELETE FROM restore_claims WHERE (node_id, subject, claim) IN (
             SELECT node_id, subject, claim FROM restore_claims WHERE node_id = $1 ORDER BY created_at DESC, claim DESC OFFSET $2)",
        claim.node.0,
        CLAIMS,
    )
    .execute(write.connection().await?)
    .await?;
    note(write, &claim.node.to_string(), detail).await
}

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
