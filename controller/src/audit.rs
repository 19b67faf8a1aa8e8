//! `supalove-controller audit verify`.

use std::process::ExitCode;

use anyhow::Context as _;
use supalove_core::{
    audit::{checkpoints::Signer, verify},
    database::Pools,
    platform,
};

use crate::config::{Verify, database_url};

/// Prints what the audit log is, and each fault. The exit code is 1 if there is one.
pub async fn verify(arguments: &Verify) -> anyhow::Result<ExitCode> {
    let vault = arguments.keys.vault()?;
    let url = database_url(&arguments.database_url_file)?;
    let db = Pools::connect(&url).await.context("cannot connect to the control database")?.work;
    let fleet = platform::fleet_id(&db, None).await?;
    let signer = Signer::open(&db, &vault, &fleet).await?;
    let report = verify::verify(&db, &signer, arguments.seen.as_ref()).await?;
    let platform = report.platform;
    let range = platform.ends.map_or_else(
        || "no rows".to_owned(),
        |(first, newest, hash)| format!("rows {first} to {newest}, newest {newest}:{hash}"),
    );
    println!("{range}; {} rows, {} checkpoints", platform.rows, platform.checkpoints);
    println!(
        "{} organizations: {} rows, {} checkpoints",
        report.organizations, report.in_organizations.rows, report.in_organizations.checkpoints
    );
    for fault in &report.faults {
        println!("WRONG: {fault}");
    }
    if report.seen_was_cut {
        println!(
            "the noted place is older than the retention: it was cut and cannot be checked; note a newer one"
        );
    }
    if report.faults.is_empty() {
        println!("nothing is wrong");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}
