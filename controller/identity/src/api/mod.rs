//! The room's gRPC services.

mod auth;
mod personal_access_tokens;

#[cfg(test)]
pub(super) use auth::display_name;
pub use auth::{AuthApi, has_account};
pub use personal_access_tokens::PersonalAccessTokenApi;
