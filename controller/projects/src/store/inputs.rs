//! What content is rendered from, while a change is in progress: each part has two versions, and the outcome decides which
//! one stays.

use supalove_core::{Write, error::Result, ids::ProjectRef};
use supalove_stack::{JWT_SECRETS, PASSWORD_SECRETS};

use crate::types::OperationKind;

/// Secrets of the platform that an operation replaces.
fn replaced(kind: OperationKind) -> Vec<String> {
    let names: &[&str] = match kind {
        OperationKind::ResetDatabasePassword => PASSWORD_SECRETS,
        OperationKind::RotateJwtSecret => JWT_SECRETS,
        _ => &[],
    };
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Deletes the version that a failed change has brought.
pub async fn drop_version(
    write: &mut impl Write,
    project: &ProjectRef,
    kind: OperationKind,
    version: i64,
) -> Result<()> {
    sqlx::query!(
        "DELETE FROM project_settings WHERE project_ref = $1 AND version = $2",
        project.as_str(),
        version
    )
    .execute(write.connection().await?)
    .await?;
    sqlx::query!(
        "DELETE FROM function_secrets WHERE project_ref = $1 AND version = $2",
        project.as_str(),
        version
    )
    .execute(write.connection().await?)
    .await?;
    sqlx::query!(
        "DELETE FROM project_secrets WHERE project_ref = $1 AND version = $2 AND name = ANY ($3)",
        project.as_str(),
        version,
        &replaced(kind),
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Deletes all versions but the newest, and secrets whose newest version deletes them.
pub async fn keep_newest(write: &mut impl Write, project: &ProjectRef, kind: OperationKind) -> Result<()> {
    sqlx::query!(
        "DELETE FROM project_settings o WHERE project_ref = $1 AND EXISTS (
             SELECT 1 FROM project_settings n WHERE n.project_ref = $1 AND n.version > o.version)",
        project.as_str()
    )
    .execute(write.connection().await?)
    .await?;
    sqlx::query!(
        "DELETE FROM function_secrets o WHERE project_ref = $1 AND (sealed IS NULL OR EXISTS (
             SELECT 1 FROM function_secrets n WHERE n.project_ref = $1 AND n.name = o.name AND n.version > o.version))",
        project.as_str()
    )
    .execute(write.connection().await?)
    .await?;
    sqlx::query!(
        "DELETE FROM project_secrets o WHERE project_ref = $1 AND name = ANY ($2) AND EXISTS (
             SELECT 1 FROM project_secrets n WHERE n.project_ref = $1 AND n.name = o.name AND n.version > o.version)",
        project.as_str(),
        &replaced(kind),
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Deletes settings and secrets of functions, because the project is removed.
pub async fn delete_all(write: &mut impl Write, project: &ProjectRef) -> Result<()> {
    sqlx::query!("DELETE FROM project_settings WHERE project_ref = $1", project.as_str())
        .execute(write.connection().await?)
        .await?;
    sqlx::query!("DELETE FROM function_secrets WHERE project_ref = $1", project.as_str())
        .execute(write.connection().await?)
        .await?;
    Ok(())
}
