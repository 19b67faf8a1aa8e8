//! The node agent: runs project stacks on one Docker host.
//!
//! It dials the controller, serves [`NodeAgentService`](supalove_proto::node::v1) on that connection, keeps the desired
//! state of every project on disk, and brings the host to it: with a controller, without one, and after a reboot.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests spawn their peers bare"))]
#![allow(missing_docs, reason = "a program's crate: a comment is written where it says something")]

pub mod admission;
pub mod args;
pub mod backoff;
pub mod bulk;
pub mod certificate;
pub mod conditions;
pub mod config;
pub mod dial;
pub mod docker;
pub mod engine_watch;
pub mod fsio;
pub mod goodbye;
pub mod host;
pub mod identity;
pub mod join;
pub mod logs;
pub mod network;
pub mod node;
pub mod probe;
pub mod reports;
pub mod run;
pub mod service;
pub mod session;
pub mod stack;
pub mod state;
pub mod status;
pub mod tunnel;
