//! `secrets set | list | unset`: environment variables of a project's functions. No command shows a value.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use supalove_proto::v1::{
    DeleteSecretsRequest, ListSecretsRequest, ListSecretsResponse, Operation, Secret, SecretValue,
    SetSecretsRequest, project_service_client::ProjectServiceClient,
};

use super::{
    Context,
    projects::{InProject, Waiting, finish},
};
use crate::{args::RequestId, confirm, error::Error, table};

const PAGE: i32 = 100;
/// A larger file is surely the wrong one; the API allows 64 KiB.
const LONGEST_FILE: u64 = 1024 * 1024;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Secrets {
    /// Set secrets; the others stay. Only the functions restart.
    Set(Set),
    /// List the secrets: names, digests and times.
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        place: InProject,
    },
    /// Delete secrets.
    #[command(visible_aliases = ["delete", "rm"])]
    Unset(Unset),
}

/// Arguments of `secrets set`.
#[derive(Debug, Args)]
pub struct Set {
    /// NAME=VALUE. Every user of this machine can read arguments, and shells keep them: prefer --env-file or --from-file.
    #[arg(value_name = "NAME=VALUE", required_unless_present_any = ["env_file", "from_file"])]
    pairs: Vec<String>,
    /// A file of NAME=VALUE lines; `-` = stdin. Values may stand in quotes; in double quotes \n, \r, \t, \", \\ and \$ have
    /// their usual meaning.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// NAME=FILE: the value is the content of the file, byte for byte.
    #[arg(long, value_name = "NAME=FILE")]
    from_file: Vec<String>,
    #[command(flatten)]
    place: InProject,
    #[command(flatten)]
    request_id: RequestId,
    #[command(flatten)]
    waiting: Waiting,
}

/// Arguments of `secrets unset` and `variables unset`.
#[derive(Debug, Args)]
pub struct Unset {
    /// Names to delete.
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    place: InProject,
    #[command(flatten)]
    pub request_id: RequestId,
    #[command(flatten)]
    pub waiting: Waiting,
}

impl Unset {
    /// Returns the project's ref after the caller has confirmed.
    pub async fn confirmed(&self, context: &Context) -> Result<String, Error> {
        let project_ref = self.place.resolve(context).await?;
        if !self.yes {
            let question = format!("The functions lose {}.", self.names.join(", "));
            confirm::type_to_confirm(&question, &project_ref)?;
        }
        Ok(project_ref)
    }
}

pub async fn run(context: &Context, command: Secrets) -> Result<(), Error> {
    match command {
        Secrets::Set(arguments) => set(context, arguments).await,
        Secrets::List { place } => list(context, place.resolve(context).await?).await,
        Secrets::Unset(arguments) => unset(context, arguments).await,
    }
}

async fn set(context: &Context, arguments: Set) -> Result<(), Error> {
    let pairs = pairs_of(arguments.env_file.as_deref(), &arguments.from_file, &arguments.pairs)?;
    let secrets = pairs.into_iter().map(|(name, value)| SecretValue { name, value }).collect();
    let project_ref = arguments.place.resolve(context).await?;
    let request = SetSecretsRequest {
        project_ref: project_ref.clone(),
        secrets,
        request_id: arguments.request_id.get(),
    };
    let mut answer = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).set_secrets(request).await
        })
        .await?;
    let (operation, last) = ended(
        context,
        &project_ref,
        answer.operation,
        &arguments.waiting,
        "the secrets have these values already",
    )
    .await?;
    answer.operation = operation;
    context.output.answer("SetSecretsResponse", &answer, |_| last)
}

async fn unset(context: &Context, arguments: Unset) -> Result<(), Error> {
    let project_ref = arguments.confirmed(context).await?;
    let request = DeleteSecretsRequest {
        project_ref: project_ref.clone(),
        names: arguments.names,
        request_id: arguments.request_id.get(),
    };
    let mut answer = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).delete_secrets(request).await
        })
        .await?;
    let (operation, last) =
        ended(context, &project_ref, answer.operation, &arguments.waiting, "the secrets do not exist")
            .await?;
    answer.operation = operation;
    context.output.answer("DeleteSecretsResponse", &answer, |_| last)
}

/// Waits for an operation, if there is one. `unchanged`: why there is none.
pub async fn ended(
    context: &Context,
    project_ref: &str,
    operation: Option<Operation>,
    waiting: &Waiting,
    unchanged: &str,
) -> Result<(Option<Operation>, String), Error> {
    if operation.is_none() {
        return Ok((None, format!("nothing to do: {unchanged}")));
    }
    let (operation, last) = finish(context, project_ref, operation, waiting).await?;
    Ok((Some(operation), last))
}

async fn list(context: &Context, project_ref: String) -> Result<(), Error> {
    let mut all = ListSecretsResponse::default();
    let mut page_token = String::new();
    loop {
        let request = ListSecretsRequest { project_ref: project_ref.clone(), page_size: PAGE, page_token };
        let page = context
            .client
            .call(request, |channel, request| async move {
                ProjectServiceClient::new(channel).list_secrets(request).await
            })
            .await?;
        all.secrets.extend(page.secrets);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let row = |one: &Secret| [one.name.clone(), one.sha256.clone(), table::time(one.update_time.as_ref())];
    context.output.answer("ListSecretsResponse", &all, |all| {
        table::rows(["NAME", "SHA-256", "SET"], all.secrets.iter().map(row).collect(), "no secrets")
    })
}

/// All names and values that the arguments name; a later one replaces an earlier one of the same name.
pub fn pairs_of(
    env_file: Option<&Path>,
    from_file: &[String],
    pairs: &[String],
) -> Result<Vec<(String, String)>, Error> {
    let mut all: Vec<(String, String)> = Vec::new();
    if let Some(path) = env_file {
        let text = read(path)?;
        let parsed = crate::env_file::parse(&text);
        all.extend(parsed.map_err(|why| Error::Usage(format!("{}: {why}", path.display())))?);
    }
    for one in from_file {
        let (name, path) = pair(one, "--from-file wants NAME=FILE")?;
        all.push((name.to_owned(), read(Path::new(path))?));
    }
    for one in pairs {
        let (name, value) = pair(one, "a value is given as NAME=VALUE")?;
        all.push((name.to_owned(), value.to_owned()));
    }
    let mut last: Vec<(String, String)> = Vec::new();
    for (name, value) in all {
        last.retain(|(known, _)| *known != name);
        last.push((name, value));
    }
    Ok(last)
}

/// The message does not repeat the argument, which may be a value.
fn pair<'a>(text: &'a str, usage: &str) -> Result<(&'a str, &'a str), Error> {
    text.split_once('=').ok_or_else(|| Error::Usage(usage.to_owned()))
}

fn read(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let mut text = String::new();
    let source: Box<dyn io::Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(fs::File::open(path).map_err(failed)?)
    };
    // One byte more tells a file that is too long from one that just fits.
    source.take(LONGEST_FILE + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > LONGEST_FILE {
        return Err(Error::Usage(format!(
            "{}: has more than {LONGEST_FILE} bytes, which no project can have as secrets",
            path.display()
        )));
    }
    Ok(text)
}
