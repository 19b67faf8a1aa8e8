//! `authorities list|create|activate|retire`: the fleet's own CA and its replacement, for the operator.

use clap::Subcommand;
use supalove_proto::v1::{
    ActivateAuthorityRequest, Authority, CreateAuthorityRequest, ListAuthoritiesRequest,
    ListAuthoritiesResponse, RetireAuthorityRequest, authority_service_client::AuthorityServiceClient,
};

use super::{Context, resolve};
use crate::{confirm, error::Error, table};

/// The commands about the fleet's CA.
#[derive(Debug, Subcommand)]
pub enum Authorities {
    /// List the roots, newest first.
    #[command(visible_alias = "ls")]
    List,
    /// Create the next root; every node will trust it.
    Create,
    /// Make the next root the signing root; nodes then renew their certificates.
    Activate {
        /// Its id, or the beginning of it.
        authority: String,
    },
    /// End the trust in a root and destroy its key.
    Retire {
        /// Its id, or the beginning of it.
        authority: String,
        /// Retire it even if nodes need it; you must then recover some of them by hand.
        #[arg(long)]
        force: bool,
        /// Skip the confirmation.
        #[arg(long)]
        yes: bool,
    },
}

pub async fn run(context: &Context, command: Authorities) -> Result<(), Error> {
    match command {
        Authorities::List => list(context).await,
        Authorities::Create => create(context).await,
        Authorities::Activate { authority } => {
            activate(context, resolve::authority(context, &authority).await?).await
        }
        Authorities::Retire { authority, force, yes } => {
            if !yes {
                let question = "The root's key is destroyed; nodes that know no other root need a person.";
                confirm::type_to_confirm(question, &authority)?;
            }
            retire(context, resolve::authority(context, &authority).await?, force).await
        }
    }
}

/// All roots.
pub async fn all(context: &Context) -> Result<ListAuthoritiesResponse, Error> {
    context
        .client
        .call(ListAuthoritiesRequest {}, |channel, request| async move {
            AuthorityServiceClient::new(channel).list_authorities(request).await
        })
        .await
}

async fn list(context: &Context) -> Result<(), Error> {
    let answer = all(context).await?;
    context.output.answer("ListAuthoritiesResponse", &answer, |answer| {
        let header = ["ID", "STATE", "SHA256", "TRUSTED BY", "CERTIFIES", "EXPIRES", "NEEDED BY"];
        table::rows(header, answer.authorities.iter().map(row).collect(), "no authorities")
    })
}

async fn create(context: &Context) -> Result<(), Error> {
    let answer = context
        .client
        .call_once(CreateAuthorityRequest {}, |channel, request| async move {
            AuthorityServiceClient::new(channel).create_authority(request).await
        })
        .await?;
    context.output.answer("CreateAuthorityResponse", &answer, |answer| shown(answer.authority.as_ref()))
}

async fn activate(context: &Context, authority_id: String) -> Result<(), Error> {
    let answer = context
        .client
        .call_once(ActivateAuthorityRequest { authority_id }, |channel, request| async move {
            AuthorityServiceClient::new(channel).activate_authority(request).await
        })
        .await?;
    context.output.answer("ActivateAuthorityResponse", &answer, |answer| shown(answer.authority.as_ref()))
}

async fn retire(context: &Context, authority_id: String, force: bool) -> Result<(), Error> {
    let answer = context
        .client
        .call_once(RetireAuthorityRequest { authority_id, force }, |channel, request| async move {
            AuthorityServiceClient::new(channel).retire_authority(request).await
        })
        .await?;
    context.output.answer("RetireAuthorityResponse", &answer, |answer| shown(answer.authority.as_ref()))
}

fn state(authority: &Authority) -> String {
    table::short(authority.state().as_str_name(), "AUTHORITY_STATE_").to_owned()
}

fn row(authority: &Authority) -> [String; 7] {
    [
        authority.id.clone(),
        state(authority),
        authority.ca_sha256.clone(),
        authority.nodes_trusting.to_string(),
        authority.nodes_certified.to_string(),
        table::time(authority.expire_time.as_ref()),
        authority.needed_by.join(", "),
    ]
}

fn shown(authority: Option<&Authority>) -> String {
    let authority = authority.cloned().unwrap_or_default();
    table::pairs([
        ("id", authority.id.clone()),
        ("state", state(&authority)),
        ("sha256", authority.ca_sha256.clone()),
        ("trusted by", format!("{} nodes", authority.nodes_trusting)),
        ("certifies", format!("{} nodes", authority.nodes_certified)),
        ("needed by", authority.needed_by.join(", ")),
        ("expires", table::time(authority.expire_time.as_ref())),
    ])
}
