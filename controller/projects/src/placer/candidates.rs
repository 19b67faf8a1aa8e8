//! The scheduler's view of the fleet, cached in memory so that a create reads no nodes before its placing statement.
//!
//! The placer reloads it at every poll and after a refused placement; in between it adds this replica's own placements.
//! If the view is stale, the placing statement refuses the node and the placer tries the next candidate.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::RwLock;

use supalove_core::{
    database::Db,
    error::Result,
    ids::{ClusterId, NodeId, OrganizationId},
    times::Times,
};
use supalove_fleet::clusters::{ClusterKind, PlacementPolicy};
use supalove_proto::v1::ErrorReason;
use supalove_scheduler::{Blocked, Candidate, FAILURE_MEMORY, Names, Policy, Resources, View};

use crate::capacity::names_of;

type ByCluster = HashMap<ClusterId, (Settings, View)>;

/// What the placer needs of a cluster beside its nodes.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub policy: Policy,
    /// Whether reasons that its users read may name its nodes: those of shared clusters are the operator's.
    pub names: Names,
}

const NO_NODES: Settings = Settings { policy: Policy::Pack, names: Names::Counted };

#[derive(Debug, Clone)]
pub struct Candidates {
    db: Db,
    times: Arc<Times>,
    view: Arc<RwLock<ByCluster>>,
}

impl Candidates {
    pub fn new(db: Db, times: Arc<Times>) -> Self {
        Self { db, times, view: Arc::default() }
    }

    /// Runs `decide` on the view of a cluster.
    pub async fn with_view<T>(&self, cluster: ClusterId, decide: impl FnOnce(Settings, &View) -> T) -> T {
        match self.view.read().await.get(&cluster) {
            Some((settings, view)) => decide(*settings, view),
            // It has no nodes.
            None => decide(NO_NODES, &View::default()),
        }
    }

    /// Adds a placement of this replica.
    pub async fn reserve(
        &self,
        cluster: ClusterId,
        node: NodeId,
        needs: Resources,
        organization: OrganizationId,
    ) {
        if let Some((_, view)) = self.view.write().await.get_mut(&cluster) {
            view.reserve(node, needs, organization);
        }
    }

    pub async fn refresh(&self) -> Result<()> {
        let fresh = self.load().await?;
        *self.view.write().await = fresh;
        Ok(())
    }

    async fn load(&self) -> Result<ByCluster> {
        let rows = sqlx::query!(
            "SELECT n.id AS \"node: NodeId\", n.cluster_id AS \"cluster: ClusterId\",
                 c.policy AS \"policy: PlacementPolicy\", c.kind AS \"kind: ClusterKind\", n.name, n.schedulable,
                 n.draining_since IS NOT NULL AS \"draining!\", a.cpu_cap,
                 a.cpu_used, a.memory_cap, a.memory_used, a.disk_cap, a.disk_used,
                 coalesce(n.seen_at > now() - make_interval(secs => $1), false) AS \"connected!\",
                 CASE WHEN a.last_failure_at > now() - make_interval(secs => $2) THEN a.start_failures ELSE 0 END AS \"failures!\",
                 (a.slots - coalesce((SELECT sum(upper(r) - lower(r)) FROM unnest(a.taken_slots + a.blocked_slots) r), 0))::int
                     AS \"free_slots!\",
                 (SELECT min(d.reason) FROM node_conditions d WHERE d.node_id = n.id AND d.blocking) AS condition
             FROM nodes n JOIN node_capacity a ON a.node_id = n.id JOIN clusters c ON c.id = n.cluster_id
             WHERE n.revoked_at IS NULL",
            self.times.silent_after.as_secs_f64(),
            FAILURE_MEMORY.as_secs_f64(),
        )
        .fetch_all(&self.db)
        .await?;
        let spread = sqlx::query!(
            "SELECT l.node_id AS \"node: NodeId\", p.organization_id AS \"organization: OrganizationId\", count(*) AS \"count!\" FROM placements l
             JOIN projects p ON p.ref = l.project_ref GROUP BY l.node_id, p.organization_id"
        )
        .fetch_all(&self.db)
        .await?;
        let mut nodes: HashMap<ClusterId, Vec<Candidate>> = HashMap::new();
        let mut cluster_of: HashMap<NodeId, ClusterId> = HashMap::new();
        let mut set: HashMap<ClusterId, Settings> = HashMap::new();
        for n in rows {
            set.insert(n.cluster, settings(n.policy, n.kind));
            cluster_of.insert(n.node, n.cluster);
            nodes.entry(n.cluster).or_default().push(Candidate {
                node: n.node,
                name: n.name,
                schedulable: n.schedulable,
                draining: n.draining,
                connected: n.connected,
                blocked: n.condition.as_deref().map(blocked_by),
                capacity: Resources { cpu_millis: n.cpu_cap, memory_mib: n.memory_cap, disk_mib: n.disk_cap },
                used: Resources { cpu_millis: n.cpu_used, memory_mib: n.memory_used, disk_mib: n.disk_used },
                free_slots: n.free_slots,
                recent_failures: n.failures,
            });
        }
        let mut placed: HashMap<ClusterId, Vec<_>> = HashMap::new();
        for row in spread {
            // The next refresh includes a node that joined between the two queries.
            if let Some(cluster) = cluster_of.get(&row.node) {
                let count = u32::try_from(row.count).unwrap_or(u32::MAX);
                placed.entry(*cluster).or_default().push((row.node, row.organization, count));
            }
        }
        let view = |(cluster, nodes)| {
            let settings = set.get(&cluster).copied().unwrap_or(NO_NODES);
            (cluster, (settings, View::new(nodes, placed.remove(&cluster).unwrap_or_default())))
        };
        Ok(nodes.into_iter().map(view).collect())
    }
}

/// What the reason of a blocking condition means for new projects.
fn blocked_by(reason: &str) -> Blocked {
    match ErrorReason::from_text(reason) {
        Some(ErrorReason::EngineSilent) => Blocked::EngineSilent,
        Some(ErrorReason::FirewallChainsMissing) => Blocked::ChainsMissing,
        _ => Blocked::Other,
    }
}

fn settings(policy: PlacementPolicy, kind: ClusterKind) -> Settings {
    let policy = match policy {
        PlacementPolicy::Pack => Policy::Pack,
        PlacementPolicy::Spread => Policy::Spread,
    };
    Settings { policy, names: names_of(kind) }
}
