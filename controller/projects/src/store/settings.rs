//! Settings of projects in PostgreSQL: sealed whole, because passwords are among them.

use supalove_core::{
    Write,
    error::{Error, Result},
    ids::ProjectRef,
    vault::{Scope, Vault},
};
use supalove_stack::ProjectSettings;
use zeroize::Zeroizing;

/// Name of the settings in their associated data.
const NAME: &str = "settings";

/// Settings with their version; 0 = the defaults, which nobody has changed.
#[derive(Debug, Clone, Default)]
pub struct Versioned {
    pub settings: ProjectSettings,
    pub version: i64,
}

impl Versioned {
    /// The etag.
    pub fn etag(&self) -> String {
        self.version.to_string()
    }
}

fn scope(project: &ProjectRef, version: i64) -> Scope<'_> {
    Scope { kind: "project", id: project.as_str(), name: NAME, version: version.unsigned_abs() }
}

/// Returns the newest settings of a project, without the secrets of its functions.
pub async fn newest(db: impl sqlx::PgExecutor<'_>, vault: &Vault, project: &ProjectRef) -> Result<Versioned> {
    let row = sqlx::query!(
        "SELECT version, sealed FROM project_settings WHERE project_ref = $1 ORDER BY version DESC LIMIT 1",
        project.as_str(),
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(Versioned::default()) };
    let opened = vault.open(scope(project, row.version), &row.sealed).map_err(Error::internal)?;
    // The parser's error could quote a value.
    let settings = serde_json::from_slice(&opened)
        .map_err(|_| Error::internal(format!("the stored settings of project {project} cannot be read")))?;
    Ok(Versioned { settings, version: row.version })
}

/// Stores another version.
pub async fn insert(
    write: &mut impl Write,
    vault: &Vault,
    project: &ProjectRef,
    version: i64,
    settings: &ProjectSettings,
) -> Result<()> {
    let json = Zeroizing::new(serde_json::to_vec(settings).map_err(Error::internal)?);
    let sealed = vault.seal(scope(project, version), &json).map_err(Error::internal)?;
    sqlx::query!(
        "INSERT INTO project_settings (project_ref, version, sealed) VALUES ($1, $2, $3)",
        project.as_str(),
        version,
        sealed,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}
