//! Clusters, their nodes and how hosts join them.

pub mod api;
pub mod enrolment;
#[cfg(test)]
mod fuzz;
mod nodes;
pub mod store;
mod watch;

use chrono::{DateTime, Utc};

pub use api::ClusterApi;
pub use nodes::{HelloValues, Node, NodeAmounts, NodeState, blocked_ranges, hello_values, named_roots};
pub use watch::NodeStreams;

use supalove_core::{ids::ClusterId, sql_enum, times::Times};

/// Name of the cluster that every installation starts with.
pub const DEFAULT_CLUSTER: &str = "default";

sql_enum! {
    /// Who may use a cluster.
    ClusterKind {
        /// Projects of many organizations.
        Shared = "SHARED",
        /// One organization's own hosts.
        Private = "PRIVATE",
    }
}

impl ClusterKind {
    /// Silence after which its nodes are lost.
    pub fn lost_after(self, times: &Times) -> std::time::Duration {
        match self {
            Self::Shared => times.lost_after,
            Self::Private => times.lost_after_private,
        }
    }
}

/// What placing needs of a cluster.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Id.
    pub id: ClusterId,
    /// Who may use it.
    pub kind: ClusterKind,
}

/// A set of nodes.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Id.
    pub id: ClusterId,
    /// Unique name.
    pub name: String,
    /// Who may use it.
    pub kind: ClusterKind,
    /// Nodes.
    pub nodes: i64,
    /// Nodes with a live session.
    pub nodes_connected: i64,
    /// Projects placed on it.
    pub projects: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}
