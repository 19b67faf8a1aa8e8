//! Dialling the controller and serving gRPC on the connection: the HTTP/2 roles are swapped, the agent is the server.

use std::io;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::AlertDescription;
use supalove_certs::tls::{self, ClientTls, ClientTlsStream, ConnectError};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};

use crate::config::Times;

/// Bytes that a stream may send before it is read.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for a whole connection.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Calls under way at once on a connection.
const STREAMS: u32 = 4096;

/// A connection to the controller.
#[derive(Debug)]
pub struct Dialled {
    stream: ClientTlsStream<TcpStream>,
    /// Our own address on that connection.
    pub local: IpAddr,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody there.
    #[error("{address} cannot be reached: {source}")]
    Unreachable {
        /// Dialled address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// No answer in time.
    #[error("{address} did not answer within {limit:?}")]
    Timeout {
        /// Dialled address.
        address: String,
        /// The limit.
        limit: Duration,
    },
    /// Somebody there, but not our controller, or it does not want us.
    #[error(transparent)]
    Tls(#[from] ConnectError),
}

/// Connects to `host:port` and does the handshake.
pub async fn dial(address: &str, tls: ClientTls, limit: Duration) -> Result<Dialled, DialError> {
    let too_late = || DialError::Timeout { address: address.to_owned(), limit };
    let unreachable = |source| DialError::Unreachable { address: address.to_owned(), source };
    let stream =
        timeout(limit, TcpStream::connect(address)).await.map_err(|_| too_late())?.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let local = stream.local_addr().map_err(unreachable)?.ip();
    let stream = timeout(limit, tls::connect(stream, tls)).await.map_err(|_| too_late())??;
    Ok(Dialled { stream, local })
}

impl Dialled {
    /// A gRPC client's channel over this one connection; a second is refused.
    pub async fn channel(self) -> Result<Channel, Status> {
        let stream = Mutex::new(Some(self.stream));
        let connector = tower::service_fn(move |_| {
            let stream = stream.lock().ok().and_then(|mut stream| stream.take());
            async move { stream.map(TokioIo::new).ok_or_else(|| io::Error::other("the connection has ended")) }
        });
        Endpoint::from_static("http://controller.supalove.internal")
            .connect_with_connector(connector)
            .await
            .map_err(|error| Status::from_error(error.into()))
    }

    /// Serves until the connection ends. When `stop` is cancelled, running calls may end first.
    pub async fn serve(self, routes: Routes, times: &Times, stop: &CancellationToken) -> Closed {
        let mut builder = auto::Builder::new(TokioExecutor::new()).http2_only();
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(times.ping_interval)
            .keep_alive_timeout(times.ping_timeout)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(STREAMS);
        let service = TowerToHyperService::new(routes.prepare());
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(self.stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                match timeout(times.shutdown, connection).await {
                    Ok(ended) => ended,
                    Err(_) => return Closed::because("calls were cut off"),
                }
            }
        };
        match ended {
            Ok(()) => Closed::because("the controller closed the connection"),
            Err(error) => Closed {
                certificate_refused: is_certificate_refusal(error.as_ref()),
                reason: innermost(error.as_ref()),
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

/// Whether an error comes from an alert about our certificate. In TLS 1.3 that arrives after the handshake, as an error of
/// the first read.
pub fn is_certificate_refusal(error: &(dyn std::error::Error + 'static)) -> bool {
    use AlertDescription as Alert;
    let mut cause = Some(error);
    while let Some(error) = cause {
        // An I/O error does not name what it wraps as its source.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let alert = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::AlertReceived(alert)) = alert {
            return matches!(
                alert,
                Alert::CertificateExpired
                    | Alert::CertificateUnknown
                    | Alert::CertificateRevoked
                    | Alert::BadCertificate
                    | Alert::UnsupportedCertificate
                    | Alert::UnknownCA
                    | Alert::DecryptError
            );
        }
        cause = error.source();
    }
    false
}

/// The last cause says what happened; what wraps it only says where.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
