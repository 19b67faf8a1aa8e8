//! Dialling the controller and serving gRPC on the connection: the HTTP/2 roles are swapped, the agent is the server.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::ClientConfig;
use supalove_certs::tls::{self, ClientTlsStream, ConnectError};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

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
pub async fn dial(address: &str, config: Arc<ClientConfig>, limit: Duration) -> Result<Dialled, DialError> {
    let too_late = || DialError::Timeout { address: address.to_owned(), limit };
    let unreachable = |source| DialError::Unreachable { address: address.to_owned(), source };
    let stream =
        timeout(limit, TcpStream::connect(address)).await.map_err(|_| too_late())?.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let local = stream.local_addr().map_err(unreachable)?.ip();
    let stream = timeout(limit, tls::connect(stream, config)).await.map_err(|_| too_late())??;
    Ok(Dialled { stream, local })
}

impl Dialled {
    /// The encrypted stream, for a client on top of it.
    pub fn into_stream(self) -> ClientTlsStream<TcpStream> {
        self.stream
    }

    /// Serves until the connection ends; the reason, in words. When `stop` is cancelled, running calls may end first.
    pub async fn serve(self, routes: Routes, times: &Times, stop: &CancellationToken) -> String {
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
                    Err(_) => return "calls were cut off".into(),
                }
            }
        };
        match ended {
            Ok(()) => "the controller closed the connection".into(),
            Err(error) => innermost(error.as_ref()),
        }
    }
}

/// The last cause says what happened; what wraps it only says where.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
