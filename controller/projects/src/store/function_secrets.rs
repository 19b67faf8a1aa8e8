//! Secrets of functions in PostgreSQL.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use supalove_core::{
    Write,
    database::Db,
    error::{Error, Result},
    ids::ProjectRef,
    vault::{Scope, Vault},
};
use zeroize::Zeroizing;

/// A secret with its value.
pub struct FunctionSecret {
    pub name: String,
    pub value: Zeroizing<String>,
    pub changed_at: DateTime<Utc>,
}

/// New values by name; `None` deletes the secret.
pub type Changes = BTreeMap<String, Option<Zeroizing<String>>>;

fn scope<'a>(project: &'a ProjectRef, name: &'a str, version: i64) -> Scope<'a> {
    Scope { kind: "function-secret", id: project.as_str(), name, version: version.unsigned_abs() }
}

fn open(
    vault: &Vault,
    project: &ProjectRef,
    name: &str,
    version: i64,
    sealed: &[u8],
) -> Result<Zeroizing<String>> {
    let opened = vault.open(scope(project, name, version), sealed).map_err(Error::internal)?;
    let text = std::str::from_utf8(&opened)
        .map_err(|_| Error::internal(format!("the function secret {name} is not text")))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Returns the newest value of each secret by name.
pub async fn all(
    write: &mut impl Write,
    vault: &Vault,
    project: &ProjectRef,
) -> Result<BTreeMap<String, Zeroizing<String>>> {
    let rows = sqlx::query!(
        "SELECT DISTINCT ON (name) name, version, sealed FROM function_secrets WHERE project_ref = $1
         ORDER BY name, version DESC",
        project.as_str(),
    )
    .fetch_all(write.connection().await?)
    .await?;
    let mut all = BTreeMap::new();
    for row in rows {
        let Some(sealed) = row.sealed else { continue };
        let value = open(vault, project, &row.name, row.version, &sealed)?;
        all.insert(row.name, value);
    }
    Ok(all)
}

/// Returns a page of secrets in the order of their names.
pub async fn list(
    db: &Db,
    vault: &Vault,
    project: &ProjectRef,
    after: &str,
    limit: i64,
) -> Result<Vec<FunctionSecret>> {
    let rows = sqlx::query!(
        "SELECT name AS \"name!\", version AS \"version!\", sealed AS \"sealed!\", changed_at AS \"changed_at!\" FROM (
             SELECT DISTINCT ON (name) name, version, sealed, changed_at FROM function_secrets
             WHERE project_ref = $1 AND name > $2 ORDER BY name, version DESC) s
         WHERE sealed IS NOT NULL ORDER BY name LIMIT $3",
        project.as_str(),
        after,
        limit,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let value = open(vault, project, &row.name, row.version, &row.sealed)?;
            Ok(FunctionSecret { name: row.name, value, changed_at: row.changed_at })
        })
        .collect()
}

/// Stores another version of these secrets.
pub async fn insert(
    write: &mut impl Write,
    vault: &Vault,
    project: &ProjectRef,
    version: i64,
    changes: &Changes,
) -> Result<()> {
    for (name, value) in changes {
        let sealed = value
            .as_ref()
            .map(|value| vault.seal(scope(project, name, version), value.as_bytes()))
            .transpose()
            .map_err(Error::internal)?;
        sqlx::query!(
            "INSERT INTO function_secrets (project_ref, name, version, sealed) VALUES ($1, $2, $3, $4)",
            project.as_str(),
            name,
            version,
            sealed,
        )
        .execute(write.connection().await?)
        .await?;
    }
    Ok(())
}
