//! The room's tables in PostgreSQL, a file per table family.

pub mod addresses;
pub mod certificates;
pub mod changes;
pub mod events;
pub mod function_secrets;
pub mod inputs;
pub mod operations;
pub mod projects;
pub mod removal;
pub mod secrets;
pub mod settings;
pub mod snapshot;
pub mod transfers;
