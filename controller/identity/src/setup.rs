//! The one-time setup token: each start generates one while there is no user, and shows it once: as a link to the dashboard's page that
//! takes it, if there is a dashboard.

use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};
use supalove_core::database::Db;

use super::Opaque;
use supalove_core::error::{Error, Result};

/// Path of the page that makes the first user. It takes the token behind `#`, which browsers send to nobody.
const PAGE: &str = "set-up";

/// Where the token is shown.
#[derive(Debug, Clone, Copy, Default)]
pub struct ShowToken<'a> {
    /// A file for it; without one it goes to standard error.
    pub file: Option<&'a Path>,
    /// Where people reach the dashboard, with a slash at its end.
    pub dashboard: Option<&'a str>,
}

/// Generates the token if there is no user yet.
pub async fn ensure_setup_token(db: &Db, shows: ShowToken<'_>) -> Result<()> {
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
    show(&token, shows)?;
    tx.commit().await?;
    Ok(())
}

/// Writes the token to the file if there is one, else to standard error. Never to the log, which others store and read.
fn show(token: &Opaque, shows: ShowToken<'_>) -> Result<()> {
    let Some(path) = shows.file else {
        eprintln!("{}", words(token, shows.dashboard));
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
    let page = shows.dashboard.map(|dashboard| format!("{dashboard}{PAGE}"));
    tracing::info!(file = %path.display(), page, "wrote the one-time setup token");
    Ok(())
}

fn words(token: &Opaque, dashboard: Option<&str>) -> String {
    let token = token.reveal();
    let direct = format!("one-time setup token (for AuthService.SetUp): {token}");
    dashboard.map_or_else(
        || direct.clone(),
        |dashboard| format!("make the first user in a browser: {dashboard}{PAGE}#token={token}\n{direct}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_carries_the_token_behind_the_hash() {
        let token = Opaque::received("abc_-1".to_owned());
        let direct = "one-time setup token (for AuthService.SetUp): abc_-1";
        assert_eq!(words(&token, None), direct);
        let link = "make the first user in a browser: http://127.0.0.1:8000/set-up#token=abc_-1";
        assert_eq!(words(&token, Some("http://127.0.0.1:8000/")), format!("{link}\n{direct}"));
    }
}
