//! A login over TCP and `select 1`: the only sure sign that initialisation has ended.

use supalove_proto::node::v1::PostgresProbe;
use tokio::net::TcpStream;
use tokio_postgres::{Config, NoTls, error::SqlState};

use super::NotReady;

pub(super) async fn login(stream: TcpStream, probe: &PostgresProbe) -> Result<(), NotReady> {
    let mut config = Config::new();
    config
        .user(&probe.user)
        .password(&probe.password)
        .dbname(&probe.database)
        .application_name("supalove-agent");
    let (client, connection) =
        config.connect_raw(stream, NoTls).await.map_err(|error| not_ready(&error, probe))?;
    let query = async move {
        let answer = client.simple_query("select 1").await.map(drop);
        // The connection logs out and ends when its client is dropped.
        drop(client);
        answer
    };
    let (answer, _) = futures::join!(query, connection);
    answer.map_err(|error| not_ready(&error, probe))
}

/// The server's own message, e.g. "the database system is starting up".
fn not_ready(error: &tokio_postgres::Error, probe: &PostgresProbe) -> NotReady {
    let words = error.as_db_error().map_or_else(|| error.to_string(), |server| server.message().to_owned());
    match error.code() {
        Some(code) if is_spoilt(code) => {
            NotReady::RoleSpoilt { role: probe.user.clone(), database: probe.database.clone(), reason: words }
        }
        _ => NotReady::Answer(words),
    }
}

/// Wrong password; no such role, or it may not log in; no such database; the role may not connect to it. A server that is
/// starting or stopping says 57P03, one without free connections 53300.
fn is_spoilt(code: &SqlState) -> bool {
    [
        SqlState::INVALID_PASSWORD,
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        SqlState::INVALID_CATALOG_NAME,
        SqlState::INSUFFICIENT_PRIVILEGE,
    ]
    .contains(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spoilt_role_is_told_from_a_server_that_is_down() {
        for code in ["28P01", "28000", "3D000", "42501"] {
            assert!(is_spoilt(&SqlState::from_code(code)), "{code}");
        }
        for code in ["57P03", "57P01", "53300", "08006"] {
            assert!(!is_spoilt(&SqlState::from_code(code)), "{code}");
        }
    }
}
