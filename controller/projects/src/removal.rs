//! The end of a project: all it held becomes free, all that was secret is gone. Its row stays, so that its ref is never
//! used again.

use sqlx::PgConnection;
use supalove_failpoints::failpoint;

use super::snapshot::Snapshot;
use supalove_core::error::Result;

/// Frees quota, node, slot, ports and secrets, in the lock order. The project's row is the caller's to update.
pub async fn release(tx: &mut PgConnection, project: &Snapshot) -> Result<()> {
    sqlx::query!(
        "UPDATE organizations SET projects_used = projects_used - 1, revision = revision + 1 WHERE id = $1",
        project.organization.0
    )
    .execute(&mut *tx)
    .await?;
    failpoint!("controller.removal.quota_freed", project.project.as_str());
    if let Some(placement) = project.placement {
        let (cpu, memory) = if placement.holds_compute {
            (project.needs.cpu_millis, project.needs.memory_mib)
        } else {
            (0, 0)
        };
        sqlx::query!(
            "UPDATE nodes SET cpu_used = cpu_used - $2, memory_used = memory_used - $3, disk_used = disk_used - $4,
                 taken_slots = taken_slots - one_slot($5) WHERE id = $1",
            placement.node.0,
            cpu,
            memory,
            project.needs.disk_mib,
            placement.slot,
        )
        .execute(&mut *tx)
        .await?;
    }
    let project_ref = project.project.as_str();
    failpoint!("controller.removal.node_freed", project_ref);
    sqlx::query!("DELETE FROM placements WHERE project_ref = $1", project_ref).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM project_endpoints WHERE project_ref = $1", project_ref)
        .execute(&mut *tx)
        .await?;
    failpoint!("controller.removal.placement_gone", project_ref);
    sqlx::query!("DELETE FROM project_secrets WHERE project_ref = $1", project_ref).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM project_specs WHERE project_ref = $1", project_ref).execute(&mut *tx).await?;
    failpoint!("controller.removal.secrets_gone", project_ref);
    Ok(())
}
