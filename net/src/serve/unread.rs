//! Whether a peer takes the responses that it has asked for. A peer with a flow-control window of 0 keeps a call, and with it
//! the connection, open for as long as it likes: no body of it is polled, so no timer in a body can end it. One that takes a byte now
//! and then does the same, unless it has to take some number of bytes in the time.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use hyper::body::{Body, Buf as _, Frame, SizeHint};
use tokio::time::Instant;

/// When a call's time is over, as an extension of its response. Without it a response only has to be taken.
#[derive(Debug, Clone, Copy)]
pub struct EndsAt(pub Instant);

/// The open responses of a connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Unread(Arc<Mutex<Bodies>>);

#[derive(Debug, Default)]
struct Bodies {
    next: u64,
    /// Bytes that a peer has to take in the time.
    least: u64,
    open: BTreeMap<u64, Times>,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    /// Since when the peer has had bytes to take; `None` while the handler has none.
    waiting: Option<Instant>,
    /// Time that it has used up before that, since it last had taken enough.
    used: Duration,
    /// Bytes that it got in this time.
    got: u64,
    ends: Option<Instant>,
}

impl Times {
    /// The peer has room for more.
    fn takes(&mut self, now: Instant) {
        if let Some(since) = self.waiting.take() {
            self.used += now - since;
        }
    }

    /// It gets more.
    fn gets(&mut self, bytes: u64, least: u64, now: Instant) {
        self.got += bytes;
        if self.got >= least {
            self.got = 0;
            self.used = Duration::ZERO;
        }
        self.waiting = Some(now);
    }
}

impl Unread {
    /// For peers that have to take so many bytes in the time.
    pub(super) fn new(least: u64) -> Self {
        Self(Arc::new(Mutex::new(Bodies { least, ..Bodies::default() })))
    }

    /// Follows the body of a response, which has its head to take.
    pub(super) fn follow<B>(&self, body: B, ends: Option<EndsAt>) -> Followed<B> {
        let mut bodies = self.lock();
        let id = bodies.next;
        bodies.next += 1;
        let ends = ends.map(|ends| ends.0);
        let times = Times { waiting: Some(Instant::now()), used: Duration::ZERO, got: 0, ends };
        bodies.open.insert(id, times);
        Followed { body, id, unread: self.clone() }
    }

    /// Returns when the peer has not taken enough of a response for `limit`, or has one open for `limit` after its end.
    pub(super) async fn too_long(&self, limit: Duration) {
        loop {
            let now = Instant::now();
            let next = self.next_end(limit);
            if next.is_some_and(|at| at <= now) {
                return;
            }
            // A body that is followed from now on has the whole limit.
            tokio::time::sleep_until(next.unwrap_or(now + limit).min(now + limit)).await;
        }
    }

    fn next_end(&self, limit: Duration) -> Option<Instant> {
        let bodies = self.lock();
        let ends = bodies.open.values().flat_map(|times| {
            let taken = times.waiting.map(|since| since + limit.saturating_sub(times.used));
            [taken, times.ends.map(|at| at + limit)]
        });
        ends.flatten().min()
    }

    fn lock(&self) -> MutexGuard<'_, Bodies> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Times, u64)) {
        let mut bodies = self.lock();
        let least = bodies.least;
        if let Some(times) = bodies.open.get_mut(&id) {
            change(times, least);
        }
    }
}

/// A body that is followed until it is dropped.
#[derive(Debug)]
pub(super) struct Followed<B> {
    body: B,
    id: u64,
    unread: Unread,
}

impl<B> Drop for Followed<B> {
    fn drop(&mut self) {
        self.unread.lock().open.remove(&self.id);
    }
}

impl<B: Body + Unpin> Body for Followed<B> {
    type Data = B::Data;
    type Error = B::Error;

    /// The connection polls for more only when the peer has room for it.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let id = self.id;
        self.unread.change(id, |times, _| times.takes(Instant::now()));
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(frame) = &polled {
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
            let bytes = data.map_or(0, |data| u64::try_from(data.remaining()).unwrap_or(u64::MAX));
            self.unread.change(id, |times, least| times.gets(bytes, least, Instant::now()));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
