//! The schema. One replica at a time prepares it; the others wait, say for whom, and do not wait for ever.
//!
//! The schema can belong to another role than the controller's. Then `supalove-controller migrate` prepares it as its owner and
//! grants the controller's role what it needs, which is less on the audit log; the controller itself only checks it.

use std::time::Duration;

use sqlx::{
    PgConnection, PgPool,
    migrate::{Migrate as _, Migrator},
};
use tokio::time::{Instant, sleep};

use super::grants;
use crate::error::{Error, Result};

/// Key of the advisory lock under which migrations run: "supalove" in ASCII.
const LOCK: i64 = 0x7375_7061_6c6f_7665;
/// Between two tries to take the lock.
const RETRY: Duration = Duration::from_millis(200);
/// Between two lines of the log about a lock that another replica holds.
const LOGGED: Duration = Duration::from_secs(10);
/// How long a replica waits for the lock before it gives its start up. Longer than any migration.
const PATIENCE: Duration = Duration::from_mins(10);

/// Where sqlx keeps what was applied.
const TABLE: &str = "_sqlx_migrations";

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// Whose the schema is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The role of this connection, or one that it is a member of.
    Own,
    /// Another role.
    Other,
}

/// Applies the migrations, or, if the schema is another role's, checks that they were applied.
pub async fn prepare(pool: &PgPool) -> Result<Owner> {
    let owned = sqlx::query_scalar!(
        "SELECT pg_has_role(current_user, c.relowner, 'USAGE') AS \"owned!\" FROM pg_class c
         WHERE c.oid = to_regclass('public.audit_log')"
    );
    if owned.fetch_optional(pool).await?.unwrap_or(true) {
        migrate(pool).await?;
        return Ok(Owner::Own);
    }
    let applied = pool.acquire().await?.list_applied_migrations(TABLE).await.map_err(Error::internal)?;
    let missing: Vec<String> = MIGRATIONS
        .iter()
        .filter(|migration| applied.iter().all(|applied| applied.version != migration.version))
        .map(|migration| format!("{:04}", migration.version))
        .collect();
    if missing.is_empty() {
        return Ok(Owner::Other);
    }
    Err(Error::internal(format!(
        "the control database lacks the migrations {}, and its schema belongs to another role: run \
         `supalove-controller migrate` with the owner's URL",
        missing.join(", ")
    )))
}

/// Applies the migrations as the schema's owner, and grants the controller's role what it needs.
pub async fn migrate_for(pool: &PgPool, role: &str) -> Result<()> {
    let known = sqlx::query!(
        "SELECT quote_ident(r.rolname) AS \"quoted!\", r.rolsuper AS \"superuser!\",
             pg_has_role(r.rolname, current_user, 'MEMBER') AS \"member!\"
         FROM pg_roles r WHERE r.rolname = $1",
        role
    );
    let Some(known) = known.fetch_optional(pool).await? else {
        return Err(Error::field("controller_role", format!("the database server has no role {role:?}")));
    };
    if known.superuser || known.member {
        return Err(Error::field(
            "controller_role",
            format!(
                "{role:?} is a superuser or has the rights of the schema's owner, so nothing could be kept from it"
            ),
        ));
    }
    // Controllers run meanwhile, and a trigger of one migration writes into its new table before the last one has ended.
    grants::grant_new_tables(pool, &known.quoted).await?;
    let migrated = migrate(pool).await;
    let revoked = grants::revoke_new_tables(pool, &known.quoted).await;
    // The cause first: what stopped the migrations may have stopped this, too.
    migrated?;
    revoked?;
    grants::grant(pool, &known.quoted).await
}

/// Applies the migrations through a pool of any kind.
pub async fn migrate(pool: &PgPool) -> Result<()> {
    let mut connection = pool.acquire().await?;
    // A migration may take longer than the statement timeout.
    sqlx::query!("SET statement_timeout = 0").execute(&mut *connection).await?;
    lock(&mut connection, PATIENCE).await?;
    let migrated = MIGRATIONS.run_direct(None, &mut *connection, false).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Tables that grow with what happens. An index on one is built while nobody may write, unless it is built concurrently.
    const GROWN: [&str; 4] = ["audit_log", "operations", "project_events", "requests"];
    /// From this migration on; published ones never change.
    const FIRST: i64 = 30;

    /// The words of a migration, without comments.
    fn words(sql: &str) -> Vec<String> {
        let code =
            sql.lines().map(|line| line.split("--").next().unwrap_or_default()).collect::<Vec<_>>().join(" ");
        code.replace(['(', ';'], " ").split_whitespace().map(str::to_ascii_lowercase).collect()
    }

    /// Says what is wrong with the indexes that a migration makes.
    fn index_fault(sql: &str, no_tx: bool) -> Option<String> {
        let words = words(sql);
        let after = |at: usize, word: &str| {
            words[at..].iter().position(|found| found == word).and_then(|next| words.get(at + next + 1))
        };
        for at in words.iter().enumerate().filter(|(_, word)| *word == "index").map(|(at, _)| at) {
            let made = at > 0 && matches!(words[at - 1].as_str(), "create" | "unique");
            let Some(table) = after(at, "on").filter(|_| made) else { continue };
            let table = table.trim_start_matches("public.");
            let is_new = words
                .windows(3)
                .any(|three| three[0] == "create" && three[1] == "table" && three[2] == table);
            if !GROWN.contains(&table) || is_new {
                continue;
            }
            if words.get(at + 1).is_none_or(|word| word != "concurrently") {
                return Some(format!("an index on {table} stops its writers: CREATE INDEX CONCURRENTLY"));
            }
            if !no_tx || words.iter().filter(|word| *word == "create").count() > 1 {
                return Some(format!(
                    "the index on {table} needs a migration of its own that begins with `-- no-transaction`"
                ));
            }
        }
        None
    }

    #[test]
    fn an_index_on_a_table_that_has_grown_is_built_while_others_write() {
        for migration in MIGRATIONS.iter().filter(|migration| migration.version >= FIRST) {
            let fault = index_fault(migration.sql.as_str(), migration.no_tx);
            assert_eq!(fault, None, "{:04} {}", migration.version, migration.description);
        }
    }

    #[test]
    fn the_rule_tells_indexes_apart() {
        let stops = |sql| index_fault(sql, false).is_some_and(|fault| fault.contains("stops its writers"));
        assert!(stops("CREATE INDEX a ON audit_log (x);"));
        assert!(stops("CREATE UNIQUE INDEX IF NOT EXISTS a ON public.operations(x) WHERE y;"));
        assert!(!stops("CREATE INDEX a ON plans (x); -- CREATE INDEX b ON audit_log (x)"));
        assert!(!stops("CREATE TABLE requests (x int); CREATE INDEX a ON requests (x);"));
        assert!(!stops("DROP INDEX a; COMMENT ON INDEX a IS 'on audit_log'"));
        let concurrently = "-- no-transaction\nCREATE INDEX CONCURRENTLY a ON audit_log (x);";
        assert_eq!(index_fault(concurrently, true), None);
        assert!(index_fault(concurrently, false).is_some(), "PostgreSQL refuses it in a transaction");
        let more = "-- no-transaction\nCREATE INDEX CONCURRENTLY a ON audit_log (x); CREATE TABLE b (x int);";
        assert!(index_fault(more, true).is_some());
    }
}
