//! The base of every room of the controller: ids, errors, the control database, secrets at rest, calls and
//! authorization, idempotency, audit, leases and times. It depends on no room.

pub mod access;
pub mod accounts;
pub mod audit;
pub mod call_layer;
pub mod consistency;
pub mod counter;
pub mod database;
pub mod error;
pub mod hints;
pub mod housekeeping;
pub mod ids;
pub mod jobs;
mod kernel;
pub mod leases;
pub mod limits;
pub mod mail;
pub mod mutation;
pub mod outlet;
pub mod platform;
pub mod presence;
pub mod rate_limits;
pub mod refused_calls;
pub mod requests;
pub mod restores;
pub mod retention;
mod room;
pub mod sql_enum;
pub mod times;
pub mod vault;
pub mod watch;
pub mod wire;

pub use kernel::Core;
pub use mutation::{Mutation, SystemWrite, Write};
pub use room::Room;
