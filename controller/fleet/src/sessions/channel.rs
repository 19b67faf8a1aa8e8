//! A gRPC client channel over one given stream. A session is one connection: the connector refuses a second.

use std::{io, sync::Mutex};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::{Channel, Endpoint, Error};

use supalove_core::times::Times;

/// Bytes an agent may send on one stream before we have read them.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for the connection.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// The channel. Pings keep it honest: a dead peer ends it within heartbeat + ping timeout.
pub async fn over<IO>(io: IO, times: &Times) -> Result<Channel, Error>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let stream = Mutex::new(Some(io));
    let connector = tower::service_fn(move |_: Uri| {
        let taken = stream.lock().ok().and_then(|mut stream| stream.take());
        async move { taken.map(TokioIo::new).ok_or_else(|| io::Error::other("the session has ended")) }
    });
    Endpoint::from_static("http://node.supalove.internal")
        .http2_keep_alive_interval(times.heartbeat)
        .keep_alive_timeout(times.ping_timeout)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .connect_with_connector(connector)
        .await
}
