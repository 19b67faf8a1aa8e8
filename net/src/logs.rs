//! Logs of a program: to standard error, filtered by `RUST_LOG`, without the data that libraries log.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Libraries that below `info` log frames, parameters and rows, and so tokens, passwords and specifications.
pub const LOUD_LIBRARIES: [&str; 9] =
    ["bollard", "h2", "hyper", "hyper_util", "rustls", "sqlx", "tokio_postgres", "tonic", "tower"];

/// The pool of database connections logs each connection that it finds closed, beside the one line of the call or job
/// that got none.
const POOL: [&str; 2] = ["sqlx_core::pool", "sqlx::pool"];

/// Writes logs to standard error, with colours on a terminal.
pub fn init() {
    tracing_subscriber::fmt()
        .with_env_filter(filter(&std::env::var("RUST_LOG").unwrap_or_default()))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}

/// Parses `wanted` (the text of `RUST_LOG`); `info` if it is empty or malformed. [`LOUD_LIBRARIES`], which would
/// log secrets, and their modules always stay at `info`.
pub fn filter(wanted: &str) -> EnvFilter {
    let allowed: Vec<&str> = wanted.split(',').filter(|directive| !names_loud_library(directive)).collect();
    let allowed = allowed.join(",");
    let default = || EnvFilter::new("info");
    let mut filter = if allowed.is_empty() {
        default()
    } else {
        EnvFilter::try_new(&allowed).unwrap_or_else(|_| default())
    };
    let loud = LOUD_LIBRARIES.map(|library| (library, LevelFilter::INFO));
    for (target, level) in loud.into_iter().chain(POOL.map(|module| (module, LevelFilter::ERROR))) {
        if let Ok(directive) = format!("{target}={level}").parse() {
            filter = filter.add_directive(directive);
        }
    }
    filter
}

fn names_loud_library(directive: &str) -> bool {
    // As the filter itself does: `sqlx` stands for `sqlx_core` and `sqlx::query` too.
    LOUD_LIBRARIES.iter().any(|library| directive.trim().starts_with(library))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directive: &str, library: &str) -> bool {
        directive.split(['=', '[']).next() == Some(library)
    }

    #[test]
    fn loud_libraries_stay_at_info_whatever_is_asked_for() {
        for wanted in [
            "",
            "trace",
            "debug,h2=trace",
            "h2::codec=trace",
            "hyper[span]=debug",
            "sqlx_core=trace",
            "no[such filter",
        ] {
            let filter = filter(wanted).to_string();
            for library in LOUD_LIBRARIES {
                let own: Vec<_> = filter.split(',').filter(|part| names(part, library)).collect();
                assert_eq!(own, [format!("{library}=info")], "{wanted}: {filter}");
            }
            assert!(!filter.contains("sqlx_core=trace"), "{filter}");
        }
        assert!(filter("debug").to_string().contains("debug"));
        assert!(filter("no[such filter").to_string().split(',').any(|part| part == "info"));
    }
}
