//! Secrets and variables of functions in PostgreSQL. Both are sealed; only of variables does anybody read the value.

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

/// What an environment variable of functions is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nobody reads the value.
    Secret,
    /// Members read the value.
    Variable,
}

/// A value with its kind.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    pub text: Zeroizing<String>,
    pub kind: Kind,
}

/// A secret or a variable as it is listed.
pub struct Listed {
    pub name: String,
    pub value: Zeroizing<String>,
    pub changed_at: DateTime<Utc>,
}

/// New values by name; `None` deletes.
pub type Changes = BTreeMap<String, Option<Value>>;

impl Kind {
    fn from_readable(readable: bool) -> Self {
        if readable { Self::Variable } else { Self::Secret }
    }

    fn readable(self) -> bool {
        self == Self::Variable
    }
}

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

/// Returns the newest value of each secret and variable by name.
pub async fn all(
    write: &mut impl Write,
    vault: &Vault,
    project: &ProjectRef,
) -> Result<BTreeMap<String, Value>> {
    let rows = sqlx::query!(
        "SELECT DISTINCT ON (name) name, version, sealed, readable FROM function_secrets WHERE project_ref = $1
         ORDER BY name, version DESC",
        project.as_str(),
    )
    .fetch_all(write.connection().await?)
    .await?;
    let mut all = BTreeMap::new();
    for row in rows {
        let Some(sealed) = row.sealed else { continue };
        let text = open(vault, project, &row.name, row.version, &sealed)?;
        all.insert(row.name, Value { text, kind: Kind::from_readable(row.readable) });
    }
    Ok(all)
}

/// Returns a page of secrets, or of variables, in the order of their names.
pub async fn list(
    db: &Db,
    vault: &Vault,
    project: &ProjectRef,
    kind: Kind,
    after: &str,
    limit: i64,
) -> Result<Vec<Listed>> {
    let rows = sqlx::query!(
        "SELECT name AS \"name!\", version AS \"version!\", sealed AS \"sealed!\", changed_at AS \"changed_at!\" FROM (
             SELECT DISTINCT ON (name) name, version, sealed, readable, changed_at FROM function_secrets
             WHERE project_ref = $1 AND name > $2 ORDER BY name, version DESC) s
         WHERE sealed IS NOT NULL AND readable = $4 ORDER BY name LIMIT $3",
        project.as_str(),
        after,
        limit,
        kind.readable(),
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let value = open(vault, project, &row.name, row.version, &row.sealed)?;
            Ok(Listed { name: row.name, value, changed_at: row.changed_at })
        })
        .collect()
}

/// Stores another version of these secrets and variables.
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
            .map(|value| vault.seal(scope(project, name, version), value.text.as_bytes()))
            .transpose()
            .map_err(Error::internal)?;
        sqlx::query!(
            "INSERT INTO function_secrets (project_ref, name, version, sealed, readable) VALUES ($1, $2, $3, $4, $5)",
            project.as_str(),
            name,
            version,
            sealed,
            value.as_ref().is_some_and(|value| value.kind.readable()),
        )
        .execute(write.connection().await?)
        .await?;
    }
    Ok(())
}
