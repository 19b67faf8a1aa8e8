//! The control database: the pools of one replica, and its schema.
//!
//! A database that hangs or fails over without a word answers nothing and closes nothing. So each statement has a limit on
//! this side, too: [`Db`] and [`Connection`] are the only ways to the database, and both enforce it. A connection on which
//! a statement was given up is closed, never reused, and with it all connections that were opened before.

mod executor;
mod grants;
mod migrations;
mod silence;
mod statements;
mod writes;

use std::{io, str::FromStr as _, time::Duration};

use sqlx::{
    Connection as _, Executor as _, PgConnection, PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgDatabaseError, PgListener, PgPoolOptions},
};
use tokio::time::timeout;

use self::silence::Silence;
pub use self::{
    migrations::{Owner, migrate},
    statements::Statements,
    writes::Refusal,
};
use crate::error::{Error, Result};

/// A connection that was used within this time is not pinged before reuse. Pings before each statement would double the
/// round trips.
const ALIVE: Duration = Duration::from_secs(1);
/// Limit of a ping before reuse and of the return to the pool.
const PING: Duration = Duration::from_secs(2);
/// How often the server checks whether the client of a running statement is still there.
const CHECK_CLIENT: Duration = Duration::from_secs(5);
/// How long a transaction of a replica that stands still may hold its locks.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(10);

/// Size and limits of a pool.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Maximum number of connections.
    connections: u32,
    /// How long a caller waits for a free connection.
    acquire: Duration,
    /// After this time the server cancels a statement.
    server: Duration,
    /// After this time the replica gives a statement up. Longer than `server`: if the server answers at all, it says why.
    client: Duration,
}

/// Connections of the pool of calls and watches.
pub(crate) const CALL_CONNECTIONS: u32 = 24;

/// Of calls and watches. A call has a deadline of its own, see the call layer.
const CALLS: Limits = Limits {
    connections: CALL_CONNECTIONS,
    acquire: Duration::from_secs(10),
    server: Duration::from_secs(15),
    client: Duration::from_secs(17),
};
/// Of jobs and sessions of nodes. Together (a connection, then a statement) shorter than the silence after which a node or
/// a replica counts as gone.
const WORK: Limits = Limits {
    connections: 16,
    acquire: Duration::from_secs(5),
    server: Duration::from_secs(5),
    client: Duration::from_secs(6),
};

/// Returns true if a statement violated the constraint with this name.
pub fn violates(error: &sqlx::Error, constraint: &str) -> bool {
    let violated = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
        .and_then(PgDatabaseError::constraint);
    violated == Some(constraint)
}

/// The pools of a replica: calls cannot take the connections of jobs and sessions, nor the other way around.
#[derive(Debug, Clone)]
pub struct Pools {
    /// For calls and watches.
    pub calls: Db,
    /// For jobs and sessions.
    pub work: Db,
}

impl Pools {
    /// Opens the pools.
    pub async fn connect(url: &str) -> Result<Self> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| Error::field("database_url", "must be a postgresql:// URL"))?
            .application_name("supalove-controller");
        // One for both: what one pool learns of a failover, the other must not read from the server of before.
        let silence = Silence::default();
        Ok(Self {
            calls: Db::connect(&options, CALLS, silence.clone()).await?,
            work: Db::connect(&options, WORK, silence).await?,
        })
    }
}

/// A pool. Cheap to clone. Used as an executor it runs one statement, within its limit.
#[derive(Debug, Clone)]
pub struct Db {
    pool: PgPool,
    limits: Limits,
    silence: Silence,
}

impl Db {
    async fn connect(options: &PgConnectOptions, limits: Limits, silence: Silence) -> Result<Self> {
        let millis = |time: Duration| time.as_millis().to_string();
        let options = options.clone().options([
            ("statement_timeout", millis(limits.server)),
            ("idle_in_transaction_session_timeout", millis(IDLE_IN_TRANSACTION)),
            ("client_connection_check_interval", millis(CHECK_CLIENT)),
            // The server drops what a replica has locked that vanished without a word.
            ("tcp_user_timeout", millis(IDLE_IN_TRANSACTION)),
            ("tcp_keepalives_idle", "10".to_owned()),
            ("tcp_keepalives_interval", "5".to_owned()),
            ("tcp_keepalives_count", "3".to_owned()),
        ]);
        let heard = silence.clone();
        let pool = PgPoolOptions::new()
            .max_connections(limits.connections)
            .acquire_timeout(limits.acquire)
            .test_before_acquire(false)
            .before_acquire(move |connection, used| {
                let silence = heard.clone();
                Box::pin(async move {
                    if silence.is_suspect(used.age) {
                        return Ok(false);
                    }
                    if used.idle_for > ALIVE {
                        ping(connection, &silence).await?;
                    }
                    Ok(true)
                })
            });
        Ok(Self { pool: pool.connect_with(options).await?, limits, silence })
    }

    /// Takes a connection, for several statements.
    pub async fn acquire(&self) -> Result<Connection, sqlx::Error> {
        let connection = self.pool.acquire().await?;
        Ok(Connection {
            inner: Some(connection),
            limit: self.limits.client,
            silence: self.silence.clone(),
            busy: false,
            in_transaction: false,
        })
    }

    /// Begins a transaction. Dropping it rolls it back.
    pub async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        let mut connection = self.acquire().await?;
        connection.in_transaction = true;
        (&mut connection).execute("BEGIN").await?;
        Ok(Transaction { connection: Some(connection) })
    }

    /// Opens a connection that listens to a channel, beside the pool. Its caller must notice if it hears nothing.
    pub async fn listen(&self, channel: &str) -> Result<PgListener, sqlx::Error> {
        let limit = self.limits.client;
        let options = self.pool.connect_options().as_ref().clone();
        let listening = async move {
            let own = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
            let mut listener = PgListener::connect_with(&own.connect_with(options).await?).await?;
            listener.listen(channel).await?;
            Ok(listener)
        };
        timeout(limit, listening).await.unwrap_or_else(|_| Err(no_answer(limit)))
    }

    /// Applies the migrations, one replica at a time. If the schema is another role's, checks that they were applied.
    pub async fn prepare(&self) -> Result<Owner> {
        migrations::prepare(&self.pool).await
    }

    /// Applies the migrations as the schema's owner, and grants the controller's role what it needs.
    pub async fn migrate_for(&self, role: &str) -> Result<()> {
        migrations::migrate_for(&self.pool, role).await
    }
}

async fn ping(connection: &mut PgConnection, silence: &Silence) -> Result<(), sqlx::Error> {
    if let Ok(answered) = timeout(PING, connection.ping()).await {
        answered
    } else {
        silence.begins("a connection of the pool does not answer");
        Err(no_answer(PING))
    }
}

fn no_answer(limit: Duration) -> sqlx::Error {
    let text = format!("the control database did not answer within {} s", limit.as_secs_f32());
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, text))
}

/// A connection of the pool. Each statement on it has the pool's limit. It is closed if a statement was given up.
#[derive(Debug)]
pub struct Connection {
    /// `None` after it was given up.
    inner: Option<PoolConnection<Postgres>>,
    limit: Duration,
    silence: Silence,
    /// True while a statement runs.
    busy: bool,
    in_transaction: bool,
}

fn given_up() -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::NotConnected, "the connection was given up"))
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else {
            return;
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if !self.busy => {
                runtime.spawn(give_back(inner, self.in_transaction, self.silence.clone()));
            }
            // A statement was given up, here or by a caller that did not wait for it: what comes next on this connection is
            // its answer, or nothing. It no longer counts for the pool, which may open another one.
            _ => drop(inner.detach()),
        }
    }
}

/// Returns a connection to its pool. The pool itself would wait for the answer to its ping without a limit, and count the
/// connection for as long.
async fn give_back(mut inner: PoolConnection<Postgres>, roll_back: bool, silence: Silence) {
    if roll_back {
        let rolled_back = timeout(PING, (&mut *inner).execute("ROLLBACK")).await;
        if !matches!(rolled_back, Ok(Ok(_))) {
            drop(inner.detach());
            return;
        }
    }
    if timeout(PING, inner.return_to_pool()).await.is_err() {
        silence.begins("a connection does not answer on its return to the pool");
    }
}

/// A transaction. Dropping it rolls it back.
#[derive(Debug)]
pub struct Transaction {
    /// `None` after its end.
    connection: Option<Connection>,
}

impl Transaction {
    /// The connection, for statements.
    pub fn connection(&mut self) -> Result<&mut Connection> {
        self.connection.as_mut().ok_or_else(|| Error::internal("a transaction vanished"))
    }

    /// Commits. After an error nobody knows whether it was committed.
    pub async fn commit(mut self) -> Result<(), sqlx::Error> {
        let Some(mut connection) = self.connection.take() else {
            return Err(given_up());
        };
        (&mut connection).execute("COMMIT").await?;
        connection.in_transaction = false;
        Ok(())
    }
}
