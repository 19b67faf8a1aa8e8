//! The room's gRPC services.

mod auth;
mod personal_access_tokens;

pub use auth::AuthApi;
#[cfg(test)]
pub(super) use auth::display_name;
pub use personal_access_tokens::PersonalAccessTokenApi;
