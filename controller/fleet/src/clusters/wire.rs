//! Clusters on the wire, as much of them as the caller may see.

use supalove_core::wire::timestamp;
use supalove_proto::v1::{self as pb, NodeResources, ResourceFactors, ResourceReserve};

use super::{Amounts, Cluster, ClusterKind, Factors, PlacementPolicy, Reserve};

impl Cluster {
    /// Encodes a cluster. `sees_fleet`: the caller sees the nodes of shared clusters, too. Others see of a shared cluster that it
    /// exists, and where.
    pub fn into_wire(self, sees_fleet: bool) -> pb::Cluster {
        let kind = match self.kind {
            ClusterKind::Shared => pb::ClusterKind::Shared,
            ClusterKind::Private => pb::ClusterKind::Private,
        };
        let public = pb::Cluster {
            id: self.id.to_string(),
            name: self.settings.name,
            kind: kind.into(),
            create_time: Some(timestamp(self.created_at)),
            organization: self.organization.unwrap_or_default(),
            region: self.settings.region,
            labels: self.settings.labels,
            ..pb::Cluster::default()
        };
        let is_owners = self.kind == ClusterKind::Private && self.viewer_is_member;
        if !(sees_fleet || is_owners) {
            return public;
        }
        let count = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
        let policy = match self.settings.policy {
            PlacementPolicy::Pack => pb::PlacementPolicy::Pack,
            PlacementPolicy::Spread => pb::PlacementPolicy::Spread,
        };
        pb::Cluster {
            nodes: count(self.nodes),
            nodes_connected: count(self.nodes_connected),
            projects: count(self.projects),
            policy: policy.into(),
            overcommit: Some(self.settings.overcommit.into()),
            reserve: Some(self.settings.reserve.into()),
            capacity: Some(self.capacity.into()),
            used: Some(self.used.into()),
            free: Some(self.free.into()),
            etag: self.revision.to_string(),
            ..public
        }
    }
}

impl From<Factors> for ResourceFactors {
    fn from(factors: Factors) -> Self {
        Self { cpu: factors.cpu, memory: factors.memory, disk: factors.disk }
    }
}

impl From<Reserve> for ResourceReserve {
    fn from(reserve: Reserve) -> Self {
        Self {
            cpu_millis: reserve.cpu_millis.unsigned_abs(),
            memory_mib: reserve.memory_mib.unsigned_abs(),
            disk_mib: reserve.disk_mib.unsigned_abs(),
        }
    }
}

impl From<Amounts> for NodeResources {
    fn from(amounts: Amounts) -> Self {
        let count = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            cpu_millis: count(amounts.cpu_millis),
            memory_mib: count(amounts.memory_mib),
            disk_mib: u64::try_from(amounts.disk_mib).unwrap_or_default(),
            slots: count(amounts.slots),
        }
    }
}
