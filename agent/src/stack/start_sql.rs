//! The SQL that a release runs at each start of its database: it sets right what the platform needs, whatever a tenant
//! changed; and the SQL that tells the running server of files that have changed. In: a database that accepts connections. Out: every file ended without an error, or the failure with psql's
//! last lines.
//!
//! The files are the release's own, mounted read-only (`admission` holds that).

use supalove_failpoints::failpoint;

use super::context::{Project, blocking};
use super::failure::{LOG_LINES, StepFailure};
use super::plan::ServicePlan;
use super::psql;
use crate::fsio;

/// What has to run in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Nothing,
    /// The reload SQL: files have changed since the server read them.
    Reload,
    /// The start SQL: the container was started.
    Start,
}

/// Runs every file that is due in the running container.
pub async fn run(
    project: &Project,
    plan: &ServicePlan,
    container: &str,
    due: Due,
) -> Result<(), StepFailure> {
    let limit = project.shared.times.start_sql;
    let files = match due {
        Due::Nothing => &[],
        Due::Reload => plan.spec.reload_sql.as_slice(),
        Due::Start => plan.spec.start_sql.as_slice(),
    };
    for path in files {
        failpoint!("agent.start_sql.running", &project.project_ref);
        let lines = LOG_LINES as usize;
        let ended = psql::run(project, plan, container, &["-f", path], lines, limit).await?;
        if ended.exit_code != 0 {
            let what = if due == Due::Reload { "reload" } else { "start" };
            let message = format!("{what} SQL {path} failed: psql ended with exit code {}", ended.exit_code);
            return Err(StepFailure::new("START_SQL_FAILED", message).with_log(ended.lines));
        }
    }
    Ok(())
}

/// What is due in a container: nothing more if only the agent was restarted, not the database.
pub async fn due(project: &Project, plan: &ServicePlan, container: &str, started_at: &str) -> Due {
    if plan.spec.start_sql.is_empty() && plan.spec.reload_sql.is_empty() {
        return Due::Nothing;
    }
    let path = mark_path(project, plan);
    let stored = blocking(move || Ok(std::fs::read_to_string(path).unwrap_or_default())).await;
    due_by_mark(&stored.unwrap_or_default(), container, started_at, &plan.reloaded())
}

fn due_by_mark(stored: &str, container: &str, started_at: &str, reloaded: &str) -> Due {
    if stored == mark(container, started_at, reloaded) {
        return Due::Nothing;
    }
    let of_this_start = stored.starts_with(&mark(container, started_at, ""));
    if of_this_start { Due::Reload } else { Due::Start }
}

/// Records that the start SQL has run since this start of the container. Without the record it runs once more.
pub async fn remember(project: &Project, plan: &ServicePlan, container: &str, started_at: &str) {
    let path = mark_path(project, plan);
    let mark = mark(container, started_at, &plan.reloaded());
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

/// The files are part of the container's hash, so another container has another mark; those that change in place have a hash
/// of their own.
fn mark(container: &str, started_at: &str, reloaded: &str) -> String {
    let separator = if reloaded.is_empty() { "" } else { " " };
    format!("{container} {started_at}{separator}{reloaded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_runs_all_and_a_changed_file_only_the_reload() {
        let stored = mark("c", "t", "a");
        assert_eq!(due_by_mark(&stored, "c", "t", "a"), Due::Nothing);
        assert_eq!(due_by_mark(&stored, "c", "t", "b"), Due::Reload);
        for (container, started_at) in [("c", "u"), ("d", "t")] {
            assert_eq!(due_by_mark(&stored, container, started_at, "a"), Due::Start);
        }
        assert_eq!(due_by_mark("", "c", "t", "a"), Due::Start);
        // Without such files it is the mark of older agents.
        assert_eq!(due_by_mark("c t", "c", "t", ""), Due::Nothing);
    }
}
