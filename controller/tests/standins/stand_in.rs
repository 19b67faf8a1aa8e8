//! Test code, never shipped: what runs in place of the official images of auth, api, realtime and storage on an engine
//! that cannot pull them. Not those services: a stand-in checks what its container is given against the contract of the
//! image it stands in for (the design's `stack-contract.md`, §5 to §8), then behaves like it towards its neighbours:
//! ports, health, who it logs in as, what it does when the database goes.
//!
//! In: the container's variables, network, user, volumes, database. Out: the service's health; or the points that are
//! not met, one line each and all of them again in the last line, and exit code 1. No value is ever printed.
//!
//! `build.sh` beside this file makes the images.

mod account;
mod api;
mod auth;
mod database;
mod keys;
mod network;
mod realtime;
mod serve;
mod storage;
mod variables;

#[cfg(test)]
mod tests;

use std::{path::Path, process::ExitCode};

use variables::Variables;

/// Why a stand-in ends.
#[derive(Debug)]
enum End {
    /// Points of the contract that are not met.
    Unmet(Vec<String>),
    /// What the image does not live without is away.
    Away(String),
    /// It was asked to.
    Asked,
}

impl From<tokio_postgres::Error> for End {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Away(format!("the database: {}", database::words(&error)))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    let called = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    // By its first argument, or by the name of the official program.
    let which = arguments.next().unwrap_or(called);
    let variables = Variables::from_process();
    // All on one stream: the engine does not keep the order of two.
    eprintln!("stand-in {which}: starting");
    let end = match which.as_str() {
        "auth" => auth::run(&variables).await,
        "postgrest" => api::run(&variables).await,
        "realtime-migrate" => realtime::migrate(&variables).await,
        "realtime-server" => realtime::run(&variables).await,
        "storage" => storage::run(&variables).await,
        other => Err(End::Unmet(vec![format!("there is no stand-in named {other}")])),
    };
    match end {
        Ok(()) | Err(End::Asked) => ExitCode::SUCCESS,
        Err(End::Away(what)) => {
            eprintln!("stand-in {which}: without {what}");
            ExitCode::FAILURE
        }
        Err(End::Unmet(points)) => {
            for point in &points {
                eprintln!("stand-in {which}: not met: {point}");
            }
            eprintln!("stand-in {which}: the contract is not met: {}", points.join("; "));
            ExitCode::FAILURE
        }
    }
}
