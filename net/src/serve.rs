//! Serves HTTP on one accepted connection and ends it when it is of no use: no first request in time, idle, silent, or with a
//! peer that does not take what it has asked for.

mod unread;

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{
    Request, Response,
    body::{Body, Bytes, Frame, Incoming, SizeHint},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use supalove_tasks::Tasks;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt as _};

pub use self::unread::EndsAt;
use self::unread::Unread;
use crate::{Pings, channel::CallExecutor};

/// What one connection may cost.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    /// What is spoken on it.
    pub http: Http,
    /// Time from the start of the connection to the end of the headers of its first request.
    pub first_request: Duration,
    /// Time without a call after which the connection is closed. Over HTTP/1.1 also the time for the next headers.
    pub idle: Duration,
    /// Time that a peer gets to take the next bytes of a response, and its end.
    pub take: Duration,
    /// How many bytes it has to take in that time; 0: any. Time in which the handler has none does not count.
    pub least: u64,
    /// Time that a peer gets to take the end of the connection.
    pub linger: Duration,
    /// Concurrent calls; over HTTP/2.
    pub streams: u32,
    /// Bytes of all headers of a request.
    pub headers: u32,
    /// Bytes of request bodies that may be buffered unread, of one call and of the connection.
    pub window: u32,
    /// HTTP/2 pings; a dead peer ends the connection.
    pub pings: Pings,
}

/// Versions of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http {
    /// HTTP/1.1, or HTTP/2 with prior knowledge.
    Any,
    /// Only HTTP/1.1.
    One,
    /// Only HTTP/2 with prior knowledge.
    Two,
}

/// Why a connection has ended.
#[derive(Debug)]
pub enum Ended {
    /// The peer or a stop of the program ended it.
    Closed,
    /// It had no first request in time.
    NoRequest,
    /// It had no call for too long.
    Idle,
    /// The peer did not take a response, or not fast enough.
    Unread,
    /// An error of the connection, as text.
    Failed(String),
}

/// Serves until the connection ends, or `stop` is cancelled and its open calls have ended. Each call is a task of `tasks`.
pub async fn serve<IO, S, B>(
    io: IO,
    service: S,
    limits: &Connection,
    tasks: &Tasks,
    stop: CancellationToken,
) -> Ended
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let activity = Activity::default();
    let counted = activity.clone();
    let unread = Unread::new(limits.least);
    let followed = unread.clone();
    let service = hyper::service::service_fn(move |request| {
        let call = counted.begin();
        let answered = service.clone().oneshot(request);
        let followed = followed.clone();
        async move {
            let response = answered.await?;
            let ends = response.extensions().get::<EndsAt>().copied();
            Ok::<_, Infallible>(response.map(|body| followed.follow(Held::new(body, call), ends)))
        }
    });
    let builder = builder(limits, tasks);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
    let reason = tokio::select! {
        ended = connection.as_mut() => return ended.map_or_else(|error| failed(error.as_ref()), |()| Ended::Closed),
        reason = activity.over(limits) => reason,
        // What is open on it is lost: the peer does not take it.
        () = unread.too_long(limits.take) => return Ended::Unread,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            // Open calls end by themselves, or with the program.
            let _ = connection.await;
            return Ended::Closed;
        }
    };
    connection.as_mut().graceful_shutdown();
    // A call that came at the last moment ends first: the peer has no reason to repeat it.
    let quiet = async {
        loop {
            activity.without_calls(limits.linger).await;
            if Instant::now() >= activity.ended_at() + limits.linger {
                return;
            }
        }
    };
    tokio::select! {
        _ = connection => {}
        () = quiet => {}
    }
    reason
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Ended {
    Ended::Failed(crate::status::chain(error))
}

fn builder(limits: &Connection, tasks: &Tasks) -> hyper_util::server::conn::auto::Builder<CallExecutor> {
    let mut builder = hyper_util::server::conn::auto::Builder::new(CallExecutor::new(tasks));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_buf_size(usize::try_from(limits.headers).unwrap_or(usize::MAX).max(8192));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.pings.every)
        .keep_alive_timeout(limits.pings.timeout)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.headers)
        .initial_stream_window_size(limits.window)
        .initial_connection_window_size(limits.window)
        .max_send_buf_size(usize::try_from(limits.window).unwrap_or(usize::MAX));
    match limits.http {
        Http::Any => builder,
        Http::One => builder.http1_only(),
        Http::Two => builder.http2_only(),
    }
}

/// Open calls of a connection, and when the last one ended.
#[derive(Debug, Clone)]
struct Activity(watch::Sender<Calls>);

#[derive(Debug, Clone, Copy)]
struct Calls {
    open: usize,
    begun: bool,
    ended_at: Instant,
}

/// One open call.
#[derive(Debug)]
pub struct OpenCall(Activity);

impl Default for Activity {
    fn default() -> Self {
        Self(watch::Sender::new(Calls { open: 0, begun: false, ended_at: Instant::now() }))
    }
}

impl Activity {
    fn begin(&self) -> OpenCall {
        self.0.send_modify(|calls| {
            calls.open += 1;
            calls.begun = true;
        });
        OpenCall(self.clone())
    }

    fn ended_at(&self) -> Instant {
        self.0.borrow().ended_at
    }

    /// Returns when the connection has had no call for too long.
    async fn over(&self, limits: &Connection) -> Ended {
        loop {
            let begun = self.0.borrow().begun;
            let limit = if begun { limits.idle } else { limits.first_request };
            self.without_calls(limit).await;
            let calls = *self.0.borrow();
            if calls.open == 0 && calls.begun == begun && calls.ended_at + limit <= Instant::now() {
                return if begun { Ended::Idle } else { Ended::NoRequest };
            }
        }
    }

    /// Waits until no call is open, then until `limit` after the end of the last one, or until a call begins.
    async fn without_calls(&self, limit: Duration) {
        let mut calls = self.0.subscribe();
        let ended_at = match calls.wait_for(|calls| calls.open == 0).await {
            Ok(calls) => calls.ended_at,
            // Cannot happen: `self` owns the sender.
            Err(_) => return,
        };
        let _ = tokio::time::timeout_at(ended_at + limit, calls.wait_for(|calls| calls.open > 0)).await;
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.0.send_modify(|calls| {
            calls.open -= 1;
            calls.ended_at = Instant::now();
        });
    }
}

/// A body that holds something until it ends or is dropped: a part of an allowance, an open call.
#[derive(Debug)]
pub struct Held<B, G> {
    body: B,
    _guard: G,
}

impl<B, G> Held<B, G> {
    /// Holds `guard` as long as `body` lives.
    pub fn new(body: B, guard: G) -> Self {
        Self { body, _guard: guard }
    }
}

impl<B: Body + Unpin, G: Unpin> Body for Held<B, G> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    const LIMITS: Connection = Connection {
        http: Http::Any,
        first_request: Duration::from_secs(10),
        idle: Duration::from_mins(1),
        take: Duration::from_secs(30),
        least: 0,
        linger: Duration::from_secs(1),
        streams: 8,
        headers: 16 * 1024,
        window: 64 * 1024,
        pings: Pings { every: Duration::from_secs(20), timeout: Duration::from_secs(10) },
    };

    /// Answers after a while.
    fn start(
        limits: Connection,
        takes: Duration,
    ) -> (DuplexStream, tokio::task::JoinHandle<(Ended, Duration)>) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let service = tower::service_fn(move |_: Request<Incoming>| async move {
            tokio::time::sleep(takes).await;
            Ok::<_, Infallible>(Response::new("done".to_owned()))
        });
        let began = Instant::now();
        let serving = tokio::spawn(async move {
            let ended = serve(theirs, service, &limits, &Tasks::default(), CancellationToken::new()).await;
            (ended, began.elapsed())
        });
        (ours, serving)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_whole_first_request_is_closed_in_time() {
        for sent in ["", "G", "GET / HTTP/1.1\r\nhost: x\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            let (mut peer, serving) = start(LIMITS, Duration::ZERO);
            peer.write_all(sent.as_bytes()).await.unwrap();
            let (ended, after) = serving.await.unwrap();
            assert!(matches!(ended, Ended::NoRequest), "{sent:?}: {ended:?}");
            assert!(
                after >= LIMITS.first_request && after <= LIMITS.first_request + LIMITS.linger * 2,
                "{after:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_may_last_and_an_idle_connection_is_closed_after_it() {
        let takes = LIMITS.idle * 3;
        let (mut peer, serving) = start(LIMITS, takes);
        peer.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 1024];
        let length = peer.read(&mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&answer));
        let (ended, after) = serving.await.unwrap();
        assert!(!matches!(ended, Ended::NoRequest), "{ended:?}");
        assert!(
            after >= takes + LIMITS.idle && after <= takes + LIMITS.idle + LIMITS.linger * 2,
            "{after:?}"
        );
    }

    /// A client's preface, SETTINGS_INITIAL_WINDOW_SIZE = 0, and `GET http://x/` on stream 1 (RFC 9113, RFC 7541 with
    /// static entries).
    const WINDOW_OF_ZERO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
        \x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00\
        \x00\x00\x06\x01\x05\x00\x00\x00\x01\x82\x86\x84\x41\x01x";

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_take_its_response_loses_the_connection() {
        let (mut peer, serving) = start(LIMITS, Duration::ZERO);
        peer.write_all(WINDOW_OF_ZERO).await.unwrap();
        // It answers pings and settings, as a living peer does.
        let (mut from, mut to) = tokio::io::split(peer);
        tokio::spawn(async move {
            let mut head = [0; 9];
            while from.read_exact(&mut head).await.is_ok() {
                let mut rest = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
                from.read_exact(&mut rest).await.unwrap();
                let acknowledges = matches!(head[3], 4 | 6) && head[4] & 1 == 0;
                if acknowledges {
                    head[4] = 1;
                    let rest = if head[3] == 4 {
                        head[1..3].fill(0);
                        &[][..]
                    } else {
                        &rest
                    };
                    to.write_all(&[&head[..], rest].concat()).await.unwrap();
                }
            }
        });
        let (ended, after) = serving.await.unwrap();
        assert!(matches!(ended, Ended::Unread), "{ended:?}");
        assert!(after >= LIMITS.take && after < LIMITS.take * 2, "{after:?}");
    }

    /// So many chunks of 64 KiB.
    struct Chunks(usize);

    impl Body for Chunks {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.checked_sub(1).map(|left| {
                self.0 = left;
                Ok(Frame::data(Bytes::from(vec![0; 1 << 16])))
            }))
        }
    }

    /// A response of 4 MiB, to a peer that takes so many bytes each second. Returns how it ended, after how long, and how much the peer
    /// got.
    async fn download(a_second: usize) -> (Ended, Duration, usize) {
        let (mut peer, theirs) = tokio::io::duplex(64 * 1024);
        let service = tower::service_fn(|_: Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new(Chunks(64)))
        });
        let limits = Connection { http: Http::One, least: 1 << 20, ..LIMITS };
        let began = Instant::now();
        let serving = tokio::spawn(async move {
            let ended = serve(theirs, service, &limits, &Tasks::default(), CancellationToken::new()).await;
            (ended, began.elapsed())
        });
        peer.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut part = vec![0; a_second];
        let mut got = 0;
        while peer.read_exact(&mut part).await.is_ok() {
            got += part.len();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let (ended, after) = serving.await.unwrap();
        (ended, after, got)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_takes_a_response_at_the_least_rate_or_loses_the_connection() {
        // 16 KiB each second, though never without progress, are half of 1 MiB in 30 s.
        let (ended, after, got) = download(16 << 10).await;
        assert!(matches!(ended, Ended::Unread), "{ended:?}");
        assert!(after >= LIMITS.take && after < LIMITS.take * 2, "{after:?}");
        assert!(got < 2 << 20, "{got}");
        // Who is slow, but not that slow, gets everything.
        let (ended, after, got) = download(48 << 10).await;
        assert!(matches!(ended, Ended::Closed), "{ended:?} after {after:?} and {got} bytes");
        assert!(after > LIMITS.take * 2 && got > (4 << 20) - (48 << 10), "{after:?}, {got}");
    }

    #[tokio::test(start_paused = true)]
    async fn headers_have_a_largest_size() {
        let (mut peer, serving) = start(LIMITS, Duration::ZERO);
        let request = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(40 * 1024));
        peer.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 431"), "{:?}", String::from_utf8_lossy(&answer));
        serving.await.unwrap();
    }
}
