//! `variables set | list | unset`: environment variables of a project's functions whose values members may read. For secrets there
//! is `secrets`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use supalove_proto::v1::{
    DeleteVariablesRequest, ListVariablesRequest, ListVariablesResponse, SetVariablesRequest, Variable,
    project_service_client::ProjectServiceClient,
};

use super::{
    Context,
    projects::{InProject, Waiting},
    secrets::{Unset, ended, pairs_of},
};
use crate::{args::RequestId, error::Error, table};

const PAGE: i32 = 100;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Variables {
    /// Set variables; the others stay. Only the functions restart.
    Set(Set),
    /// List the variables with their values.
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        place: InProject,
    },
    /// Delete variables.
    #[command(visible_aliases = ["delete", "rm"])]
    Unset(Unset),
}

/// Arguments of `variables set`.
#[derive(Debug, Args)]
pub struct Set {
    /// NAME=VALUE. Every member of the organization may read it: use `secrets set` for what is secret.
    #[arg(value_name = "NAME=VALUE", required_unless_present = "env_file")]
    pairs: Vec<String>,
    /// A file of NAME=VALUE lines; `-` = stdin. Values may stand in quotes; in double quotes \n, \r, \t, \", \\ and \$ have
    /// their usual meaning.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    #[command(flatten)]
    place: InProject,
    #[command(flatten)]
    request_id: RequestId,
    #[command(flatten)]
    waiting: Waiting,
}

pub async fn run(context: &Context, command: Variables) -> Result<(), Error> {
    match command {
        Variables::Set(arguments) => set(context, arguments).await,
        Variables::List { place } => list(context, place.resolve(context).await?).await,
        Variables::Unset(arguments) => unset(context, arguments).await,
    }
}

async fn set(context: &Context, arguments: Set) -> Result<(), Error> {
    let pairs = pairs_of(arguments.env_file.as_deref(), &[], &arguments.pairs)?;
    let variable = |(name, value)| Variable { name, value, update_time: None };
    let project_ref = arguments.place.resolve(context).await?;
    let request = SetVariablesRequest {
        project_ref: project_ref.clone(),
        variables: pairs.into_iter().map(variable).collect(),
        request_id: arguments.request_id.get(),
    };
    let mut answer = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).set_variables(request).await
        })
        .await?;
    let unchanged = "the variables have these values already";
    let (operation, last) =
        ended(context, &project_ref, answer.operation, &arguments.waiting, unchanged).await?;
    answer.operation = operation;
    context.output.answer("SetVariablesResponse", &answer, |_| last)
}

async fn unset(context: &Context, arguments: Unset) -> Result<(), Error> {
    let project_ref = arguments.confirmed(context).await?;
    let request = DeleteVariablesRequest {
        project_ref: project_ref.clone(),
        names: arguments.names,
        request_id: arguments.request_id.get(),
    };
    let mut answer = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).delete_variables(request).await
        })
        .await?;
    let unchanged = "the variables do not exist";
    let (operation, last) =
        ended(context, &project_ref, answer.operation, &arguments.waiting, unchanged).await?;
    answer.operation = operation;
    context.output.answer("DeleteVariablesResponse", &answer, |_| last)
}

async fn list(context: &Context, project_ref: String) -> Result<(), Error> {
    let mut all = ListVariablesResponse::default();
    let mut page_token = String::new();
    loop {
        let request = ListVariablesRequest { project_ref: project_ref.clone(), page_size: PAGE, page_token };
        let page = context
            .client
            .call(request, |channel, request| async move {
                ProjectServiceClient::new(channel).list_variables(request).await
            })
            .await?;
        all.variables.extend(page.variables);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    // A line for each: the JSON form has the value as it is.
    let row = |one: &Variable| {
        [one.name.clone(), one.value.replace('\n', "\\n"), table::time(one.update_time.as_ref())]
    };
    context.output.answer("ListVariablesResponse", &all, |all| {
        table::rows(["NAME", "VALUE", "SET"], all.variables.iter().map(row).collect(), "no variables")
    })
}
