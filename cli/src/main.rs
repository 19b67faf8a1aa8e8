//! `supalove`, the command line of the platform.
//!
//! Input: arguments, the environment, a credentials file. Output: one document per command on stdout, progress and
//! errors on stderr, and an exit code that scripts can act on (see `--help`).

mod archive;
mod args;
mod chosen;
mod client;
mod commands;
mod confirm;
mod credentials;
mod env_file;
mod error;
#[cfg(test)]
mod fuzz;
mod output;
mod progress;
mod span;
mod table;
mod watch;
mod yaml;

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = args::Cli::parse();
    match commands::run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error::report(&error);
            error.exit_code()
        }
    }
}
