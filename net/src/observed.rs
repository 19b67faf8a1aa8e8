//! A stream that reports its reads and errors, and that a token can close.
//!
//! - [`Observed::on_read`] gets the number of bytes of each non-empty read, e.g. to update [`LastHeard`].
//! - [`Observed::on_error`] gets each error of a read or write, because HTTP/2 reports only its text.
//! - [`Observed::cut_by`] ends the stream when a token is cancelled: every channel over it that is still in use (a
//!   tunnel, a log) gets an error at once.
//! - [`Observed::on_end`] cancels a token when the stream is dropped, because its owner has closed the connection.

use std::{
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

type OnRead = Box<dyn FnMut(usize) + Send + Sync>;
type OnError = Box<dyn FnMut(&io::Error) + Send + Sync>;

/// See the module.
pub struct Observed<IO> {
    io: IO,
    on_read: Option<OnRead>,
    on_error: Option<OnError>,
    cut: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    end: Option<DropGuard>,
}

impl<IO> Observed<IO> {
    /// Wraps a stream, without observers.
    pub fn new(io: IO) -> Self {
        Self { io, on_read: None, on_error: None, cut: None, end: None }
    }

    /// Calls `observe` with the number of bytes of each non-empty read.
    #[must_use]
    pub fn on_read(mut self, observe: impl FnMut(usize) + Send + Sync + 'static) -> Self {
        self.on_read = Some(Box::new(observe));
        self
    }

    /// Calls `observe` with each error of a read or write, but not for a cut, which is no error of the stream.
    #[must_use]
    pub fn on_error(mut self, observe: impl FnMut(&io::Error) + Send + Sync + 'static) -> Self {
        self.on_error = Some(Box::new(observe));
        self
    }

    /// Once `cut` is cancelled, every read and write fails with `ConnectionAborted`, including a read in progress.
    #[must_use]
    pub fn cut_by(mut self, cut: CancellationToken) -> Self {
        self.cut = Some(Box::pin(cut.cancelled_owned()));
        self
    }

    /// Cancels `ended` when the stream is dropped.
    #[must_use]
    pub fn on_end(mut self, ended: CancellationToken) -> Self {
        self.end = Some(ended.drop_guard());
        self
    }

    /// Returns the wrapped stream.
    pub fn get_ref(&self) -> &IO {
        &self.io
    }

    /// Returns an error once the stream was cut. Also registers the task, so that a cut wakes it.
    fn check_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(cut) = &mut self.cut else { return Ok(()) };
        match cut.as_mut().poll(cx) {
            Poll::Ready(()) => {
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was cut"))
            }
            Poll::Pending => Ok(()),
        }
    }

    fn observe_error<T>(&mut self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let (Poll::Ready(Err(error)), Some(on_error)) = (&polled, &mut self.on_error) {
            on_error(error);
        }
        polled
    }
}

impl<IO: fmt::Debug> fmt::Debug for Observed<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").field("io", &self.io).finish_non_exhaustive()
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Observed<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_cut(cx)?;
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        let read = buffer.filled().len() - before;
        if read > 0
            && let Some(on_read) = &mut self.on_read
        {
            on_read(read);
        }
        self.observe_error(polled)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Observed<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_cut(cx)?;
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.observe_error(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_cut(cx)?;
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.observe_error(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_cut(cx)?;
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.observe_error(polled)
    }

    /// Works after a cut too, so that the peer sees the end of the stream.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The moment of the last byte from the peer. A dead connection stays open until its ping
/// times out, but the silence counts from the last byte.
#[derive(Debug, Clone)]
pub struct LastHeard(Arc<Mutex<Instant>>);

impl LastHeard {
    /// Starts with the current moment.
    pub fn now() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// Returns how long the peer has been silent.
    pub fn silence(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Records that a byte came from the peer; for [`Observed::on_read`].
    pub fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Records each read of `io` here.
    pub fn observe<IO>(&self, io: Observed<IO>) -> Observed<IO> {
        let heard = self.clone();
        io.on_read(move |_| heard.note())
    }

    /// Returns when the peer has been silent for `limit`.
    pub async fn silent_for(&self, limit: Duration) {
        loop {
            let Some(left) = limit.checked_sub(self.silence()).filter(|left| !left.is_zero()) else { return };
            tokio::time::sleep(left).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_the_peer_saysends_a_silence() {
        let (near, mut far) = tokio::io::duplex(64);
        let heard = LastHeard::now();
        let mut near = heard.observe(Observed::new(near));
        tokio::time::sleep(Duration::from_secs(20)).await;
        near.write_all(b"hello?").await.unwrap();
        assert_eq!(heard.silence(), Duration::from_secs(20), "what we say is not heard");
        far.write_all(b"yes").await.unwrap();
        near.read_u8().await.unwrap();
        assert_eq!(heard.silence(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silence_is_measured_from_the_last_byte() {
        let heard = LastHeard::now();
        let began = Instant::now();
        let other = heard.clone();
        let waiting = tokio::spawn(async move { other.silent_for(Duration::from_secs(15)).await });
        tokio::time::sleep(Duration::from_secs(10)).await;
        heard.note();
        waiting.await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(25));
    }

    #[tokio::test]
    async fn a_cutends_a_read_that_waits_and_all_that_follows() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let cut = CancellationToken::new();
        let mut stream = Observed::new(ours).cut_by(cut.clone());
        theirs.write_all(b"a").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'a');
        let waiting = tokio::spawn(async move {
            let read = stream.read_u8().await;
            let written = stream.write_u8(1).await;
            let flushed = stream.flush().await;
            (read, written, flushed, stream.shutdown().await)
        });
        tokio::task::yield_now().await;
        cut.cancel();
        let (read, written, flushed, shut_down) = waiting.await.unwrap();
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert!(written.is_err() && flushed.is_err());
        shut_down.unwrap();
    }

    #[tokio::test]
    async fn errors_are_told_and_a_cut_is_none() {
        let (ours, theirs) = tokio::io::duplex(64);
        let errors = Arc::new(AtomicUsize::new(0));
        let seen = errors.clone();
        let cut = CancellationToken::new();
        let observed = Observed::new(ours).cut_by(cut.clone());
        let mut stream = observed.on_error(move |error| {
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            seen.fetch_add(1, Ordering::Relaxed);
        });
        drop(theirs);
        stream.write_u8(1).await.unwrap_err();
        assert_eq!(errors.load(Ordering::Relaxed), 1);
        cut.cancel();
        stream.write_u8(1).await.unwrap_err();
        assert_eq!(errors.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn theend_of_a_stream_is_told() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let ended = CancellationToken::new();
        let stream = Observed::new(ours).on_end(ended.clone());
        assert!(!ended.is_cancelled());
        drop(stream);
        assert!(ended.is_cancelled());
    }

    /// Takes vectored writes, and counts them.
    struct Vectored(DuplexStream, Arc<AtomicUsize>);

    impl AsyncWrite for Vectored {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, bytes)
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            parts: &[io::IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    #[tokio::test]
    async fn vectored_writes_are_forwarded_through_every_layer() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let calls = Arc::new(AtomicUsize::new(0));
        let mut stream = Observed::new(Observed::new(Vectored(ours, calls.clone())));
        assert!(stream.is_write_vectored());
        let parts = [io::IoSlice::new(b"ab"), io::IoSlice::new(b"c")];
        let written = std::future::poll_fn(|cx| Pin::new(&mut stream).poll_write_vectored(cx, &parts)).await;
        assert_eq!(written.unwrap(), 3);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}
