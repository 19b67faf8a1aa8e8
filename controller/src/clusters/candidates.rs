//! The scheduler's view of the fleet, kept in memory so that a create asks the database nothing before it places.
//!
//! Read anew every poll and after a placement was refused; in between, this replica's own placements are added. It may
//! be stale, and then the placing statement refuses and the next candidate is tried.

use std::{collections::HashMap, sync::Arc};

use sqlx::PgPool;
use tokio::sync::RwLock;

use crate::{
    error::Result,
    ids::{ClusterId, NodeId, OrganizationId},
    scheduler::{Candidate, FAILURE_MEMORY, Resources},
    times::Times,
};

type ByCluster = HashMap<ClusterId, Vec<Candidate>>;

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

    /// Runs `decide` on a cluster's candidates.
    pub async fn of<T>(&self, cluster: ClusterId, decide: impl FnOnce(&[Candidate]) -> T) -> T {
        decide(self.view.read().await.get(&cluster).map_or(&[], Vec::as_slice))
    }

    /// Adds a placement of this replica.
    pub async fn reserve(
        &self,
        cluster: ClusterId,
        node: NodeId,
        needs: Resources,
        organization: OrganizationId,
    ) {
        let mut view = self.view.write().await;
        let found = view.get_mut(&cluster).and_then(|nodes| nodes.iter_mut().find(|c| c.node == node));
        if let Some(candidate) = found {
            candidate.used.cpu_millis += needs.cpu_millis;
            candidate.used.memory_mib += needs.memory_mib;
            candidate.used.disk_mib += needs.disk_mib;
            candidate.free_slots -= 1;
            *candidate.organizations.entry(organization).or_default() += 1;
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
        let mut organizations: HashMap<NodeId, HashMap<OrganizationId, u32>> = HashMap::new();
        for row in spread {
            let count = u32::try_from(row.count).unwrap_or(u32::MAX);
            organizations
                .entry(NodeId(row.node_id))
                .or_default()
                .insert(OrganizationId(row.organization_id), count);
        }
        let mut view = ByCluster::new();
        for n in rows {
            let node = NodeId(n.id);
            view.entry(ClusterId(n.cluster_id)).or_default().push(Candidate {
                node,
                name: n.name,
                schedulable: n.schedulable,
                connected: n.connected,
                capacity: Resources { cpu_millis: n.cpu_cap, memory_mib: n.memory_cap, disk_mib: n.disk_cap },
                used: Resources { cpu_millis: n.cpu_used, memory_mib: n.memory_used, disk_mib: n.disk_used },
                free_slots: n.free_slots,
                recent_failures: n.failures,
                organizations: organizations.remove(&node).unwrap_or_default(),
            });
        }
        Ok(view)
    }
}
