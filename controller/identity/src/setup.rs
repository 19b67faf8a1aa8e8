//! The one-time setup token: each start generates one while there is no user, and shows it once.

use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};
use supalove_core::database::Db;

use super::Opaque;
use supalove_core::error::{Error, Result};

/// Generates the token if there is no user yet.
pub async fn ensure_setup_token(db: &Db, file: Option<&Path>) -> Result<()> {
    let mut tx = db.begin().await?;
    let needed = sqlx::query_scalar!(
        "SELECT NOT EXISTS (SELECT 1 FROM users) AS \"needed!\" FROM platform FOR UPDATE"
    )
    .fetch_one(tx.connection()?)
    .await?;
    if !needed {
        return Ok(());
    }
    let token = Opaque::generate()?;
    sqlx::query!("UPDATE platform SET setup_token_hash = $1", token.hash()).execute(tx.connection()?).await?;
    show(&token, file)?;
    tx.commit().await?;
    Ok(())
}

/// Writes the token to the file if there is one, else to standard error. Never to the log, which others store and read.
fn show(token: &Opaque, file: Option<&Path>) -> Result<()> {
    let Some(path) = file else {
        eprintln!("one-time setup token (for AuthService.SetUp): {}", token.reveal());
        return Ok(());
    };
    let _ = std::fs::remove_file(path);
    let mut out = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::internal)?;
    writeln!(out, "{}", token.reveal()).map_err(Error::internal)?;
    tracing::info!(file = %path.display(), "wrote the one-time setup token");
    Ok(())
}
