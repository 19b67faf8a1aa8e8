//! Clusters, their nodes, and how hosts join them.

pub mod api;
mod conditions;
pub mod enrolment;
#[cfg(test)]
mod fuzz;
mod nodes;
pub mod store;
mod watch;

use chrono::{DateTime, Utc};

pub use api::ClusterApi;
pub use conditions::{Condition, conditions};
pub use nodes::{HelloValues, Node, NodeAmounts, NodeState, blocked_ranges, hello_values, named_roots};
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
    /// Who may use it.
    pub kind: ClusterKind,
}

/// A set of nodes.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub id: ClusterId,
    pub name: String,
    /// Who may use it.
    pub kind: ClusterKind,
    pub nodes: i64,
    /// Number of nodes with a live session.
    pub nodes_connected: i64,
    /// Number of projects placed on it.
    pub projects: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}
