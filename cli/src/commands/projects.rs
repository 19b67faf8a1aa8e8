//! `projects …`: the arguments, and the commands that read.

mod change;
pub mod show;
mod watch;

use std::time::Duration;

use clap::{Args, Subcommand};
use supalove_proto::v1::{
    GetProjectApiKeysRequest, GetProjectConnectionRequest, GetProjectRequest, GetProjectResponse,
    ListProjectEventsRequest, ListProjectEventsResponse, ListProjectsRequest, ListProjectsResponse,
    project_service_client::ProjectServiceClient,
};

use super::Context;
use crate::{args::RequestId, error::Error, span, table};

/// Most projects that one page carries.
const PAGE: i32 = 100;
/// Most events that one page carries.
const EVENT_PAGE: i32 = 1_000;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Projects {
    /// Make a project.
    Create(Create),
    /// Show one project.
    Get {
        /// Its ref.
        project: String,
    },
    /// List projects, newest first.
    List(List),
    /// Show a project and what happens to it, until Ctrl-C.
    Watch(Watch),
    /// Bring a stopped project up.
    Start(Change),
    /// Stop a project; its data stays.
    Stop(Change),
    /// Stop and start a project's containers once.
    Restart(Change),
    /// Stop a project and delete its data after the undo window.
    Delete(Delete),
    /// Bring a project back within its undo window.
    Undelete(Change),
    /// Show the API keys. Secret.
    Keys {
        /// The project's ref.
        project: String,
    },
    /// Show how to connect to the database. Secret.
    Connection {
        /// The project's ref.
        project: String,
    },
    /// List what happened to a project, oldest first.
    Events {
        /// The project's ref.
        project: String,
    },
}

/// Arguments of `projects create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Name to show; unique in the organization.
    name: String,
    /// Slug of the organization.
    #[arg(long, short = 'g', value_name = "SLUG")]
    organization: String,
    /// Stack release; the platform's default if not given.
    #[arg(long, default_value = "")]
    release: String,
    /// Cluster id or name.
    #[arg(long, default_value = "default")]
    cluster: String,
    #[command(flatten)]
    request_id: RequestId,
    #[command(flatten)]
    waiting: Waiting,
}

/// Arguments of the commands that change one project.
#[derive(Debug, Args)]
pub struct Change {
    /// The project's ref.
    project: String,
    #[command(flatten)]
    request_id: RequestId,
    #[command(flatten)]
    waiting: Waiting,
}

/// Arguments of `projects delete`.
#[derive(Debug, Args)]
pub struct Delete {
    #[command(flatten)]
    change: Change,
    /// How long `undelete` stays possible, at most 90d; 0 deletes the data at once.
    #[arg(long, default_value = "7d", value_parser = span::parse, value_name = "TIME")]
    undo_window: Duration,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

/// Whether a command waits for the operation it starts.
#[derive(Debug, Args)]
pub struct Waiting {
    /// Wait until the operation has ended (the default).
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Return at once; `operations wait` follows the operation.
    #[arg(long)]
    no_wait: bool,
    /// Stop waiting after this time; the operation goes on.
    #[arg(long, value_parser = span::parse_positive, value_name = "TIME")]
    wait_timeout: Option<Duration>,
}

/// Arguments of `projects list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only this organization's.
    #[arg(long, short = 'g', default_value = "", value_name = "SLUG")]
    organization: String,
    /// Also projects that are deleted and can come back.
    #[arg(long)]
    deleted: bool,
}

/// Arguments of `projects watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// The project's ref.
    project: String,
    /// Also show the events after this one; 0 = all.
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// End when the project is in this state, e.g. ACTIVE_HEALTHY.
    #[arg(long, value_parser = watch::parse_state, value_name = "STATE")]
    until: Option<supalove_proto::v1::ProjectState>,
    /// End after this time; with --until, that is an error.
    #[arg(long = "for", value_parser = span::parse_positive, value_name = "TIME")]
    limit: Option<Duration>,
}

pub async fn run(context: &Context, command: Projects) -> Result<(), Error> {
    match command {
        Projects::Create(arguments) => change::create(context, arguments).await,
        Projects::Get { project } => get(context, project).await,
        Projects::List(arguments) => list(context, &arguments).await,
        Projects::Watch(arguments) => watch::run(context, &arguments).await,
        Projects::Start(arguments) => change::start(context, arguments).await,
        Projects::Stop(arguments) => change::stop(context, arguments).await,
        Projects::Restart(arguments) => change::restart(context, arguments).await,
        Projects::Delete(arguments) => change::delete(context, arguments).await,
        Projects::Undelete(arguments) => change::undelete(context, arguments).await,
        Projects::Keys { project } => keys(context, project).await,
        Projects::Connection { project } => connection(context, project).await,
        Projects::Events { project } => events(context, project).await,
    }
}

async fn fetch(context: &Context, project_ref: String) -> Result<GetProjectResponse, Error> {
    context
        .client
        .call(GetProjectRequest { project_ref }, |channel, request| async move {
            ProjectServiceClient::new(channel).get_project(request).await
        })
        .await
}

async fn get(context: &Context, project: String) -> Result<(), Error> {
    let answer = fetch(context, project).await?;
    context.output.answer("GetProjectResponse", &answer, |a| show::project(a.project.as_ref()))
}

async fn list(context: &Context, arguments: &List) -> Result<(), Error> {
    let mut all = ListProjectsResponse::default();
    let mut page_token = String::new();
    loop {
        let request = ListProjectsRequest {
            organization: arguments.organization.clone(),
            page_size: PAGE,
            page_token,
            show_deleted: arguments.deleted,
        };
        let page = context
            .client
            .call(request, |channel, request| async move {
                ProjectServiceClient::new(channel).list_projects(request).await
            })
            .await?;
        all.projects.extend(page.projects);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    context.output.answer("ListProjectsResponse", &all, |all| show::projects(&all.projects))
}

async fn events(context: &Context, project: String) -> Result<(), Error> {
    let mut all = ListProjectEventsResponse::default();
    let mut page_token = String::new();
    loop {
        let request =
            ListProjectEventsRequest { project_ref: project.clone(), page_size: EVENT_PAGE, page_token };
        let page = context
            .client
            .call(request, |channel, request| async move {
                ProjectServiceClient::new(channel).list_project_events(request).await
            })
            .await?;
        all.events.extend(page.events);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    context.output.answer("ListProjectEventsResponse", &all, |all| show::events(&all.events))
}

async fn keys(context: &Context, project_ref: String) -> Result<(), Error> {
    let answer = context
        .client
        .call(GetProjectApiKeysRequest { project_ref }, |channel, request| async move {
            ProjectServiceClient::new(channel).get_project_api_keys(request).await
        })
        .await?;
    context.output.answer("GetProjectApiKeysResponse", &answer, |answer| {
        table::pairs([
            ("anon", answer.anon_key.clone()),
            ("service_role (secret)", answer.service_role_key.clone()),
        ])
    })
}

async fn connection(context: &Context, project_ref: String) -> Result<(), Error> {
    let answer = context
        .client
        .call(GetProjectConnectionRequest { project_ref }, |channel, request| async move {
            ProjectServiceClient::new(channel).get_project_connection(request).await
        })
        .await?;
    context.output.answer("GetProjectConnectionResponse", &answer, |answer| {
        table::pairs([
            ("api", answer.api_url.clone()),
            ("database (secret)", answer.db_url.clone()),
            ("host", answer.db_host.clone()),
            ("port", answer.db_port.to_string()),
            ("user", answer.db_user.clone()),
            ("password (secret)", answer.db_password.clone()),
            ("name", answer.db_name.clone()),
        ])
    })
}
