//! Reads and changes of the control database behind the API. All SQL on the product's tables is here, so that a change
//! of the schema affects only this folder.

mod consistency;
mod counters;
mod faults;
mod fleet;
mod growth;
mod images;
mod mail;
mod organization_events;
mod people;
mod plans;
mod projects;
mod replicas;
mod roles;
mod schema;
mod usage;

pub(crate) use self::roles::make_roles;

use sqlx::{AssertSqlSafe, Executor as _, PgPool, Postgres};

pub use consistency::DAMAGES;
pub use counters::{Outcome, Statements};
pub use mail::OutboxRow;

/// The rows of one control database.
#[derive(Clone)]
pub struct Rows(PgPool);

/// What must hold of a project's rows after each act on it; a query answers for the ref and the number of acts.
const OF_A_PROJECT: &[(&str, &str)] = &[
    (
        "each act is one operation, and none is open",
        "SELECT count(*) = $2 AND count(*) FILTER (WHERE ended_at IS NULL) = 0 FROM operations WHERE project_ref = $1",
    ),
    ("each act is one audit row", "SELECT count(*) = $2 FROM audit_log WHERE target = $1 AND outcome = 'OK'"),
    ("each act is remembered under its key", "SELECT count(*) = $2 FROM requests WHERE resource = $1"),
    (
        "each operation begins and ends with one event",
        "SELECT count(*) FILTER (WHERE type IN ('project.created', 'operation.started')) = $2
             AND count(*) FILTER (WHERE type IN ('operation.succeeded', 'operation.failed')) = $2
             AND count(DISTINCT operation_id) = $2
         FROM project_events WHERE project_ref = $1",
    ),
    (
        "events are numbered without gaps",
        "SELECT count(*) > $2 AND count(*) = max(e.seq) AND min(e.seq) = 1
             AND max(e.seq) = (SELECT event_seq FROM projects WHERE ref = $1)
         FROM project_events e WHERE project_ref = $1",
    ),
];

/// A call on record.
#[derive(Debug)]
pub struct Audited {
    /// Who called, "usr_…" and the like.
    pub actor: String,
    /// On what; empty if the call was refused.
    pub target: String,
    /// "OK", or why it was refused.
    pub outcome: String,
}

/// Where a project is, and what it holds.
pub struct Standing {
    /// Projects ever made.
    pub projects: i64,
    /// Its state.
    pub state: String,
    /// State of its newest operation.
    pub operation: String,
    /// Its placements.
    pub placements: i64,
    /// Those of them that hold cpu and memory.
    pub with_compute: i64,
    /// Its secrets, specifications and endpoints.
    pub kept: i64,
}

impl Rows {
    /// Those of a database.
    pub fn new(pool: PgPool) -> Self {
        Self(pool)
    }

    async fn one<T>(&self, query: &'static str) -> T
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
    {
        sqlx::query_scalar(query).fetch_one(&self.0).await.unwrap()
    }

    /// Runs a statement; returns how many rows it changed.
    async fn change(&self, statement: &'static str) -> u64 {
        sqlx::query(statement).execute(&self.0).await.unwrap().rows_affected()
    }
}

/// The server's own counters.
impl Rows {
    /// Transactions in this database since it was made; the server counts those of ended connections and of idle ones.
    pub async fn transactions(&self) -> i64 {
        self.one(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()",
        )
        .await
    }
}

impl Rows {
    /// Deadlocks in this database since it was made. The server adds up those of connections that have ended; `None` while there are
    /// others than this one.
    pub async fn deadlocks(&self) -> Option<i64> {
        let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'
            AND application_name = 'supalove-controller'";
        if self.one::<i64>(others).await > 0 {
            return None;
        }
        Some(self.one("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").await)
    }
}

/// Makes a database on a server. In: a superuser's URL. The new database has what `template` has, to which nobody is connected any more.
pub(crate) async fn copy_database(server: &str, template: &str, name: &str) {
    let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(server).await.unwrap();
    // Connections of a pool that was dropped end a little later.
    let end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1";
    sqlx::query(end).bind(template).execute(&mut connection).await.unwrap();
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {template}"))).await.unwrap();
}

/// Makes an empty database on a server. In: a superuser's URL.
pub(crate) async fn create_database(server: &str, name: &str) {
    let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(server).await.unwrap();
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
}
