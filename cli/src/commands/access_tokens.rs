//! `access-tokens create | list | revoke`: bearer tokens for programs that act as the caller.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use supalove_proto::v1::{
    CreatePersonalAccessTokenRequest, ListPersonalAccessTokensRequest, ListPersonalAccessTokensResponse,
    PersonalAccessToken, PersonalAccessTokenScope, RevokePersonalAccessTokenRequest,
    personal_access_token_service_client::PersonalAccessTokenServiceClient,
};

use super::{Context, resolve};
use crate::{error::Error, span, table};

/// The commands about personal access tokens.
#[derive(Debug, Subcommand)]
pub enum AccessTokens {
    /// Create a token. The output of this command is the only place that shows it.
    Create(Create),
    /// List the tokens that work, newest first, without their secrets.
    #[command(visible_alias = "ls")]
    List,
    /// Revoke a token: it works no more.
    #[command(visible_alias = "rm")]
    Revoke {
        /// Its id, or the beginning of it.
        token: String,
    },
}

/// Arguments of `access-tokens create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Name to tell it from others.
    name: String,
    /// What it may be used for; may be given several times. Reading is always allowed.
    #[arg(long = "scope", value_name = "SCOPE", default_value = "read")]
    scopes: Vec<Scope>,
    /// Lifetime, at most 366d.
    #[arg(
        long,
        default_value = "90d",
        value_parser = span::parse_positive,
        allow_hyphen_values = true,
        value_name = "TIME"
    )]
    ttl: Duration,
}

/// A scope, as people write it.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Scope {
    /// Read the profile, organizations, projects and operations.
    Read,
    /// Create, change and delete projects.
    Projects,
    /// Read keys and passwords of projects.
    Secrets,
    /// Create, change and delete organizations and memberships.
    Organizations,
    /// Run the platform, for the operator.
    Platform,
}

impl From<Scope> for PersonalAccessTokenScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Read => Self::Read,
            Scope::Projects => Self::Projects,
            Scope::Secrets => Self::Secrets,
            Scope::Organizations => Self::Organizations,
            Scope::Platform => Self::Platform,
        }
    }
}

pub async fn run(context: &Context, command: AccessTokens) -> Result<(), Error> {
    match command {
        AccessTokens::Create(arguments) => create(context, arguments).await,
        AccessTokens::List => {
            let all = all(context).await?;
            context.output.answer("ListPersonalAccessTokensResponse", &all, |all| {
                let rows = all.personal_access_tokens.iter().map(row).collect();
                table::rows(
                    ["ID", "NAME", "SCOPES", "CREATED", "LAST USED", "WORKS UNTIL"],
                    rows,
                    "no access tokens",
                )
            })
        }
        AccessTokens::Revoke { token } => revoke(context, &token).await,
    }
}

async fn create(context: &Context, arguments: Create) -> Result<(), Error> {
    let scopes = arguments.scopes.into_iter().map(|scope| PersonalAccessTokenScope::from(scope).into());
    let request = CreatePersonalAccessTokenRequest {
        name: arguments.name,
        scopes: scopes.collect(),
        ttl: Some(span::to_proto(arguments.ttl)),
    };
    let answer = context
        .client
        .call_once(request, |channel, request| async move {
            PersonalAccessTokenServiceClient::new(channel).create_personal_access_token(request).await
        })
        .await?;
    context.output.answer("CreatePersonalAccessTokenResponse", &answer, |answer| {
        let token = answer.personal_access_token.clone().unwrap_or_default();
        table::pairs([
            ("token", answer.token.clone()),
            ("id", token.id.clone()),
            ("scopes", scopes_of(&token)),
            ("works until", table::time(token.expire_time.as_ref())),
            ("use it", "export SUPALOVE_ACCESS_TOKEN=<token>".into()),
        ])
    })
}

/// Returns the caller's tokens that work.
pub async fn all(context: &Context) -> Result<ListPersonalAccessTokensResponse, Error> {
    context
        .client
        .call(ListPersonalAccessTokensRequest {}, |channel, request| async move {
            PersonalAccessTokenServiceClient::new(channel).list_personal_access_tokens(request).await
        })
        .await
}

async fn revoke(context: &Context, given: &str) -> Result<(), Error> {
    let id = resolve::access_token(context, given).await?;
    let request = RevokePersonalAccessTokenRequest { personal_access_token_id: id.clone() };
    let answer = context
        .client
        .call_once(request, |channel, request| async move {
            PersonalAccessTokenServiceClient::new(channel).revoke_personal_access_token(request).await
        })
        .await?;
    context.output.answer("RevokePersonalAccessTokenResponse", &answer, |_| format!("{id} is revoked"))
}

fn row(token: &PersonalAccessToken) -> [String; 6] {
    [
        token.id.clone(),
        token.name.clone(),
        scopes_of(token),
        table::time(token.create_time.as_ref()),
        token.last_use_time.as_ref().map_or_else(|| "never".into(), |time| table::time(Some(time))),
        table::time(token.expire_time.as_ref()),
    ]
}

fn scopes_of(token: &PersonalAccessToken) -> String {
    let names = token
        .scopes()
        .map(|scope| table::short(scope.as_str_name(), "PERSONAL_ACCESS_TOKEN_SCOPE_").to_ascii_lowercase());
    names.collect::<Vec<_>>().join(", ")
}
