//! `projects …`: the arguments, and the commands that read.

mod change;
mod connect;
mod credentials;
mod logs;
pub mod show;
mod transfer;
mod update;
mod watch;

use std::time::Duration;

use clap::{Args, Subcommand};
use supalove_proto::v1::{
    GetProjectRequest, GetProjectResponse, ListProjectEventsRequest, ListProjectEventsResponse,
    ListProjectsRequest, ListProjectsResponse, Operation, Project,
    project_service_client::ProjectServiceClient,
};

use super::{Context, repeat, required, resolve};
use crate::{args::RequestId, error::Error, span};

/// Page size of projects.
const PAGE: i32 = 100;
/// Page size of events.
const EVENT_PAGE: i32 = 1_000;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Projects {
    /// Create a project.
    Create(Create),
    /// Show one project.
    #[command(visible_alias = "show")]
    Get {
        #[command(flatten)]
        which: Which,
        /// Then print its events, until Ctrl-C.
        #[arg(long, short)]
        watch: bool,
    },
    /// List projects, newest first.
    #[command(visible_alias = "ls")]
    List(List),
    /// Show one or several projects and their events as they happen, until Ctrl-C.
    Watch(Watch),
    /// Start a stopped project.
    Start(Start),
    /// Stop a project; its data stays.
    Stop(Change),
    /// Stop and start a project's containers once.
    Restart(Change),
    /// Move a project to another stack release, with its data; a failure returns to the old release.
    Upgrade(Upgrade),
    /// Stop a project and delete its data after the undo window.
    #[command(visible_alias = "rm")]
    Delete(Delete),
    /// Restore a deleted project within its undo window.
    Undelete(ChangeNamed),
    /// Rename or resize a project.
    Update(update::Update),
    /// Give a project another size, with its data; a failure returns to the old size.
    Resize(update::Resize),
    /// Replace the password of the database role postgres by a random one.
    ResetDatabasePassword(credentials::Reset),
    /// Replace the secret that signs the project's tokens, and both API keys; says first what stops working.
    RotateJwtSecret(credentials::Rotate),
    /// Give a project to another organization; its data and addresses stay. Says first what changes.
    Transfer(transfer::Transfer),
    /// Show the API keys: the one for clients, and with --reveal the secret one.
    Keys(connect::Arguments),
    /// Show the addresses of gateway and database, and with --reveal the database's password.
    Connection(connect::Connection),
    /// List a project's events, oldest first.
    Events(Which),
    /// Show what the services of a project print, and with --follow what they go on to print.
    Logs(logs::Logs),
}

/// Which project.
#[derive(Debug, Args)]
pub struct Which {
    /// The project: its name, ORGANIZATION/NAME, its ref or the beginning of it. Default: that of `supalove use`.
    project: Option<String>,
}

impl Which {
    /// Its ref.
    async fn resolve(&self, context: &Context) -> Result<String, Error> {
        resolve::project(context, self.project.as_deref()).await
    }
}

/// Which project, for commands whose arguments are something else.
#[derive(Debug, Args)]
pub struct InProject {
    /// The project: its name, ORGANIZATION/NAME, its ref or the beginning of it. Default: that of `supalove use`.
    #[arg(long, short, value_name = "PROJECT")]
    project: Option<String>,
}

impl InProject {
    /// Its ref.
    pub async fn resolve(&self, context: &Context) -> Result<String, Error> {
        resolve::project(context, self.project.as_deref()).await
    }
}

/// Which projects.
#[derive(Debug, Args)]
pub struct WhichMany {
    /// The projects, each as its name, ORGANIZATION/NAME, its ref or the beginning of it; the chosen one if none is given.
    #[arg(value_name = "PROJECT")]
    projects: Vec<String>,
}

impl WhichMany {
    /// Their refs; of a project that was named twice once.
    async fn resolve(&self, context: &Context) -> Result<Vec<String>, Error> {
        if self.projects.is_empty() {
            return Ok(vec![resolve::project(context, None).await?]);
        }
        let mut project_refs = Vec::new();
        for given in &self.projects {
            let project_ref = resolve::project(context, Some(given)).await?;
            if !project_refs.contains(&project_ref) {
                project_refs.push(project_ref);
            }
        }
        Ok(project_refs)
    }
}

/// Arguments of `projects create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Display name; unique in the organization.
    name: String,
    /// The organization: its slug or name. Default: that of `supalove use`, or the only one.
    #[arg(long, short = 'g', value_name = "ORGANIZATION")]
    organization: Option<String>,
    /// Stack release. Default: that of the platform.
    #[arg(long, default_value = "")]
    release: String,
    /// Cluster id or name.
    #[arg(long, default_value = "default")]
    cluster: String,
    /// Size, e.g. small; `sizes list` shows them. Default: the smallest that the organization's plan allows.
    #[arg(long, default_value = "", hide_default_value = true)]
    size: String,
    #[command(flatten)]
    request_id: RequestId,
    #[command(flatten)]
    waiting: Waiting,
}

/// Arguments of the commands that change one project.
#[derive(Debug, Args)]
pub struct Change {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    request_id: RequestId,
    #[command(flatten)]
    waiting: Waiting,
}

/// Arguments of `projects start`.
#[derive(Debug, Args)]
pub struct Start {
    #[command(flatten)]
    change: Change,
    /// Accept that these data volumes are lost, e.g. db_data: each that is missing is made anew, empty. A volume that is there
    /// is never replaced. Asks for a confirmation.
    #[arg(long, value_name = "VOLUME", value_delimiter = ',')]
    new_volumes: Vec<String>,
    /// Do not ask.
    #[arg(long, requires = "new_volumes")]
    yes: bool,
}

/// The same for commands that must name the project.
#[derive(Debug, Args)]
pub struct ChangeNamed {
    /// The project: its name, ORGANIZATION/NAME, its ref or the beginning of it.
    project: String,
    #[command(flatten)]
    request_id: RequestId,
    #[command(flatten)]
    waiting: Waiting,
}

/// Arguments of `projects upgrade`.
#[derive(Debug, Args)]
pub struct Upgrade {
    #[command(flatten)]
    change: ChangeNamed,
    /// Stack release. Default: the newest one that accepts an upgrade from the project's.
    #[arg(long, default_value = "")]
    release: String,
}

/// Arguments of `projects delete`.
#[derive(Debug, Args)]
pub struct Delete {
    #[command(flatten)]
    change: ChangeNamed,
    /// How long `undelete` remains possible, at most 90d; 0 deletes the data at once [default: 7d]
    #[arg(long, value_parser = span::parse, allow_hyphen_values = true, value_name = "TIME")]
    undo_window: Option<Duration>,
    /// Skip the confirmation.
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
    /// Stop waiting after this time; the operation continues.
    #[arg(long, value_parser = span::parse_positive, allow_hyphen_values = true, value_name = "TIME")]
    wait_timeout: Option<Duration>,
}

/// Arguments of `projects list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only projects of this organization. Default: that of `supalove use`, if set.
    #[arg(long, short = 'g', value_name = "ORGANIZATION")]
    organization: Option<String>,
    /// Projects of all organizations, even if `supalove use` has set one.
    #[arg(long, short = 'A', conflicts_with = "organization")]
    all_organizations: bool,
    /// Include deleted projects that `undelete` can restore.
    #[arg(long, visible_alias = "all", short_alias = 'a')]
    deleted: bool,
    /// Print the list again after each change, until Ctrl-C.
    #[arg(long, short)]
    watch: bool,
}

/// Arguments of `projects watch`.
#[derive(Debug, Args)]
pub struct Watch {
    #[command(flatten)]
    projects: WhichMany,
    /// Also show the events after the one with this number; 0 = all.
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// End when all the projects have reached this state, e.g. ACTIVE_HEALTHY.
    #[arg(long, value_parser = watch::parse_state, value_name = "STATE")]
    until: Option<supalove_proto::v1::ProjectState>,
    /// End after this time; with --until, that is an error.
    #[arg(
        long = "for",
        value_parser = span::parse_positive,
        allow_hyphen_values = true,
        value_name = "TIME"
    )]
    limit: Option<Duration>,
}

pub async fn run(context: &Context, command: Projects) -> Result<(), Error> {
    match command {
        Projects::Create(arguments) => change::create(context, arguments).await,
        Projects::Get { which, watch: false } => get(context, which.resolve(context).await?).await,
        Projects::Get { which, watch: true } => {
            let projects = WhichMany { projects: which.project.into_iter().collect() };
            watch::run(context, &Watch { projects, after: None, until: None, limit: None }).await
        }
        Projects::List(arguments) => list(context, &arguments).await,
        Projects::Watch(arguments) => watch::run(context, &arguments).await,
        Projects::Start(arguments) => change::start(context, arguments).await,
        Projects::Stop(arguments) => change::stop(context, arguments).await,
        Projects::Restart(arguments) => change::restart(context, arguments).await,
        Projects::Upgrade(arguments) => change::upgrade(context, arguments).await,
        Projects::Delete(arguments) => change::delete(context, arguments).await,
        Projects::Undelete(arguments) => change::undelete(context, arguments).await,
        Projects::Update(arguments) => update::update(context, arguments).await,
        Projects::Resize(arguments) => update::resize(context, arguments).await,
        Projects::ResetDatabasePassword(arguments) => credentials::reset(context, arguments).await,
        Projects::RotateJwtSecret(arguments) => credentials::rotate(context, arguments).await,
        Projects::Transfer(arguments) => transfer::transfer(context, arguments).await,
        Projects::Keys(arguments) => connect::keys(context, &arguments).await,
        Projects::Connection(arguments) => connect::connection(context, &arguments).await,
        Projects::Events(which) => events(context, which.resolve(context).await?).await,
        Projects::Logs(arguments) => logs::run(context, &arguments).await,
    }
}

async fn fetch(context: &Context, project_ref: &str) -> Result<GetProjectResponse, Error> {
    let request = GetProjectRequest { project_ref: project_ref.to_owned() };
    context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).get_project(request).await
        })
        .await
}

async fn get(context: &Context, project: String) -> Result<(), Error> {
    let answer = fetch(context, &project).await?;
    context.output.answer("GetProjectResponse", &answer, |a| show::project(a.project.as_ref()))
}

/// Returns all projects of an organization, or without one of all the caller's organizations.
pub async fn all(context: &Context, organization: &str, deleted: bool) -> Result<Vec<Project>, Error> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListProjectsRequest {
            organization: organization.to_owned(),
            page_size: PAGE,
            page_token,
            show_deleted: deleted,
        };
        let page = context
            .client
            .call(request, |channel, request| async move {
                ProjectServiceClient::new(channel).list_projects(request).await
            })
            .await?;
        all.extend(page.projects);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

async fn list(context: &Context, arguments: &List) -> Result<(), Error> {
    let given = match &arguments.organization {
        Some(given) => Some(given.clone()),
        None if arguments.all_organizations => None,
        None => context.chosen()?.organization,
    };
    let organization = match given {
        Some(given) => resolve::organization(context, Some(&given)).await?,
        None => String::new(),
    };
    let look = async || {
        let projects = all(context, &organization, arguments.deleted).await?;
        let all = ListProjectsResponse { projects, ..Default::default() };
        let wide = context.output.is_wide();
        context.output.render("ListProjectsResponse", &all, |all| show::projects(&all.projects, wide))
    };
    repeat(context, arguments.watch, look).await
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

/// Waits for an operation on a project unless told otherwise; returns it with the last words of the command.
pub async fn finish(
    context: &Context,
    project_ref: &str,
    operation: Option<Operation>,
    waiting: &Waiting,
) -> Result<(Operation, String), Error> {
    let operation = change::wait(context, operation, waiting).await?;
    let last = change::ended(context, project_ref, &operation, waiting).await?;
    Ok((operation, last))
}

/// Returns the current project, for the last line of a command.
async fn now(context: &Context, project_ref: &str) -> Result<Project, Error> {
    required(fetch(context, project_ref).await?.project, "project")
}
