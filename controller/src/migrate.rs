//! `supalove-controller migrate`.

use std::process::ExitCode;

use anyhow::Context as _;
use supalove_core::database::Pools;

use crate::config::{Migrate, database_url};

/// Prepares the schema as its owner.
pub async fn migrate(arguments: &Migrate) -> anyhow::Result<ExitCode> {
    let url = database_url(&arguments.database_url_file)?;
    let db = Pools::connect(&url).await.context("cannot connect to the control database")?.calls;
    db.migrate_for(&arguments.controller_role).await.context("cannot prepare the control database")?;
    println!("the schema is current; {} may use it", arguments.controller_role);
    Ok(ExitCode::SUCCESS)
}
