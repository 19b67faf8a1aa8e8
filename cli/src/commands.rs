//! The commands, one file per service of the API: arguments → call → output.

pub mod account;
pub mod authorities;
pub mod clusters;
pub mod operations;
pub mod organizations;
pub mod projects;

use clap::CommandFactory as _;

use crate::{
    args::{Cli, Command},
    client::Client,
    error::Error,
    output::{self, Output},
};

/// What every command has at hand.
#[derive(Debug)]
pub struct Context {
    /// The API.
    pub client: Client,
    /// stdout.
    pub output: Output,
    /// No progress.
    pub quiet: bool,
}

/// Runs one command.
pub async fn run(cli: Cli) -> Result<(), Error> {
    if let Command::Completions { shell } = cli.command {
        return completions(shell);
    }
    let context = Context {
        client: Client::new(&cli.global)?,
        output: Output::new(cli.global.output),
        quiet: cli.global.quiet,
    };
    match cli.command {
        Command::Setup(arguments) => account::set_up(&context, arguments).await,
        Command::Login(arguments) => account::login(&context, arguments).await,
        Command::Logout => account::logout(&context).await,
        Command::Whoami => account::whoami(&context).await,
        Command::Token(arguments) => account::token(&context, &arguments).await,
        Command::Organizations(command) => organizations::run(&context, command).await,
        Command::Projects(command) => projects::run(&context, command).await,
        Command::Operations(command) => operations::run(&context, command).await,
        Command::Clusters(command) => clusters::run(&context, command).await,
        Command::Nodes(command) => clusters::run_nodes(&context, command).await,
        Command::Authorities(command) => authorities::run(&context, command).await,
        Command::JoinToken(command) => clusters::run_join_token(&context, command).await,
        Command::Completions { .. } => Ok(()),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "supalove", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())
}

/// A field that the API always sets.
fn required<T>(field: Option<T>, name: &str) -> Result<T, Error> {
    field.ok_or_else(|| Error::Answer(format!("no {name}")))
}
