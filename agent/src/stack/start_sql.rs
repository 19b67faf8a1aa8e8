//! The SQL that a release runs at each start of its database: it sets right what the platform needs, whatever a tenant
//! changed. In: a database that accepts connections. Out: every file ended without an error, or the failure with psql's
//! last lines.
//!
//! The files are the release's own, mounted read-only (`admission` holds that).

use supalove_failpoints::failpoint;

use super::context::{Project, blocking};
use super::failure::{LOG_LINES, StepFailure};
use super::plan::ServicePlan;
use super::psql;
use crate::fsio;

/// Runs every file of a service's start SQL in the running container.
pub async fn run(project: &Project, plan: &ServicePlan, container: &str) -> Result<(), StepFailure> {
    let limit = project.shared.times.start_sql;
    for path in &plan.spec.start_sql {
        failpoint!("agent.start_sql.running", &project.project_ref);
        let lines = LOG_LINES as usize;
        let ended = psql::run(project, plan, container, &["-f", path], lines, limit).await?;
        if ended.exit_code != 0 {
            let message = format!("start SQL {path} failed: psql ended with exit code {}", ended.exit_code);
            return Err(StepFailure::new("START_SQL_FAILED", message).with_log(ended.lines));
        }
    }
    Ok(())
}

/// True if the start SQL has already run since this start of the container: the agent was restarted, the database was not.
pub async fn has_run(project: &Project, plan: &ServicePlan, container: &str, started_at: &str) -> bool {
    let path = mark_path(project, plan);
    let mark = mark(container, started_at);
    blocking(move || Ok(std::fs::read_to_string(path).is_ok_and(|stored| stored == mark)))
        .await
        .unwrap_or_default()
}

/// Records that the start SQL has run since this start of the container. Without the record it runs once more.
pub async fn remember(project: &Project, plan: &ServicePlan, container: &str, started_at: &str) {
    let path = mark_path(project, plan);
    let mark = mark(container, started_at);
    if let Err(error) = blocking(move || fsio::write_atomic(&path, mark.as_bytes(), 0o600)).await {
        tracing::warn!(
            project = &*project.project_ref,
            service = plan.spec.name,
            %error,
            "cannot record that the start SQL has run; it runs again when the agent restarts"
        );
    }
}

fn mark_path(project: &Project, plan: &ServicePlan) -> std::path::PathBuf {
    project.dir().join(format!("start-sql-{}", plan.spec.name))
}

/// The files are part of the container's hash, so another container has another mark.
fn mark(container: &str, started_at: &str) -> String {
    format!("{container} {started_at}")
}
