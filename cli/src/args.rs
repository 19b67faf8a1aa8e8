//! The arguments: what holds for every command, and the list of commands. Each command's own arguments
//! stand beside it in `commands/`.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::{
    commands::{account, authorities, clusters, operations, organizations, projects},
    span,
};

/// Shown below `--help`; `error.rs` is where these are decided.
const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    the operation failed, or another error
  2    wrong use of the command line
  3    not signed in, or the session has ended
  4    permission denied
  5    not found
  6    failed precondition, conflict, or already exists
  7    invalid argument
  8    unavailable, or the time is up
  9    a limit or quota is used up
  130  interrupted; a running operation goes on

Environment:
  SUPALOVE_API            as --api
  SUPALOVE_ACCESS_TOKEN   access token to use instead of the stored session
  SUPALOVE_PASSWORD       password for `login` and `setup`
  SUPALOVE_CREDENTIALS    path of the credentials file
                          (default: $XDG_CONFIG_HOME/supalove/credentials.json)";

/// Supalove: your own Supabase Cloud.
#[derive(Debug, Parser)]
#[command(name = "supalove", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// Address of the API.
    #[arg(
        long,
        global = true,
        env = "SUPALOVE_API",
        default_value = "http://127.0.0.1:8000",
        value_name = "URL"
    )]
    pub api: String,
    /// What goes to stdout: text for people, or the answer as protobuf JSON.
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// Deadline of each call, e.g. 30s.
    #[arg(long, global = true, default_value = "30s", value_parser = span::parse_positive, value_name = "TIME")]
    pub timeout: Duration,
    /// No progress on stderr.
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables and sentences.
    Text,
    /// Canonical protobuf JSON of the answer: one document, or one per line for watches.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the first user, the operator, with the one-time setup token.
    Setup(account::Setup),
    /// Start a session and store it.
    Login(account::Login),
    /// End the stored session.
    Logout,
    /// Show who is signed in.
    Whoami,
    /// Print an access token that works, for use with other tools.
    Token(account::Token),
    /// Organizations, which own projects.
    #[command(subcommand, visible_alias = "orgs")]
    Organizations(organizations::Organizations),
    /// Projects.
    #[command(subcommand)]
    Projects(projects::Projects),
    /// Pieces of work that go on after their call has answered.
    #[command(subcommand)]
    Operations(operations::Operations),
    /// Clusters of nodes.
    #[command(subcommand)]
    Clusters(clusters::Clusters),
    /// Docker hosts.
    #[command(subcommand)]
    Nodes(clusters::Nodes),
    /// The fleet's own CA, and its replacement.
    #[command(subcommand)]
    Authorities(authorities::Authorities),
    /// Tokens with which hosts join.
    #[command(subcommand)]
    JoinToken(clusters::JoinToken),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// The idempotency key of a command that changes something.
#[derive(Debug, Args)]
pub struct RequestId {
    /// A UUID that makes repeating this command safe for 24 hours; made up if not given.
    #[arg(long, value_name = "UUID")]
    request_id: Option<uuid::Uuid>,
}

impl RequestId {
    /// The key for this invocation. Retries send the same message, so they reuse it.
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
