//! The body of a response, which ends with the call's time: a handler that only the caller ends, such as the health watch,
//! knows no deadline.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tonic::Status;

use crate::error::Error;

/// See the module.
pub struct Until<B> {
    body: B,
    end: Pin<Box<Sleep>>,
    time: Duration,
    over: bool,
}

impl<B> Until<B> {
    /// Ends `body` at `deadline`; the caller's time was `time`.
    pub fn new(body: B, deadline: Instant, time: Duration) -> Self {
        Self { body, end: Box::pin(tokio::time::sleep_until(deadline)), time, over: false }
    }
}

impl<B: Body + Unpin> Body for Until<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if self.end.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.over = true;
        let mut trailers = HeaderMap::new();
        let added = Status::from(Error::TooLate(self.time)).add_header(&mut trailers);
        Poll::Ready(added.ok().map(|()| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use axum::body::Bytes;
    use tonic::Code;

    use super::*;

    /// Never sends anything.
    struct Silent;

    impl Body for Silent {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_its_handler_never_ends_ends_with_its_time() {
        let began = Instant::now();
        let time = Duration::from_mins(1);
        let mut body = Until::new(Silent, began + time, time);
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.unwrap().unwrap();
        let status = Status::from_header_map(frame.trailers_ref().unwrap()).unwrap();
        assert_eq!((status.code(), began.elapsed()), (Code::DeadlineExceeded, time));
        assert!(poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.is_none());
    }
}
