//! The body of a request: bounded in bytes before it is buffered, and in time. It walks the frames of gRPC (a flag, a
//! length, a message), so that a message that is too large is refused by its first five bytes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    BoxError,
    body::{Body, Bytes, HttpBody},
};
use http_body::{Frame, SizeHint};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep},
};
use tonic::Status;

use crate::error::Error;

/// Bytes before each message: a flag and the length (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX: usize = 5;

/// What one body may cost.
#[derive(Debug)]
pub struct Allowed {
    /// Bytes of one message.
    pub bytes: usize,
    /// Bytes of all messages that are being received or decoded.
    pub memory: Arc<Semaphore>,
    /// Time for a message to arrive.
    pub time: Duration,
    /// The caller may send several messages.
    pub streaming: bool,
}

/// See the module.
pub struct RequestBody {
    body: Body,
    allowed: Allowed,
    prefix: [u8; PREFIX],
    /// Bytes of the prefix that have arrived.
    prefixed: usize,
    /// Bytes of the message that have not arrived.
    missing: usize,
    messages: usize,
    /// The memory of the newest message, which the handler has until the body is dropped.
    memory: Option<OwnedSemaphorePermit>,
    /// `None` while nothing has to arrive.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    /// Wraps the body of a call that begins now.
    pub fn new(body: Body, allowed: Allowed) -> Self {
        let deadline = Some(Box::pin(tokio::time::sleep_until(Instant::now() + allowed.time)));
        Self {
            body,
            allowed,
            prefix: [0; PREFIX],
            prefixed: 0,
            missing: 0,
            messages: 0,
            memory: None,
            deadline,
        }
    }

    fn arrived(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            if self.missing > 0 {
                let part = self.missing.min(bytes.len());
                self.missing -= part;
                bytes = &bytes[part..];
                self.note_end_of_message();
                continue;
            }
            if self.prefixed == 0 && self.messages > 0 {
                if !self.allowed.streaming {
                    return Err(Error::Malformed("it has more than one message".to_owned()));
                }
                self.deadline = Some(Box::pin(tokio::time::sleep(self.allowed.time)));
            }
            let part = (PREFIX - self.prefixed).min(bytes.len());
            self.prefix[self.prefixed..self.prefixed + part].copy_from_slice(&bytes[..part]);
            self.prefixed += part;
            bytes = &bytes[part..];
            if self.prefixed == PREFIX {
                self.begin_message()?;
            }
        }
        Ok(())
    }

    fn begin_message(&mut self) -> Result<(), Error> {
        let [flag, a, b, c, d] = self.prefix;
        if flag > 1 {
            return Err(Error::Malformed(format!("its compression flag is {flag}")));
        }
        let length = u32::from_be_bytes([a, b, c, d]);
        let bytes = usize::try_from(length).unwrap_or(usize::MAX);
        if bytes > self.allowed.bytes {
            return Err(Error::Malformed(format!(
                "its message has {bytes} bytes, and at most {} are allowed for this method",
                self.allowed.bytes
            )));
        }
        self.memory = None;
        // What fails here is above the limit of all bodies together; nobody waits, because a wait holds memory, too.
        let memory = self.allowed.memory.clone().try_acquire_many_owned(length).map_err(|_| Error::Busy)?;
        self.memory = Some(memory);
        self.missing = bytes;
        self.messages += 1;
        self.note_end_of_message();
        Ok(())
    }

    fn note_end_of_message(&mut self) {
        if self.missing > 0 {
            return;
        }
        self.prefixed = 0;
        if self.allowed.streaming {
            self.deadline = None;
        }
    }

    fn ended(&self) -> Result<(), Error> {
        if self.missing > 0 || self.prefixed > 0 {
            return Err(Error::Malformed("it ends within a message".to_owned()));
        }
        if self.messages == 0 && !self.allowed.streaming {
            return Err(Error::Malformed("it has no message".to_owned()));
        }
        Ok(())
    }
}

fn refused(error: Error) -> BoxError {
    Box::new(Status::from(error))
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Some(Err(refused(Error::SlowRequest(self.allowed.time)))));
        }
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
            self.deadline = None;
            return Poll::Ready(self.ended().err().map(|error| Err(refused(error))));
        };
        let frame = frame.map_err(BoxError::from)?;
        if let Some(bytes) = frame.data_ref() {
            let bytes = bytes.clone();
            self.arrived(&bytes).map_err(refused)?;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        // The end is judged in `poll_frame`.
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, stream};
    use tonic::Code;

    use super::*;

    const LIMIT: usize = 100;

    fn allowed(memory: &Arc<Semaphore>, streaming: bool) -> Allowed {
        Allowed { bytes: LIMIT, memory: memory.clone(), time: Duration::from_secs(10), streaming }
    }

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
        bytes.resize(PREFIX + length, 7);
        bytes
    }

    fn body(parts: Vec<Vec<u8>>) -> Body {
        Body::from_stream(stream::iter(parts.into_iter().map(Ok::<_, std::io::Error>)))
    }

    async fn read(mut body: RequestBody) -> Result<usize, Status> {
        let mut bytes = 0;
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            bytes += frame.map_err(Status::from_error)?.into_data().unwrap_or_default().len();
        }
        Ok(bytes)
    }

    async fn outcome(parts: Vec<Vec<u8>>, streaming: bool) -> Result<usize, (Code, String)> {
        let memory = Arc::new(Semaphore::new(1000));
        let read = read(RequestBody::new(body(parts), allowed(&memory, streaming))).await;
        assert_eq!(memory.available_permits(), 1000, "the memory is given back");
        read.map_err(|status| (status.code(), status.message().to_owned()))
    }

    #[tokio::test]
    async fn a_message_passes_however_it_is_cut() {
        for cut in 1..20 {
            let parts = message(80).chunks(cut).map(<[u8]>::to_vec).collect();
            assert_eq!(outcome(parts, false).await, Ok(85));
            let two: Vec<u8> = [message(LIMIT), message(0)].concat();
            assert_eq!(outcome(two.chunks(cut).map(<[u8]>::to_vec).collect(), true).await, Ok(110));
        }
    }

    #[tokio::test]
    async fn what_is_no_message_of_the_method_is_refused_as_malformed() {
        let mut half = message(50);
        half.truncate(30);
        for (parts, says) in [
            (vec![], "no message"),
            (vec![vec![0, 0]], "ends within"),
            (vec![half], "ends within"),
            (vec![message(3), message(3)], "more than one"),
            (vec![vec![2, 0, 0, 0, 0]], "flag"),
            // Its first five bytes are enough.
            (vec![message(LIMIT + 1)[..PREFIX].to_vec()], "at most 100"),
        ] {
            let (code, text) = outcome(parts, false).await.unwrap_err();
            assert_eq!(code, Code::InvalidArgument, "{text}");
            assert!(text.contains(says), "{text}");
        }
        assert_eq!(outcome(vec![], true).await, Ok(0), "a stream may be empty");
    }

    #[tokio::test]
    async fn all_bodies_together_have_a_limit() {
        let memory = Arc::new(Semaphore::new(150));
        let waiting = |length| {
            let parts = stream::iter([Ok::<_, std::io::Error>(message(length)[..PREFIX].to_vec())]);
            RequestBody::new(Body::from_stream(parts.chain(stream::pending())), allowed(&memory, false))
        };
        let mut first = waiting(100);
        std::future::poll_fn(|cx| Pin::new(&mut first).poll_frame(cx)).await.unwrap().unwrap();
        let status = read(waiting(60)).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        drop(first);
        assert_eq!(memory.available_permits(), 150);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_in_time_is_given_up() {
        let memory = Arc::new(Semaphore::new(1000));
        // A byte each second, the whole of it a little too late.
        let slow = stream::iter(message(20)).then(|byte| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, std::io::Error>(vec![byte])
        });
        let began = Instant::now();
        let status =
            read(RequestBody::new(Body::from_stream(slow), allowed(&memory, false))).await.unwrap_err();
        assert_eq!((status.code(), began.elapsed().as_secs()), (Code::DeadlineExceeded, 10));
        // A streaming caller may be silent between its messages.
        let pause = stream::iter([message(3)]).chain(
            stream::once(async {
                tokio::time::sleep(Duration::from_secs(100)).await;
                message(4)
            })
            .boxed(),
        );
        let body = Body::from_stream(pause.map(Ok::<_, std::io::Error>));
        assert_eq!(read(RequestBody::new(body, allowed(&memory, true))).await.unwrap(), 17);
    }
}
