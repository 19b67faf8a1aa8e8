//! Clusters, their nodes, and how hosts join them.

pub mod access;
mod alarms;
pub mod api;
mod changes;
mod conditions;
pub mod enrolment;
#[cfg(test)]
mod fuzz;
mod nodes;
mod quotas;
mod settings;
pub mod store;
mod watch;
mod wire;

use chrono::{DateTime, Utc};

pub use api::ClusterApi;
pub use conditions::{Condition, conditions};
pub use nodes::{HelloValues, Node, NodeAmounts, NodeState, blocked_ranges, hello_values, named_roots};
pub use settings::{Factors, Labels, PlacementPolicy, Reserve, Settings};
pub use watch::NodeStreams;

use supalove_core::{ids::ClusterId, sql_enum, times::Times};

/// Name of the first cluster of every installation.
pub const DEFAULT_CLUSTER: &str = "default";

sql_enum! {
    /// Who may use a cluster.
    ClusterKind {
        /// Runs projects of many organizations.
        Shared = "SHARED",
        /// Consists of one organization's own hosts.
        Private = "PRIVATE",
    }
}

impl ClusterKind {
    /// Silence after which the cluster's nodes are LOST.
    pub fn lost_after(self, times: &Times) -> std::time::Duration {
        match self {
            Self::Shared => times.lost_after,
            Self::Private => times.lost_after_private,
        }
    }
}

/// The properties of a cluster that the placer needs.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub id: ClusterId,
}

/// A set of nodes.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub id: ClusterId,
    /// Who may use it.
    pub kind: ClusterKind,
    /// Slug of the organization that owns it.
    pub organization: Option<String>,
    /// True if the user for whom it was read is a member of that organization.
    pub viewer_is_member: bool,
    /// What can be changed.
    pub settings: Settings,
    /// Number of nodes without revoked ones.
    pub nodes: i64,
    /// Number of nodes with a live session.
    pub nodes_connected: i64,
    /// Number of projects placed on it.
    pub projects: i64,
    /// What projects may reserve.
    pub capacity: Amounts,
    /// What projects have reserved.
    pub used: Amounts,
    /// What a new project can reserve.
    pub free: Amounts,
    pub revision: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Sums of the amounts of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amounts {
    pub cpu_millis: i64,
    pub memory_mib: i64,
    pub disk_mib: i64,
    pub slots: i64,
}
