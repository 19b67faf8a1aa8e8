//! Replicas of the controller and their jobs.

use std::time::Duration;

use sqlx::{Executor as _, Postgres, Transaction};
use uuid::Uuid;

use super::Rows;

impl Rows {
    /// The table of the fleet's roots has another name, so whoever reads it fails.
    pub async fn take_roots_away(&self) {
        self.0.execute("ALTER TABLE authorities RENAME TO authorities_away").await.unwrap();
    }

    /// It has its name again.
    pub async fn bring_roots_back(&self) {
        self.0.execute("ALTER TABLE authorities_away RENAME TO authorities").await.unwrap();
    }

    /// As if a replica had shown no sign of life for so long.
    pub async fn let_replica_be_silent(&self, replica: Uuid, silent: Duration) {
        let seen = "UPDATE controllers SET seen_at = now() - make_interval(secs => $2) WHERE id = $1";
        let results =
            "UPDATE job_results SET succeeded_at = now() - make_interval(secs => $2), failed_at = NULL
            WHERE controller_id = $1";
        for update in [seen, results] {
            sqlx::query(update).bind(replica).bind(silent.as_secs_f64()).execute(&self.0).await.unwrap();
        }
    }

    /// As if the replicas had been there for so long, and would have heard the nodes.
    pub async fn let_replicas_watch(&self, watched: Duration) {
        let update = "UPDATE controllers SET watching_since = now() - make_interval(secs => $1)";
        sqlx::query(update).bind(watched.as_secs_f64()).execute(&self.0).await.unwrap();
    }

    /// As if no replica had shown a sign of life for so long.
    pub async fn let_replicas_be_silent(&self, silent: Duration) {
        let update = "UPDATE controllers SET seen_at = now() - make_interval(secs => $1)";
        sqlx::query(update).bind(silent.as_secs_f64()).execute(&self.0).await.unwrap();
    }

    /// Whether the replica that was started last has run a job.
    pub async fn newest_replica_has_run(&self, job: &str) -> bool {
        let query = "SELECT EXISTS (SELECT FROM job_results WHERE job = $1 AND succeeded_at IS NOT NULL
            AND controller_id = (SELECT id FROM controllers ORDER BY started_at DESC LIMIT 1))";
        sqlx::query_scalar(query).bind(job).fetch_one(&self.0).await.unwrap()
    }

    /// As if another process prepared the database, until the transaction ends. Its name is `preparing`.
    pub async fn prepare_for_ever(&self) -> Transaction<'static, Postgres> {
        let mut transaction = self.0.begin().await.unwrap();
        transaction.execute("SET LOCAL application_name = 'preparing'").await.unwrap();
        let lock = "SELECT pg_advisory_xact_lock(x'737570616c6f7665'::bigint)";
        transaction.execute(lock).await.unwrap();
        transaction
    }

    /// Whatever replica comes next gets each lease.
    pub async fn end_leases(&self) {
        self.change("UPDATE leases SET expires_at = now()").await;
    }

    /// How many results of a replica's jobs are kept.
    pub async fn job_results_of(&self, replica: Uuid) -> i64 {
        let query = "SELECT count(*) FROM job_results WHERE controller_id = $1";
        sqlx::query_scalar(query).bind(replica).fetch_one(&self.0).await.unwrap()
    }

    /// As if the database had been away: nobody is seen to be alive, until [`Rows::replicas_are_seen`].
    pub async fn no_replica_is_seen(&self) {
        let statements = "CREATE FUNCTION unseen() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN NEW.seen_at := now() - interval '1 minute'; RETURN NEW; END $$;
            CREATE TRIGGER unseen BEFORE UPDATE ON controllers FOR EACH ROW EXECUTE FUNCTION unseen();
            UPDATE controllers SET seen_at = now()";
        self.0.execute(statements).await.unwrap();
    }

    /// The replicas that live are seen again.
    pub async fn replicas_are_seen(&self) {
        self.0.execute("DROP TRIGGER unseen ON controllers; DROP FUNCTION unseen").await.unwrap();
    }

    /// Writes a sealed value of the platform; the transaction is left open. An error says why it is refused.
    pub async fn write_secret(
        &self,
        name: &str,
        sealed: &[u8],
    ) -> Result<Transaction<'static, Postgres>, String> {
        let mut transaction = self.0.begin().await.unwrap();
        let insert = "INSERT INTO platform_secrets (name, sealed) VALUES ($1, $2)";
        let written = sqlx::query(insert).bind(name).bind(sealed).execute(&mut *transaction).await;
        written.map(|_| transaction).map_err(|error| error.to_string())
    }

    /// Columns on whose sealed values a trigger looks, "table.column".
    pub async fn columns_with_guarded_keys(&self) -> Vec<String> {
        let query = r"SELECT format('%s.%s', c.relname, replace(encode(t.tgargs, 'escape'), '\000', ''))
            FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
            WHERE p.proname = 'vault_key_is_in_use'";
        sqlx::query_scalar(query).fetch_all(&self.0).await.unwrap()
    }
}
