//! Probes a service at its container's address, as a client would. In: the spec's probe. Out: ready, or the reason why not,
//! without secrets.

mod http;
mod postgres;
pub mod published;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use supalove_proto::node::v1::{Probe, probe::Check};
use tokio::net::TcpStream;

/// Why a service is not ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The port does not answer.
    #[error("port {port}: {reason}")]
    Connect {
        /// In the container.
        port: u16,
        /// What the system said.
        reason: String,
    },
    /// The service answers, but not as the probe expects.
    #[error("{0}")]
    Answer(String),
    /// The database server answers, but does not let the probe's role log in.
    #[error(
        "the database server is up, but the role {role} cannot log in to the database {database}: {reason}"
    )]
    RoleSpoilt {
        /// The probe's role.
        role: String,
        /// The probe's database.
        database: String,
        /// What the server said.
        reason: String,
    },
    /// The service answers in its container, but its published port does not.
    #[error("published port {address} does not answer: {reason}")]
    Published {
        /// On the host, as it was bound.
        address: SocketAddr,
        /// What the system said.
        reason: String,
    },
}

impl NotReady {
    /// True if other services of the project still reach it.
    pub fn is_outside_only(&self) -> bool {
        matches!(self, Self::Published { .. })
    }

    /// True if the server is up, but a role or database of the platform was changed or dropped.
    pub fn is_role_spoilt(&self) -> bool {
        matches!(self, Self::RoleSpoilt { .. })
    }
}

pub async fn check(probe: &Probe, address: Ipv4Addr) -> Result<(), NotReady> {
    let limit = Duration::from_millis(probe.timeout_ms.into());
    match tokio::time::timeout(limit, dial_and_ask(probe, address)).await {
        Ok(result) => result,
        Err(_) => Err(NotReady::Timeout(limit)),
    }
}

async fn dial_and_ask(probe: &Probe, address: Ipv4Addr) -> Result<(), NotReady> {
    match &probe.check {
        Some(Check::Http(http)) => {
            let target = socket(address, http.port)?;
            http::get(dial(target).await?, target, http).await
        }
        Some(Check::Postgres(postgres)) => {
            let target = socket(address, postgres.port)?;
            postgres::login(dial(target).await?, postgres).await
        }
        Some(Check::Tcp(tcp)) => dial(socket(address, tcp.port)?).await.map(drop),
        None => Err(NotReady::Answer("the spec has no check".into())),
    }
}

fn socket(address: Ipv4Addr, port: u32) -> Result<SocketAddr, NotReady> {
    let port = u16::try_from(port).map_err(|_| NotReady::Answer("the spec's port is not a port".into()))?;
    Ok(SocketAddr::new(IpAddr::V4(address), port))
}

async fn dial(target: SocketAddr) -> Result<TcpStream, NotReady> {
    TcpStream::connect(target)
        .await
        .map_err(|error| NotReady::Connect { port: target.port(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use supalove_proto::node::v1::{HttpProbe, TcpProbe};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn probe(check: Check) -> Probe {
        Probe { interval_ms: 100, timeout_ms: 300, ready_within_seconds: 1, failures: 1, check: Some(check) }
    }

    /// Answers one request. Returns it, and what the probe says.
    async fn answered(answer: &str) -> (String, Result<(), NotReady>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let probe = http(listener.local_addr().unwrap().port().into());
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 2048];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        };
        tokio::join!(serving, check(&probe, Ipv4Addr::LOCALHOST))
    }

    fn http(port: u32) -> Probe {
        probe(Check::Http(HttpProbe {
            port,
            path: "/health?x=1".into(),
            bearer: "secret".into(),
            host: "realtime-dev".into(),
        }))
    }

    #[tokio::test]
    async fn http_must_answer_200() {
        let (request, checked) = answered("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        checked.unwrap();
        assert!(request.starts_with("GET /health?x=1 HTTP/1.1\r\n"));
        assert!(request.contains("authorization: Bearer secret\r\n"));
        assert!(request.contains("host: realtime-dev\r\n"));
        let (_, checked) = answered("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await;
        let error = checked.unwrap_err();
        assert!(error.to_string().contains("503"), "{error}");
    }

    #[tokio::test]
    async fn silence_and_closed_ports_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port().into();
        assert!(matches!(check(&http(port), Ipv4Addr::LOCALHOST).await, Err(NotReady::Timeout(_))));
        check(&probe(Check::Tcp(TcpProbe { port })), Ipv4Addr::LOCALHOST).await.unwrap();
        drop(listener);
        assert!(matches!(
            check(&probe(Check::Tcp(TcpProbe { port })), Ipv4Addr::LOCALHOST).await,
            Err(NotReady::Connect { .. })
        ));
    }
}
