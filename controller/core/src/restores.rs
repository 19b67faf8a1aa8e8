//! A control database that was restored from a backup knows less than the fleet. Agents that are ahead of it show that, and a
//! replica whose own heartbeat is lost. Until an operator confirms the restore, nothing is purged: what is deleted here may have been
//! undeleted since the backup. What hosts of a private cluster say holds back that cluster only, since their owners are its tenants.

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
        "INSERT INTO restore_claims (node_id, subject, claim, cluster_id)
         SELECT $1, $2, $3, (SELECT c.id FROM nodes n JOIN clusters c ON c.id = n.cluster_id WHERE n.id = $1 AND c.kind = 'PRIVATE')
         ON CONFLICT DO NOTHING RETURNING cluster_id",
        claim.node.0,
        claim.subject,
        claim.newest,
    )
    .fetch_optional(write.connection().await?)
    .await?;
    let Some(new) = new else { return Ok(()) };
    sqlx::query!(
        "DELETE FROM restore_claims WHERE (node_id, subject, claim) IN (
             SELECT node_id, subject, claim FROM restore_claims WHERE node_id = $1 ORDER BY created_at DESC, claim DESC OFFSET $2)",
        claim.node.0,
        CLAIMS,
    )
    .execute(write.connection().await?)
    .await?;
    match new.cluster_id {
        None => note(write, &claim.node.to_string(), detail).await,
        Some(cluster) => note_private(write, claim.node, cluster, detail).await,
    }
}

/// Says so in log and audit log at the first claim of a private cluster that is not confirmed.
async fn note_private(write: &mut SystemWrite, node: NodeId, cluster: Uuid, detail: &str) -> Result<()> {
    let unconfirmed = sqlx::query_scalar!(
        "SELECT count(*) AS \"count!\" FROM restore_claims WHERE cluster_id = $1 AND confirmed_at IS NULL",
        cluster,
    )
    .fetch_one(write.connection().await?)
    .await?;
    tracing::error!(
        %node,
        detail,
        "a host of a private cluster claims to be ahead of the control database; purges there wait for a confirmation"
    );
    if unconfirmed == 1 {
        write.audit_outcome(
            "/supalove.node.v1.NodeAgentService/Hello",
            &node.to_string(),
            "AHEAD_OF_DATABASE",
        );
    }
    Ok(())
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

/// Confirms a restore: purges go on, and the database has a new identity. Confirms what hosts of private clusters claimed, too,
/// which changes no identity. Returns what had shown the restore; `None` if there is no unconfirmed one.
pub async fn confirm(write: &mut impl Write) -> Result<Option<String>> {
    let detail = sqlx::query_scalar!(
        "UPDATE platform SET restore_seen_at = NULL, restore_detail = '', incarnation = gen_random_uuid()
         FROM (SELECT restore_detail AS detail FROM platform FOR UPDATE) before
         WHERE restore_seen_at IS NOT NULL RETURNING before.detail AS \"detail!\""
    )
    .fetch_optional(write.connection().await?)
    .await?;
    let private = sqlx::query!(
        "UPDATE restore_claims SET confirmed_at = now() WHERE cluster_id IS NOT NULL AND confirmed_at IS NULL
         RETURNING node_id AS \"node: NodeId\", subject, claim",
    )
    .fetch_all(write.connection().await?)
    .await?;
    Ok(detail.or_else(|| {
        let first = private.first()?;
        Some(format!(
            "node {} has {} {}, which the database never gave",
            first.node, first.subject, first.claim
        ))
    }))
}

/// True while a restore is not confirmed.
pub async fn is_unconfirmed(db: &Db) -> Result<bool> {
    let seen = sqlx::query_scalar!("SELECT restore_seen_at IS NOT NULL AS \"seen!\" FROM platform");
    Ok(seen.fetch_one(db).await?)
}

/// Returns the identity of the database.
pub async fn incarnation(db: &Db) -> Result<Uuid> {
    Ok(sqlx::query_scalar!("SELECT incarnation FROM platform").fetch_one(db).await?)
}
