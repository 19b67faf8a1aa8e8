//! Follows the streams of one call.

use std::sync::Arc;

use futures::future::select_all;
use supalove_net::allowance::{Allowance, Refusals};
use supalove_tasks::Tasks;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    Body, End, Message, Watched,
    shared::{Cell, Seen, Shared},
};
use crate::{
    access::{Call, Principal},
    error::{Error, Result},
    hints::{Hints, Listener},
    ids::UserId,
    limits::Limits,
    outlet::{Outlet, Over},
    times::Times,
};

/// Messages kept for a slow reader; then the watch waits for it, and reads nothing.
pub(super) const BUFFER: usize = 64;
/// Events read at once. A stream that has more lets the others have their turn in between.
pub(super) const PAGE: usize = 100;

/// Starts watches. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    /// Wakes the watches.
    pub hints: Hints,
    /// How often they look by themselves.
    pub times: Arc<Times>,
    /// Owns them.
    pub tasks: Tasks,
    shared: Shared,
    watched: Allowance<UserId>,
    refusals: Refusals,
}

/// A stream to follow, and from where.
pub struct Followed {
    /// Its number in the call.
    pub number: usize,
    /// The stream.
    pub stream: Arc<dyn Watched>,
    /// The last event that the caller has seen; `None` = only new ones.
    pub after: Option<u64>,
}

impl Engine {
    /// With these limits; refusals are counted there.
    pub fn new(hints: Hints, times: Arc<Times>, tasks: Tasks, limits: &Limits, refusals: Refusals) -> Self {
        let shared = Shared::new(limits.watch_reads);
        let watched = Allowance::new(limits.watched, limits.watched_per_user);
        Self { hints, times, tasks, shared, watched, refusals }
    }

    /// What is held although nobody watches; `None` while somebody does.
    pub(super) fn left_over(&self) -> Option<(usize, usize)> {
        (self.watched.open() == 0).then(|| self.shared.left_over())
    }

    /// The messages of these streams. They end when the reader goes, when all streams have ended, or with an error. Refused
    /// if the caller watches too many streams already.
    pub fn follow(&self, call: Call, streams: Vec<Followed>) -> Result<ReceiverStream<Result<Message>>> {
        let Principal { user, credential, .. } = *call.principal()?;
        let counts = self.watched.take(user, streams.len()).map_err(|full| {
            self.refusals.note("watch: too many streams", user);
            Error::full(full, "watched streams")
        })?;
        let (sender, receiver) = mpsc::channel(BUFFER);
        let times = self.times.clone();
        let now = Instant::now();
        let positions = streams.into_iter().map(|followed| {
            let hint = followed.stream.hint();
            // Before the cell, and dropped after it: the numbers of hints in the cell then are those of this listener.
            let listener = self.hints.listen(hint.clone());
            Position {
                number: followed.number,
                cell: self.shared.streams.cell((hint.clone(), followed.stream.viewer())),
                rights: self.shared.rights.cell((hint, user)),
                listener,
                stream: followed.stream,
                seq: followed.after,
                shown: None,
                not_before: now,
                next_poll: now + times.hinted_poll,
                due: true,
                ended: false,
            }
        });
        let streams = positions.collect();
        let shared = self.shared.clone();
        let session = shared.sessions.cell(credential);
        self.tasks.connection_until("watch", |stop| async move {
            let _counts = counts;
            let out = Outlet {
                sender,
                stop,
                deadline: call.deadline,
                last_sent: now,
                what: "watch",
                go_on: "watch again from the last seq",
            };
            let next_check = now + times.keep_alive;
            Watch { call, streams, out, times, shared, session, next_check, failing_since: None }.run().await;
        });
        Ok(ReceiverStream::new(receiver))
    }
}

/// Where a watch stands in a stream.
struct Position {
    number: usize,
    stream: Arc<dyn Watched>,
    /// The stream's newest state, for all its watches.
    cell: Arc<Cell<Arc<Seen>>>,
    /// Whether the caller may still read it, for all watches of the caller.
    rights: Arc<Cell<()>>,
    listener: Listener,
    /// The last event that was sent, or from which on events are; `None` until the stream was read.
    seq: Option<u64>,
    /// Version of the object that the caller has seen.
    shown: Option<Vec<u8>>,
    /// A state that was read earlier will not do.
    not_before: Instant,
    /// When it is due without a hint.
    next_poll: Instant,
    /// It has to be read.
    due: bool,
    ended: bool,
}

impl Position {
    fn message(&self, body: Body) -> Message {
        Message { stream: self.number, resume_seq: self.seq.unwrap_or_default(), body }
    }

    /// What is new.
    async fn read(&mut self, shared: &Shared, times: &Times) -> Result<Vec<Message>> {
        // A hint that comes from here on means another reading.
        self.listener.take();
        let hints = self.listener.newest();
        let not_before = self.not_before;
        let stream = &*self.stream;
        let fresh = |_, seen: &Arc<Seen>| seen.hints >= hints && seen.began >= not_before;
        let seen = self.cell.get(fresh, |known| shared.read(Seen::read(stream, hints, known))).await?;
        self.next_poll = seen.began + times.hinted_poll;
        let now = &seen.now;
        // A number beyond the newest event is from another database, or wrong: events are shown from now on.
        let seq = self.seq.unwrap_or(now.last_seq).min(now.last_seq);
        self.seq = Some(seq);
        let mut messages = Vec::new();
        if self.shown.as_ref() != Some(&now.version) {
            self.shown = Some(now.version.clone());
            messages.push(self.message(Body::Snapshot(Box::new(now.object.clone()))));
        }
        let events = match seen.events(seq) {
            _ if now.last_seq <= seq => Vec::new(),
            Some(events) => events,
            None => shared.read(self.stream.events(seq, PAGE)).await?,
        };
        self.due = events.len() >= PAGE;
        let mut next = seq + 1;
        if events.is_empty() {
            // All of them may be too old to be kept.
            self.gap(&mut messages, next, now.last_seq + 1);
        }
        for (number, event) in events {
            self.gap(&mut messages, next, number);
            self.seq = Some(number);
            next = number + 1;
            messages.push(self.message(Body::Event(event)));
        }
        if let Some(reason) = now.gone.filter(|_| !self.due) {
            self.ended = true;
            messages.push(self.message(Body::End(End::Gone(reason))));
        }
        Ok(messages)
    }

    /// Says that events from `next` on are missing before `number`, if they are.
    fn gap(&mut self, messages: &mut Vec<Message>, next: u64, number: u64) {
        if number > next {
            self.seq = Some(number - 1);
            messages.push(self.message(Body::Gap(number - next)));
        }
    }

    /// What an error of this stream means: its end, or that of the whole watch.
    fn refused(&mut self, error: Error) -> Result<Message> {
        match error {
            Error::NotFound { .. } | Error::PermissionDenied { .. } => {
                self.ended = true;
                Ok(self.message(Body::End(End::Refused(error))))
            }
            _ => Err(error),
        }
    }

    /// Reads again at this time at the latest, and takes no state from before it.
    fn due_at(&mut self, time: Instant) {
        self.due = true;
        self.not_before = time;
    }
}

/// One watch.
struct Watch {
    call: Call,
    streams: Vec<Position>,
    out: Outlet<Message>,
    times: Arc<Times>,
    shared: Shared,
    /// The caller's session, for all watches of the session.
    session: Arc<Cell<Principal>>,
    /// When it is looked at again what the caller may read.
    next_check: Instant,
    /// Since when the database has not answered.
    failing_since: Option<Instant>,
}

impl Watch {
    async fn run(mut self) {
        if let Err(Over::Failed(error)) = self.feed().await {
            self.out.fail(error, self.times.goodbye).await;
        }
    }

    async fn feed(&mut self) -> Result<(), Over> {
        while !self.streams.is_empty() {
            for number in 0..self.streams.len() {
                self.check_if_due().await?;
                self.read_if_due(number).await?;
            }
            self.streams.retain(|stream| !stream.ended);
            let next_keep_alive = self.out.last_sent + self.times.keep_alive;
            if Instant::now() >= self.out.deadline {
                return Err(self.out.lasted().into());
            }
            if Instant::now() >= next_keep_alive {
                self.out.send(Message { stream: 0, resume_seq: 0, body: Body::KeepAlive }).await?;
                continue;
            }
            if self.streams.is_empty() || self.streams.iter().any(|stream| stream.due) {
                continue;
            }
            let next_poll =
                self.streams.iter().map(|stream| stream.next_poll).min().unwrap_or(next_keep_alive);
            let next = next_poll.min(next_keep_alive).min(self.next_check).min(self.out.deadline);
            tokio::select! {
                () = self.out.stop.cancelled() => return Err(self.out.stopping().into()),
                () = self.out.sender.closed() => return Err(Over::ReaderGone),
                () = hinted(&mut self.streams) => {}
                () = tokio::time::sleep_until(next) => {}
            }
            let now = Instant::now();
            for stream in self.streams.iter_mut().filter(|stream| stream.next_poll <= now) {
                // All watches of a stream are due at the same time, and the first one reads for all.
                stream.due_at(stream.next_poll);
            }
        }
        Ok(())
    }

    async fn read_if_due(&mut self, number: usize) -> Result<(), Over> {
        let Some(stream) = self.streams.get_mut(number).filter(|stream| stream.due && !stream.ended) else {
            return Ok(());
        };
        let messages = match stream.read(&self.shared, &self.times).await {
            Ok(messages) => {
                self.failing_since = None;
                messages
            }
            Err(error @ Error::Unavailable { .. }) if stream.shown.is_some() => {
                stream.due = false;
                stream.next_poll = Instant::now() + self.times.poll;
                return self.outlast(error);
            }
            Err(error) => vec![stream.refused(error)?],
        };
        for message in messages {
            self.out.send(message).await?;
        }
        Ok(())
    }

    /// Also before each reading: a reader may have kept the watch waiting for long.
    async fn check_if_due(&mut self) -> Result<(), Over> {
        if Instant::now() < self.next_check {
            return Ok(());
        }
        self.next_check = Instant::now() + self.times.keep_alive;
        match self.check().await {
            Err(Over::Failed(error @ Error::Unavailable { .. })) => {
                self.next_check = Instant::now() + self.times.poll;
                self.outlast(error)
            }
            checked => checked,
        }
    }

    /// Asks again what the caller may do. What another watch of the caller has just asked counts.
    async fn check(&mut self) -> Result<(), Over> {
        let now = Instant::now();
        let recent = now.checked_sub(self.times.keep_alive / 2).unwrap_or(now);
        let call = &self.call;
        let confirm = async {
            let mut call = call.clone();
            call.confirm().await?;
            Ok(call.principal()?.clone())
        };
        let shared = &self.shared;
        let principal = self.session.get(|began, _| began >= recent, |_| shared.read(confirm)).await?;
        self.call.principal = Some(principal);
        for stream in self.streams.iter_mut().filter(|stream| !stream.ended) {
            let allowed = stream.stream.still_allow(&self.call);
            let allowed = stream.rights.get(|began, ()| began >= recent, |_| shared.read(allowed)).await;
            if let Err(error) = allowed {
                let end = stream.refused(error)?;
                self.out.send(end).await?;
            }
        }
        Ok(())
    }

    /// A database that does not answer for a moment does not end the watch: all callers at once would ask for a new one.
    fn outlast(&mut self, error: Error) -> Result<(), Over> {
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.times.keep_alive * 2 { Err(error.into()) } else { Ok(()) }
    }
}

/// Returns when the hint of a stream came; those streams are due.
async fn hinted(streams: &mut [Position]) {
    let hints = streams.iter_mut().map(|stream| {
        Box::pin(async {
            stream.listener.woken().await;
            stream.due = true;
        })
    });
    select_all(hints).await;
    for stream in streams {
        stream.due |= stream.listener.take();
    }
}
