//! What several watches need is read once for all of them: a stream's state, the rights on an object, a session.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::{sync::Semaphore, time::Instant};

use super::{Event, Now, Watched, engine::PAGE};
use crate::{
    access::{Credential, Principal},
    error::{Error, Result},
    hints::Hint,
    ids::UserId,
};

/// Newest events kept of a stream, for all its watches. A watch that is further behind reads for itself.
const KEPT: usize = 2 * PAGE;

/// A value that is read by one of those who need it, while the others wait for it.
pub struct Cell<V>(tokio::sync::Mutex<Option<Read<V>>>);

struct Read<V> {
    began: Instant,
    ended: Instant,
    value: Result<V, Error>,
}

impl<V> Default for Cell<V> {
    fn default() -> Self {
        Self(tokio::sync::Mutex::new(None))
    }
}

impl<V: Clone> Cell<V> {
    /// Returns the newest value if it is `fresh` (given when its reading began), else reads. Who has waited for a reading
    /// that failed gets its error, so that a database that hangs is not asked by everybody in turn.
    pub async fn get<F>(
        &self,
        fresh: impl Fn(Instant, &V) -> bool,
        read: impl FnOnce(Option<V>) -> F,
    ) -> Result<V>
    where
        F: Future<Output = Result<V>>,
    {
        let came = Instant::now();
        let mut cell = self.0.lock().await;
        match cell.as_ref() {
            Some(Read { began, value: Ok(value), .. }) if fresh(*began, value) => return Ok(value.clone()),
            Some(Read { ended, value: Err(error), .. }) if *ended > came => return Err(error.again()),
            _ => {}
        }
        let known = cell.as_ref().and_then(|read| read.value.as_ref().ok().cloned());
        let began = Instant::now();
        let value = read(known).await;
        let ended = Instant::now();
        let answer = match &value {
            Ok(value) => Ok(value.clone()),
            Err(error) => Err(error.again()),
        };
        *cell = Some(Read { began, ended, value });
        answer
    }
}

/// Cells by key; a cell lives as long as somebody holds it.
pub struct Cells<K, V>(Arc<Mutex<HashMap<K, Weak<Cell<V>>>>>);

impl<K, V> Clone for Cells<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> Default for Cells<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash, V> Cells<K, V> {
    /// The cell of a key.
    pub fn cell(&self, key: K) -> Arc<Cell<V>> {
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = cells.get(&key).and_then(Weak::upgrade) {
            return cell;
        }
        // Keys of dropped cells are few at any time, and go here.
        if cells.len() == cells.capacity() {
            cells.retain(|_, cell| cell.strong_count() > 0);
        }
        let cell = Arc::new(Cell::default());
        cells.insert(key, Arc::downgrade(&cell));
        cell
    }

    /// Cells that somebody holds.
    pub fn held(&self) -> usize {
        let cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cells.values().filter(|cell| cell.strong_count() > 0).count()
    }
}

/// All that watches share. Cheap to clone.
#[derive(Clone)]
pub struct Shared {
    /// By stream, and by viewer if the object shows something else to each.
    pub streams: Cells<(Hint, Option<UserId>), Arc<Seen>>,
    /// By object and user: the user may read it.
    pub rights: Cells<(Hint, UserId), ()>,
    /// By session or token: its principal.
    pub sessions: Cells<Credential, Principal>,
    /// Bounds the connections of the pool that watches use.
    pub reads: Arc<Semaphore>,
    most_reads: usize,
}

impl Shared {
    /// With at most `reads` connections at once.
    pub fn new(reads: usize) -> Self {
        Self {
            streams: Cells::default(),
            rights: Cells::default(),
            sessions: Cells::default(),
            reads: Arc::new(Semaphore::new(reads)),
            most_reads: reads,
        }
    }

    /// What is held although nobody watches: state of streams, rights and sessions, and permits to read.
    pub fn left_over(&self) -> (usize, usize) {
        let held = self.streams.held() + self.rights.held() + self.sessions.held();
        (held, self.most_reads - self.reads.available_permits())
    }

    /// Reads when a connection is to be had.
    pub async fn read<T>(&self, reading: impl Future<Output = Result<T>>) -> Result<T> {
        let _permit = self.reads.acquire().await.map_err(Error::internal)?;
        reading.await
    }
}

/// A stream as it was read.
pub struct Seen {
    /// Number of the newest hint before the reading.
    pub hints: u64,
    /// When the reading began.
    pub began: Instant,
    /// The object.
    pub now: Now,
    /// All events after this number are in `tail`, as far as they had happened.
    tail_after: u64,
    tail: Vec<(u64, Event)>,
}

impl Seen {
    /// Reads the stream again. Events since the last reading are read once for all watches.
    pub async fn read(stream: &dyn Watched, hints: u64, known: Option<Arc<Self>>) -> Result<Arc<Self>> {
        let began = Instant::now();
        let now = stream.now().await?;
        let newest = |tail: &[(u64, Event)], after| tail.last().map_or(after, |(number, _)| *number);
        let (tail_after, tail) = match known {
            Some(known) => {
                let newest = newest(&known.tail, known.tail_after);
                if now.last_seq <= newest {
                    (known.tail_after, known.tail.clone())
                } else {
                    let events = stream.events(newest, PAGE).await?;
                    if events.len() >= PAGE {
                        // There may be more: watches that need them read for themselves.
                        (now.last_seq, Vec::new())
                    } else {
                        kept(known.tail_after, known.tail.iter().cloned().chain(events).collect())
                    }
                }
            }
            None => (now.last_seq, Vec::new()),
        };
        Ok(Arc::new(Self { hints, began, now, tail_after, tail }))
    }

    /// At most a page of the events after a number; `None` if they are not all here.
    pub fn events(&self, after: u64) -> Option<Vec<(u64, Event)>> {
        if after < self.tail_after {
            return None;
        }
        Some(self.tail.iter().filter(|(number, _)| *number > after).take(PAGE).cloned().collect())
    }
}

/// Drops the oldest events of a long tail.
fn kept(after: u64, mut tail: Vec<(u64, Event)>) -> (u64, Vec<(u64, Event)>) {
    let too_many = tail.len().saturating_sub(KEPT);
    let after = tail.drain(..too_many).next_back().map_or(after, |(number, _)| number);
    (after, tail)
}
