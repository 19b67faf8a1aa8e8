//! The settings of a project that its stack needs. Each has the value of the official stack until somebody changes it.
//!
//! The controller stores them as JSON: a field that is missing there has its default.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use super::size::Size;

/// Providers through which users can sign in, as the auth service names them.
pub const OAUTH_PROVIDERS: [&str; 18] = [
    "apple",
    "azure",
    "bitbucket",
    "discord",
    "facebook",
    "figma",
    "github",
    "gitlab",
    "google",
    "keycloak",
    "linkedin_oidc",
    "notion",
    "slack_oidc",
    "spotify",
    "twitch",
    "twitter",
    "workos",
    "zoom",
];

/// The settings of a project that a stack needs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProjectSettings {
    /// Lifetime of user tokens in seconds.
    pub jwt_exp_seconds: u32,
    /// URL to which auth redirects users after sign-in by default.
    pub site_url: String,
    /// Further URLs, with globs, to which an application may redirect.
    pub redirect_urls: Vec<String>,
    /// True if nobody new can sign up.
    pub signup_disabled: bool,
    /// Schemas that the REST API exposes; the first is the default.
    pub db_schemas: Vec<String>,
    /// Maximum number of rows in one REST response.
    pub db_max_rows: u32,
    /// Maximum size of a file in storage, in bytes.
    pub upload_limit_bytes: u64,
    /// Mail server of the auth service.
    pub smtp: Option<Smtp>,
    /// Of those that are on, by their names in [`OAUTH_PROVIDERS`].
    pub oauth_providers: BTreeMap<String, OAuthProvider>,
    /// Services of the release that are switched off.
    pub disabled_services: BTreeSet<String>,
    /// Environment of the project's functions. Names of the platform (`SUPABASE_…`) have no effect. Stored elsewhere.
    #[serde(skip)]
    pub function_secrets: BTreeMap<String, String>,
    /// What the project's size gives its database. Stored elsewhere.
    #[serde(skip)]
    pub size: Size,
}

/// A mail server.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Smtp {
    pub host: String,
    pub port: u16,
    /// Empty: the server wants none.
    pub user: String,
    pub password: String,
    pub sender_email: String,
    pub sender_name: String,
}

/// A provider that is on.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OAuthProvider {
    pub client_id: String,
    pub client_secret: String,
    /// Empty: the provider's own.
    pub url: String,
}

impl Default for ProjectSettings {
    /// The settings of the official stack: the compose file's `.env`.
    fn default() -> Self {
        Self {
            jwt_exp_seconds: 3600,
            site_url: "http://localhost:3000".to_owned(),
            redirect_urls: Vec::new(),
            signup_disabled: false,
            db_schemas: ["public", "storage", "graphql_public"].map(str::to_owned).into(),
            db_max_rows: 1000,
            upload_limit_bytes: 50 * 1024 * 1024,
            smtp: None,
            oauth_providers: BTreeMap::new(),
            disabled_services: BTreeSet::new(),
            function_secrets: BTreeMap::new(),
            size: Size::default(),
        }
    }
}

impl fmt::Debug for ProjectSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectSettings")
            .field("jwt_exp_seconds", &self.jwt_exp_seconds)
            .field("site_url", &self.site_url)
            .field("db_schemas", &self.db_schemas)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_settings_come_back_and_what_is_missing_has_its_default() {
        let settings = ProjectSettings {
            smtp: Some(Smtp { password: "quote \" and $".to_owned(), ..Smtp::default() }),
            function_secrets: BTreeMap::from([("A".to_owned(), "b".to_owned())]),
            ..ProjectSettings::default()
        };
        let json = serde_json::to_string(&settings).unwrap();
        let expected = ProjectSettings { function_secrets: BTreeMap::new(), ..settings };
        assert_eq!(serde_json::from_str::<ProjectSettings>(&json).unwrap(), expected);
        let old: ProjectSettings = serde_json::from_str(r#"{"db_max_rows":7}"#).unwrap();
        assert_eq!(old, ProjectSettings { db_max_rows: 7, ..ProjectSettings::default() });
    }
}
