//! A control database that was restored from a backup knows less than the fleet. Agents that are ahead of it show that, and a
//! replica whose own heartbeat is lost. Until an operator confirms the restore, nothing is purged: what is deleted here may have been
//! undeleted since the backup. What hosts of a private cluster say holds back that cluster only, since their owners are its tenants.

use supalove_proto::v1::ErrorReason;
use uuid::Uuid;

use crate::{
    database::Db,
    error::{Error, Result},
    ids::{ClusterId, NodeId, RestoreId},
    mutation::{SystemWrite, Write},
};

/// By how much a generation or an epoch of an agent may exceed the database's: a backup is not that old. What is above it is made
/// up, and would soon be the largest number that a column holds.
pub const LEAP: i64 = 1_000_000;
/// Claims of a node that are remembered; one that was forgotten counts again.
const CLAIMS: i64 = 1000;
/// Restores that a refusal names.
const SHOWN: i64 = 50;

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
    // A confirmation that is under way does not miss it.
    sqlx::query!("SELECT singleton FROM platform FOR KEY SHARE").fetch_one(write.connection().await?).await?;
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

/// Notes that a heartbeat is gone which the database had confirmed: it was restored just now. A restore that waits for its confirmation
/// becomes another one.
pub async fn note_loss(write: &mut SystemWrite, target: &str, detail: &str) -> Result<()> {
    note(write, target, detail).await?;
    sqlx::query!("UPDATE platform SET restore_id = gen_random_uuid()")
        .execute(write.connection().await?)
        .await?;
    Ok(())
}

/// Notes that the database lacks what it confirmed; says so in log and audit log the first time.
async fn note(write: &mut SystemWrite, target: &str, detail: &str) -> Result<()> {
    let first = sqlx::query!(
        "UPDATE platform SET restore_seen_at = now(), restore_id = gen_random_uuid(), restore_detail = $1 WHERE restore_seen_at IS NULL",
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

/// A restore that waits for its confirmation.
#[derive(Debug)]
struct Unconfirmed {
    /// Another one after each sign of it.
    id: RestoreId,
    /// Only hosts of this private cluster claim it.
    cluster: Option<ClusterId>,
    /// What has shown it.
    detail: String,
    /// How many claims of agents there are.
    claims: i64,
}

impl Unconfirmed {
    fn violation(self) -> (String, String) {
        let whose = match self.cluster {
            None => "purges everywhere wait".to_owned(),
            Some(cluster) => format!("purges in the private cluster {cluster} wait"),
        };
        let told = format!("{whose}; {}; claims of agents: {}", self.detail, self.claims);
        (format!("restore:{}", self.id), told)
    }
}

/// Confirms the named restore, and no sign of another one: purges that waited for it go on. If it is that of the whole database, the
/// database has a new identity. Returns what had shown it; `None` if no restore waits, as after an earlier call. An error names those
/// that wait if none or another one was named.
pub async fn confirm(write: &mut impl Write, named: Option<RestoreId>) -> Result<Option<String>> {
    // Before anything is read: whoever adds a claim holds the row, too.
    sqlx::query!("SELECT singleton FROM platform FOR UPDATE").fetch_one(write.connection().await?).await?;
    let confirmed = sqlx::query_scalar!(
        "WITH named AS (SELECT cluster_id, detail FROM unconfirmed_restores() WHERE id = $1), claims AS (
             UPDATE restore_claims r SET confirmed_at = now() FROM named
             WHERE r.confirmed_at IS NULL AND r.cluster_id IS NOT DISTINCT FROM named.cluster_id
         ), whole AS (
             UPDATE platform SET restore_seen_at = NULL, restore_id = NULL, restore_detail = '', incarnation = gen_random_uuid()
             FROM named WHERE named.cluster_id IS NULL
         )
         SELECT detail AS \"detail!\" FROM named",
        named.map(|id| id.0),
    )
    .fetch_optional(write.connection().await?)
    .await?;
    if confirmed.is_some() {
        return Ok(confirmed);
    }
    let waiting = sqlx::query_as!(
        Unconfirmed,
        "SELECT id AS \"id!: RestoreId\", cluster_id AS \"cluster: ClusterId\", detail AS \"detail!\", claims AS \"claims!\"
         FROM unconfirmed_restores() ORDER BY cluster_id NULLS FIRST LIMIT $1",
        SHOWN,
    )
    .fetch_all(write.connection().await?)
    .await?;
    if waiting.is_empty() {
        return Ok(None);
    }
    let asked = match named {
        None => "the request names no restore".to_owned(),
        Some(id) => {
            format!("the restore {id} does not wait for a confirmation, or there are more signs of it by now")
        }
    };
    Err(Error::FailedPreconditions {
        reason: ErrorReason::RestoreNotNamed,
        message: format!(
            "{asked}; look at what waits, undelete what must not be purged, then confirm it by its id (`restore_id`)"
        ),
        violations: waiting.into_iter().map(Unconfirmed::violation).collect(),
    })
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
