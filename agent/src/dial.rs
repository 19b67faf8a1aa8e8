//! Dials the controller and serves gRPC on the connection: the HTTP/2 roles are swapped, the agent is the server.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::AlertDescription;
use supalove_certs::tls::{self, ClientTls, ClientTlsStream, ConnectError};
use supalove_net::channel::{OneStream, Pings, owned_http2_server};
use supalove_net::status::root_cause;
use supalove_net::{LastHeard, Observed};
use supalove_spec::Liveness;
use supalove_tasks::Tasks;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::Routes;
use tonic::transport::Channel;

/// A connection to the controller.
#[derive(Debug)]
pub struct Dialled {
    stream: Observed<ClientTlsStream<TcpStream>>,
    refusal: Refusal,
    heard: LastHeard,
    /// Our own address on that connection.
    pub local: IpAddr,
    /// The address that answered.
    pub address: String,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("{address} cannot be reached: {source}")]
    Unreachable { address: String, source: io::Error },
    #[error("{address} did not answer within {limit:?}")]
    Timeout { address: String, limit: Duration },
    /// Somebody answers, but it is not our controller, or it does not want us.
    #[error(transparent)]
    Tls(#[from] ConnectError),
    /// It does not answer as a controller does.
    #[error("the controller did not answer an HTTP request: {0}")]
    Http(String),
}

/// Connects to the first address of `host:port,host:port…` at which a controller answers, and does the handshake. `limit` holds for
/// each connection and each handshake.
pub async fn dial(addresses: &str, tls: ClientTls, limit: Duration) -> Result<Dialled, DialError> {
    let mut rest = addresses.split(',');
    let mut failed = match dial_one(rest.next().unwrap_or_default(), tls.clone(), limit).await {
        Ok(dialled) => return Ok(dialled),
        Err(error) => error,
    };
    for address in rest {
        match dial_one(address, tls.clone(), limit).await {
            Ok(dialled) => return Ok(dialled),
            // That a controller refuses says more than that another one is away.
            Err(error @ DialError::Tls(_)) if !matches!(failed, DialError::Tls(_)) => failed = error,
            Err(error) => tracing::debug!(%error, "another address of the controller does not answer"),
        }
    }
    Err(failed)
}

async fn dial_one(address: &str, tls: ClientTls, limit: Duration) -> Result<Dialled, DialError> {
    let too_late = || DialError::Timeout { address: address.to_owned(), limit };
    let unreachable = |source| DialError::Unreachable { address: address.to_owned(), source };
    let stream =
        timeout(limit, TcpStream::connect(address)).await.map_err(|_| too_late())?.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let local = stream.local_addr().map_err(unreachable)?.ip();
    let stream = timeout(limit, tls::connect(stream, tls)).await.map_err(|_| too_late())??;
    let refusal = Refusal::default();
    let heard = LastHeard::now();
    let stream = heard.observe(refusal.observe(Observed::new(stream)));
    Ok(Dialled { stream, refusal, heard, local, address: address.to_owned() })
}

/// Whether the controller has refused our certificate on a connection. It is noted from the stream's own errors: what
/// HTTP/2 makes of them is only text.
#[derive(Debug, Default, Clone)]
pub struct Refusal(Arc<AtomicBool>);

impl Refusal {
    /// True from the moment the controller's alert was read.
    pub fn came(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn observe<IO>(&self, stream: Observed<IO>) -> Observed<IO> {
        let refusal = self.clone();
        stream.on_error(move |error| {
            if is_certificate_refusal(error) {
                refusal.0.store(true, Ordering::Release);
            }
        })
    }
}

impl Dialled {
    /// To be asked after a call on this connection has failed.
    pub fn refusal(&self) -> Refusal {
        self.refusal.clone()
    }

    /// When the controller was last heard on this connection.
    pub fn heard(&self) -> LastHeard {
        self.heard.clone()
    }

    /// A gRPC client's channel over this one connection; a second is refused.
    pub async fn channel(self) -> Result<Channel, Status> {
        let opened = OneStream::open(self.stream, "http://controller.supalove.internal", None).await;
        opened.map(|stream| stream.channel).map_err(|error| Status::from_error(error.into()))
    }

    /// What the controller answers to an HTTP GET of this path; on a connection for downloads.
    pub async fn get(self, path: &str) -> Result<Response<Incoming>, DialError> {
        let http = |error: hyper::Error| DialError::Http(error.to_string());
        let request = Request::get(path)
            .header(header::HOST, "controller.supalove.internal")
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| DialError::Http(error.to_string()))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(self.stream)).await.map_err(http)?;
        let driving = async {
            // An error of the connection is also the request's.
            let _ = connection.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = sender.send_request(request) => answer.map_err(http),
            () = driving => unreachable!("it is pending for ever"),
        }
    }

    /// Serves until the connection ends. When `stop` is cancelled, running calls may end within `shutdown`.
    pub async fn serve(
        self,
        tasks: &Tasks,
        routes: Routes,
        liveness: Liveness,
        shutdown: Duration,
        stop: &CancellationToken,
    ) -> Closed {
        let pings = Pings { every: liveness.heartbeat, timeout: liveness.ping_timeout };
        let server = owned_http2_server(tasks, Some(pings));
        let service = TowerToHyperService::new(routes.prepare());
        let mut connection = std::pin::pin!(server.serve_connection(TokioIo::new(self.stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                match timeout(shutdown, connection).await {
                    Ok(ended) => ended,
                    Err(_) => return Closed::because("calls were cut off"),
                }
            }
        };
        match ended {
            Ok(()) => Closed::because("the controller closed the connection"),
            Err(error) => Closed {
                certificate_refused: self.refusal.came(),
                reason: root_cause(error.as_ref()).to_string(),
            },
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// In words.
    pub reason: String,
    /// The controller ended it because of our certificate.
    pub certificate_refused: bool,
}

impl Closed {
    /// For a reason other than our certificate.
    pub fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), certificate_refused: false }
    }
}

/// Whether an error is an alert about our certificate. In TLS 1.3 the alert arrives after the handshake, as an error of the
/// first read.
fn is_certificate_refusal(error: &io::Error) -> bool {
    use AlertDescription as Alert;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::AlertReceived(alert)) = inner else { return false };
    matches!(
        alert,
        Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRevoked
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::UnknownCA
            | Alert::DecryptError
    )
}

#[cfg(test)]
mod tests {
    use supalove_certs::tls::join_client_config;
    use supalove_certs::{CertificateAuthority, tls::NodePortTls};

    use super::*;

    #[tokio::test]
    async fn the_first_address_that_answers_is_taken() {
        let now = chrono::Utc::now();
        let ca = CertificateAuthority::create("test", now).unwrap();
        let shown = ca.issue_controller(uuid::Uuid::now_v7(), now).unwrap();
        let limit = Duration::from_secs(5);
        let port = NodePortTls::new(&shown, ca.cert_pem(), limit).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = port.accept(stream).await;
            }
        });
        let config = join_client_config(&ca.fingerprint()).unwrap();
        let found = dial(&format!("127.0.0.1:1,{address}"), config.clone(), limit).await.unwrap();
        assert_eq!(found.address, address);
        let away = dial("127.0.0.1:1,127.0.0.1:2", config, limit).await.unwrap_err();
        assert!(matches!(away, DialError::Unreachable { address, .. } if address == "127.0.0.1:1"));
        let other = CertificateAuthority::create("other", now).unwrap();
        let foreign = join_client_config(&other.fingerprint()).unwrap();
        let refused = dial(&format!("127.0.0.1:1,{address}"), foreign, limit).await.unwrap_err();
        assert!(matches!(refused, DialError::Tls(ConnectError::WrongCa(_))), "{refused}");
    }

    #[test]
    fn only_an_alert_about_the_certificate_is_a_refusal() {
        let alert = |alert| io::Error::other(rustls::Error::AlertReceived(alert));
        assert!(is_certificate_refusal(&alert(AlertDescription::CertificateExpired)));
        assert!(!is_certificate_refusal(&alert(AlertDescription::CloseNotify)));
        assert!(!is_certificate_refusal(&io::Error::from(io::ErrorKind::ConnectionReset)));
    }
}
