//! The control database: the pool of one replica, and its schema.

use std::{str::FromStr as _, time::Duration};

use sqlx::{
    Connection as _, PgPool,
    postgres::{PgConnectOptions, PgDatabaseError, PgPoolOptions},
};

use crate::error::{Error, Result};

/// Maximum number of connections of one replica.
const POOL: u32 = 24;
/// How long a caller waits for a free connection of the pool.
const ACQUIRE: Duration = Duration::from_secs(10);
/// A connection that was used within this time is not pinged before reuse. Pings before each statement would double the
/// round trips; the pool replaces a dead connection after the first error on it.
const ALIVE: Duration = Duration::from_secs(1);
/// Key of the advisory lock under which migrations run: "supalove" in ASCII.
const MIGRATION_LOCK: i64 = 0x7375_7061_6c6f_7665;

/// Returns true if a statement violated the constraint with this name.
pub fn violates(error: &sqlx::Error, constraint: &str) -> bool {
    let violated = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
        .and_then(PgDatabaseError::constraint);
    violated == Some(constraint)
}

/// Opens the pool. Statements have a timeout, so that an abandoned call soon frees its connection.
pub async fn connect(url: &str) -> Result<PgPool> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| Error::field("database_url", "must be a postgresql:// URL"))?
        .application_name("supalove-controller")
        .options([("statement_timeout", "30000"), ("idle_in_transaction_session_timeout", "30000")]);
    let pool = PgPoolOptions::new().max_connections(POOL).acquire_timeout(ACQUIRE).test_before_acquire(false);
    let pool = pool.before_acquire(|connection, used| {
        Box::pin(async move {
            // On an error the pool closes the connection and takes another one.
            if used.idle_for > ALIVE {
                connection.ping().await?;
            }
            Ok(true)
        })
    });
    Ok(pool.connect_with(options).await?)
}

/// Applies the migrations, one replica at a time.
pub async fn migrate(db: &PgPool) -> Result<()> {
    let mut lock = db.acquire().await?;
    // Another replica may hold the lock for longer than the statement timeout.
    sqlx::query!("SET statement_timeout = 0").execute(&mut *lock).await?;
    sqlx::query!("SELECT pg_advisory_lock($1)", MIGRATION_LOCK).fetch_one(&mut *lock).await?;
    let migrated = sqlx::migrate!("../migrations").run_direct(None, &mut *lock, false).await;
    sqlx::query!("SELECT pg_advisory_unlock($1)", MIGRATION_LOCK).fetch_one(&mut *lock).await?;
    lock.close_on_drop();
    migrated.map_err(Error::internal)
}
