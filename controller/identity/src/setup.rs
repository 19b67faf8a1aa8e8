//! The one-time set-up token: made at each start while there is no user, printed and written to a file once.

use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use sqlx::PgPool;

use super::Opaque;
use supalove_core::error::{Error, Result};

/// Makes the token if there is no user yet.
pub async fn ensure_setup_token(db: &PgPool, file: Option<&Path>) -> Result<()> {
    let mut tx = db.begin().await?;
    let needed = sqlx::query_scalar!(
        "SELECT NOT EXISTS (SELECT 1 FROM users) AS \"needed!\" FROM platform FOR UPDATE"
    )
    .fetch_one(&mut *tx)
    .await?;
    if !needed {
        return Ok(());
    }
    let token = Opaque::generate()?;
    sqlx::query!("UPDATE platform SET setup_token_hash = $1", token.hash()).execute(&mut *tx).await?;
    show(&token, file)?;
    tx.commit().await?;
    Ok(())
}

/// To the file if there is one, else to standard error; never to the log, which is kept and shipped.
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
