//! The SQL that a release runs at each start of its database: it sets right what the platform needs, whatever a tenant
//! changed. In: a database that accepts connections. Out: every file ended without an error, or the failure with psql's
//! last lines.
//!
//! The files are the release's own, mounted read-only (`admission` holds that), and psql gets fixed arguments without a
//! shell. They run as a superuser in a database that a tenant can change, so the session takes no setting from the
//! database: options of the connection win over `ALTER DATABASE … SET` and `ALTER ROLE … SET`.

use std::time::Duration;

use supalove_failpoints::failpoint;

use super::context::{Project, blocking};
use super::failure::{LOG_LINES, StepFailure};
use super::plan::ServicePlan;
use crate::fsio;

/// Directory of the server's socket in the container, in the local image and in the official one.
const SOCKET: &str = "/var/run/postgresql";
/// The owner of the platform's objects.
const USER: &str = "supabase_admin";
/// Variables of the container that hold the password of that user; the first one that is there counts.
const PASSWORDS: [&str; 2] = ["PGPASSWORD=", "POSTGRES_PASSWORD="];

/// Runs every file of a service's start SQL in the running container.
pub async fn run(project: &Project, plan: &ServicePlan, container: &str) -> Result<(), StepFailure> {
    let limit = project.shared.times.start_sql;
    let env = environment(plan, limit);
    for path in &plan.spec.start_sql {
        failpoint!("agent.start_sql.running", &project.project_ref);
        let lines = LOG_LINES as usize;
        let ended = project.engine().exec(container, &argv(path), &env, lines, limit).await?;
        if ended.exit_code != 0 {
            let message = format!("start SQL {path} failed: psql ended with exit code {}", ended.exit_code);
            return Err(StepFailure::new("START_SQL_FAILED", message).with_log(ended.lines));
        }
    }
    Ok(())
}

fn argv(path: &str) -> [&str; 13] {
    [
        "psql",
        "-X",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "--no-password",
        "-U",
        USER,
        "-h",
        SOCKET,
        "-dpostgres",
        "-f",
        path,
    ]
}

/// Nothing of the database's or the role's settings may end the session or load code into it, and nobody is to see what it
/// sends. Limits are in milliseconds. The lock limit is shorter, so that a tenant's lock is named as the cause.
fn environment(plan: &ServicePlan, limit: Duration) -> Vec<String> {
    let millis = limit.as_millis();
    let options = format!(
        "-c search_path=pg_catalog -c role=none -c session_replication_role=origin -c default_transaction_read_only=off \
         -c row_security=on -c statement_timeout={millis} -c lock_timeout={} -c idle_session_timeout=0 \
         -c idle_in_transaction_session_timeout=0 -c session_preload_libraries= -c local_preload_libraries= \
         -c track_activities=off -c pg_stat_statements.track=none",
        millis / 4
    );
    let mut env = vec![format!("PGOPTIONS={options}"), "PGCONNECT_TIMEOUT=10".to_owned()];
    let password = PASSWORDS
        .iter()
        .find_map(|name| plan.container.env.iter().find_map(|variable| variable.strip_prefix(name)));
    env.extend(password.map(|password| format!("PGPASSWORD={password}")));
    env
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psql_gets_fixed_arguments_and_no_shell() {
        let words = argv("/etc/supalove/start.sql").join(" ");
        assert_eq!(
            words,
            "psql -X -q -v ON_ERROR_STOP=1 --no-password -U supabase_admin -h /var/run/postgresql -dpostgres -f \
             /etc/supalove/start.sql"
        );
    }
}
