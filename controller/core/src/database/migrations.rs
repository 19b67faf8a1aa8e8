//! The schema. One replica at a time prepares it; the others wait, say for whom, and do not wait for ever.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use tokio::time::{Instant, sleep};

use crate::error::{Error, Result};

/// Key of the advisory lock under which migrations run: "supalove" in ASCII.
const LOCK: i64 = 0x7375_7061_6c6f_7665;
/// Between two tries to take the lock.
const RETRY: Duration = Duration::from_millis(200);
/// Between two lines of the log about a lock that another replica holds.
const LOGGED: Duration = Duration::from_secs(10);
/// How long a replica waits for the lock before it gives its start up. Longer than any migration.
const PATIENCE: Duration = Duration::from_mins(10);

/// Applies the migrations through a pool of any kind.
pub async fn migrate(pool: &PgPool) -> Result<()> {
    let mut connection = pool.acquire().await?;
    // A migration may take longer than the statement timeout.
    sqlx::query!("SET statement_timeout = 0").execute(&mut *connection).await?;
    lock(&mut connection, PATIENCE).await?;
    let migrated = sqlx::migrate!("../migrations").run_direct(None, &mut *connection, false).await;
    sqlx::query!("SELECT pg_advisory_unlock($1)", LOCK).fetch_one(&mut *connection).await?;
    connection.close_on_drop();
    migrated.map_err(Error::internal)
}

async fn lock(connection: &mut PgConnection, patience: Duration) -> Result<()> {
    let began = Instant::now();
    let mut logged = None;
    loop {
        let taken = sqlx::query_scalar!("SELECT pg_try_advisory_lock($1) AS \"taken!\"", LOCK);
        if taken.fetch_one(&mut *connection).await? {
            return Ok(());
        }
        let waited = began.elapsed();
        if logged.is_none_or(|at: Instant| at.elapsed() >= LOGGED) || waited >= patience {
            let holder = holder(connection).await?;
            if waited >= patience {
                return Err(Error::Unavailable {
                    message: format!(
                        "another process has been preparing the control database for {} s: {holder}; end it if it hangs",
                        waited.as_secs()
                    ),
                    retry_after: LOGGED,
                });
            }
            tracing::warn!(holder, ?waited, "start waits: another process prepares the control database");
            logged = Some(Instant::now());
        }
        sleep(RETRY).await;
    }
}

/// Who holds the lock, for people.
async fn holder(connection: &mut PgConnection) -> Result<String> {
    let found = sqlx::query_scalar!(
        "SELECT format('%s, process %s of PostgreSQL, from %s, since %s', a.application_name, a.pid,
             coalesce(host(a.client_addr), 'this host'), to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'))
             AS \"holder!\"
         FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
         WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
             AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
             AND (l.classid::bigint << 32 | l.objid::bigint) = $1 LIMIT 1",
        LOCK,
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.unwrap_or_else(|| "it has just ended".to_owned()))
}
