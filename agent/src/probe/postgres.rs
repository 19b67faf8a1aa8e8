//! A login over TCP and `select 1`: the only sure sign that initialisation has ended.

use supalove_proto::node::v1::PostgresProbe;
use tokio::net::TcpStream;
use tokio_postgres::{Config, NoTls};

use super::NotReady;

pub(super) async fn login(stream: TcpStream, probe: &PostgresProbe) -> Result<(), NotReady> {
    let mut config = Config::new();
    config
        .user(&probe.user)
        .password(&probe.password)
        .dbname(&probe.database)
        .application_name("supalove-agent");
    let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(|error| not_ready(&error))?;
    let query = async move {
        let answer = client.simple_query("select 1").await.map(drop);
        // The connection logs out and ends when its client is dropped.
        drop(client);
        answer
    };
    let (answer, _) = futures::join!(query, connection);
    answer.map_err(|error| not_ready(&error))
}

/// The server's own message, e.g. "the database system is starting up".
fn not_ready(error: &tokio_postgres::Error) -> NotReady {
    let words = error.as_db_error().map_or_else(|| error.to_string(), |server| server.message().to_owned());
    NotReady::Answer(words)
}
