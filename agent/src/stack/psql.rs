//! Runs `psql` in a database's container, as a superuser over the server's socket: superusers need no network. Fixed
//! arguments, no shell.
//!
//! A tenant can change the database that it logs in to, so the session takes no setting from there: options of the
//! connection win over `ALTER DATABASE … SET` and `ALTER ROLE … SET`. What it runs names objects with their schema.

use std::time::Duration;

use super::context::Project;
use super::plan::ServicePlan;
use crate::docker::{Ended, EngineError};

/// Directory of the server's socket in the container, in the local image and in the official one.
const SOCKET: &str = "/var/run/postgresql";
/// The owner of the platform's objects.
const USER: &str = "supabase_admin";
/// Variables of the container that hold the password of that user; the first one that is there counts.
const PASSWORDS: [&str; 2] = ["PGPASSWORD=", "POSTGRES_PASSWORD="];

/// Runs files (`-f path`) or statements (`-c statement`), each in a transaction of its own, until the first error.
pub async fn run(
    project: &Project,
    plan: &ServicePlan,
    container: &str,
    what: &[&str],
    lines: usize,
    limit: Duration,
) -> Result<Ended, EngineError> {
    let env = environment(&plan.container.env, limit);
    project.engine().exec(container, &argv(what), &env, lines, limit).await
}

fn argv<'a>(what: &[&'a str]) -> Vec<&'a str> {
    let fixed = [
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
    ];
    [&fixed, what].concat()
}

/// Nothing of the database's or the role's settings may end the session or load code into it, and nobody is to see what it
/// sends. Limits are in milliseconds. The lock limit is shorter, so that a tenant's lock is named as the cause.
fn environment(of_container: &[String], limit: Duration) -> Vec<String> {
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
        .find_map(|name| of_container.iter().find_map(|variable| variable.strip_prefix(name)));
    env.extend(password.map(|password| format!("PGPASSWORD={password}")));
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psql_gets_fixed_arguments_and_no_shell() {
        let words = argv(&["-f", "/etc/supalove/start.sql"]).join(" ");
        assert_eq!(
            words,
            "psql -X -q -v ON_ERROR_STOP=1 --no-password -U supabase_admin -h /var/run/postgresql -dpostgres -f \
             /etc/supalove/start.sql"
        );
    }

    #[test]
    fn a_session_has_limits_and_the_password_and_no_setting_of_the_tenants() {
        let of_container = ["POSTGRES_PASSWORD=b", "PGPASSWORD=a"].map(str::to_owned);
        let env = environment(&of_container, Duration::from_secs(8));
        for option in [
            "search_path=pg_catalog",
            "role=none",
            "statement_timeout=8000",
            "lock_timeout=2000",
            "idle_session_timeout=0",
            "track_activities=off",
        ] {
            assert!(env[0].contains(option), "{}", env[0]);
        }
        assert_eq!(env[1..], ["PGCONNECT_TIMEOUT=10", "PGPASSWORD=a"]);
        assert_eq!(environment(&of_container[..1], Duration::from_secs(8))[2], "PGPASSWORD=b");
    }
}
