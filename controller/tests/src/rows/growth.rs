//! What grows.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Executor as _};

use super::Rows;

impl Rows {
    /// The rows of a table.
    pub async fn count(&self, table: &'static str) -> i64 {
        let query = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        sqlx::query_scalar(query).fetch_one(&self.0).await.unwrap()
    }

    /// Rows of a project in a table of its own rows.
    pub async fn count_of(&self, table: &'static str, project_ref: &str) -> i64 {
        let query = AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE project_ref = $1"));
        sqlx::query_scalar(query).bind(project_ref).fetch_one(&self.0).await.unwrap()
    }

    /// Whether a statement is refused. It is rolled back in any case.
    pub async fn refuses(&self, statement: &'static str) -> bool {
        let mut transaction = self.0.begin().await.unwrap();
        transaction.execute(statement).await.is_err()
    }

    /// Changes what triggers protect, as who owns the tables can.
    pub async fn falsify(&self, statements: &'static str) {
        let mut transaction = self.0.begin().await.unwrap();
        transaction.execute("SET LOCAL session_replication_role = replica").await.unwrap();
        transaction.execute(statements).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// The audit log has only so many rows, which are not chained yet and are 400 days old.
    pub async fn begin_audit_log_long_ago(&self, rows: i32) {
        let mut transaction = self.0.begin().await.unwrap();
        transaction.execute("SET LOCAL session_replication_role = replica").await.unwrap();
        transaction.execute("DELETE FROM audit_log; DELETE FROM audit_checkpoints").await.unwrap();
        let insert = "INSERT INTO audit_log (id, at, actor, method, target, outcome, client, trace_id)
            SELECT gen_random_uuid(), now() - interval '400 days' + make_interval(secs => n), 'x', 'x', '', 'OK', '', ''
            FROM generate_series(1, $1) AS n";
        sqlx::query(insert).bind(rows).execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// Places of the first and the newest chained row of the audit log, and how many rows are not chained.
    pub async fn audit_chain(&self) -> (i64, i64, i64) {
        let query = "SELECT coalesce(min(seq), 0), coalesce(max(seq), 0), count(*) FILTER (WHERE seq IS NULL) FROM audit_log";
        sqlx::query_as(query).fetch_one(&self.0).await.unwrap()
    }

    /// Everything that has an age is so old.
    pub async fn age_all(&self, by: Duration) {
        for update in [
            "UPDATE projects SET removed_at = removed_at - make_interval(secs => $1)",
            "UPDATE project_events SET at = at - make_interval(secs => $1)",
            "UPDATE operations SET ended_at = ended_at - make_interval(secs => $1)",
            "UPDATE join_tokens SET expires_at = expires_at - make_interval(secs => $1)",
            "UPDATE user_sessions SET expires_at = expires_at - make_interval(secs => $1)",
            "UPDATE personal_access_tokens SET expires_at = expires_at - make_interval(secs => $1)",
            "UPDATE organizations SET deleted_at = deleted_at - make_interval(secs => $1)",
            "UPDATE requests SET created_at = created_at - make_interval(secs => $1)",
            "UPDATE refused_calls SET minute = minute - make_interval(secs => $1)",
            "UPDATE certificates SET not_after = not_after - make_interval(secs => $1)",
            "UPDATE controllers SET seen_at = seen_at - make_interval(secs => $1)",
        ] {
            sqlx::query(update).bind(by.as_secs_f64()).execute(&self.0).await.unwrap();
        }
        self.change("UPDATE job_results SET succeeded_at = now() - interval '10 days', failed_at = NULL")
            .await;
    }

    /// Two certificates of each node, and a session of it with a replica that is gone.
    pub async fn add_certificates_and_sessions(&self) {
        self.change(
            "INSERT INTO certificates (serial, node_id, key_sha256, not_before, not_after, created_at)
             SELECT n.id::text || k, n.id, '', now(), now(), now() + make_interval(secs => k)
             FROM nodes n, generate_series(1, 2) AS k",
        )
        .await;
        self.change(
            "INSERT INTO node_sessions (node_id, controller_id, epoch) SELECT id, gen_random_uuid(), 1 FROM nodes",
        )
        .await;
    }

    /// Deletes the replicas, as a job does with those that it takes for dead.
    pub async fn forget_replicas(&self) {
        self.change("DELETE FROM controllers").await;
    }
}
