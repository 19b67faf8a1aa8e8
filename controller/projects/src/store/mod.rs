//! The room's tables in PostgreSQL, a file per table family.

pub mod certificates;
pub mod events;
pub mod operations;
pub mod projects;
pub mod removal;
pub mod secrets;
pub mod snapshot;
pub mod upgrades;
