//! Clusters: who may see them, what they have, and how they change.

use sqlx::types::Json;
use supalove_core::{
    Write,
    access::Role,
    database::{Db, violates},
    error::{Error, Result},
    ids::{ClusterId, JoinTokenId, NodeId, OrganizationId, ProjectRef, UserId},
    times::Times,
};
use supalove_proto::v1::ErrorReason;
use uuid::Uuid;

use super::parse;
use crate::{
    clusters::{
        Amounts, Cluster, ClusterKind, DEFAULT_CLUSTER, Factors, Labels, PlacementPolicy, Reserve, Settings,
        access::{ClusterKey, Seen},
    },
    registries,
};

/// How many nodes and projects the refusal of a deletion names.
const NAMED: i64 = 20;
/// Rows that one statement deletes.
const BATCH: i64 = 1000;

/// What can be set on a cluster, of a row with these columns.
macro_rules! settings {
    ($row:ident) => {
        Settings {
            name: $row.name,
            region: $row.region,
            labels: $row.labels.0,
            policy: $row.policy,
            overcommit: Factors {
                cpu: $row.cpu_overcommit,
                memory: $row.memory_overcommit,
                disk: $row.disk_overcommit,
            },
            reserve: Reserve {
                cpu_millis: $row.cpu_reserve,
                memory_mib: $row.memory_reserve,
                disk_mib: $row.disk_reserve,
            },
        }
    };
}

/// Where something of the fleet is: the kind of its cluster, who owns that, and the asking user's role there.
type Place = (ClusterKind, Option<OrganizationId>, Option<Role>);

/// Returns the clusters with this id or name that a user may see; empty = the default cluster.
pub async fn seen_by(db: &Db, id_or_name: &str, user: UserId) -> Result<Vec<Seen>> {
    let (id, name) = parse(id_or_name)?;
    let rows = sqlx::query!(
        "SELECT c.id AS \"id: ClusterId\", c.kind AS \"kind: ClusterKind\", c.name,
             c.organization_id AS \"organization: OrganizationId\", m.role AS \"role?: Role\", u.operator AS \"operator!\"
         FROM clusters c JOIN users u ON u.id = $3
         LEFT JOIN members m ON m.organization_id = c.organization_id AND m.user_id = $3
         WHERE c.deleted_at IS NULL AND (c.id = $1 OR c.name = $2)
             AND (c.kind = 'SHARED' OR m.role IS NOT NULL OR u.operator)
         LIMIT 100",
        id,
        name,
        user.0,
    )
    .fetch_all(db)
    .await?;
    let seen = rows.into_iter().map(|row| Seen {
        key: ClusterKey { id: row.id, kind: row.kind, name: row.name, organization: row.organization },
        role: row.role,
        operator: row.operator,
    });
    Ok(seen.collect())
}

/// Returns where a node is.
pub async fn cluster_of_node(db: &Db, node: NodeId, user: UserId) -> Result<Option<Place>> {
    let row = sqlx::query!(
        "SELECT c.kind AS \"kind: ClusterKind\", c.organization_id AS \"organization: OrganizationId\", m.role AS \"role?: Role\"
         FROM nodes n JOIN clusters c ON c.id = n.cluster_id
         LEFT JOIN members m ON m.organization_id = c.organization_id AND m.user_id = $2 WHERE n.id = $1",
        node.0,
        user.0,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.kind, row.organization, row.role)))
}

/// Returns with which cluster hosts join by a token.
pub async fn cluster_of_token(db: &Db, token: JoinTokenId, user: UserId) -> Result<Option<Place>> {
    let row = sqlx::query!(
        "SELECT c.kind AS \"kind: ClusterKind\", c.organization_id AS \"organization: OrganizationId\", m.role AS \"role?: Role\"
         FROM join_tokens t JOIN clusters c ON c.id = t.cluster_id
         LEFT JOIN members m ON m.organization_id = c.organization_id AND m.user_id = $2 WHERE t.id = $1",
        token.0,
        user.0,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.kind, row.organization, row.role)))
}

/// Which clusters to list.
#[derive(Debug, Clone, Copy)]
pub struct WantedClusters<'a> {
    /// Only this one, deleted or not seen by the viewer as it may be.
    pub id: Option<ClusterId>,
    /// Only those that this user may see.
    pub viewer: Option<UserId>,
    /// Only those of this organization.
    pub organization: Option<OrganizationId>,
    /// Only after this one, by name and id.
    pub after: Option<(&'a str, Uuid)>,
}

/// Clusters with what they have, ordered by name.
pub async fn clusters(
    db: impl sqlx::PgExecutor<'_>,
    wanted: WantedClusters<'_>,
    limit: i64,
    times: &Times,
) -> Result<Vec<Cluster>> {
    let rows = sqlx::query!(
        "SELECT c.id AS \"id: ClusterId\", c.name, c.kind AS \"kind: ClusterKind\", c.created_at, c.revision, c.region,
             c.labels AS \"labels: Json<Labels>\", c.policy AS \"policy: PlacementPolicy\", c.cpu_overcommit,
             c.memory_overcommit, c.disk_overcommit, c.cpu_reserve, c.memory_reserve, c.disk_reserve,
             o.slug AS \"organization?\", (m.role IS NOT NULL) AS \"member!\",
             s.nodes AS \"nodes!\", s.connected AS \"connected!\", s.projects AS \"projects!\",
             s.cpu_cap AS \"cpu_cap!\", s.memory_cap AS \"memory_cap!\", s.disk_cap AS \"disk_cap!\", s.slots AS \"slots!\",
             s.cpu_used AS \"cpu_used!\", s.memory_used AS \"memory_used!\", s.disk_used AS \"disk_used!\",
             s.slots_used AS \"slots_used!\", s.cpu_free AS \"cpu_free!\", s.memory_free AS \"memory_free!\",
             s.disk_free AS \"disk_free!\", s.slots_free AS \"slots_free!\"
         FROM clusters c LEFT JOIN organizations o ON o.id = c.organization_id
         LEFT JOIN users u ON u.id = $2
         LEFT JOIN members m ON m.organization_id = c.organization_id AND m.user_id = $2
         CROSS JOIN LATERAL (
             SELECT count(*) FILTER (WHERE live.node) AS nodes, count(*) FILTER (WHERE live.connected) AS connected,
                 coalesce(sum(p.count), 0)::bigint AS projects,
                 coalesce(sum(a.cpu_cap) FILTER (WHERE live.node), 0)::bigint AS cpu_cap,
                 coalesce(sum(a.memory_cap) FILTER (WHERE live.node), 0)::bigint AS memory_cap,
                 coalesce(sum(a.disk_cap) FILTER (WHERE live.node), 0)::bigint AS disk_cap,
                 coalesce(sum(a.slots) FILTER (WHERE live.node), 0)::bigint AS slots,
                 coalesce(sum(a.cpu_used) FILTER (WHERE live.node), 0)::bigint AS cpu_used,
                 coalesce(sum(a.memory_used) FILTER (WHERE live.node), 0)::bigint AS memory_used,
                 coalesce(sum(a.disk_used) FILTER (WHERE live.node), 0)::bigint AS disk_used,
                 coalesce(sum(p.count) FILTER (WHERE live.node), 0)::bigint AS slots_used,
                 coalesce(sum(greatest(a.cpu_cap - a.cpu_used, 0)) FILTER (WHERE live.takes), 0)::bigint AS cpu_free,
                 coalesce(sum(greatest(a.memory_cap - a.memory_used, 0)) FILTER (WHERE live.takes), 0)::bigint AS memory_free,
                 coalesce(sum(greatest(a.disk_cap - a.disk_used, 0)) FILTER (WHERE live.takes), 0)::bigint AS disk_free,
                 coalesce(sum(a.slots - held.slots) FILTER (WHERE live.takes), 0)::bigint AS slots_free
             FROM nodes n LEFT JOIN node_capacity a ON a.node_id = n.id
             CROSS JOIN LATERAL (SELECT count(*) FROM placements l WHERE l.node_id = n.id) p
             CROSS JOIN LATERAL (SELECT n.revoked_at IS NULL AS node,
                 n.revoked_at IS NULL AND coalesce(n.seen_at > now() - make_interval(secs => $7), false) AS connected,
                 n.schedulable AND coalesce(n.seen_at > now() - make_interval(secs => $7), false)
                     AND NOT EXISTS (SELECT FROM node_conditions d WHERE d.node_id = n.id AND d.blocking) AS takes) live
             CROSS JOIN LATERAL (SELECT coalesce(sum(upper(r) - lower(r)), 0) AS slots
                 FROM unnest(a.taken_slots + a.blocked_slots) r) held
             WHERE n.cluster_id = c.id) s
         WHERE c.deleted_at IS NULL AND ($1::uuid IS NULL OR c.id = $1)
             AND ($2::uuid IS NULL OR c.kind = 'SHARED' OR m.role IS NOT NULL OR u.operator)
             AND ($3::uuid IS NULL OR c.organization_id = $3) AND ($4::text IS NULL OR (c.name, c.id) > ($4, $5))
         ORDER BY c.name, c.id LIMIT $6",
        wanted.id.map(|id| id.0),
        wanted.viewer.map(|id| id.0),
        wanted.organization.map(|id| id.0),
        wanted.after.map(|(name, _)| name),
        wanted.after.map(|(_, id)| id),
        limit,
        times.silent_after.as_secs_f64(),
    )
    .fetch_all(db)
    .await?;
    let found = rows.into_iter().map(|row| Cluster {
        id: row.id,
        kind: row.kind,
        organization: row.organization,
        viewer_is_member: row.member,
        settings: settings!(row),
        nodes: row.nodes,
        nodes_connected: row.connected,
        projects: row.projects,
        capacity: Amounts {
            cpu_millis: row.cpu_cap,
            memory_mib: row.memory_cap,
            disk_mib: row.disk_cap,
            slots: row.slots,
        },
        used: Amounts {
            cpu_millis: row.cpu_used,
            memory_mib: row.memory_used,
            disk_mib: row.disk_used,
            slots: row.slots_used,
        },
        free: Amounts {
            cpu_millis: row.cpu_free,
            memory_mib: row.memory_free,
            disk_mib: row.disk_free,
            slots: row.slots_free,
        },
        revision: row.revision,
        created_at: row.created_at,
    });
    Ok(found.collect())
}

/// Returns one cluster, as a user sees it.
pub async fn cluster(
    db: impl sqlx::PgExecutor<'_>,
    id: ClusterId,
    viewer: UserId,
    times: &Times,
) -> Result<Cluster> {
    let wanted = WantedClusters { id: Some(id), viewer: Some(viewer), organization: None, after: None };
    let found = clusters(db, wanted, 1, times).await?.into_iter().next();
    found.ok_or_else(|| gone(id))
}

/// The error for a cluster that was deleted meanwhile.
pub fn gone(id: ClusterId) -> Error {
    Error::NotFound { kind: "cluster", name: id.to_string() }
}

/// Stores a cluster. A private one may not have the name of a shared one: its members would mean both.
pub async fn insert(
    write: &mut impl Write,
    kind: ClusterKind,
    organization: Option<OrganizationId>,
    settings: &Settings,
) -> Result<ClusterId> {
    if kind == ClusterKind::Private {
        refuse_shared_name(write, &settings.name).await?;
    }
    let id = ClusterId::generate();
    sqlx::query!(
        "INSERT INTO clusters (id, kind, organization_id, name, region, labels, policy, cpu_overcommit, memory_overcommit,
             disk_overcommit, cpu_reserve, memory_reserve, disk_reserve)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        id.0,
        kind.as_sql(),
        organization.map(|id| id.0),
        settings.name,
        settings.region,
        Json(&settings.labels) as _,
        settings.policy.as_sql(),
        settings.overcommit.cpu,
        settings.overcommit.memory,
        settings.overcommit.disk,
        settings.reserve.cpu_millis,
        settings.reserve.memory_mib,
        settings.reserve.disk_mib,
    )
    .execute(write.connection().await?)
    .await
    .map_err(|error| name_taken(error, &settings.name))?;
    Ok(id)
}

async fn refuse_shared_name(write: &mut impl Write, name: &str) -> Result<()> {
    let taken = sqlx::query_scalar!(
        "SELECT EXISTS (SELECT FROM clusters WHERE kind = 'SHARED' AND name = $1 AND deleted_at IS NULL) AS \"taken!\"",
        name
    );
    if taken.fetch_one(write.connection().await?).await? {
        return Err(Error::AlreadyExists { kind: "cluster", name: name.to_owned() });
    }
    Ok(())
}

fn name_taken(error: sqlx::Error, name: &str) -> Error {
    if violates(&error, "clusters_name") {
        return Error::AlreadyExists { kind: "cluster", name: name.to_owned() };
    }
    error.into()
}

/// What an update starts from.
pub struct Locked {
    pub settings: Settings,
    pub revision: i64,
}

/// Locks and reads what can be set on a cluster. Creates go on: they hold a node's capacity when they come to the cluster's row,
/// and the caller comes to the nodes' capacity later.
pub async fn lock(write: &mut impl Write, id: ClusterId) -> Result<Locked> {
    let row = sqlx::query!(
        "SELECT name, region, labels AS \"labels: Json<Labels>\", policy AS \"policy: PlacementPolicy\", cpu_overcommit,
             memory_overcommit, disk_overcommit, cpu_reserve, memory_reserve, disk_reserve, revision
         FROM clusters WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE",
        id.0
    )
    .fetch_optional(write.connection().await?)
    .await?
    .ok_or_else(|| gone(id))?;
    Ok(Locked { settings: settings!(row), revision: row.revision })
}

/// Stores what is set on a cluster. Lock it first.
pub async fn update(write: &mut impl Write, key: &ClusterKey, settings: &Settings) -> Result<()> {
    if settings.name != key.name && key.kind == ClusterKind::Private {
        refuse_shared_name(write, &settings.name).await?;
    }
    sqlx::query!(
        "UPDATE clusters SET name = $2, region = $3, labels = $4, policy = $5, cpu_overcommit = $6, memory_overcommit = $7,
             disk_overcommit = $8, cpu_reserve = $9, memory_reserve = $10, disk_reserve = $11, revision = revision + 1
         WHERE id = $1",
        key.id.0,
        settings.name,
        settings.region,
        Json(&settings.labels) as _,
        settings.policy.as_sql(),
        settings.overcommit.cpu,
        settings.overcommit.memory,
        settings.overcommit.disk,
        settings.reserve.cpu_millis,
        settings.reserve.memory_mib,
        settings.reserve.disk_mib,
    )
    .execute(write.connection().await?)
    .await
    .map_err(|error| name_taken(error, &settings.name))?;
    Ok(())
}

/// Deletes a cluster that has neither nodes nor projects, with its credentials for registries. Its row stays for the removed
/// projects that refer to it.
///
/// A join holds its token's row and then waits for the cluster's, so the tokens are locked first. A create holds the cluster's
/// row, so the count below misses no project.
pub async fn delete(write: &mut impl Write, key: &ClusterKey) -> Result<()> {
    sqlx::query!(
        "UPDATE join_tokens SET revoked_at = coalesce(revoked_at, now()) WHERE cluster_id = $1",
        key.id.0
    )
    .execute(write.connection().await?)
    .await?;
    let known = sqlx::query_scalar!(
        "SELECT true AS \"known!\" FROM clusters WHERE id = $1 AND deleted_at IS NULL FOR UPDATE",
        key.id.0
    );
    known.fetch_optional(write.connection().await?).await?.ok_or_else(|| gone(key.id))?;
    refuse_not_empty(write, key).await?;
    registries::delete_of_cluster(write, key.id).await?;
    sqlx::query!("UPDATE clusters SET deleted_at = now(), revision = revision + 1 WHERE id = $1", key.id.0)
        .execute(write.connection().await?)
        .await?;
    Ok(())
}

async fn refuse_not_empty(write: &mut impl Write, key: &ClusterKey) -> Result<()> {
    let nodes = sqlx::query_scalar!(
        "SELECT name FROM nodes WHERE cluster_id = $1 AND revoked_at IS NULL ORDER BY name LIMIT $2",
        key.id.0,
        NAMED,
    )
    .fetch_all(write.connection().await?)
    .await?;
    let projects = sqlx::query_scalar!(
        "SELECT ref AS \"ref: ProjectRef\" FROM projects WHERE cluster_id = $1 AND state <> 'REMOVED' ORDER BY ref LIMIT $2",
        key.id.0,
        NAMED,
    )
    .fetch_all(write.connection().await?)
    .await?;
    if nodes.is_empty() && projects.is_empty() {
        return Ok(());
    }
    let nodes = nodes.into_iter().map(|name| ("node", name));
    let projects = projects.into_iter().map(|project| ("project", project.to_string()));
    let violations: Vec<(String, String)> = nodes
        .chain(projects)
        .map(|(kind, name)| (format!("{kind}:{name}"), format!("the {kind} {name} is in the cluster")))
        .collect();
    Err(Error::FailedPreconditions {
        reason: ErrorReason::ClusterNotEmpty,
        message: format!(
            "the cluster {} still has nodes or projects; delete the projects (a deleted one counts until its undo window \
             ends), then remove the nodes",
            key.name
        ),
        violations,
    })
}

/// Returns an error for the cluster that requests without a cluster mean.
pub fn refuse_default(key: &ClusterKey, act: &str) -> Result<()> {
    if key.kind == ClusterKind::Shared && key.name == DEFAULT_CLUSTER {
        return Err(Error::FailedPrecondition {
            reason: ErrorReason::ClusterDefault,
            message: format!(
                "the cluster {DEFAULT_CLUSTER} cannot be {act}: requests that name no cluster mean it; create another cluster, \
                 and cordon the nodes of this one"
            ),
        });
    }
    Ok(())
}

/// Deletes the rows of clusters that were deleted long ago and to which nothing refers, with their join tokens; false if there
/// may be more. Rows of revoked nodes stay, and their cluster with them.
pub async fn prune(write: &mut impl Write) -> Result<bool> {
    let ended = sqlx::query_scalar!(
        "SELECT c.id FROM clusters c WHERE c.deleted_at < now() - interval '100 days'
             AND NOT EXISTS (SELECT FROM projects p WHERE p.cluster_id = c.id)
             AND NOT EXISTS (SELECT FROM nodes n WHERE n.cluster_id = c.id)
         LIMIT $1",
        BATCH,
    )
    .fetch_all(write.connection().await?)
    .await?;
    sqlx::query!("DELETE FROM join_tokens WHERE cluster_id = ANY ($1)", &ended)
        .execute(write.connection().await?)
        .await?;
    sqlx::query!("DELETE FROM clusters WHERE id = ANY ($1)", &ended)
        .execute(write.connection().await?)
        .await?;
    Ok(i64::try_from(ended.len()).unwrap_or(i64::MAX) < BATCH)
}
