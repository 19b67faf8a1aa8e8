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
}
