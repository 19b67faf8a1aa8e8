//! The control database: the pool of one replica, and its schema.

use std::{str::FromStr as _, time::Duration};

use sqlx::{
    Connection as _, PgPool,
    postgres::{PgConnectOptions, PgDatabaseError, PgPoolOptions},
};

use crate::error::{Error, Result};

/// Connections of one replica.
const POOL: u32 = 24;
/// For a connection of the pool to become free.
const ACQUIRE: Duration = Duration::from_secs(10);
/// A connection that was used so lately is taken for alive. Asking each one before each statement would double the round
/// trips; a dead one is replaced after the error of the call that finds it.
const ALIVE: Duration = Duration::from_secs(1);
/// Key of the advisory lock under which migrations run: "supalove" in ASCII.
const MIGRATION_LOCK: i64 = 0x7375_7061_6c6f_7665;

/// Whether a statement failed because it violates the constraint of this name.
pub fn violates(error: &sqlx::Error, constraint: &str) -> bool {
    let violated = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
        .and_then(PgDatabaseError::constraint);
    violated == Some(constraint)
}

/// Connects. Statements have a time limit, so that a call's deadline frees its connection too.
pub async fn connect(url: &str) -> Result<PgPool> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| Error::field("database_url", "must be a postgresql:// URL"))?
        .application_name("supalove-controller")
        .options([("statement_timeout", "30000"), ("idle_in_transaction_session_timeout", "30000")]);
    let pool = PgPoolOptions::new().max_connections(POOL).acquire_timeout(ACQUIRE).test_before_acquire(false);
    let pool = pool.before_acquire(|connection, used| {
        Box::pin(async move {
            // An error here closes the connection, and another one is taken.
            if used.idle_for > ALIVE {
                connection.ping().await?;
            }
            Ok(true)
        })
    });
    Ok(pool.connect_with(options).await?)
}

/// Brings the schema up to date, one replica at a time.
pub async fn migrate(db: &PgPool) -> Result<()> {
    let mut lock = db.acquire().await?;
    // Another replica may migrate for longer than a statement may take.
    sqlx::query!("SET statement_timeout = 0").execute(&mut *lock).await?;
    sqlx::query!("SELECT pg_advisory_lock($1)", MIGRATION_LOCK).fetch_one(&mut *lock).await?;
    let migrated = sqlx::migrate!("../migrations").run_direct(None, &mut *lock, false).await;
    sqlx::query!("SELECT pg_advisory_unlock($1)", MIGRATION_LOCK).fetch_one(&mut *lock).await?;
    lock.close_on_drop();
    migrated.map_err(Error::internal)
}
