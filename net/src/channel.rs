//! gRPC over one given stream. A session is one connection: the client never opens a second one, and client and
//! server use the same HTTP/2 windows, whichever side dialled.

use std::{io, sync::Mutex, time::Duration};

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use supalove_tasks::Tasks;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Error};

use crate::observed::Observed;

/// Bytes that the peer may send on one stream before this side has read them.
pub const STREAM_WINDOW: u32 = 256 * 1024;
/// Bytes that the peer may send on a whole connection before this side has read them.
pub const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Maximum number of concurrent calls on one connection.
pub const CONCURRENT_STREAMS: u32 = 4096;

/// HTTP/2 pings. A dead peer ends the connection within `every` + `timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pings {
    /// Time without a frame from the peer after which a ping is sent.
    pub every: Duration,
    /// Time without a reply to a ping after which the connection is closed.
    pub timeout: Duration,
}

/// A gRPC client's channel over one stream, and whether that stream is still open.
#[derive(Debug, Clone)]
pub struct OneStream {
    /// Channel for clients. When the stream has ended, every call fails, because the connector refuses a second
    /// connection.
    pub channel: Channel,
    ended: CancellationToken,
}

impl OneStream {
    /// Opens an HTTP/2 client on `io`. `origin` is the authority of the requests, e.g.
    /// "http://node.supalove.internal"; no resolver sees it.
    pub async fn open<IO>(io: IO, origin: &'static str, pings: Option<Pings>) -> Result<Self, Error>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let ended = CancellationToken::new();
        let stream = Mutex::new(Some(Observed::new(io).on_end(ended.clone())));
        let connector = tower::service_fn(move |_| {
            let taken = stream.lock().ok().and_then(|mut stream| stream.take());
            async move { taken.map(TokioIo::new).ok_or_else(|| io::Error::other("the connection has ended")) }
        });
        let mut endpoint = Endpoint::from_static(origin)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        if let Some(pings) = pings {
            endpoint = endpoint
                .http2_keep_alive_interval(pings.every)
                .keep_alive_timeout(pings.timeout)
                .keep_alive_while_idle(true);
        }
        Ok(Self { channel: endpoint.connect_with_connector(connector).await?, ended })
    }

    /// True while the stream is open. The channel cannot tell: it reports ready, and then fails the call.
    pub fn is_alive(&self) -> bool {
        !self.ended.is_cancelled()
    }

    /// Returns when the stream has ended.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

/// Builds a server for single HTTP/2 connections, with the same windows.
pub fn http2_server(pings: Option<Pings>) -> auto::Builder<TokioExecutor> {
    with_settings(auto::Builder::new(TokioExecutor::new()), pings)
}

/// The same, with each call as a task of `tasks`. A panic in a handler ends only its call; `tasks` logs and counts it.
pub fn owned_http2_server(tasks: &Tasks, pings: Option<Pings>) -> auto::Builder<CallExecutor> {
    with_settings(auto::Builder::new(CallExecutor::new(tasks)), pings)
}

/// Runs each call of a connection as a named task.
#[derive(Debug, Clone)]
pub struct CallExecutor(Tasks);

impl CallExecutor {
    /// Runs calls as tasks of `tasks`.
    pub fn new(tasks: &Tasks) -> Self {
        Self(tasks.clone())
    }
}

impl<F> hyper::rt::Executor<F> for CallExecutor
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, call: F) {
        // A call ends with its connection, which may let the call finish while the program stops.
        self.0.connection_until("call", |_| call);
    }
}

fn with_settings<E>(builder: auto::Builder<E>, pings: Option<Pings>) -> auto::Builder<E> {
    let mut builder = builder.http2_only();
    let mut http2 = builder.http2();
    http2
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(CONCURRENT_STREAMS);
    if let Some(pings) = pings {
        http2.keep_alive_interval(pings.every).keep_alive_timeout(pings.timeout);
    }
    builder
}

#[cfg(test)]
mod tests {
    use hyper_util::service::TowerToHyperService;
    use tonic::service::Routes;
    use tonic::{Code, Request};

    use super::*;

    const ORIGIN: &str = "http://peer.supalove.internal";

    /// Calls a method that no service has.
    async fn call(channel: Channel) -> Code {
        call_path(channel, "/nobody.Service/Method").await
    }

    async fn call_path(channel: Channel, path: &'static str) -> Code {
        let mut client = tonic::client::Grpc::new(channel);
        if let Err(error) = client.ready().await {
            return tonic::Status::from_error(error.into()).code();
        }
        let path = tonic::codegen::http::uri::PathAndQuery::from_static(path);
        let answer = client.unary(Request::new(()), path, Nothing).await;
        answer.map_or_else(|status| status.code(), |_: tonic::Response<()>| Code::Ok)
    }

    /// Encodes nothing.
    #[derive(Debug, Clone, Copy)]
    struct Nothing;

    impl tonic::codec::Codec for Nothing {
        type Encode = ();
        type Decode = ();
        type Encoder = Self;
        type Decoder = Self;
        fn encoder(&mut self) -> Self {
            *self
        }
        fn decoder(&mut self) -> Self {
            *self
        }
    }

    impl tonic::codec::Encoder for Nothing {
        type Item = ();
        type Error = tonic::Status;
        fn encode(&mut self, (): (), _: &mut tonic::codec::EncodeBuf<'_>) -> Result<(), tonic::Status> {
            Ok(())
        }
    }

    impl tonic::codec::Decoder for Nothing {
        type Item = ();
        type Error = tonic::Status;
        fn decode(&mut self, _: &mut tonic::codec::DecodeBuf<'_>) -> Result<Option<()>, tonic::Status> {
            Ok(Some(()))
        }
    }

    #[tokio::test]
    async fn a_channel_lives_as_long_as_its_stream_and_opens_no_second_one() {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let server = tokio::spawn(async move {
            let service = TowerToHyperService::new(Routes::default().prepare());
            http2_server(None)
                .serve_connection(TokioIo::new(theirs), service)
                .await
                .map_err(|e| e.to_string())
        });
        let stream = OneStream::open(ours, ORIGIN, None).await.unwrap();
        assert!(stream.is_alive());
        assert_eq!(call(stream.channel.clone()).await, Code::Unimplemented, "the server has answered");
        server.abort();
        stream.ended().await;
        assert!(!stream.is_alive());
        assert_ne!(call(stream.channel).await, Code::Unimplemented);
    }

    #[tokio::test]
    async fn a_handler_that_panics_ends_its_call_alone_and_is_counted() {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let tasks = Tasks::default();
        let server = owned_http2_server(&tasks, None);
        let service = hyper::service::service_fn(|request: tonic::codegen::http::Request<_>| async move {
            let _: &hyper::body::Incoming = request.body();
            tokio::task::yield_now().await;
            assert!(!request.uri().path().ends_with("Panic"), "forced");
            let answer = Routes::default().prepare();
            tower::ServiceExt::oneshot(answer, request).await
        });
        let serving = tasks.connection("connection", async move {
            server.serve_connection(TokioIo::new(theirs), service).await.map_err(|error| error.to_string())
        });
        let stream = OneStream::open(ours, ORIGIN, None).await.unwrap();
        for panics in 1..=5 {
            assert_ne!(call_path(stream.channel.clone(), "/nobody.Service/Panic").await, Code::Unimplemented);
            assert_eq!(tasks.connection_panics(), panics);
            assert_eq!(call(stream.channel.clone()).await, Code::Unimplemented, "the connection goes on");
        }
        assert!(stream.is_alive() && !serving.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn pings_end_the_connection_of_a_silent_peer() {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let pings = Pings { every: Duration::from_secs(5), timeout: Duration::from_secs(10) };
        let began = tokio::time::Instant::now();
        let stream = OneStream::open(ours, ORIGIN, Some(pings)).await.unwrap();
        stream.ended().await;
        let stood = began.elapsed();
        assert!(stood >= pings.timeout && stood <= pings.every + pings.timeout, "{stood:?}");
        drop(theirs);
    }
}
