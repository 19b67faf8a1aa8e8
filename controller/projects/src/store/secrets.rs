//! Seals and opens a project's secrets and specifications.

use prost::Message as _;
use sqlx::PgExecutor;
use supalove_proto::{node::v1::StackSpec, v1::ErrorReason};

use supalove_core::{
    Core, Write,
    database::Db,
    error::{Error, Result},
    ids::ProjectRef,
    vault::{Scope, Vault, columns::SealedColumn},
};
use supalove_stack::ProjectSecrets;
use zeroize::Zeroizing;

/// Name of the sealed specification in its associated data.
const SPEC: &str = "stack-spec";
/// Version of secrets that were never rotated.
const FIRST_VERSION: i64 = 1;
/// First byte of a specification that was compressed before sealing; zstd data follows. Older ones were sealed
/// uncompressed; they cannot begin with this byte, because no field of a message has the number 0.
const COMPRESSED: u8 = 1;
/// The fastest level. A specification is mostly files of the release, which even this level compresses to a third.
const LEVEL: i32 = 1;
/// Maximum size of an opened specification, so that a damaged length allocates no memory. gRPC cannot carry a larger
/// one.
const LARGEST_SPEC: usize = 4 * 1024 * 1024;

/// Sealed values of projects.
pub const SEALED: &[SealedColumn] = &[
    SealedColumn {
        table: "project_secrets",
        column: "sealed",
        kind: "project",
        id: "project_ref",
        name: "name",
        version: "version",
    },
    SealedColumn {
        table: "project_specs",
        column: "sealed",
        kind: "project",
        id: "project_ref",
        name: "'stack-spec'",
        version: "generation",
    },
    SealedColumn {
        table: "project_upgrades",
        column: "return_spec",
        kind: "project",
        id: "project_ref",
        name: "'stack-spec'",
        version: "return_generation",
    },
    SealedColumn {
        table: "project_settings",
        column: "sealed",
        kind: "project",
        id: "project_ref",
        name: "'settings'",
        version: "version",
    },
    SealedColumn {
        table: "function_secrets",
        column: "sealed",
        kind: "function-secret",
        id: "project_ref",
        name: "name",
        version: "version",
    },
];

fn scope<'a>(project: &'a ProjectRef, name: &'a str, version: u64) -> Scope<'a> {
    Scope { kind: "project", id: project.as_str(), name, version }
}

/// Sealed secrets, in two columns for `unnest`.
pub struct SealedSecrets {
    pub names: Vec<String>,
    pub values: Vec<Vec<u8>>,
}

/// Seals all secrets of a new project.
pub fn seal_secrets(vault: &Vault, project: &ProjectRef, secrets: &ProjectSecrets) -> Result<SealedSecrets> {
    seal_some(vault, project, secrets.iter())
}

/// Seals secrets that a project has not got yet.
pub fn seal_some<'a>(
    vault: &Vault,
    project: &ProjectRef,
    secrets: impl Iterator<Item = (&'static str, &'a str)>,
) -> Result<SealedSecrets> {
    let version = FIRST_VERSION.unsigned_abs();
    let mut sealed = SealedSecrets { names: Vec::new(), values: Vec::new() };
    for (name, value) in secrets {
        sealed
            .values
            .push(vault.seal(scope(project, name, version), value.as_bytes()).map_err(Error::internal)?);
        sealed.names.push(name.to_owned());
    }
    Ok(sealed)
}

/// Compresses and seals a rendered specification. Only a reader of the database learns the compressed length.
pub fn seal_spec(vault: &Vault, project: &ProjectRef, generation: i64, spec: &StackSpec) -> Result<Vec<u8>> {
    let encoded = Zeroizing::new(spec.encode_to_vec());
    let mut packed = Zeroizing::new(vec![0; 1 + zstd::zstd_safe::compress_bound(encoded.len())]);
    packed[0] = COMPRESSED;
    let length =
        zstd::bulk::compress_to_buffer(&encoded, &mut packed[1..], LEVEL).map_err(Error::internal)?;
    vault.seal(scope(project, SPEC, generation.unsigned_abs()), &packed[..=length]).map_err(Error::internal)
}

/// Opens a sealed specification.
pub fn open_spec(vault: &Vault, project: &ProjectRef, generation: i64, sealed: &[u8]) -> Result<StackSpec> {
    let bytes =
        vault.open(scope(project, SPEC, generation.unsigned_abs()), sealed).map_err(Error::internal)?;
    let spec = match bytes.split_first() {
        Some((&COMPRESSED, packed)) => {
            let encoded = Zeroizing::new(
                zstd::bulk::decompress(packed, unpacked_length(packed)?).map_err(Error::internal)?,
            );
            StackSpec::decode(encoded.as_slice())
        }
        _ => StackSpec::decode(bytes.as_slice()),
    };
    spec.map_err(Error::internal)
}

/// Returns the length in the zstd header, so that the buffer that is wiped afterwards has the exact size.
fn unpacked_length(packed: &[u8]) -> Result<usize> {
    let length = zstd::zstd_safe::get_frame_content_size(packed).ok().flatten();
    let length = length.and_then(|length| usize::try_from(length).ok());
    length
        .filter(|length| *length <= LARGEST_SPEC)
        .ok_or_else(|| Error::internal("a sealed specification has no length"))
}

/// Returns the sealed specification of a generation, and the generation with which it was rendered.
pub async fn newest_spec(
    db: impl PgExecutor<'_>,
    project: &ProjectRef,
    generation: i64,
) -> Result<(i64, Vec<u8>)> {
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

/// Opens the newest version of each secret of a project.
pub async fn all(
    write: &mut impl Write,
    vault: &Vault,
    project: &ProjectRef,
) -> Result<Vec<(String, Zeroizing<String>)>> {
    let rows = sqlx::query!(
        "SELECT DISTINCT ON (name) name, version, sealed FROM project_secrets WHERE project_ref = $1
         ORDER BY name, version DESC",
        project.as_str(),
    )
    .fetch_all(write.connection().await?)
    .await?;
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let version = row.version.unsigned_abs();
        let opened = vault.open(scope(project, &row.name, version), &row.sealed).map_err(Error::internal)?;
        let text = std::str::from_utf8(&opened)
            .map_err(|_| Error::internal(format!("secret {} is not text", row.name)))?;
        all.push((row.name, Zeroizing::new(text.to_owned())));
    }
    Ok(all)
}

/// Stores secrets that a project has not got yet.
pub async fn insert(write: &mut impl Write, project: &ProjectRef, new: &SealedSecrets) -> Result<()> {
    sqlx::query!(
        "INSERT INTO project_secrets (project_ref, name, version, sealed)
         SELECT $1, s.name, $2, s.sealed FROM unnest($3::text[], $4::bytea[]) AS s (name, sealed)",
        project.as_str(),
        FIRST_VERSION,
        &new.names,
        &new.values,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Stores new versions of secrets in the place of the old ones.
pub async fn replace<'a>(
    write: &mut impl Write,
    vault: &Vault,
    project: &ProjectRef,
    secrets: impl Iterator<Item = (&'static str, &'a str)>,
) -> Result<()> {
    for (name, value) in secrets {
        let before = sqlx::query_scalar!(
            "DELETE FROM project_secrets WHERE project_ref = $1 AND name = $2 RETURNING version",
            project.as_str(),
            name,
        )
        .fetch_all(write.connection().await?)
        .await?;
        let version = before.into_iter().max().unwrap_or_default() + 1;
        let sealed = vault
            .seal(scope(project, name, version.unsigned_abs()), value.as_bytes())
            .map_err(Error::internal)?;
        sqlx::query!(
            "INSERT INTO project_secrets (project_ref, name, version, sealed) VALUES ($1, $2, $3, $4)",
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

/// Stores new versions of secrets beside the old ones. `version`: the generation that brings them to the services, which is
/// higher than any version before.
pub async fn add_version<'a>(
    write: &mut impl Write,
    vault: &Vault,
    project: &ProjectRef,
    version: i64,
    secrets: impl Iterator<Item = (&'static str, &'a str)>,
) -> Result<()> {
    for (name, value) in secrets {
        let sealed = vault
            .seal(scope(project, name, version.unsigned_abs()), value.as_bytes())
            .map_err(Error::internal)?;
        sqlx::query!(
            "INSERT INTO project_secrets (project_ref, name, version, sealed) VALUES ($1, $2, $3, $4)",
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

/// Stores the sealed specification of a generation.
pub async fn insert_spec(
    write: &mut impl Write,
    project: &ProjectRef,
    generation: i64,
    sealed: &[u8],
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO project_specs (project_ref, generation, sealed) VALUES ($1, $2, $3)",
        project.as_str(),
        generation,
        sealed,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Returns the newest version of a project's secret.
pub async fn reveal(core: &Core, project: &ProjectRef, name: &str) -> Result<String> {
    find(core, project, name).await?.ok_or_else(|| Error::FailedPrecondition {
        reason: ErrorReason::ProjectRemoved,
        message: "the project and its secrets have been removed".to_owned(),
    })
}

/// The same; `None` if the project has no such secret.
pub async fn find(core: &Core, project: &ProjectRef, name: &str) -> Result<Option<String>> {
    let Some((version, sealed)) = newest(&core.db, project, name).await? else { return Ok(None) };
    let opened = core.vault.open(scope(project, name, version), &sealed).map_err(Error::internal)?;
    let text = String::from_utf8(opened.to_vec());
    text.map(Some).map_err(|_| Error::internal(format!("secret {name} is not text")))
}

async fn newest(db: &Db, project: &ProjectRef, name: &str) -> Result<Option<(u64, Vec<u8>)>> {
    let row = sqlx::query!(
        "SELECT version, sealed FROM project_secrets WHERE project_ref = $1 AND name = $2 ORDER BY version DESC LIMIT 1",
        project.as_str(),
        name,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.version.unsigned_abs(), row.sealed)))
}

#[cfg(test)]
mod tests {
    use supalove_stack::{ProjectInput, ProjectSettings, Releases, render};

    use super::*;

    const REF: &str = "abcdefghijklmnopqrst";

    fn spec() -> StackSpec {
        let releases = Releases::embedded().unwrap();
        let secrets = ProjectSecrets::generate(REF).unwrap();
        let settings = ProjectSettings::default();
        let input =
            ProjectInput { project_ref: REF, project_name: "one", secrets: &secrets, settings: &settings };
        render(releases.get("core").unwrap(), &input).unwrap()
    }

    fn vault() -> Vault {
        Vault::from_base64("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap()
    }

    #[test]
    fn a_spec_is_sealed_small_and_opens_again() {
        let vault = vault();
        let project = REF.parse().unwrap();
        let spec = spec();
        let sealed = seal_spec(&vault, &project, 1, &spec).unwrap();
        let encoded = spec.encoded_len();
        assert!(sealed.len() < encoded / 2, "{} bytes of {encoded}", sealed.len());
        assert_eq!(open_spec(&vault, &project, 1, &sealed).unwrap(), spec);
        assert!(open_spec(&vault, &project, 2, &sealed).is_err(), "it belongs to its generation");
    }

    #[test]
    fn a_spec_that_was_sealed_uncompressed_opens() {
        let vault = vault();
        let project = REF.parse().unwrap();
        let spec = spec();
        let sealed = vault.seal(scope(&project, SPEC, 1), &spec.encode_to_vec()).unwrap();
        assert_eq!(open_spec(&vault, &project, 1, &sealed).unwrap(), spec);
    }

    #[test]
    fn a_damaged_spec_is_an_error() {
        let vault = vault();
        let project = REF.parse().unwrap();
        let sealed = vault.seal(scope(&project, SPEC, 1), &[COMPRESSED, 9, 9, 9]).unwrap();
        assert!(open_spec(&vault, &project, 1, &sealed).is_err());
    }
}
