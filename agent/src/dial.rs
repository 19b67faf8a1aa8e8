//! Dialling the controller and serving gRPC on the connection: the HTTP/2 roles are swapped, the agent is the server.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::AlertDescription;
use supalove_certs::tls::{self, ClientTls, ClientTlsStream, ConnectError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
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
    stream: Noted<ClientTlsStream<TcpStream>>,
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
    Ok(Dialled { stream: Noted { stream, refusal: Refusal::default() }, local })
}

/// Whether the controller has refused our certificate on a connection.
#[derive(Debug, Default, Clone)]
pub struct Refusal(Arc<AtomicBool>);

impl Refusal {
    /// True from the moment its alert was read.
    pub fn came(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A stream that notes the refusal of our certificate: what HTTP/2 makes of an error of its connection is only text.
#[derive(Debug)]
struct Noted<IO> {
    stream: IO,
    refusal: Refusal,
}

impl<IO> Noted<IO> {
    fn note<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &polled
            && is_certificate_refusal(error)
        {
            self.refusal.0.store(true, Ordering::Release);
        }
        polled
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Noted<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.note(polled)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Noted<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.note(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.note(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Dialled {
    /// To be asked after a call on this connection has failed.
    pub fn refusal(&self) -> Refusal {
        self.stream.refusal.clone()
    }

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
        let refusal = self.refusal();
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
            Err(error) => Closed { certificate_refused: refusal.came(), reason: innermost(error.as_ref()) },
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

/// Whether an error is an alert about our certificate. In TLS 1.3 that arrives after the handshake, as an error of the first
/// read.
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

/// The last cause says what happened; what wraps it only says where.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
