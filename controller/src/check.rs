//! `supalove-controller check`: compares the rows of the control database among themselves. It needs no running controller.

use std::process::ExitCode;

use anyhow::Context as _;
use supalove_core::{consistency::Checker, database::Pools};

use crate::config::{Check, database_url};

/// Prints each difference. The exit code is 1 if there is one.
pub async fn check(arguments: &Check) -> anyhow::Result<ExitCode> {
    let url = database_url(&arguments.database_url_file)?;
    let db = Pools::connect(&url).await.context("cannot connect to the control database")?.calls;
    let checks = crate::row_checks();
    let count = checks.len();
    let report = Checker::new(db, checks, Vec::new()).run().await.context("cannot compare the rows")?;
    for difference in &report.compared.differences {
        println!(
            "{} {}: expected {}; found {}",
            difference.check, difference.object, difference.expected, difference.found
        );
    }
    println!("{count} rules checked; {} differences", report.compared.differences.len());
    Ok(if report.compared.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
