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
    pub async fn falsify(&self, statements: &str) {
        let mut transaction = self.0.begin().await.unwrap();
        transaction.execute("SET LOCAL session_replication_role = replica").await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// The platform's part of the audit log has only so many rows, which are not chained yet and are 400 days old.
    pub async fn begin_audit_log_long_ago(&self, rows: i32) {
        let mut transaction = self.0.begin().await.unwrap();
        transaction.execute("SET LOCAL session_replication_role = replica").await.unwrap();
        transaction
            .execute(
                "DELETE FROM audit_log; DELETE FROM audit_checkpoints; DELETE FROM audit_chains; DELETE FROM audit_digests",
            )
            .await
            .unwrap();
        let insert = "INSERT INTO audit_log (id, at, actor, method, target, outcome, client, trace_id)
            SELECT gen_random_uuid(), now() - interval '400 days' + make_interval(secs => n), 'x', 'x', '', 'OK', '', ''
            FROM generate_series(1, $1) AS n";
        sqlx::query(insert).bind(rows).execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// Places of the first and the newest chained row of the platform's part of the audit log, and how many of its rows are
    /// not chained.
    pub async fn audit_chain(&self) -> (i64, i64, i64) {
        self.audit_chain_of(uuid::Uuid::nil()).await
    }

    /// The same of an organization's part.
    pub async fn audit_chain_of(&self, chain: uuid::Uuid) -> (i64, i64, i64) {
        let query = "SELECT coalesce(min(seq), 0), coalesce(max(seq), 0), count(*) FILTER (WHERE seq IS NULL)
            FROM audit_log WHERE chain = $1";
        sqlx::query_as(query).bind(chain).fetch_one(&self.0).await.unwrap()
    }

    /// An organization's part of the audit log begins with so many rows of so many days ago, which are not chained yet.
    pub async fn begin_audit_chain_long_ago(&self, chain: uuid::Uuid, rows: i32, days: i32) {
        let insert = "INSERT INTO audit_log (id, at, actor, method, target, outcome, client, trace_id, chain, credential)
            SELECT gen_random_uuid(), now() - make_interval(days => $3) + make_interval(secs => n), 'x', 'x', '', 'OK', '', '',
                $2, 'SESSION' FROM generate_series(1, $1) AS n";
        sqlx::query(insert).bind(rows).bind(chain).bind(days).execute(&self.0).await.unwrap();
    }

    /// The audit log is as a controller before organizations had chains of their own has left it: one chain, without heads.
    pub async fn audit_log_of_one_chain(&self, rows: i32) {
        self.falsify(
            "DELETE FROM audit_log; DELETE FROM audit_checkpoints; DELETE FROM audit_chains; DELETE FROM audit_digests",
        )
        .await;
        let insert = "WITH RECURSIVE fresh AS (
                SELECT n, gen_random_uuid() AS id, date_trunc('second', now()) - make_interval(hours => 10) + make_interval(secs => n) AS at
                FROM generate_series(1, $1) AS n),
            chained (n, id, at, hash) AS (
                SELECT n, id, at, sha256(convert_to(concat_ws(E'\\x1f', id, extract(epoch FROM at), 'x', 'y', '', 'OK', '', ''), 'UTF8'))
                FROM fresh WHERE n = 1
                UNION ALL
                SELECT f.n, f.id, f.at, sha256(c.hash
                    || convert_to(concat_ws(E'\\x1f', f.id, extract(epoch FROM f.at), 'x', 'y', '', 'OK', '', ''), 'UTF8'))
                FROM chained c JOIN fresh f ON f.n = c.n + 1)
            INSERT INTO audit_log (id, at, actor, method, target, outcome, client, trace_id, seq, chain_hash)
            SELECT id, at, 'x', 'y', '', 'OK', '', '', n, hash FROM chained";
        sqlx::query(insert).bind(rows).execute(&self.0).await.unwrap();
    }

    /// Writes a row of an organization's part of the audit log, by an act called `late`; the transaction is left open.
    pub async fn audit_late(&self, chain: uuid::Uuid) -> sqlx::Transaction<'static, sqlx::Postgres> {
        let mut transaction = self.0.begin().await.unwrap();
        let insert =
            "INSERT INTO audit_log (id, actor, method, target, outcome, client, trace_id, chain, credential)
            VALUES (gen_random_uuid(), 'x', 'late', '', 'OK', '', '', $1, 'SESSION')";
        sqlx::query(insert).bind(chain).execute(&mut *transaction).await.unwrap();
        transaction
    }

    /// The rows of the audit log but those of its own hourly digests.
    pub async fn acts_on_record(&self) -> i64 {
        self.one("SELECT count(*) FROM audit_log WHERE method NOT LIKE '%/digest_audit_chains'").await
    }

    /// The digests of the chains are so old that the next run of the job takes another one.
    pub async fn age_digests(&self) {
        self.falsify("UPDATE audit_digests SET at = at - interval '1 hour'").await;
    }

    /// How many digests of the chains are chained.
    pub async fn chained_digests(&self) -> i64 {
        self.one(
            "SELECT count(*) FROM audit_log WHERE method LIKE '%/digest_audit_chains' AND seq IS NOT NULL",
        )
        .await
    }

    /// Targets of the rows of the audit log by one RPC, with the organization in whose part each is.
    pub async fn audited_in(&self, rpc: &str) -> Vec<(uuid::Uuid, String)> {
        let query = "SELECT chain, target FROM audit_log WHERE method LIKE '%/' || $1 ORDER BY at, id";
        sqlx::query_as(query).bind(rpc).fetch_all(&self.0).await.unwrap()
    }

    /// Rows about an organization, or about a project in one, that are not in its part of the audit log, though no stranger
    /// caused them.
    pub async fn audit_rows_outside_of_their_organization(&self) -> Vec<String> {
        let query = "SELECT format('%s %s: %s', method, target, outcome) FROM audit_log l
            WHERE outcome <> 'NotFound' AND chain IS DISTINCT FROM coalesce(
                (SELECT organization_id FROM projects p WHERE p.ref = l.target),
                (SELECT id FROM organizations o WHERE l.target LIKE 'org_' || replace(o.id::text, '-', '') || '%'),
                chain)
                -- What happened to a project before its transfer stays where it was, with the transfer.
                AND NOT EXISTS (SELECT FROM audit_log t WHERE t.target = l.target AND t.chain = l.chain
                    AND t.method LIKE '%/TransferProject' AND t.outcome = 'OK')";
        sqlx::query_scalar(query).fetch_all(&self.0).await.unwrap()
    }

    /// The id of an organization.
    pub async fn organization_id(&self, slug: &str) -> uuid::Uuid {
        let query = "SELECT id FROM organizations WHERE slug = $1";
        sqlx::query_scalar(query).bind(slug).fetch_one(&self.0).await.unwrap()
    }

    /// Everything that has an age is so old.
    pub async fn age_all(&self, by: Duration) {
        for update in [
            "UPDATE projects SET removed_at = removed_at - make_interval(secs => $1)",
            "UPDATE project_events SET at = at - make_interval(secs => $1)",
            "UPDATE operations SET ended_at = ended_at - make_interval(secs => $1)",
            "UPDATE organization_events SET at = at - make_interval(secs => $1)",
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
