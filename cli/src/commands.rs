//! The commands, one file per service of the API: arguments → call → output.

pub mod access_tokens;
pub mod account;
pub mod audit;
pub mod authorities;
mod capacity;
mod check;
pub mod clusters;
pub mod entitlements;
pub mod images;
pub mod invitations;
pub mod join_token;
pub mod leftovers;
pub mod members;
pub mod nodes;
pub mod operations;
pub mod organizations;
mod outdated;
pub mod plans;
pub mod platform;
pub mod projects;
pub mod registries;
mod resolve;
pub mod secrets;
pub mod sessions;
pub mod settings;
pub mod sign_up;
pub mod sizes;
pub mod status;
pub mod usage;
pub mod variables;

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use clap::CommandFactory as _;

use crate::{
    args::{Cli, Command},
    chosen::Chosen,
    client::Client,
    error::Error,
    output::{self, Output},
};

/// Poll interval of `--watch`.
const LOOK_PERIOD: Duration = Duration::from_secs(2);
/// Escape sequence that clears a terminal.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// Shared state of all commands.
#[derive(Debug)]
pub struct Context {
    /// The API.
    pub client: Client,
    /// stdout.
    pub output: Output,
    /// No progress.
    pub quiet: bool,
}

impl Context {
    /// Returns the default organization and project.
    pub fn chosen(&self) -> Result<Chosen, Error> {
        Chosen::now(self.client.store(), self.client.api())
    }
}

/// Prints the result of `look`; with `watch` again after each change, until Ctrl-C.
async fn repeat(
    context: &Context,
    watch: bool,
    look: impl AsyncFn() -> Result<String, Error>,
) -> Result<(), Error> {
    let mut shown = look().await?;
    if !watch {
        return output::line(&shown);
    }
    let clear = context.output.is_text() && io::stdout().is_terminal();
    let show = |text: &str| output::line(&if clear { format!("{CLEAR}{text}") } else { text.to_owned() });
    show(&shown)?;
    loop {
        tokio::select! {
            signal = tokio::signal::ctrl_c() => return Ok(signal?),
            () = tokio::time::sleep(LOOK_PERIOD) => {}
        }
        let now = look().await?;
        if now != shown {
            show(&now)?;
            shown = now;
        }
    }
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
        Command::SignUp(command) => sign_up::run(&context, command).await,
        Command::Login(arguments) => account::login(&context, arguments).await,
        Command::Logout => account::logout(&context).await,
        Command::Whoami => account::whoami(&context).await,
        Command::Token(arguments) => account::token(&context, &arguments).await,
        Command::Account(command) => account::run(&context, command).await,
        Command::AccessTokens(command) => access_tokens::run(&context, command).await,
        Command::Sessions(command) => sessions::run(&context, command).await,
        Command::Status(arguments) => status::status(&context, &arguments).await,
        Command::Version => status::version(&context).await,
        Command::Use(arguments) => status::choose(&context, arguments).await,
        Command::Organizations(command) => organizations::run(&context, command).await,
        Command::Invitations(command) => invitations::run(&context, command).await,
        Command::Audit(command) => audit::run(&context, command).await,
        Command::Members(command) => members::run(&context, command).await,
        Command::Entitlements(command) => entitlements::run(&context, command).await,
        Command::Plans(command) => plans::run(&context, command).await,
        Command::Sizes(command) => sizes::run(&context, command).await,
        Command::Projects(command) => projects::run(&context, command).await,
        Command::Usage(command) => usage::run(&context, command).await,
        Command::Settings(command) => settings::run(&context, command).await,
        Command::Secrets(command) => secrets::run(&context, command).await,
        Command::Variables(command) => variables::run(&context, command).await,
        Command::Operations(command) => operations::run(&context, command).await,
        Command::Clusters(command) => clusters::run(&context, command).await,
        Command::Nodes(command) => nodes::run(&context, command).await,
        Command::Images(command) => images::run(&context, command).await,
        Command::Authorities(command) => authorities::run(&context, command).await,
        Command::Platform(command) => platform::run(&context, command).await,
        Command::JoinToken(command) => join_token::run(&context, command).await,
        Command::Completions { .. } => Ok(()),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "supalove", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())
}

/// Returns a field that the API always sets.
fn required<T>(field: Option<T>, name: &str) -> Result<T, Error> {
    field.ok_or_else(|| Error::Answer(format!("no {name}")))
}
