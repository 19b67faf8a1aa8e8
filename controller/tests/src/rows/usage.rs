//! What projects use.

use std::time::Duration;

use uuid::Uuid;

use super::Rows;

/// Amounts of each synthetic row: an even load.
const SYNTHETIC: &str = "60000, 1000000, 60 * 1024, 2048, 100, 200, 300, 400, 500, 600, 700";

impl Rows {
    /// Samples of so many made-up projects of an organization, as `days` of minutes, hours and days have left them.
    pub async fn add_usage(&self, slug: &str, projects: i32, days: i32) {
        for (step, unit, kept) in
            [("MINUTE", "1 minute", 2.min(days)), ("HOUR", "1 hour", days), ("DAY", "1 day", days)]
        {
            let insert = format!(
                "INSERT INTO project_usage (project_ref, step, at, organization_id, covered_ms, cpu_us, memory_kib_seconds,
                     memory_max_kib, received_bytes, sent_bytes, read_bytes, written_bytes, database_bytes, storage_bytes,
                     other_bytes)
                 SELECT translate(lpad(n::text, 20, '0'), '0123456789', 'abcdefghij'), $1, at, o.id, {SYNTHETIC}
                 FROM organizations o, generate_series(1, $3) AS n,
                     generate_series(date_trunc(lower($1), now(), 'UTC') - make_interval(days => $4) + $5::interval,
                         date_trunc(lower($1), now(), 'UTC'), $5::interval) AS at
                 WHERE o.slug = $2"
            );
            let insert = sqlx::query(sqlx::AssertSqlSafe(insert)).bind(step).bind(slug).bind(projects);
            insert.bind(kept).bind(unit).execute(&self.0).await.unwrap();
        }
    }

    /// Everything that is known of usage is so much older.
    pub async fn age_usage(&self, by: Duration) {
        // Two steps, so that no row meets another one on its way.
        for update in [
            "UPDATE project_usage SET at = at - interval '1000 years'",
            "UPDATE cluster_usage SET at = at - interval '1000 years'",
        ] {
            self.change(update).await;
        }
        for update in [
            "UPDATE project_usage SET at = at + interval '1000 years' - make_interval(secs => $1)",
            "UPDATE cluster_usage SET at = at + interval '1000 years' - make_interval(secs => $1)",
        ] {
            sqlx::query(update).bind(by.as_secs_f64()).execute(&self.0).await.unwrap();
        }
    }

    /// All hours that have minutes are to be summed once more.
    pub async fn sum_usage_again(&self) -> u64 {
        self.change(
            "INSERT INTO usage_pending (hour, node_id)
             SELECT DISTINCT date_trunc('hour', at, 'UTC'), (SELECT id FROM nodes LIMIT 1) FROM project_usage
             WHERE step = 'MINUTE' ON CONFLICT DO NOTHING",
        )
        .await
    }

    /// Hours that are to be summed.
    pub async fn usage_pending(&self) -> i64 {
        self.one("SELECT count(*) FROM usage_pending").await
    }

    /// Which versions of which rows of usage there are: another text after any write.
    pub async fn usage_versions(&self) -> String {
        self.one(
            "SELECT md5(string_agg(x, ',' ORDER BY x)) FROM (
                 SELECT format('%s %s %s %s', ctid, xmin, project_ref, at) AS x FROM project_usage WHERE step <> 'MINUTE'
                 UNION ALL SELECT format('%s %s %s %s', ctid, xmin, node_id, at) FROM cluster_usage WHERE step <> 'MINUTE') r",
        )
        .await
    }

    /// Rows of projects by step: minutes, hours, days.
    pub async fn usage_rows(&self) -> (i64, i64, i64) {
        let query = "SELECT count(*) FILTER (WHERE step = 'MINUTE'), count(*) FILTER (WHERE step = 'HOUR'),
            count(*) FILTER (WHERE step = 'DAY') FROM project_usage";
        sqlx::query_as(query).fetch_one(&self.0).await.unwrap()
    }

    /// MiB of the tables of usage, with their indexes.
    pub async fn usage_mib(&self) -> i64 {
        self.one("SELECT (pg_total_relation_size('project_usage') + pg_total_relation_size('cluster_usage')) / 1048576").await
    }

    /// Processor time in microseconds, bytes received and bytes written of a project, of all its rows of a step.
    pub async fn used(&self, project_ref: &str, step: &str) -> (i64, i64, i64) {
        let query = "SELECT coalesce(sum(cpu_us), 0)::bigint, coalesce(sum(received_bytes), 0)::bigint,
            coalesce(sum(written_bytes), 0)::bigint FROM project_usage WHERE project_ref = $1 AND step = $2";
        sqlx::query_as(query).bind(project_ref).bind(step).fetch_one(&self.0).await.unwrap()
    }

    /// Number of the newest record of usage of a node that is stored.
    pub async fn usage_seq(&self, node: Uuid) -> i64 {
        let query = "SELECT coalesce((SELECT seq FROM usage_nodes WHERE node_id = $1), 0)";
        sqlx::query_scalar(query).bind(node).fetch_one(&self.0).await.unwrap()
    }

    /// Nodes and projects exist for so much longer: what is older than they are does not count.
    pub async fn age_fleet(&self, by: Duration) {
        for update in [
            "UPDATE nodes SET created_at = created_at - make_interval(secs => $1)",
            "UPDATE projects SET created_at = created_at - make_interval(secs => $1)",
        ] {
            sqlx::query(update).bind(by.as_secs_f64()).execute(&self.0).await.unwrap();
        }
    }

    /// Copies a project, with a database that holds so much in this minute. Their names sort before others.
    pub async fn copy_with_database(&self, project_ref: &str, copies: i32, bytes: i64) {
        let copy = "WITH copies AS (
                INSERT INTO projects SELECT (jsonb_populate_record(p, jsonb_build_object('name', 'copy-' || i,
                    'ref', translate(lpad(i::text, 20, '0'), '0123456789', 'abcdefghij')))).*
                FROM projects p, generate_series(1, $2) AS i WHERE p.ref = $1 RETURNING ref, organization_id)
            INSERT INTO project_usage (project_ref, step, at, organization_id, covered_ms, cpu_us, memory_kib_seconds, memory_max_kib,
                received_bytes, sent_bytes, read_bytes, written_bytes, database_bytes)
            SELECT ref, 'MINUTE', date_trunc('minute', now()), organization_id, 0, 0, 0, 0, 0, 0, 0, 0, $3 FROM copies";
        sqlx::query(copy).bind(project_ref).bind(copies).bind(bytes).execute(&self.0).await.unwrap();
    }

    /// An hour of the past whose sum is no number that a row can have.
    pub async fn spoil_an_hour(&self) {
        let insert = "WITH hour AS (SELECT date_trunc('hour', now(), 'UTC') - interval '3 hours' AS at),
            minutes AS (
                INSERT INTO project_usage (project_ref, step, at, organization_id, covered_ms, cpu_us, memory_kib_seconds, memory_max_kib,
                    received_bytes, sent_bytes, read_bytes, written_bytes)
                SELECT repeat('z', 20), 'MINUTE', at + make_interval(mins => minute), (SELECT id FROM organizations LIMIT 1), 0,
                    9000000000000000000, 0, 0, 0, 0, 0, 0
                FROM hour, generate_series(1, 2) AS minute)
            INSERT INTO usage_pending (hour, node_id) SELECT at, (SELECT id FROM nodes LIMIT 1) FROM hour";
        self.change(insert).await;
    }
}
