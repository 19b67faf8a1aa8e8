//! A project's secrets and specs, in and out of the vault.

use prost::Message as _;
use sqlx::PgPool;
use supalove_proto::{node::v1::StackSpec, v1::ErrorReason};

use supalove_core::{
    Core,
    error::{Error, Result},
    ids::ProjectRef,
    vault::{Scope, Vault},
};
use supalove_stack::ProjectSecrets;

/// Name of the sealed spec in its associated data.
const SPEC: &str = "stack-spec";
/// Version of secrets that were never rotated.
const FIRST_VERSION: i32 = 1;

fn scope<'a>(project: &'a ProjectRef, name: &'a str, version: u64) -> Scope<'a> {
    Scope { kind: "project", id: project.as_str(), name, version }
}

/// Sealed secrets, in two columns for `unnest`.
pub struct SealedSecrets {
    /// Names.
    pub names: Vec<String>,
    /// Values.
    pub values: Vec<Vec<u8>>,
}

/// Seals all secrets of a new project.
pub fn seal_secrets(vault: &Vault, project: &ProjectRef, secrets: &ProjectSecrets) -> Result<SealedSecrets> {
    let version = FIRST_VERSION.unsigned_abs().into();
    let mut sealed = SealedSecrets { names: Vec::new(), values: Vec::new() };
    for (name, value) in secrets.iter() {
        sealed
            .values
            .push(vault.seal(scope(project, name, version), value.as_bytes()).map_err(Error::internal)?);
        sealed.names.push(name.to_owned());
    }
    Ok(sealed)
}

/// Seals a rendered spec.
pub fn seal_spec(vault: &Vault, project: &ProjectRef, generation: i64, spec: &StackSpec) -> Result<Vec<u8>> {
    let bytes = zeroize::Zeroizing::new(spec.encode_to_vec());
    vault.seal(scope(project, SPEC, generation.unsigned_abs()), &bytes).map_err(Error::internal)
}

/// Opens a spec.
pub fn open_spec(vault: &Vault, project: &ProjectRef, generation: i64, sealed: &[u8]) -> Result<StackSpec> {
    let bytes =
        vault.open(scope(project, SPEC, generation.unsigned_abs()), sealed).map_err(Error::internal)?;
    StackSpec::decode(bytes.as_slice()).map_err(Error::internal)
}

/// The sealed spec of a generation, with the generation it was rendered with.
pub async fn newest_spec(db: &PgPool, project: &ProjectRef, generation: i64) -> Result<(i64, Vec<u8>)> {
    let row = sqlx::query!(
        "SELECT generation, sealed FROM project_specs WHERE project_ref = $1 AND generation <= $2
         ORDER BY generation DESC LIMIT 1",
        project.as_str(),
        generation,
    )
    .fetch_one(db)
    .await?;
    Ok((row.generation, row.sealed))
}

/// One secret of a project, newest version.
pub async fn reveal(core: &Core, project: &ProjectRef, name: &str) -> Result<String> {
    let (version, sealed) = newest(&core.db, project, name).await?;
    let opened = core.vault.open(scope(project, name, version), &sealed).map_err(Error::internal)?;
    String::from_utf8(opened.to_vec()).map_err(|_| Error::internal(format!("secret {name} is no text")))
}

async fn newest(db: &PgPool, project: &ProjectRef, name: &str) -> Result<(u64, Vec<u8>)> {
    let row = sqlx::query!(
        "SELECT version, sealed FROM project_secrets WHERE project_ref = $1 AND name = $2 ORDER BY version DESC LIMIT 1",
        project.as_str(),
        name,
    )
    .fetch_optional(db)
    .await?;
    let row = row.ok_or_else(|| Error::FailedPrecondition {
        reason: ErrorReason::ProjectRemoved,
        message: "the project is gone, and its secrets with it".to_owned(),
    })?;
    Ok((row.version.unsigned_abs().into(), row.sealed))
}
