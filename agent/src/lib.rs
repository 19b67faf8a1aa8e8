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
pub mod disk_watch;
pub mod docker;
pub mod doctor;
pub mod engine_watch;
pub mod fsio;
pub mod goodbye;
pub mod host;
pub mod identity;
pub mod images;
pub mod join;
pub mod leave;
pub mod logs;
pub mod metrics;
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
pub mod usage;

/// The text by which a controller knows the version of a program that it only reads.
pub const VERSION_MARK: &str = concat!("supalove-agent-version:", env!("CARGO_PKG_VERSION"), ";");

#[cfg(test)]
mod tests {
    use supalove_spec::program;

    #[test]
    fn the_mark_is_what_the_controller_looks_for() {
        let version = super::VERSION_MARK.strip_prefix(program::VERSION_MARK).unwrap();
        let version = version.strip_suffix(program::VERSION_END).unwrap();
        assert!(program::is_version(version), "{version}");
    }
}
