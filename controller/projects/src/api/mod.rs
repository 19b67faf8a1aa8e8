//! The room's gRPC services.

mod leftovers;
mod operations;
mod projects;

pub use leftovers::LeftoverApi;
pub use operations::OperationApi;
pub use projects::ProjectApi;
#[cfg(test)]
pub use projects::parse_key;
