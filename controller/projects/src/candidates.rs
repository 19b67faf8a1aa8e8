//! The scheduler's view of the fleet, kept in memory so that a create asks the database nothing before it places.
//!
//! Read anew every poll and after a placement was refused; in between, this replica's own placements are added. It may
//! be stale, and then the placing statement refuses and the next candidate is tried.

use std::{collections::HashMap, sync::Arc};

use sqlx::PgPool;
use tokio::sync::RwLock;

use supalove_core::{
    error::Result,
    ids::{ClusterId, NodeId, OrganizationId},
    times::Times,
};
use supalove_scheduler::{Candidate, FAILURE_MEMORY, Resources, View};

type ByCluster = HashMap<ClusterId, View>;

/// The view.
#[derive(Debug, Clone)]
pub struct Candidates {
    db: PgPool,
    times: Arc<Times>,
    view: Arc<RwLock<ByCluster>>,
}

impl Candidates {
    /// An empty view.
    pub fn new(db: PgPool, times: Arc<Times>) -> Self {
        Self { db, times, view: Arc::default() }
    }

    /// Runs `decide` on a cluster.
    pub async fn of<T>(&self, cluster: ClusterId, decide: impl FnOnce(&View) -> T) -> T {
        match self.view.read().await.get(&cluster) {
            Some(view) => decide(view),
            None => decide(&View::default()),
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
        if let Some(view) = self.view.write().await.get_mut(&cluster) {
            view.reserve(node, needs, organization);
        }
    }

    /// Reads the view anew.
    pub async fn refresh(&self) -> Result<()> {
        let fresh = self.load().await?;
        *self.view.write().await = fresh;
        Ok(())
    }

    async fn load(&self) -> Result<ByCluster> {
        let rows = sqlx::query!(
            "SELECT n.id, n.cluster_id, n.name, n.schedulable, n.cpu_cap, n.cpu_used, n.memory_cap, n.memory_used,
                 n.disk_cap, n.disk_used,
                 coalesce(n.seen_at > now() - make_interval(secs => $1), false) AS \"connected!\",
                 CASE WHEN n.last_failure_at > now() - make_interval(secs => $2) THEN n.start_failures ELSE 0 END AS \"failures!\",
                 (n.slots - coalesce((SELECT sum(upper(r) - lower(r)) FROM unnest(n.taken_slots + n.blocked_slots) r), 0))::int
                     AS \"free_slots!\"
             FROM nodes n",
            self.times.silent_after.as_secs_f64(),
            FAILURE_MEMORY.as_secs_f64(),
        )
        .fetch_all(&self.db)
        .await?;
        let spread = sqlx::query!(
            "SELECT l.node_id, p.organization_id, count(*) AS \"count!\" FROM placements l
             JOIN projects p ON p.ref = l.project_ref GROUP BY l.node_id, p.organization_id"
        )
        .fetch_all(&self.db)
        .await?;
        let mut nodes: HashMap<ClusterId, Vec<Candidate>> = HashMap::new();
        let mut cluster_of: HashMap<NodeId, ClusterId> = HashMap::new();
        for n in rows {
            let (node, cluster) = (NodeId(n.id), ClusterId(n.cluster_id));
            cluster_of.insert(node, cluster);
            nodes.entry(cluster).or_default().push(Candidate {
                node,
                name: n.name,
                schedulable: n.schedulable,
                connected: n.connected,
                capacity: Resources { cpu_millis: n.cpu_cap, memory_mib: n.memory_cap, disk_mib: n.disk_cap },
                used: Resources { cpu_millis: n.cpu_used, memory_mib: n.memory_used, disk_mib: n.disk_used },
                free_slots: n.free_slots,
                recent_failures: n.failures,
            });
        }
        let mut placed: HashMap<ClusterId, Vec<_>> = HashMap::new();
        for row in spread {
            let (node, organization) = (NodeId(row.node_id), OrganizationId(row.organization_id));
            // A node that joined in between is seen next time.
            if let Some(cluster) = cluster_of.get(&node) {
                let count = u32::try_from(row.count).unwrap_or(u32::MAX);
                placed.entry(*cluster).or_default().push((node, organization, count));
            }
        }
        let view =
            |(cluster, nodes)| (cluster, View::new(nodes, placed.remove(&cluster).unwrap_or_default()));
        Ok(nodes.into_iter().map(view).collect())
    }
}
