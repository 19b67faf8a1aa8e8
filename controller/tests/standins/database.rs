//! The project's database, as one role logs in to it.

use std::{fmt::Write as _, time::Duration};

use tokio_postgres::{Client, Config, NoTls};

use crate::End;

/// One connection attempt.
const CONNECT: Duration = Duration::from_secs(5);

/// Where to log in.
#[derive(Debug, Clone)]
pub struct Login(Config);

impl Login {
    /// From a URL, which must name this role at `db:5432/postgres`. The points that are not met otherwise.
    pub fn from_url(name: &str, url: &str, role: &str, section: &str) -> (Self, Vec<String>) {
        let Ok(mut config) = url.parse::<Config>() else {
            return (Self(Config::new()), vec![format!("{name} is no database URL ({section})")]);
        };
        let mut unmet = Vec::new();
        let mut require = |holds: bool, what: &str| {
            if !holds {
                unmet.push(format!("{name}: {what} ({section})"));
            }
        };
        require(config.get_user() == Some(role), &format!("the role must be {role}"));
        require(config.get_dbname() == Some("postgres"), "the database must be postgres");
        require(config.get_ports() == [5432], "the port must be 5432");
        let hosts = config.get_hosts();
        require(
            hosts == [tokio_postgres::config::Host::Tcp("db".into())],
            "the host must be db, its name on the network",
        );
        let password = config.get_password().unwrap_or_default();
        require(is_plain(password), "the password must be letters and digits, it goes unescaped into URLs");
        config.connect_timeout(CONNECT);
        (Self(config), unmet)
    }

    /// From its parts.
    pub fn new(host: &str, port: u16, database: &str, role: &str, password: &str) -> Self {
        let mut config = Config::new();
        config.host(host).port(port).dbname(database).user(role).password(password).connect_timeout(CONNECT);
        Self(config)
    }

    /// Logs in. The second value ends when the connection does.
    pub async fn connect(&self) -> Result<Database, tokio_postgres::Error> {
        let (client, connection) = self.0.connect(NoTls).await?;
        let ended = tokio::spawn(async move {
            match connection.await {
                Ok(()) => "the connection was closed".to_owned(),
                Err(error) => words(&error),
            }
        });
        Ok(Database { client, ended })
    }
}

/// Letters and digits (§3).
pub fn is_plain(password: &[u8]) -> bool {
    !password.is_empty() && password.iter().all(u8::is_ascii_alphanumeric)
}

/// An open connection.
pub struct Database {
    /// For statements.
    pub client: Client,
    ended: tokio::task::JoinHandle<String>,
}

impl Database {
    /// Waits until the connection is lost; answers why.
    pub async fn lost(&mut self) -> End {
        let why = (&mut self.ended).await.unwrap_or_else(|error| error.to_string());
        End::Away(format!("the database: {why}"))
    }

    /// The point that is not met unless the query answers true.
    pub async fn require(&self, query: &str, point: &str) -> Result<Option<String>, tokio_postgres::Error> {
        let row = self.client.query_opt(query, &[]).await?;
        let holds = row.and_then(|row| row.get::<_, Option<bool>>(0)).unwrap_or(false);
        Ok((!holds).then(|| point.to_owned()))
    }

    /// The point that is not met unless the statements run; in the server's words.
    pub async fn allowed(&self, statements: &str, point: &str) -> Option<String> {
        let failed = self.client.batch_execute(statements).await.err()?;
        // A transaction that a statement has left open.
        let _ = self.client.batch_execute("rollback").await;
        Some(format!("{point}: {}", words(&failed)))
    }
}

/// An error with its causes; the server's own words where it has some.
pub fn words(error: &tokio_postgres::Error) -> String {
    if let Some(server) = error.as_db_error() {
        return server.message().to_owned();
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let _ = write!(text, ": {inner}");
        cause = inner.source();
    }
    text
}
