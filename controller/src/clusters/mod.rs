//! Clusters, their nodes and how hosts join them.

pub mod api;
pub mod candidates;
pub mod enrolment;
#[cfg(test)]
mod fuzz;
mod nodes;
pub mod store;

use chrono::{DateTime, Utc};

pub use api::ClusterApi;
pub use candidates::Candidates;
pub use nodes::{Node, NodeState, hello_values, named_roots};

use crate::{ids::ClusterId, scheduler::Policy, times::Times};

/// Name of the cluster that every installation starts with.
pub const DEFAULT_CLUSTER: &str = "default";

/// Who may use a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterKind {
    /// Projects of many organizations.
    Shared,
    /// One organization's own hosts.
    Private,
}

impl ClusterKind {
    /// From its spelling in SQL.
    pub fn from_sql(text: &str) -> Self {
        if text == "PRIVATE" { Self::Private } else { Self::Shared }
    }

    /// How the scheduler fills it.
    pub fn policy(self) -> Policy {
        match self {
            Self::Shared => Policy::BestFit,
            Self::Private => Policy::Spread,
        }
    }

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
