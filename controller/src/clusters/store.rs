//! Clusters, nodes and join tokens in PostgreSQL.

use std::time::Duration;

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use sqlx::{PgConnection, PgPool, postgres::types::PgRange, types::ipnetwork::IpNetwork};
use uuid::Uuid;

use supalove_certs::{CaFingerprint, IssuedCertificate};
use supalove_proto::{node::v1::BlockedSlot, v1::ErrorReason};

use super::{
    Cluster, ClusterKind, Node, NodeState, Target,
    nodes::{HelloValues, blocked_ranges},
};
use crate::{
    audit,
    error::{Error, Result},
    ids::{ClusterId, JoinTokenId, NodeId},
    times::Times,
};

/// Makes the first cluster, once.
pub async fn ensure_default(db: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO clusters (id, name, kind) VALUES ($1, $2, 'SHARED') ON CONFLICT (name) DO NOTHING",
        Uuid::now_v7(),
        super::DEFAULT_CLUSTER,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The cluster with this id or name; empty = the default one.
pub async fn find(db: &PgPool, id_or_name: &str, times: &Times) -> Result<Cluster> {
    let (id, name) = parse(id_or_name)?;
    let row = sqlx::query!(
        "SELECT c.id, c.name, c.kind, c.created_at,
             (SELECT count(*) FROM nodes n WHERE n.cluster_id = c.id) AS \"nodes!\",
             (SELECT count(*) FROM nodes n WHERE n.cluster_id = c.id
                 AND n.seen_at > now() - make_interval(secs => $3)) AS \"connected!\",
             (SELECT count(*) FROM placements p JOIN nodes n ON n.id = p.node_id WHERE n.cluster_id = c.id) AS \"projects!\"
         FROM clusters c WHERE c.id = $1 OR c.name = $2",
        id,
        name,
        times.silent_after.as_secs_f64(),
    )
    .fetch_optional(db)
    .await?;
    let row = row.ok_or_else(|| Error::NotFound { kind: "cluster", name: name.to_owned() })?;
    Ok(Cluster {
        id: ClusterId(row.id),
        name: row.name,
        kind: ClusterKind::from_sql(&row.kind),
        nodes: row.nodes,
        nodes_connected: row.connected,
        projects: row.projects,
        created_at: row.created_at,
    })
}

/// The same as far as placing needs it: counting nodes and placements would cost each create more than all the rest.
pub async fn target(db: &PgPool, id_or_name: &str) -> Result<Target> {
    let (id, name) = parse(id_or_name)?;
    let row = sqlx::query!("SELECT id, kind FROM clusters WHERE id = $1 OR name = $2", id, name)
        .fetch_optional(db)
        .await?;
    let row = row.ok_or_else(|| Error::NotFound { kind: "cluster", name: name.to_owned() })?;
    Ok(Target { id: ClusterId(row.id), kind: ClusterKind::from_sql(&row.kind) })
}

fn parse(id_or_name: &str) -> Result<(Option<Uuid>, &str)> {
    let name = if id_or_name.is_empty() { super::DEFAULT_CLUSTER } else { id_or_name };
    if name.contains('\0') {
        return Err(Error::field("cluster", "must be a cluster's id or name"));
    }
    Ok((name.parse::<ClusterId>().ok().map(|id| id.0), name))
}

/// Which nodes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Of this cluster.
    pub cluster: Option<ClusterId>,
    /// With names after this one.
    pub after: Option<&'a str>,
    /// This one.
    pub node: Option<NodeId>,
}

/// Nodes, by name.
pub async fn nodes(
    db: impl sqlx::PgExecutor<'_>,
    wanted: Wanted<'_>,
    limit: i64,
    times: &Times,
) -> Result<Vec<Node>> {
    let rows = sqlx::query!(
        "SELECT n.id, n.cluster_id, k.kind, n.name, n.cpu_cap, n.cpu_used, n.memory_cap, n.memory_used, n.disk_cap,
             n.disk_used, n.slots, n.agent_version, n.engine_version, n.advertise_address, n.seen_at, n.blocked_reasons,
             n.unexplained, n.created_at, n.revoked_at, n.duplicate_detail, now() AS \"now!\",
             CASE WHEN n.duplicate_at > now() - make_interval(secs => $5) THEN n.duplicate_at END AS duplicate_at,
             c.not_after AS \"not_after?\", encode(c.ca_sha256, 'hex') AS \"ca?\",
             (SELECT count(*) FROM placements p WHERE p.node_id = n.id) AS \"projects!\"
         FROM nodes n JOIN clusters k ON k.id = n.cluster_id
         LEFT JOIN LATERAL (SELECT not_after, ca_sha256 FROM certificates WHERE node_id = n.id
             ORDER BY created_at DESC LIMIT 1) c ON true
         WHERE ($1::uuid IS NULL OR n.cluster_id = $1) AND ($2::text IS NULL OR n.name > $2)
             AND ($4::uuid IS NULL OR n.id = $4) ORDER BY n.name LIMIT $3",
        wanted.cluster.map(|id| id.0),
        wanted.after,
        limit,
        wanted.node.map(|id| id.0),
        times.duplicate_alarm.as_secs_f64(),
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|n| Node {
            id: NodeId(n.id),
            cluster: ClusterId(n.cluster_id),
            name: n.name,
            state: match n.revoked_at {
                Some(_) => NodeState::Revoked,
                None => NodeState::derive(n.seen_at, n.now, ClusterKind::from_sql(&n.kind), times),
            },
            cpu: (n.cpu_cap, n.cpu_used),
            memory: (n.memory_cap, n.memory_used),
            disk: (n.disk_cap, n.disk_used),
            slots: (n.slots, i32::try_from(n.projects).unwrap_or(i32::MAX)),
            projects: n.projects,
            agent_version: n.agent_version,
            engine_version: n.engine_version,
            advertise_address: n.advertise_address,
            seen_at: n.seen_at,
            blocked: n.blocked_reasons,
            unexplained: n.unexplained,
            created_at: n.created_at,
            revoked_at: n.revoked_at,
            certificate_ends: n.not_after,
            certificate_ca: n.ca.unwrap_or_default(),
            duplicate: n.duplicate_at.map(|at| (at, n.duplicate_detail)),
        })
        .collect())
}

/// The node.
pub async fn node(db: impl sqlx::PgExecutor<'_>, id: NodeId, times: &Times) -> Result<Node> {
    let found = nodes(db, Wanted { node: Some(id), ..Wanted::default() }, 1, times).await?;
    found.into_iter().next().ok_or_else(|| Error::NotFound { kind: "node", name: id.to_string() })
}

/// Locks a node out. The epoch moves on, so that what its sessions still report is not written.
pub async fn revoke(db: &PgPool, id: NodeId, times: &Times, entry: &audit::Entry) -> Result<Node> {
    let mut tx = db.begin().await?;
    sqlx::query!(
        "UPDATE nodes SET revoked_at = now(), schedulable = false, session_epoch = session_epoch + 1,
             greeted_epoch = session_epoch + 1
         WHERE id = $1 AND revoked_at IS NULL",
        id.0
    )
    .execute(&mut *tx)
    .await?;
    let node = node(&mut *tx, id, times).await?;
    audit::record(&mut *tx, entry).await?;
    tx.commit().await?;
    Ok(node)
}

/// Stores a join token's hash.
pub async fn insert_join_token(
    db: &PgPool,
    id: JoinTokenId,
    cluster: ClusterId,
    secret_hash: &[u8],
    max_uses: i32,
    ttl: Duration,
    entry: &audit::Entry,
) -> Result<DateTime<Utc>> {
    let mut tx = db.begin().await?;
    let expires_at = sqlx::query_scalar!(
        "INSERT INTO join_tokens (id, cluster_id, secret_hash, max_uses, expires_at)
         VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5)) RETURNING expires_at",
        id.0,
        cluster.0,
        secret_hash,
        max_uses,
        ttl.as_secs_f64(),
    )
    .fetch_one(&mut *tx)
    .await?;
    audit::record(&mut *tx, entry).await?;
    tx.commit().await?;
    Ok(expires_at)
}

/// A join token as operators see it.
#[derive(Debug, Clone)]
pub struct JoinToken {
    /// Id.
    pub id: JoinTokenId,
    /// Cluster that it lets hosts into.
    pub cluster: ClusterId,
    /// Hosts that have joined with it.
    pub uses: i32,
    /// How many may.
    pub max_uses: i32,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it stops working.
    pub expires_at: DateTime<Utc>,
    /// That time has come.
    pub expired: bool,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// Which join tokens.
#[derive(Debug, Clone, Copy, Default)]
pub struct WantedTokens {
    /// Of this cluster.
    pub cluster: Option<ClusterId>,
    /// Made before this one.
    pub before: Option<Uuid>,
    /// This one.
    pub id: Option<JoinTokenId>,
    /// Also those with which no host can join any more.
    pub ended: bool,
}

/// Join tokens, newest first.
pub async fn join_tokens(
    db: impl sqlx::PgExecutor<'_>,
    wanted: WantedTokens,
    limit: i64,
) -> Result<Vec<JoinToken>> {
    let rows = sqlx::query!(
        "SELECT id, cluster_id, uses, max_uses, created_at, expires_at, expires_at <= now() AS \"expired!\", revoked_at
         FROM join_tokens
         WHERE ($1::uuid IS NULL OR cluster_id = $1) AND ($2::uuid IS NULL OR id < $2) AND ($3::uuid IS NULL OR id = $3)
             AND ($4 OR (revoked_at IS NULL AND expires_at > now() AND uses < max_uses))
         ORDER BY id DESC LIMIT $5",
        wanted.cluster.map(|id| id.0),
        wanted.before,
        wanted.id.map(|id| id.0),
        wanted.ended,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| JoinToken {
            id: JoinTokenId(row.id),
            cluster: ClusterId(row.cluster_id),
            uses: row.uses,
            max_uses: row.max_uses,
            created_at: row.created_at,
            expires_at: row.expires_at,
            expired: row.expired,
            revoked_at: row.revoked_at,
        })
        .collect())
}

/// Revokes a join token. A join that has its row locked ends first.
pub async fn revoke_join_token(db: &PgPool, id: JoinTokenId, entry: &audit::Entry) -> Result<JoinToken> {
    let mut tx = db.begin().await?;
    sqlx::query!("UPDATE join_tokens SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL", id.0)
        .execute(&mut *tx)
        .await?;
    let wanted = WantedTokens { id: Some(id), ended: true, ..WantedTokens::default() };
    let found = join_tokens(&mut *tx, wanted, 1).await?.into_iter().next();
    let token = found.ok_or_else(|| Error::NotFound { kind: "join token", name: id.to_string() })?;
    audit::record(&mut *tx, entry).await?;
    tx.commit().await?;
    Ok(token)
}

/// A stored join token, its row locked.
pub struct StoredToken {
    /// Cluster that it lets hosts into.
    pub cluster: ClusterId,
    /// SHA-256 of its secret.
    pub secret_hash: Vec<u8>,
    /// It has expired.
    pub expired: bool,
    /// It has uses left.
    pub usable: bool,
    /// An operator revoked it.
    pub revoked: bool,
}

/// Locks and reads a join token.
pub async fn lock_join_token(tx: &mut PgConnection, id: Uuid) -> Result<Option<StoredToken>> {
    let row = sqlx::query!(
        "SELECT cluster_id, secret_hash, expires_at <= now() AS \"expired!\", uses < max_uses AS \"usable!\",
             revoked_at IS NOT NULL AS \"revoked!\" FROM join_tokens WHERE id = $1 FOR UPDATE",
        id
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|r| StoredToken {
        cluster: ClusterId(r.cluster_id),
        secret_hash: r.secret_hash,
        expired: r.expired,
        usable: r.usable,
        revoked: r.revoked,
    }))
}

/// Counts a use.
pub async fn use_join_token(tx: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query!("UPDATE join_tokens SET uses = uses + 1 WHERE id = $1", id).execute(tx).await?;
    Ok(())
}

/// A node to be.
pub struct NewNode<'a> {
    /// Its id.
    pub id: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Host name.
    pub name: &'a str,
    /// Version of its agent.
    pub agent_version: &'a str,
    /// SHA-256 of its public key.
    pub key_sha256: &'a [u8],
    /// Roots that it is told to trust, hex.
    pub trusted_ca: Vec<String>,
}

/// Makes a node.
pub async fn insert_node(tx: &mut PgConnection, new: &NewNode<'_>) -> Result<()> {
    let made = sqlx::query!(
        "INSERT INTO nodes (id, cluster_id, name, key_sha256, agent_version, trusted_ca) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (cluster_id, name) DO NOTHING",
        new.id.0,
        new.cluster.0,
        new.name,
        new.key_sha256,
        new.agent_version,
        &new.trusted_ca,
    )
    .execute(tx)
    .await?;
    if made.rows_affected() == 0 {
        return Err(Error::AlreadyExists { kind: "node", name: new.name.to_owned() });
    }
    Ok(())
}

/// Records a certificate of a node.
pub async fn insert_certificate(
    tx: &mut PgConnection,
    node: NodeId,
    issued: &IssuedCertificate,
    ca: CaFingerprint,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO certificates (serial, node_id, key_sha256, not_before, not_after, ca_sha256)
         VALUES ($1, $2, $3, $4, $5, $6)",
        issued.serial_hex,
        node.0,
        issued.spki_sha256.as_slice(),
        issued.not_before,
        issued.not_after,
        ca.as_bytes().as_slice(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// What a certificate for a node is decided on.
pub struct LockedNode {
    /// Its cluster.
    pub cluster: ClusterId,
    /// It was locked out.
    pub revoked: bool,
}

/// SHA-256 of the key that a node enrolled with; none if there is no such node. It never changes.
pub async fn enrolled_key(db: &PgPool, node: NodeId) -> Result<Option<Vec<u8>>> {
    let key = sqlx::query_scalar!("SELECT key_sha256 FROM nodes WHERE id = $1", node.0);
    Ok(key.fetch_optional(db).await?)
}

/// Locks and reads a node.
pub async fn lock_node(tx: &mut PgConnection, node: NodeId) -> Result<Option<LockedNode>> {
    let row = sqlx::query!(
        "SELECT cluster_id, revoked_at IS NOT NULL AS \"revoked!\" FROM nodes WHERE id = $1 FOR UPDATE",
        node.0
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|r| LockedNode { cluster: ClusterId(r.cluster_id), revoked: r.revoked }))
}

/// When a nonce made now ends.
pub async fn nonce_end(db: &PgPool, life: Duration) -> Result<DateTime<Utc>> {
    let ends =
        sqlx::query_scalar!("SELECT now() + make_interval(secs => $1) AS \"ends!\"", life.as_secs_f64());
    Ok(ends.fetch_one(db).await?)
}

/// Uses a nonce up; false if it was used before or has ended.
pub async fn use_nonce(tx: &mut PgConnection, nonce: &[u8], ends: DateTime<Utc>) -> Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO used_recovery_nonces (nonce_sha256, expires_at) SELECT sha256($1), $2 WHERE $2 > now()
         ON CONFLICT DO NOTHING",
        nonce,
        ends,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Stores which roots a node says it trusts. Nothing said, nothing changed.
pub async fn save_trusted(db: &PgPool, node: NodeId, epoch: i64, trusted: &[String]) -> Result<()> {
    sqlx::query!(
        "UPDATE nodes SET trusted_ca = $3 WHERE id = $1 AND greeted_epoch = $2 AND cardinality($3::text[]) > 0",
        node.0,
        epoch,
        trusted,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Stores what a node said at Hello. Capacity is multiplied by the cluster's overcommit.
///
/// Answers false if a newer session has begun meanwhile.
pub async fn save_hello(db: &PgPool, node: NodeId, epoch: i64, hello: &HelloValues) -> Result<bool> {
    refuse_moved_slots(db, node, hello).await?;
    let done = sqlx::query!(
        "UPDATE nodes n SET boot_id = $3, agent_version = $4, engine_version = $5, advertise_address = $6,
             port_base = $7, network_range = $8, slots = $9, blocked_slots = range_agg_or_empty($10),
             blocked_reasons = $11, cpu_cap = ($12::int * c.cpu_overcommit)::int,
             memory_cap = ($13::int * c.memory_overcommit)::int, disk_cap = $14, seen_at = now(),
             agent_run_id = $15, greeted_epoch = $2, greeted_at = now(),
             trusted_ca = CASE WHEN cardinality($16::text[]) > 0 THEN $16 ELSE n.trusted_ca END
         FROM clusters c WHERE c.id = n.cluster_id AND n.id = $1 AND n.session_epoch = $2",
        node.0,
        epoch,
        hello.boot_id,
        hello.agent_version,
        hello.engine_version,
        hello.advertise_address,
        hello.port_base,
        network(hello.network_range.into()),
        hello.slots,
        &hello.blocked as &[PgRange<i32>],
        &hello.blocked_reasons,
        hello.cpu_millis,
        hello.memory_mib,
        hello.disk_mib,
        hello.run_id,
        &hello.trusted_ca,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Placements have their ports and networks for good, so a host that has some must keep the settings they come from.
async fn refuse_moved_slots(db: &PgPool, node: NodeId, hello: &HelloValues) -> Result<()> {
    let kept = sqlx::query!(
        "SELECT n.port_base, n.network_range::text AS \"network_range!\", (SELECT max(slot) FROM placements p WHERE p.node_id = n.id) AS highest
         FROM nodes n WHERE n.id = $1 AND EXISTS (SELECT 1 FROM placements p WHERE p.node_id = n.id)
             AND (n.port_base <> $2 OR n.network_range <> $3
                 OR (SELECT max(slot) FROM placements p WHERE p.node_id = n.id) >= $4)",
        node.0,
        hello.port_base,
        network(hello.network_range.into()),
        hello.slots,
    )
    .fetch_optional(db)
    .await?;
    let Some(kept) = kept else { return Ok(()) };
    Err(Error::FailedPrecondition {
        reason: ErrorReason::SlotsMoved,
        message: format!(
            "the node has projects; run its agent with --port-base {} --network-range {} and at least {} --slots",
            kept.port_base,
            kept.network_range,
            kept.highest.unwrap_or(0) + 1
        ),
    })
}

fn network(net: IpNet) -> IpNetwork {
    // Every prefix of an IpNet is a valid prefix of an IpNetwork.
    IpNetwork::new(net.addr(), net.prefix_len()).unwrap_or(IpNetwork::from(net.addr()))
}

/// Stores which slots others hold now.
pub async fn save_blocked(db: &PgPool, node: NodeId, blocked: &[BlockedSlot]) -> Result<()> {
    let (ranges, reasons) = blocked_ranges(blocked, i32::MAX);
    sqlx::query!(
        "UPDATE nodes SET blocked_slots = range_agg_or_empty($2), blocked_reasons = $3
         WHERE id = $1 AND blocked_reasons <> $3",
        node.0,
        &ranges as &[PgRange<i32>],
        &reasons,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Stores what an inventory found that no placement explains.
pub async fn save_unexplained(db: &PgPool, node: NodeId, refs: &[String]) -> Result<()> {
    sqlx::query!("UPDATE nodes SET unexplained = $2 WHERE id = $1 AND unexplained <> $2", node.0, refs)
        .execute(db)
        .await?;
    Ok(())
}
