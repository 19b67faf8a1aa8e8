//! Faults of the database, and what they leave.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Postgres, Transaction};
use uuid::Uuid;

use super::Rows;

impl Rows {
    /// The database's clock, in seconds.
    pub async fn now(&self) -> f64 {
        sqlx::query_scalar("SELECT extract(epoch FROM clock_timestamp())::float8")
            .fetch_one(&self.0)
            .await
            .unwrap()
    }

    /// What has shown no sign of life since that time: replicas, nodes, jobs that run often.
    pub async fn loops_silent_since(&self, since: f64) -> Vec<String> {
        let query = "SELECT 'replica' FROM controllers WHERE seen_at <= to_timestamp($1)
             UNION ALL SELECT name FROM nodes WHERE seen_at <= to_timestamp($1)
             UNION ALL SELECT job FROM job_results
                 WHERE job NOT LIKE '%prune' AND coalesce(succeeded_at, '-infinity') <= to_timestamp($1)
                     AND job NOT IN ('core.sign_audit', 'identity.rotate_signing_key', 'images.collect', 'usage.limits',
                         'usage.roll_up')";
        sqlx::query_scalar(query).bind(since).fetch_all(&self.0).await.unwrap()
    }

    /// As if the database had been restored from a backup.
    pub async fn claim_restore(&self) {
        self.change(
            "UPDATE platform SET restore_seen_at = now(), restore_id = gen_random_uuid(), restore_detail = 'claimed by a test'",
        )
        .await;
    }

    /// How many claims of nodes show a restore.
    pub async fn restore_claims(&self) -> i64 {
        self.one("SELECT count(*) FROM restore_claims").await
    }

    /// When a node was last seen, in seconds.
    pub async fn seen_at(&self, node: Uuid) -> f64 {
        let query = "SELECT extract(epoch FROM seen_at)::float8 FROM nodes WHERE id = $1";
        sqlx::query_scalar(query).bind(node).fetch_one(&self.0).await.unwrap()
    }

    /// As if a node had been silent for so long; its row stays locked until the transaction ends.
    pub async fn silence_and_lock(&self, node: Uuid, silent: Duration) -> Transaction<'static, Postgres> {
        let update = "UPDATE nodes SET seen_at = now() - make_interval(secs => $2) WHERE id = $1";
        let lock = "SELECT id FROM nodes WHERE id = $1 FOR UPDATE";
        sqlx::query(update).bind(node).bind(silent.as_secs_f64()).execute(&self.0).await.unwrap();
        let mut transaction = self.0.begin().await.unwrap();
        sqlx::query(lock).bind(node).execute(&mut *transaction).await.unwrap();
        transaction
    }

    /// Each change of a project fails with this SQLSTATE.
    pub async fn refuse_project_updates(&self, code: &str) {
        let function = format!(
            "CREATE SEQUENCE refused_updates;
             CREATE FUNCTION refuse_update() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 PERFORM nextval('refused_updates');
                 RAISE EXCEPTION USING ERRCODE = '{code}', MESSAGE = 'as a test asks';
             END $$;
             CREATE TRIGGER refuse_update BEFORE UPDATE ON projects FOR EACH ROW EXECUTE FUNCTION refuse_update()"
        );
        sqlx::raw_sql(AssertSqlSafe(function)).execute(&self.0).await.unwrap();
    }

    /// How many changes were refused.
    pub async fn refused_updates(&self) -> i64 {
        self.one("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM refused_updates").await
    }

    /// Changes of projects succeed again.
    pub async fn accept_project_updates(&self) {
        let drop = "DROP TRIGGER refuse_update ON projects; DROP FUNCTION refuse_update(); DROP SEQUENCE refused_updates";
        sqlx::raw_sql(drop).execute(&self.0).await.unwrap();
    }
}
