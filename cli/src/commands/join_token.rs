//! `join-token create|list|revoke`: tokens with which hosts join, for the operator.

use std::time::Duration;

use clap::{Args, Subcommand};
use supalove_proto::v1::{
    CreateJoinTokenRequest, JoinToken as Token, ListJoinTokensRequest, ListJoinTokensResponse,
    RevokeJoinTokenRequest, cluster_service_client::ClusterServiceClient,
};

use super::{Context, resolve};
use crate::{error::Error, span, table};

/// Page size.
const PAGE: i32 = 100;

/// The commands about join tokens.
#[derive(Debug, Subcommand)]
pub enum JoinToken {
    /// Create a token. The output of this command is the only place that shows it.
    Create(CreateToken),
    /// List the valid tokens, newest first, without their secrets.
    #[command(visible_alias = "ls")]
    List {
        /// Cluster id or name.
        #[arg(long, default_value = "default")]
        cluster: String,
        /// Include used, expired and revoked tokens.
        #[arg(long, short)]
        all: bool,
    },
    /// Revoke a token: no further host can join with it. Hosts that have joined stay.
    #[command(visible_alias = "rm")]
    Revoke {
        /// Its id, or the beginning of it.
        token: String,
    },
}

/// Arguments of `join-token create`.
#[derive(Debug, Args)]
pub struct CreateToken {
    /// Cluster id or name.
    #[arg(long, default_value = "default")]
    cluster: String,
    /// Lifetime, at most 7d.
    #[arg(
        long,
        default_value = "1h",
        value_parser = span::parse_positive,
        allow_hyphen_values = true,
        value_name = "TIME"
    )]
    ttl: Duration,
    /// How many hosts may join with it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    max_uses: u32,
}

pub async fn run(context: &Context, command: JoinToken) -> Result<(), Error> {
    match command {
        JoinToken::Create(arguments) => create(context, arguments).await,
        JoinToken::List { cluster, all: ended } => {
            let all = all(context, &cluster, ended).await?;
            context.output.answer("ListJoinTokensResponse", &all, |all| {
                let none = if ended { "no join tokens" } else { "no join token that works" };
                table::rows(
                    ["ID", "STATE", "USES", "CREATED", "WORKS UNTIL"],
                    all.join_tokens.iter().map(row).collect(),
                    none,
                )
            })
        }
        JoinToken::Revoke { token } => revoke(context, &token).await,
    }
}

async fn create(context: &Context, arguments: CreateToken) -> Result<(), Error> {
    let request = CreateJoinTokenRequest {
        cluster: arguments.cluster,
        ttl: Some(span::to_proto(arguments.ttl)),
        max_uses: arguments.max_uses,
    };
    let answer = context
        .client
        .call_once(request, |channel, request| async move {
            ClusterServiceClient::new(channel).create_join_token(request).await
        })
        .await?;
    context.output.answer("CreateJoinTokenResponse", &answer, |answer| {
        table::pairs([
            ("token", answer.join_token.clone()),
            ("id", answer.id.clone()),
            ("works until", table::time(answer.expire_time.as_ref())),
            ("uses", answer.max_uses.to_string()),
            ("hosts", architectures(&answer.architectures)),
            ("run on the host, as root", answer.join_command.clone()),
        ])
    })
}

/// The processors that a host may have.
fn architectures(known: &[String]) -> String {
    match known {
        [] => "the controller has no program of the agent for them: see --agents-dir of the controller"
            .to_owned(),
        known => known.join(", "),
    }
}

/// Returns the tokens of a cluster; invalid ones only if `ended`.
pub async fn all(context: &Context, cluster: &str, ended: bool) -> Result<ListJoinTokensResponse, Error> {
    let mut all = ListJoinTokensResponse::default();
    let mut page_token = String::new();
    loop {
        let request = ListJoinTokensRequest {
            cluster: cluster.to_owned(),
            page_size: PAGE,
            page_token,
            show_ended: ended,
        };
        let page = context
            .client
            .call(request, |channel, request| async move {
                ClusterServiceClient::new(channel).list_join_tokens(request).await
            })
            .await?;
        all.join_tokens.extend(page.join_tokens);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

async fn revoke(context: &Context, token: &str) -> Result<(), Error> {
    let join_token_id = resolve::join_token(context, token).await?;
    let answer = context
        .client
        .call(RevokeJoinTokenRequest { join_token_id }, |channel, request| async move {
            ClusterServiceClient::new(channel).revoke_join_token(request).await
        })
        .await?;
    context.output.answer("RevokeJoinTokenResponse", &answer, |answer| {
        let token = answer.join_token.clone().unwrap_or_default();
        match token.uses {
            0 => format!("{} is revoked; no host has joined with it", token.id),
            uses => format!("{} is revoked; {uses} of its hosts have joined and stay", token.id),
        }
    })
}

fn row(token: &Token) -> [String; 5] {
    [
        token.id.clone(),
        table::short(token.state().as_str_name(), "JOIN_TOKEN_STATE_").to_owned(),
        format!("{} of {}", token.uses, token.max_uses),
        table::time(token.create_time.as_ref()),
        table::time(token.expire_time.as_ref()),
    ]
}
