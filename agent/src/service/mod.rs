//! The gRPC services that the agent serves on connections it has dialled. Handlers check, call one module, and answer.

mod agent;
mod bulk;
mod compare;
mod error;
mod images;
mod inventory;
mod usage;
mod watch;

pub use self::agent::NodeAgent;
pub use self::bulk::NodeBulk;
pub use self::error::{invalid_field, not_found};
pub use self::usage::NodeUsage;
