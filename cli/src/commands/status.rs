//! `status`, `version`, `use`: the platform as a whole, and the defaults of commands.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;
use supalove_proto::v1::{GetMeRequest, User, auth_service_client::AuthServiceClient};

use super::{Context, nodes, projects, repeat, required, resolve};
use crate::{chosen::Chosen, error::Error, table};

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Print it again after each change, until Ctrl-C.
    #[arg(long, short)]
    watch: bool,
}

/// Arguments of `use`.
#[derive(Debug, Args)]
pub struct Use {
    /// The organization: its slug or name. Without it, the command shows the current choice.
    organization: Option<String>,
    /// The project: its name or ref.
    project: Option<String>,
    /// Forget the choice.
    #[arg(long, conflicts_with_all = ["organization", "project"])]
    clear: bool,
}

pub async fn status(context: &Context, arguments: &Status) -> Result<(), Error> {
    repeat(context, arguments.watch, async || look(context).await).await
}

/// Formats the platform's status. JSON has a form of its own, because the API has no such message.
async fn look(context: &Context) -> Result<String, Error> {
    let version = context.client.server_version().await?;
    let user = me(context).await?;
    let projects = projects::all(context, "", false).await?;
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for project in &projects {
        *states.entry(table::project_state(project.state())).or_default() += 1;
    }
    let mut nodes: BTreeMap<&str, usize> = BTreeMap::new();
    if user.operator {
        let all = nodes::all(context, "default").await?.nodes;
        for node in all.iter().filter(|node| node.revoke_time.is_none()) {
            *nodes.entry(table::node_state(node)).or_default() += 1;
        }
    }
    let chosen = context.chosen()?;
    let value = json!({
        "api": context.client.api(), "version": version, "user": user.email, "operator": user.operator,
        "organization": chosen.organization, "project": chosen.project, "nodes": nodes, "projects": states,
    });
    context.output.render_value(&value, || {
        let operator = if user.operator { " (operator)" } else { "" };
        table::pairs([
            ("platform", format!("{} is up, version {version}", context.client.api())),
            ("user", format!("{}{operator}", user.email)),
            ("using", shown(&chosen)),
            ("nodes", if user.operator { counted(&nodes, "none") } else { String::new() }),
            ("projects", counted(&states, "none")),
        ])
    })
}

async fn me(context: &Context) -> Result<User, Error> {
    let answer = context
        .client
        .call(GetMeRequest {}, |channel, request| async move {
            AuthServiceClient::new(channel).get_me(request).await
        })
        .await?;
    required(answer.user, "user")
}

fn counted(states: &BTreeMap<&str, usize>, none: &str) -> String {
    let each: Vec<String> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    if each.is_empty() { none.to_owned() } else { each.join(", ") }
}

fn shown(chosen: &Chosen) -> String {
    let part = |what: &str, name: &Option<String>| name.as_ref().map(|name| format!("{what} {name}"));
    let parts = [part("organization", &chosen.organization), part("project", &chosen.project)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Prints both versions. An unreachable server is not an error, because the client's version needs none.
pub async fn version(context: &Context) -> Result<(), Error> {
    let client = env!("CARGO_PKG_VERSION");
    let server = context.client.server_version().await;
    let value = json!({
        "client": client, "server": server.as_ref().ok(), "api": context.client.api(),
        "error": server.as_ref().err().map(ToString::to_string),
    });
    context.output.value(&value, || {
        let server = match &server {
            Ok(version) => format!("{version} at {}", context.client.api()),
            Err(error) => format!("unknown: {error}"),
        };
        table::pairs([("client", client.to_owned()), ("server", server)])
    })
}

pub async fn choose(context: &Context, arguments: Use) -> Result<(), Error> {
    let client = &context.client;
    if arguments.clear {
        Chosen::default().keep(client.store(), client.api())?;
        return context.output.say("no organization and no project is chosen");
    }
    let Some(organization) = arguments.organization else {
        let chosen = context.chosen()?;
        let value = json!({"organization": chosen.organization, "project": chosen.project});
        return context.output.value(&value, || match shown(&chosen).as_str() {
            "" => "nothing is chosen; choose with: supalove use <ORGANIZATION> [PROJECT]".to_owned(),
            shown => shown.to_owned(),
        });
    };
    let organization = resolve::organization(context, Some(&organization)).await?;
    let project = match &arguments.project {
        Some(given) if given.contains('/') => Some(resolve::project(context, Some(given)).await?),
        Some(given) => Some(project_of(context, &organization, given).await?),
        None => None,
    };
    let chosen = Chosen { organization: Some(organization), project };
    chosen.clone().keep(client.store(), client.api())?;
    context.output.say(&format!("using {}", shown(&chosen)))
}

/// Resolves a project of an organization; also checks that the organization exists.
async fn project_of(context: &Context, organization: &str, given: &str) -> Result<String, Error> {
    let all = projects::all(context, organization, true).await?;
    let chosen = Chosen { organization: Some(organization.to_owned()), project: None };
    Ok(resolve::pick_project(&all, given, &chosen)?.r#ref.clone())
}
