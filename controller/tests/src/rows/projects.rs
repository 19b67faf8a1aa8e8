//! Projects and operations.

use sqlx::{Executor as _, Row as _};

use super::{OF_A_PROJECT, Rows, Standing};

impl Rows {
    /// Ends the time of all operations; returns how many had some left.
    pub async fn end_times(&self) -> u64 {
        self.change("UPDATE operations SET deadline = now() WHERE ended_at IS NULL").await
    }

    /// As if pending operations had waited for longer than they may.
    pub async fn age_pending_operations(&self) {
        self.change(
            "UPDATE operations SET created_at = created_at - interval '25 hours' WHERE state = 'PENDING'",
        )
        .await;
    }

    /// As if the time of all operations had ended long ago.
    pub async fn end_times_long_ago(&self) {
        self.change("UPDATE operations SET deadline = now() - interval '1 hour' WHERE ended_at IS NULL")
            .await;
    }

    /// Ends a project's change when the transaction ends; until then nobody reads what it returns to.
    pub async fn end_change(&self, project_ref: &str) -> sqlx::Transaction<'static, sqlx::Postgres> {
        let mut change = self.0.begin().await.unwrap();
        change.execute("LOCK TABLE project_upgrades IN ACCESS EXCLUSIVE MODE").await.unwrap();
        for statement in [
            "DELETE FROM project_upgrades WHERE project_ref = $1",
            "UPDATE operations SET state = 'SUCCEEDED', ended_at = now() WHERE project_ref = $1 AND ended_at IS NULL",
            "UPDATE projects SET state = 'ACTIVE_HEALTHY', revision = revision + 1 WHERE ref = $1",
        ] {
            sqlx::query(statement).bind(project_ref).execute(&mut *change).await.unwrap();
        }
        change
    }

    /// As if a project had come into a state.
    pub async fn set_state(&self, project_ref: &str, state: &str) {
        let update = "UPDATE projects SET state = $2 WHERE ref = $1";
        sqlx::query(update).bind(project_ref).bind(state).execute(&self.0).await.unwrap();
    }

    /// As if a project had been created with another release.
    pub async fn set_release(&self, project_ref: &str, release: &str) {
        let update = "UPDATE projects SET release = $2 WHERE ref = $1";
        sqlx::query(update).bind(project_ref).bind(release).execute(&self.0).await.unwrap();
    }

    /// As if a project had been created in this cluster.
    pub async fn set_cluster(&self, project_ref: &str, cluster: &str) {
        let update =
            "UPDATE projects SET cluster_id = (SELECT id FROM clusters WHERE name = $2) WHERE ref = $1";
        sqlx::query(update).bind(project_ref).bind(cluster).execute(&self.0).await.unwrap();
    }

    /// Slug of the organization that has a project.
    pub async fn organization_of(&self, project_ref: &str) -> String {
        let query =
            "SELECT o.slug FROM projects p JOIN organizations o ON o.id = p.organization_id WHERE p.ref = $1";
        sqlx::query_scalar(query).bind(project_ref).fetch_one(&self.0).await.unwrap()
    }

    /// Ref of an organization's project of this name.
    pub async fn project_named(&self, slug: &str, name: &str) -> String {
        let query = "SELECT p.ref FROM projects p JOIN organizations o ON o.id = p.organization_id WHERE o.slug = $1 AND p.name = $2";
        sqlx::query_scalar(query).bind(slug).bind(name).fetch_one(&self.0).await.unwrap()
    }

    /// As if a project had always had this name.
    pub async fn rename(&self, project_ref: &str, name: &str) {
        let update = "UPDATE projects SET name = $2 WHERE ref = $1";
        sqlx::query(update).bind(project_ref).bind(name).execute(&self.0).await.unwrap();
    }

    /// Keeps the key of a call until the transaction ends, as the same call on another replica would.
    pub async fn hold_request(
        &self,
        email: &str,
        method: &str,
        request_id: uuid::Uuid,
    ) -> sqlx::Transaction<'static, sqlx::Postgres> {
        let mut held = self.0.begin().await.unwrap();
        let insert = "INSERT INTO requests (user_id, method, request_id, body_sha256, resource)
            SELECT id, $2, $3, '', '' FROM users WHERE email = $1";
        sqlx::query(insert).bind(email).bind(method).bind(request_id).execute(&mut *held).await.unwrap();
        held
    }

    /// How many placements and projects there are.
    pub async fn placements_and_projects(&self) -> (i64, i64) {
        let query = "SELECT (SELECT count(*) FROM placements), (SELECT count(*) FROM projects)";
        sqlx::query_as(query).fetch_one(&self.0).await.unwrap()
    }

    /// Makes the certificate of a project's database due for renewal.
    pub async fn end_certificate(&self, project_ref: &str) {
        let update = "UPDATE project_certificates SET renew_at = now() WHERE project_ref = $1";
        sqlx::query(update).bind(project_ref).execute(&self.0).await.unwrap();
    }

    /// As if a project's database were reached under another name.
    pub async fn set_database_host(&self, project_ref: &str, host: &str) {
        let update =
            "UPDATE project_endpoints SET host = $2 WHERE project_ref = $1 AND scheme = 'postgresql'";
        sqlx::query(update).bind(project_ref).bind(host).execute(&self.0).await.unwrap();
    }

    /// As if a healthy project still waited for a node, as an older backup has it.
    pub async fn lose_placement(&self, project_ref: &str) {
        let mut transaction = self.0.begin().await.unwrap();
        for statement in [
            "SELECT node_release(l.node_id, p.cpu_millis, p.memory_mib, p.disk_mib, l.slot)
             FROM placements l JOIN projects p ON p.ref = l.project_ref WHERE p.ref = $1",
            "DELETE FROM placements WHERE project_ref = $1",
            "DELETE FROM project_endpoints WHERE project_ref = $1",
            "UPDATE operations SET state = 'PENDING', ended_at = NULL, deadline = NULL WHERE project_ref = $1",
            "UPDATE projects SET state = 'COMING_UP', services = '[]', revision = revision + 1 WHERE ref = $1",
        ] {
            sqlx::query(statement).bind(project_ref).execute(&mut *transaction).await.unwrap();
        }
        transaction.commit().await.unwrap();
    }

    /// How many secrets of a project are kept.
    pub async fn secrets_of(&self, project_ref: &str) -> i64 {
        let query = "SELECT count(*) FROM project_secrets WHERE project_ref = $1";
        sqlx::query_scalar(query).bind(project_ref).fetch_one(&self.0).await.unwrap()
    }

    /// What is held for all projects: quota of the only organization, placements, secrets.
    pub async fn held(&self) -> (i32, i64, i64) {
        let query =
            "SELECT projects_used, (SELECT count(*) FROM placements), (SELECT count(*) FROM project_secrets)
            FROM organizations";
        sqlx::query_as(query).fetch_one(&self.0).await.unwrap()
    }

    /// Projects that lack an operation, a specification or their newest event.
    pub async fn half_made_projects(&self) -> i64 {
        self.one(
            "SELECT count(*) FROM projects p WHERE NOT EXISTS (SELECT 1 FROM operations o WHERE o.project_ref = p.ref)
                 OR NOT EXISTS (SELECT 1 FROM project_specs s WHERE s.project_ref = p.ref)
                 OR NOT EXISTS (SELECT 1 FROM project_events e WHERE e.project_ref = p.ref AND e.seq = p.event_seq)",
        )
        .await
    }

    /// The slots that are taken: node and number.
    pub async fn taken_slots(&self) -> Vec<(String, i32)> {
        let query = "SELECT n.name, p.slot FROM placements p JOIN nodes n ON n.id = p.node_id";
        sqlx::query_as(query).fetch_all(&self.0).await.unwrap()
    }

    /// Where a project is: slot, first port, network.
    pub async fn placement(&self, project_ref: &str) -> (i32, i32, String) {
        let query = "SELECT slot, port_base, subnet::text FROM placements WHERE project_ref = $1";
        sqlx::query_as(query).bind(project_ref).fetch_one(&self.0).await.unwrap()
    }

    /// Number of a project's newest event.
    pub async fn newest_event(&self, project_ref: &str) -> i64 {
        let query = "SELECT event_seq FROM projects WHERE ref = $1";
        sqlx::query_scalar(query).bind(project_ref).fetch_one(&self.0).await.unwrap()
    }

    /// How many acts wait to read the change that a project returns from.
    pub async fn waiting_for_a_change(&self) -> i64 {
        self.one(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                 AND query LIKE '%FROM project_upgrades u WHERE operation_id = $1%'",
        )
        .await
    }

    /// Types of a project's events behind this one.
    pub async fn event_types_after(&self, project_ref: &str, seq: i64) -> Vec<String> {
        let query = "SELECT type FROM project_events WHERE project_ref = $1 AND seq > $2 ORDER BY seq";
        sqlx::query_scalar(query).bind(project_ref).bind(seq).fetch_all(&self.0).await.unwrap()
    }

    /// See [`Standing`].
    pub async fn standing(&self, project_ref: &str) -> Standing {
        let query = "SELECT (SELECT count(*) FROM projects) projects, p.state,
                 (SELECT o.state FROM operations o WHERE o.project_ref = p.ref ORDER BY created_at DESC LIMIT 1) operation,
                 (SELECT count(*) FROM placements l WHERE l.project_ref = p.ref) placements,
                 (SELECT count(*) FROM placements l WHERE l.project_ref = p.ref AND l.holds_compute) with_compute,
                 (SELECT count(*) FROM project_secrets s WHERE s.project_ref = p.ref)
                     + (SELECT count(*) FROM project_specs s WHERE s.project_ref = p.ref)
                     + (SELECT count(*) FROM project_endpoints e WHERE e.project_ref = p.ref) kept
             FROM projects p WHERE p.ref = $1";
        let row = sqlx::query(query).bind(project_ref).fetch_one(&self.0).await.unwrap();
        Standing {
            projects: row.get("projects"),
            state: row.get("state"),
            operation: row.get("operation"),
            placements: row.get("placements"),
            with_compute: row.get("with_compute"),
            kept: row.get("kept"),
        }
    }

    /// What does not hold of a project's rows after so many acts on it, and of all rows together, in words.
    pub async fn broken(&self, project_ref: &str, acts: i64) -> Vec<String> {
        let mut broken = Vec::new();
        for (what, query) in OF_A_PROJECT {
            let query = sqlx::query_scalar(*query).bind(project_ref).bind(acts);
            let holds: Option<bool> = query.fetch_one(&self.0).await.unwrap();
            if holds != Some(true) {
                broken.push((*what).to_owned());
            }
        }
        broken.extend(self.broken_of_all().await);
        broken
    }
}
