//! `supalove-controller audit verify | repair`.

use std::{path::Path, process::ExitCode};

use anyhow::Context as _;
use supalove_core::{
    audit::{
        checkpoints::Signer,
        repairs::{self, Author},
        verify,
    },
    database::{Db, Pools},
    platform,
};

use crate::config::{MasterKeys, Repair, Verify, database_url};

/// The control database, and what signs its audit log.
async fn open(keys: &MasterKeys, url: &Path) -> anyhow::Result<(Db, Signer)> {
    let vault = keys.vault()?;
    let db =
        Pools::connect(&database_url(url)?).await.context("cannot connect to the control database")?.work;
    let fleet = platform::fleet_id(&db, None).await?;
    let signer = Signer::open(&db, &vault, &fleet).await?;
    Ok((db, signer))
}

/// Notes that a chain is broken.
pub async fn repair(arguments: &Repair) -> anyhow::Result<ExitCode> {
    let (db, signer) = open(&arguments.keys, &arguments.database_url_file).await?;
    let author = Author { who: arguments.operator.clone(), why: arguments.reason.clone() };
    let note = repairs::repair(&db, &signer, arguments.chain, &author).await?;
    for found in note.found.lines() {
        println!("noted: {found}");
    }
    println!("the chain {} goes on behind its note at row {}", note.chain, note.seq);
    Ok(ExitCode::SUCCESS)
}

/// Prints what the audit log is, and each fault. The exit code is 1 if there is one.
pub async fn verify(arguments: &Verify) -> anyhow::Result<ExitCode> {
    let (db, signer) = open(&arguments.keys, &arguments.database_url_file).await?;
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
    if !report.digest.is_empty() {
        println!("newest digest of all chains: {}", report.digest);
    }
    for note in &report.noted {
        println!(
            "NOTED: the chain {} was broken before row {}; {} noted it at {}: {}",
            note.chain,
            note.seq,
            note.who,
            note.at.format("%Y-%m-%dT%H:%M:%SZ"),
            note.why
        );
    }
    for fault in &report.faults_noted {
        println!("NOTED: {fault}");
    }
    for fault in &report.faults {
        println!("WRONG: {}", fault.text);
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
