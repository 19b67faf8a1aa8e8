//! Brings each project to its desired state and keeps it there. In: records. Out: containers, and reports about them.
//!
//! `diff`, `plan` and the phase in `view` are decisions without I/O; `prepare`, `service` and `teardown` act on them;
//! `project` is the task of one project, `supervisor` owns all of them.

mod container_watch;
mod context;
mod diff;
mod failure;
mod files;
mod first_start;
#[cfg(test)]
mod fuzz;
mod lost_ports;
mod plan;
mod prepare;
mod project;
mod redact;
mod service;
mod supervisor;
mod teardown;
mod view;

pub use self::context::Shared;
pub use self::supervisor::{StartError, SuperviseError, Supervisor};
