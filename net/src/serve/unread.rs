//! Whether a peer takes the responses that it has asked for. A peer with a flow-control window of 0 keeps a call, and with it
//! the connection, open for as long as it likes: no body of it is polled, so no timer in a body can end it.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

/// When a call's time is over, as an extension of its response. Without it a response only has to be taken.
#[derive(Debug, Clone, Copy)]
pub struct EndsAt(pub Instant);

/// The open responses of a connection. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Unread(Arc<Mutex<Bodies>>);

#[derive(Debug, Default)]
struct Bodies {
    next: u64,
    open: BTreeMap<u64, Times>,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    /// Since when the peer has had bytes to take; `None` while the handler has none.
    waiting: Option<Instant>,
    ends: Option<Instant>,
}

impl Unread {
    /// Follows the body of a response, which has its head to take.
    pub(super) fn follow<B>(&self, body: B, ends: Option<EndsAt>) -> Followed<B> {
        let mut bodies = self.lock();
        let id = bodies.next;
        bodies.next += 1;
        let times = Times { waiting: Some(Instant::now()), ends: ends.map(|ends| ends.0) };
        bodies.open.insert(id, times);
        Followed { body, id, unread: self.clone() }
    }

    /// Returns when the peer has not taken a response for `limit`, or has one open for `limit` after its end.
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
        bodies
            .open
            .values()
            .flat_map(|times| [times.waiting, times.ends])
            .flatten()
            .min()
            .map(|at| at + limit)
    }

    fn lock(&self) -> MutexGuard<'_, Bodies> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_waiting(&self, id: u64, waiting: Option<Instant>) {
        if let Some(times) = self.lock().open.get_mut(&id) {
            times.waiting = waiting;
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
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.unread.set_waiting(self.id, polled.is_ready().then(Instant::now));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
