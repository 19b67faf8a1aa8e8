//! The room's gRPC services.

mod operations;
mod projects;

pub use operations::OperationApi;
pub use projects::ProjectApi;
#[cfg(test)]
pub use projects::parse_key;
