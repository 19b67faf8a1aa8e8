//! Brings each project to its desired state and keeps it there. In: records. Out: containers, and reports about them.
//!
//! `diff`, `plan` and the phase in `view` are decisions without I/O; `prepare`, `service` and `teardown` act on them;
//! `project` is the task of one project, `supervisor` owns all of them.

mod container_watch;
mod context;
mod database_limits;
mod diff;
mod disk;
mod failure;
mod files;
mod first_start;
mod folder;
#[cfg(test)]
mod fuzz;
mod lost_ports;
mod measure;
mod on_disk;
mod plan;
mod prepare;
mod programs;
mod project;
mod psql;
mod redact;
mod service;
mod start_sql;
mod supervisor;
mod teardown;
mod view;
mod volume_usage;
mod volumes;

pub use self::context::Shared;
pub use self::database_limits::parse as parse_database_limits;
pub use self::folder::quota_of_host;
pub use self::on_disk::on_disk;
pub use self::redact::Redactor;
pub use self::supervisor::{StartError, SuperviseError, Supervisor};
pub use self::volume_usage::volume_bytes;
pub use self::volumes::list_folders;
