//! The end of a project: releases everything that it held and deletes its secrets. Its row stays, so that its ref is
//! never used again.

use supalove_core::{Write, error::Result};
use supalove_failpoints::failpoint;

use crate::{
    capacity,
    store::{certificates, inputs, snapshot::Snapshot},
};

/// Releases quota, capacity, slot and ports and deletes the secrets, in the lock order. The caller updates the
/// project's row.
pub async fn release(write: &mut impl Write, project: &Snapshot) -> Result<()> {
    let project_ref = project.project.as_str();
    supalove_plans::give_back_project(write, project.organization).await?;
    failpoint!("controller.removal.quota_freed", project_ref);
    capacity::release_all(write, project).await?;
    failpoint!("controller.removal.node_freed", project_ref);
    sqlx::query!("DELETE FROM placements WHERE project_ref = $1", project_ref)
        .execute(write.connection().await?)
        .await?;
    sqlx::query!("DELETE FROM project_endpoints WHERE project_ref = $1", project_ref)
        .execute(write.connection().await?)
        .await?;
    failpoint!("controller.removal.placement_gone", project_ref);
    sqlx::query!("DELETE FROM project_secrets WHERE project_ref = $1", project_ref)
        .execute(write.connection().await?)
        .await?;
    sqlx::query!("DELETE FROM project_specs WHERE project_ref = $1", project_ref)
        .execute(write.connection().await?)
        .await?;
    inputs::delete_all(write, &project.project).await?;
    certificates::delete(write, project_ref).await?;
    failpoint!("controller.removal.secrets_gone", project_ref);
    Ok(())
}
