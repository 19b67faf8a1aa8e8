//! The product's own rules for rows, and damage that breaks each of them.

use sqlx::{AssertSqlSafe, Executor as _};
use supalove_controller::row_checks;

use super::Rows;

/// A rule, and a change of rows that breaks it. For a database with a healthy project, a stopped one and a removed one.
pub const DAMAGES: &[(&str, &str)] = &[
    ("core.audit_chain", "ALTER TABLE audit_log DISABLE TRIGGER USER; DELETE FROM audit_log WHERE seq = 2"),
    (
        "core.audit_unchained",
        "INSERT INTO audit_log (id, at, actor, method, target, outcome, client, trace_id)
         VALUES (gen_random_uuid(), now() - interval '1 hour', '', '', '', '', '', '')",
    ),
    ("plans.limits", "UPDATE organizations SET projects_limit = projects_limit + 1"),
    (
        "organizations.event_numbers",
        "SELECT organization_number_events(id) FROM organizations; UPDATE organization_streams SET event_seq = 0",
    ),
    ("fleet.session_epochs", "UPDATE node_sessions SET epoch = epoch + 5"),
    ("fleet.revoked_sessions", "UPDATE nodes SET revoked_at = now() - interval '1 minute'"),
    ("fleet.unexplained", "UPDATE nodes SET unexplained = '{abcdefghijklmnopqrst}'"),
    ("projects.quotas", "UPDATE organizations SET projects_used = projects_used + 1"),
    (
        "projects.clusters",
        "INSERT INTO clusters (id, name, kind) VALUES (gen_random_uuid(), 'of-nobody', 'PRIVATE');
         UPDATE projects SET cluster_id = (SELECT id FROM clusters WHERE name = 'of-nobody')",
    ),
    ("projects.node_reservations", "UPDATE node_capacity SET memory_used = memory_used + 1"),
    ("projects.slots", "UPDATE placements SET subnet = '10.0.0.0/27'"),
    ("projects.endpoints", "UPDATE project_endpoints SET port = port + 100"),
    ("projects.placements", "DELETE FROM placements"),
    ("projects.compute", "UPDATE placements SET holds_compute = NOT holds_compute"),
    (
        "projects.removed",
        "INSERT INTO project_specs (project_ref, generation, sealed) SELECT ref, 1, '' FROM projects WHERE state = 'REMOVED'",
    ),
    ("projects.contents", "DELETE FROM project_secrets"),
    ("projects.operations", "UPDATE projects SET state = 'RESTARTING' WHERE state = 'ACTIVE_HEALTHY'"),
    (
        "projects.deadlines",
        "UPDATE operations SET state = 'RUNNING', ended_at = NULL, deadline = now() - interval '1 hour'
         WHERE project_ref IN (SELECT ref FROM projects WHERE state = 'ACTIVE_HEALTHY')",
    ),
    ("projects.ended_operations", "UPDATE operations SET ended_at = NULL"),
    ("projects.desired", "UPDATE projects SET desired = 'STOPPED'"),
    ("projects.applied_generations", "UPDATE placements SET applied_generation = applied_generation - 1"),
    (
        "projects.changes",
        "INSERT INTO project_upgrades
         SELECT DISTINCT ON (project_ref) project_ref, id, 'core', 'core-2', 'INACTIVE', 1, ''::bytea, 0, 0, 0, 0, 0, 0 FROM operations",
    ),
    (
        "projects.change_reservations",
        "INSERT INTO project_upgrades
         SELECT DISTINCT ON (project_ref) project_ref, id, 'core', 'core-2', 'INACTIVE', 1, ''::bytea, 0, 0, 0, 1, 1, 1 FROM operations",
    ),
    (
        "projects.versions",
        "INSERT INTO function_secrets (project_ref, name, version, sealed)
         SELECT ref, 'A', generation, NULL FROM projects WHERE state <> 'REMOVED'",
    ),
    ("projects.event_numbers", "UPDATE projects SET event_seq = event_seq + 1"),
];

impl Rows {
    /// What breaks a rule now, in words.
    pub async fn broken_of_all(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for check in row_checks() {
            for (object, expected, found) in
                sqlx::query_as::<_, (String, String, String)>(check.query).fetch_all(&self.0).await.unwrap()
            {
                broken.push(format!("{} {object}: expected {expected}; found {found}", check.name));
            }
        }
        broken
    }

    /// Panics if a rule whose name begins so is broken.
    pub async fn assert_nothing_broken(&self, prefix: &str) {
        let broken = self.broken_of_all().await;
        let broken: Vec<_> = broken.iter().filter(|line| line.starts_with(prefix)).collect();
        assert!(broken.is_empty(), "{broken:#?}");
    }

    /// Rules that a change breaks. The change is taken back.
    pub async fn broken_by(&self, change: &'static str) -> Vec<&'static str> {
        let mut transaction = self.0.begin().await.unwrap();
        transaction.execute(AssertSqlSafe(change)).await.unwrap();
        let mut broken = Vec::new();
        for check in row_checks() {
            let rows = sqlx::query(check.query).fetch_all(&mut *transaction).await.unwrap();
            if !rows.is_empty() {
                broken.push(check.name);
            }
        }
        transaction.rollback().await.unwrap();
        broken
    }

    /// The row of each session says another epoch than the controller knows.
    pub async fn shift_session_rows(&self, by: i64) {
        let update = "UPDATE node_sessions SET epoch = epoch + $1";
        sqlx::query(update).bind(by).execute(&self.0).await.unwrap();
    }

    /// The row of a project says something else of its services and its state than its agent.
    pub async fn forge_project(&self, project_ref: &str, state: &str) {
        let update = "UPDATE projects SET state = $2, services = '[]' WHERE ref = $1";
        sqlx::query(update).bind(project_ref).bind(state).execute(&self.0).await.unwrap();
    }

    /// Nodes have so much more memory reserved than is.
    pub async fn reserve_too_much(&self, mib: i32) {
        let update = "UPDATE node_capacity SET memory_used = memory_used + $1";
        sqlx::query(update).bind(mib).execute(&self.0).await.unwrap();
    }
}
