//! The control plane of Supalove: users, organizations and projects over gRPC and gRPC-web, a scheduler that places
//! projects on nodes, and a reconciler that brings the nodes' agents to what is desired.
//!
//! Rooms and the direction of their arrows: `api → rules → store` inside a feature; features use `access`, `audit`,
//! `vault`, `scheduler`, `fleet` and `stack`.

pub mod access;
pub mod audit;
pub mod call_layer;
pub mod clusters;
pub mod config;
pub mod encode;
pub mod error;
pub mod fleet;
pub mod identity;
pub mod ids;
pub mod leases;
pub mod organizations;
pub mod pki;
pub mod platform;
pub mod projects;
pub mod requests;
pub mod scheduler;
pub mod server;
pub mod stack;
pub mod times;
pub mod vault;
mod welcome;
