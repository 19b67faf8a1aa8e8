//! Nodes in PostgreSQL.

pub mod clusters;
pub mod identities;
pub mod join_tokens;

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use sqlx::types::Json;

use super::{
    ClusterKind, Condition, Labels, Node, NodeAmounts, NodeState, Target,
    access::NodeKey,
    nodes::{Heard, HelloValues},
};
use supalove_core::{
    Write,
    database::{Db, violates},
    error::{Error, Result},
    ids::{ClusterId, NodeId, OrganizationId, UserId},
    times::Times,
};
use supalove_proto::v1::ErrorReason;

/// Creates the first cluster if it does not exist.
pub async fn ensure_default(write: &mut impl Write) -> Result<()> {
    sqlx::query!(
        "INSERT INTO clusters (id, name, kind) VALUES ($1, $2, 'SHARED') ON CONFLICT DO NOTHING",
        Uuid::now_v7(),
        super::DEFAULT_CLUSTER,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Returns the cluster for a project of this organization, without counts: counting nodes and placements would dominate the
/// cost of each create. Another organization's private cluster is not found, like one that does not exist. If a private cluster has
/// the name of a shared one, which is younger then, the name still means the private one.
pub async fn target(db: &Db, id_or_name: &str, organization: OrganizationId) -> Result<Target> {
    let (id, name) = parse(id_or_name)?;
    let row = sqlx::query!(
        "SELECT id AS \"id: ClusterId\" FROM clusters
         WHERE deleted_at IS NULL AND (id = $1 OR name = $2) AND (kind = 'SHARED' OR organization_id = $3)
         ORDER BY kind = 'PRIVATE' DESC LIMIT 1",
        id,
        name,
        organization.0,
    )
    .fetch_optional(db)
    .await?;
    let row = row.ok_or_else(|| Error::NotFound { kind: "cluster", name: name.to_owned() })?;
    Ok(Target { id: row.id })
}

fn parse(id_or_name: &str) -> Result<(Option<Uuid>, &str)> {
    let name = if id_or_name.is_empty() { super::DEFAULT_CLUSTER } else { id_or_name };
    if name.contains('\0') {
        return Err(Error::field("cluster", "must be a cluster's id or name"));
    }
    Ok((name.parse::<ClusterId>().ok().map(|id| id.0), name))
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Only of this cluster.
    pub cluster: Option<ClusterId>,
    /// Only after this one, by name and id.
    pub after: Option<(&'a str, Uuid)>,
    pub node: Option<NodeId>,
    /// Only nodes that this viewer may see.
    pub visible_to: Option<Viewer>,
}

/// Who asks for the nodes of several clusters.
#[derive(Debug, Clone, Copy)]
pub struct Viewer {
    pub user: UserId,
    /// Sees the nodes of every cluster; others see those of their organizations' private ones.
    pub sees_fleet: bool,
}

pub async fn nodes(
    db: impl sqlx::PgExecutor<'_>,
    wanted: Wanted<'_>,
    limit: i64,
    times: &Times,
) -> Result<Vec<Node>> {
    let rows = sqlx::query!(
        "SELECT n.id AS \"id: NodeId\", n.cluster_id AS \"cluster: ClusterId\", k.kind AS \"kind: ClusterKind\", n.name,
             coalesce(a.cpu_cap, 0) AS \"cpu_cap!\", coalesce(a.cpu_used, 0) AS \"cpu_used!\",
             coalesce(a.memory_cap, 0) AS \"memory_cap!\", coalesce(a.memory_used, 0) AS \"memory_used!\",
             coalesce(a.disk_cap, 0) AS \"disk_cap!\", coalesce(a.disk_used, 0) AS \"disk_used!\",
             coalesce(a.slots, 0) AS \"slots!\", coalesce(a.blocked_reasons, '{}') AS \"blocked_reasons!\",
             n.agent_version, n.engine_version, n.advertise_address, n.seen_at, n.unexplained, n.created_at,
             n.revoked_at, n.duplicate_detail, now() AS \"now!\", n.schedulable, n.labels AS \"labels: Json<Labels>\", n.revision,
             n.draining_since, n.forgotten_at, (SELECT watched_for($10)) AS \"watched!\",
             (SELECT min(found_at) FROM node_leftovers f WHERE f.node_id = n.id) AS unexplained_since,
             CASE WHEN n.returned_at > now() - make_interval(secs => $9) THEN n.returned_at END AS returned_at,
             CASE WHEN n.duplicate_at > now() - make_interval(secs => $5) THEN n.duplicate_at END AS duplicate_at,
             c.not_after AS \"not_after?\", encode(c.ca_sha256, 'hex') AS \"ca?\",
             d.reasons AS \"reasons!\", d.messages AS \"messages!\", d.since AS \"since!\", d.blocking AS \"blocking!\",
             (SELECT count(*) FROM placements p WHERE p.node_id = n.id) AS \"projects!\"
         FROM nodes n JOIN clusters k ON k.id = n.cluster_id LEFT JOIN node_capacity a ON a.node_id = n.id
         LEFT JOIN LATERAL (SELECT not_after, ca_sha256 FROM certificates WHERE node_id = n.id
             ORDER BY created_at DESC LIMIT 1) c ON true
         CROSS JOIN LATERAL (SELECT coalesce(array_agg(reason ORDER BY reason), '{}') AS reasons,
             coalesce(array_agg(message ORDER BY reason), '{}') AS messages,
             coalesce(array_agg(since ORDER BY reason), '{}') AS since,
             coalesce(array_agg(blocking ORDER BY reason), '{}') AS blocking
             FROM node_conditions WHERE node_id = n.id) d
         WHERE ($1::uuid IS NULL OR n.cluster_id = $1) AND ($2::text IS NULL OR (n.name, n.id) > ($2, $6))
             AND ($4::uuid IS NULL OR n.id = $4)
             AND ($7::uuid IS NULL OR $8 OR EXISTS (
                 SELECT FROM members m WHERE m.organization_id = k.organization_id AND m.user_id = $7))
         ORDER BY n.name, n.id LIMIT $3",
        wanted.cluster.map(|id| id.0),
        wanted.after.map(|(name, _)| name),
        limit,
        wanted.node.map(|id| id.0),
        times.duplicate_alarm.as_secs_f64(),
        wanted.after.map(|(_, id)| id),
        wanted.visible_to.map(|viewer| viewer.user.0),
        wanted.visible_to.is_some_and(|viewer| viewer.sees_fleet),
        times.returned_alarm.as_secs_f64(),
        times.replica_gone.as_secs_f64(),
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|n| {
            let texts = n.reasons.into_iter().zip(n.messages);
            let times_and_flags = n.since.into_iter().zip(n.blocking);
            let told = texts.zip(times_and_flags).map(|((reason, message), (since, blocking))| Condition {
                reason,
                message,
                since: Some(since),
                blocking,
            });
            let conditions: Vec<Condition> = told.collect();
            let watched = Duration::try_from_secs_f64(n.watched).unwrap_or_default();
            let heard = n.seen_at.map(|seen_at| Heard { seen_at, now: n.now, watched });
            Node {
                id: n.id,
                cluster: n.cluster,
                name: n.name,
                state: match n.revoked_at {
                    Some(_) => NodeState::Revoked,
                    None => NodeState::derive(heard, n.kind, times).with_conditions(&conditions),
                },
                capacity: NodeAmounts {
                    cpu_millis: n.cpu_cap,
                    memory_mib: n.memory_cap,
                    disk_mib: n.disk_cap,
                    slots: n.slots,
                },
                used: NodeAmounts {
                    cpu_millis: n.cpu_used,
                    memory_mib: n.memory_used,
                    disk_mib: n.disk_used,
                    slots: i32::try_from(n.projects).unwrap_or(i32::MAX),
                },
                projects: n.projects,
                agent_version: n.agent_version,
                engine_version: n.engine_version,
                advertise_address: n.advertise_address,
                seen_at: n.seen_at,
                lost_in: heard.map(|heard| heard.lost_in(n.kind, times)).unwrap_or_default(),
                blocked: n.blocked_reasons,
                unexplained: n.unexplained,
                unexplained_since: n.unexplained_since,
                created_at: n.created_at,
                revoked_at: n.revoked_at,
                certificate_ends: n.not_after,
                certificate_ca: n.ca.unwrap_or_default(),
                duplicate: n.duplicate_at.map(|at| (at, n.duplicate_detail)),
                conditions,
                schedulable: n.schedulable,
                draining_since: n.draining_since,
                forgotten_at: n.forgotten_at,
                returned_at: n.returned_at,
                labels: n.labels.0,
                revision: n.revision,
            }
        })
        .collect())
}

pub async fn node(db: impl sqlx::PgExecutor<'_>, id: NodeId, times: &Times) -> Result<Node> {
    let found = nodes(db, Wanted { node: Some(id), ..Wanted::default() }, 1, times).await?;
    found.into_iter().next().ok_or_else(|| Error::NotFound { kind: "node", name: id.to_string() })
}

/// Revokes a node. Raises the greeted epoch, so that late reports of its sessions are refused.
pub async fn revoke(write: &mut impl Write, id: NodeId, times: &Times) -> Result<Node> {
    close_node(write, id).await?;
    sqlx::query!(
        "UPDATE nodes SET revoked_at = now(), schedulable = false, draining_since = NULL, session_epoch = session_epoch + 1,
             greeted_epoch = session_epoch + 1
         WHERE id = $1 AND revoked_at IS NULL",
        id.0
    )
    .execute(write.connection().await?)
    .await?;
    node(write.connection().await?, id, times).await
}

/// Cordons a node, or lets it take projects again; ends its drain. Waits for placements on it that have begun.
pub async fn set_schedulable(
    write: &mut impl Write,
    key: &NodeKey,
    schedulable: bool,
    times: &Times,
) -> Result<Node> {
    let locked = close_node(write, key.node).await?;
    refuse_revoked(key, locked)?;
    sqlx::query!(
        "UPDATE nodes SET schedulable = $2, draining_since = NULL WHERE id = $1",
        key.node.0,
        schedulable
    )
    .execute(write.connection().await?)
    .await?;
    node(write.connection().await?, key.node, times).await
}

/// Drains a node. Waits for placements and starts on it that have begun.
pub async fn drain(write: &mut impl Write, key: &NodeKey, times: &Times) -> Result<Node> {
    let locked = close_node(write, key.node).await?;
    refuse_revoked(key, locked)?;
    sqlx::query!(
        "UPDATE nodes SET schedulable = false, draining_since = coalesce(draining_since, now()) WHERE id = $1",
        key.node.0
    )
    .execute(write.connection().await?)
    .await?;
    node(write.connection().await?, key.node, times).await
}

/// Gives up a node that has been locked: revokes it, and says that its projects end.
pub async fn forget(write: &mut impl Write, id: NodeId, times: &Times) -> Result<Node> {
    revoke(write, id, times).await?;
    sqlx::query!("UPDATE nodes SET forgotten_at = coalesce(forgotten_at, now()) WHERE id = $1", id.0)
        .execute(write.connection().await?)
        .await?;
    node(write.connection().await?, id, times).await
}

fn refuse_revoked(key: &NodeKey, locked: Option<LockedNode>) -> Result<()> {
    if locked.is_none_or(|node| node.revoked) {
        return Err(Error::FailedPrecondition {
            reason: ErrorReason::NodeRevoked,
            message: format!(
                "the node {} was revoked for good; join the host again under another name",
                key.node
            ),
        });
    }
    Ok(())
}

/// Renames a node and replaces its labels, `None` = as they are; an error if `etag` is not empty and not the present one.
pub async fn update_node(
    write: &mut impl Write,
    key: &NodeKey,
    name: Option<&str>,
    labels: Option<&Labels>,
    etag: &str,
) -> Result<()> {
    let locked = lock_node(write, key.node).await?;
    refuse_revoked(key, locked)?;
    let revision = sqlx::query_scalar!("SELECT revision FROM nodes WHERE id = $1", key.node.0)
        .fetch_one(write.connection().await?)
        .await?;
    if !etag.is_empty() && etag != revision.to_string() {
        return Err(Error::Changed("node"));
    }
    sqlx::query!(
        "UPDATE nodes SET name = coalesce($2, name), labels = coalesce($3, labels), revision = revision + 1 WHERE id = $1",
        key.node.0,
        name,
        labels.map(Json) as _,
    )
    .execute(write.connection().await?)
    .await
    .map_err(|error| match name {
        Some(name) if violates(&error, "nodes_cluster_id_name_key") => {
            Error::AlreadyExists { kind: "node", name: name.to_owned() }
        }
        _ => error.into(),
    })?;
    Ok(())
}

/// Locks a node and returns the refs of the projects on it. No project comes until the transaction ends.
pub async fn projects_on(write: &mut impl Write, node: NodeId) -> Result<Vec<String>> {
    close_node(write, node).await?;
    let found = sqlx::query_scalar!(
        "SELECT project_ref FROM placements WHERE node_id = $1 ORDER BY project_ref",
        node.0
    );
    Ok(found.fetch_all(write.connection().await?).await?)
}

/// Projects on a node, by ref, each with whether it holds cpu and memory.
pub async fn standing_on(db: impl sqlx::PgExecutor<'_>, node: NodeId) -> Result<Vec<(String, bool)>> {
    let found = sqlx::query!(
        "SELECT project_ref, holds_compute FROM placements WHERE node_id = $1 ORDER BY project_ref",
        node.0
    );
    let rows = found.fetch_all(db).await?;
    Ok(rows.into_iter().map(|row| (row.project_ref, row.holds_compute)).collect())
}

/// Name of a cluster, for people.
pub async fn cluster_name(write: &mut impl Write, id: ClusterId) -> Result<String> {
    Ok(sqlx::query_scalar!("SELECT name FROM clusters WHERE id = $1", id.0)
        .fetch_one(write.connection().await?)
        .await?)
}

/// The properties of a node on which the issue of a certificate depends.
pub struct LockedNode {
    pub cluster: ClusterId,
    /// It was locked out.
    pub revoked: bool,
}

/// Locks a node's row against other changes, and reads it. Placements on the node go on. Whoever also changes its `node_capacity`,
/// what stands on it or what is left there, locks it first.
pub async fn lock_node(write: &mut impl Write, node: NodeId) -> Result<Option<LockedNode>> {
    let row = sqlx::query_as!(
        LockedNode,
        "SELECT cluster_id AS \"cluster: ClusterId\", revoked_at IS NOT NULL AS \"revoked!\" FROM nodes WHERE id = $1 FOR NO KEY UPDATE",
        node.0
    );
    Ok(row.fetch_optional(write.connection().await?).await?)
}

/// The same, and waits for placements and starts on the node that have begun; none begins until the transaction ends.
async fn close_node(write: &mut impl Write, node: NodeId) -> Result<Option<LockedNode>> {
    let row = sqlx::query_as!(
        LockedNode,
        "SELECT cluster_id AS \"cluster: ClusterId\", revoked_at IS NOT NULL AS \"revoked!\" FROM nodes WHERE id = $1 FOR UPDATE",
        node.0
    );
    Ok(row.fetch_optional(write.connection().await?).await?)
}

/// Stores the roots that a node reports as trusted. An empty report changes nothing.
pub async fn save_trusted(
    write: &mut impl Write,
    node: NodeId,
    epoch: i64,
    trusted: &[String],
) -> Result<()> {
    sqlx::query!(
        "UPDATE nodes SET trusted_ca = $3 WHERE id = $1 AND greeted_epoch = $2 AND cardinality($3::text[]) > 0",
        node.0,
        epoch,
        trusted,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Stores a node's response to Hello, without its capacity, which the projects room stores.
///
/// Returns false if a newer session has begun meanwhile.
pub async fn save_hello(
    write: &mut impl Write,
    node: NodeId,
    epoch: i64,
    hello: &HelloValues,
) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE nodes SET boot_id = $3, agent_version = $4, engine_version = $5, advertise_address = $6, seen_at = now(),
             agent_run_id = $7, greeted_epoch = $2, greeted_at = now(),
             trusted_ca = CASE WHEN cardinality($8::text[]) > 0 THEN $8 ELSE trusted_ca END
         WHERE id = $1 AND session_epoch = $2",
        node.0,
        epoch,
        hello.boot_id,
        hello.agent_version,
        hello.engine_version,
        hello.advertise_address,
        hello.run_id,
        &hello.trusted_ca,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Stores the projects that an inventory found and no placement explains. True if they differ from before.
pub async fn save_unexplained(write: &mut impl Write, node: NodeId, refs: &[String]) -> Result<bool> {
    let done =
        sqlx::query!("UPDATE nodes SET unexplained = $2 WHERE id = $1 AND unexplained <> $2", node.0, refs)
            .execute(write.connection().await?)
            .await?;
    Ok(done.rows_affected() == 1)
}

/// A placement explains a project that an inventory had found on the node.
pub async fn explain(write: &mut impl Write, node: NodeId, project_ref: &str) -> Result<()> {
    sqlx::query!(
        "UPDATE nodes SET unexplained = array_remove(unexplained, $2) WHERE id = $1 AND $2 = ANY (unexplained)",
        node.0,
        project_ref,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Replaces a node's conditions by what its session reports. `None` if a newer session has begun, else whether they differ from
/// before.
pub async fn save_conditions(
    write: &mut impl Write,
    node: NodeId,
    epoch: i64,
    conditions: &[Condition],
) -> Result<Option<bool>> {
    // Locked, so that two sessions of a node do not mix their reports.
    let newest = sqlx::query_scalar!(
        "SELECT true AS \"newest!\" FROM nodes WHERE id = $1 AND greeted_epoch = $2 FOR NO KEY UPDATE",
        node.0,
        epoch,
    );
    if newest.fetch_optional(write.connection().await?).await?.is_none() {
        return Ok(None);
    }
    let reasons: Vec<String> = conditions.iter().map(|one| one.reason.clone()).collect();
    let messages: Vec<String> = conditions.iter().map(|one| one.message.clone()).collect();
    let since: Vec<Option<DateTime<Utc>>> = conditions.iter().map(|one| one.since).collect();
    let blocking: Vec<bool> = conditions.iter().map(|one| one.blocking).collect();
    let ended = sqlx::query!(
        "DELETE FROM node_conditions WHERE node_id = $1 AND reason <> ALL ($2::text[])",
        node.0,
        &reasons,
    )
    .execute(write.connection().await?)
    .await?;
    let told = sqlx::query!(
        "INSERT INTO node_conditions (node_id, reason, message, since, blocking)
         SELECT $1, t.reason, t.message, least(t.since, now()), t.blocking
         FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::bool[]) AS t (reason, message, since, blocking)
         ON CONFLICT (node_id, reason) DO UPDATE SET message = EXCLUDED.message, since = EXCLUDED.since,
             blocking = EXCLUDED.blocking
         WHERE (node_conditions.message, node_conditions.since, node_conditions.blocking)
             IS DISTINCT FROM (EXCLUDED.message, EXCLUDED.since, EXCLUDED.blocking)",
        node.0,
        &reasons,
        &messages,
        &since as &[Option<DateTime<Utc>>],
        &blocking,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(Some(ended.rows_affected() + told.rows_affected() > 0))
}
