//! Making one project be what it should be, and keeping it so. In: records. Out: containers, and reports about them.
//!
//! `diff`, `plan` and the phase in `view` are pure decisions; `prepare`, `service` and `teardown` act on them;
//! `project` is the task of one project, `supervisor` owns all of them.

mod container_watch;
mod context;
mod diff;
mod failure;
mod files;
mod first_start;
#[cfg(test)]
mod fuzz;
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
