//! The arguments: global options, and the list of commands. Each command's own arguments
//! are beside it in `commands/`.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::{
    commands::{
        access_tokens, account, audit, authorities, clusters, entitlements, images, invitations, join_token,
        members, nodes, operations, organizations, plans, platform, projects, secrets, sessions, settings,
        sign_up, sizes, status, usage, variables,
    },
    span,
};

/// Shown below `--help`; `error.rs` maps errors to these codes.
const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    the operation failed, or another error
  2    wrong use of the command line, or an ambiguous name
  3    not signed in, or the session has ended
  4    permission denied
  5    not found
  6    failed precondition, conflict, or already exists
  7    invalid argument
  8    unavailable, or deadline exceeded
  9    quota exceeded, or another limit
  130  interrupted; a running operation continues

Environment:
  SUPALOVE_API            same as --api
  SUPALOVE_ORGANIZATION   default organization; overrides the choice of `use`
  SUPALOVE_PROJECT        default project; overrides the choice of `use`
  SUPALOVE_ACCESS_TOKEN   access token, e.g. a personal one, to use instead of the stored session
  SUPALOVE_PASSWORD       password for `login`, `setup`, `sign-up` and `account`
  SUPALOVE_CREDENTIALS    path of the credentials file
                          (default: $XDG_CONFIG_HOME/supalove/credentials.json);
                          `use` stores its choice in context.json beside it

Name projects, nodes and organizations by name, ref, id or slug; ORGANIZATION/PROJECT distinguishes projects with one name.";

/// Address of the API of `make up`.
const DEFAULT_API: &str = "http://127.0.0.1:8000";

/// Supalove: your own Supabase Cloud.
#[derive(Debug, Parser)]
#[command(name = "supalove", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    /// Global options.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// Address of the API [env: SUPALOVE_API] [default: http://127.0.0.1:8000].
    // Not by clap's `env`: its usage lines would then show the option as if it were required.
    #[arg(long, global = true, value_name = "URL")]
    api: Option<String>,
    /// Output format: tables for people, or the response as protobuf JSON or YAML.
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table, value_name = "FORM")]
    pub output: Format,
    /// Deadline of each call, e.g. 30s.
    #[arg(
        long,
        global = true,
        default_value = "30s",
        value_parser = span::parse_positive,
        allow_hyphen_values = true,
        value_name = "TIME"
    )]
    pub timeout: Duration,
    /// No progress on stderr.
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

impl Global {
    /// Returns the address: the option, else the variable, else that of `make up`.
    pub fn api(&self) -> String {
        let given = self.api.clone().or_else(|| variable("SUPALOVE_API"));
        given.unwrap_or_else(|| DEFAULT_API.to_owned()).trim_end_matches('/').to_owned()
    }
}

/// Returns an environment variable if it is set and not empty.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables and sentences.
    #[value(alias = "text")]
    Table,
    /// Tables with more columns.
    Wide,
    /// Canonical protobuf JSON of the response: one document, or one per line for watches.
    Json,
    /// The same as YAML.
    Yaml,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create the first user, the operator, with the one-time setup token.
    Setup(account::Setup),
    /// Make an account, by a mailed link or an invitation.
    #[command(subcommand)]
    SignUp(sign_up::SignUp),
    /// Start a session and store it.
    Login(account::Login),
    /// End the stored session.
    Logout,
    /// Show who is signed in.
    Whoami,
    /// Print a valid access token, for other tools.
    Token(account::Token),
    /// Your name, address and password.
    #[command(subcommand)]
    Account(account::Account),
    /// Your sessions: each sign-in that has not ended.
    #[command(subcommand, visible_alias = "session")]
    Sessions(sessions::Sessions),
    /// Show whether the platform is reachable, its nodes, and the projects by state.
    Status(status::Status),
    /// Show the versions of this program and of the server.
    Version,
    /// Set the default organization, and optionally the default project, of later commands.
    Use(status::Use),
    /// Personal access tokens: for programs that act as you.
    #[command(subcommand, visible_aliases = ["access-token", "pat"])]
    AccessTokens(access_tokens::AccessTokens),
    /// Organizations, which own projects.
    #[command(subcommand, visible_aliases = ["organization", "orgs", "org"])]
    Organizations(organizations::Organizations),
    /// Members of an organization and their roles.
    #[command(subcommand, visible_alias = "member")]
    Members(members::Members),
    /// Invitations to an organization.
    #[command(subcommand, visible_alias = "invitation")]
    Invitations(invitations::Invitations),
    /// The audit log: who did what in an organization, or on the platform.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// What an organization may use, and how much it uses.
    #[command(subcommand, visible_alias = "entitlement")]
    Entitlements(entitlements::EntitlementCommands),
    /// Plans: named sets of limits.
    #[command(subcommand, visible_alias = "plan")]
    Plans(plans::Plans),
    /// Sizes of projects: what each gives a project's database.
    #[command(subcommand, visible_alias = "size")]
    Sizes(sizes::Sizes),
    /// Projects.
    #[command(subcommand, visible_alias = "project")]
    Projects(projects::Projects),
    /// What projects use of processors, memory, network and disks.
    #[command(subcommand)]
    Usage(usage::Usage),
    /// Settings of a project: URLs, sign-up, mail server, limits, services.
    #[command(subcommand)]
    Settings(settings::Settings),
    /// Secrets of a project's functions: environment variables.
    #[command(subcommand, visible_alias = "secret")]
    Secrets(secrets::Secrets),
    /// Variables of a project's functions: environment variables whose values members read.
    #[command(subcommand, visible_alias = "variable")]
    Variables(variables::Variables),
    /// Operations: work that continues after the command that started it.
    #[command(subcommand, visible_aliases = ["operation", "ops"])]
    Operations(operations::Operations),
    /// Clusters of nodes.
    #[command(subcommand, visible_alias = "cluster")]
    Clusters(clusters::Clusters),
    /// Docker hosts.
    #[command(subcommand, visible_alias = "node")]
    Nodes(nodes::Nodes),
    /// Images that the controller keeps for hosts that reach no registry.
    #[command(subcommand, visible_alias = "image")]
    Images(images::Images),
    /// The fleet's own CA, and its replacement.
    #[command(subcommand, visible_alias = "authority")]
    Authorities(authorities::Authorities),
    /// The control plane itself.
    #[command(subcommand)]
    Platform(platform::Platform),
    /// Tokens with which hosts join.
    #[command(subcommand, visible_alias = "join-tokens")]
    JoinToken(join_token::JoinToken),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// The idempotency key of a command that changes something.
#[derive(Debug, Args)]
pub struct RequestId {
    /// Idempotency key, a UUID: repeating the command with it is safe for 24 hours. Default: random.
    #[arg(long, value_name = "UUID")]
    request_id: Option<uuid::Uuid>,
}

impl RequestId {
    /// Returns the key of this invocation. Retries send the same message, so they reuse it.
    pub fn get(&self) -> String {
        self.request_id.unwrap_or_else(uuid::Uuid::new_v4).to_string()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
