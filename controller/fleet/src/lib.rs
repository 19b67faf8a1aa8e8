//! The fleet: clusters and their nodes, how hosts join them, the certificates of both sides, and the live sessions of
//! agents.
//!
//! Input: hosts that dial the node port. Output: `fleet.agent(node)`, a gRPC client of a connected agent; `fleet.tunnel(node,
//! service)`, a byte stream to a service of a project; `fleet.bulk(node)` for logs; and each new session, which it passes to
//! the [`SessionHandler`]s. And what a host without an agent needs to join: a script and the program ([`downloads`]); and the
//! credentials with which nodes pull images ([`registries`]).

#![allow(missing_docs, reason = "a room's crate: a comment is written where it says something")]

pub mod certificates;
pub mod clusters;
pub mod counts;
pub mod downloads;
pub mod registries;
pub mod sessions;

mod open;
mod rules;

pub use open::open;
pub use rules::RULES;
pub use sessions::{
    AgentClient, BulkClient, Fleet, NodePort, Session, SessionHandler, UsageClient, consistency::ROW_CHECKS,
};

/// Columns with sealed values.
pub const SEALED: &[supalove_core::vault::columns::SealedColumn] =
    &[certificates::SEALED, registries::SEALED];
