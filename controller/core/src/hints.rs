//! Hints that something changed. A hint has a key and wakes only the listeners of that key: on this replica at once, on
//! the others through NOTIFY. A hint may be lost, so every listener also polls the database.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    database::{Connection, Db},
    error::{Error, Result},
    ids::{ControllerId, InvalidId, NodeId, OrganizationId, ProjectRef},
};

/// NOTIFY channel.
const CHANNEL: &str = "supalove_hints";
/// How long hints are collected into one NOTIFY; several hints with one key then cause one wake-up.
const GATHER: Duration = Duration::from_millis(10);
/// Interval of heartbeats on the channel.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Silence after which the listening connection counts as dead.
const SILENT: Duration = Duration::from_secs(15);
/// Maximum number of hints in one NOTIFY. PostgreSQL limits it to less than 8,000 bytes; a hint has at most 45.
const BATCH: usize = 150;

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Hint {
    /// A project's row or events.
    Project(ProjectRef),
    /// The desired state of projects on a node, or the node's row.
    Node(NodeId),
    /// An organization's row or events.
    Organization(OrganizationId),
    /// Some node has more free capacity, or a project waits for capacity.
    Capacity,
    /// Sessions that must end: a node was revoked or has a newer session.
    Sessions,
    /// The fleet's roots.
    Roots,
    /// The keys of access tokens.
    SigningKeys,
    /// The outbox of mails.
    Mails,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Project(project) => write!(f, "project:{project}"),
            Self::Node(node) => write!(f, "node:{node}"),
            Self::Organization(organization) => write!(f, "organization:{organization}"),
            Self::Capacity => f.write_str("capacity"),
            Self::Sessions => f.write_str("sessions"),
            Self::Roots => f.write_str("roots"),
            Self::SigningKeys => f.write_str("signing-keys"),
            Self::Mails => f.write_str("mails"),
        }
    }
}

impl FromStr for Hint {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.split_once(':') {
            Some(("project", project)) => project.parse().map(Self::Project),
            Some(("node", node)) => node.parse().map(Self::Node),
            Some(("organization", organization)) => organization.parse().map(Self::Organization),
            None if text == "capacity" => Ok(Self::Capacity),
            None if text == "sessions" => Ok(Self::Sessions),
            None if text == "roots" => Ok(Self::Roots),
            None if text == "signing-keys" => Ok(Self::SigningKeys),
            None if text == "mails" => Ok(Self::Mails),
            _ => Err(InvalidId { expected: "a hint" }),
        }
    }
}

/// Publishes hints and lets callers listen. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Hints(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    listeners: Mutex<HashMap<Hint, watch::Sender<u64>>>,
    outgoing: Mutex<HashSet<Hint>>,
    some_outgoing: Notify,
}

impl Hints {
    /// Wakes the listeners of this hint, here and on the other replicas.
    pub fn wake(&self, hint: Hint) {
        self.wake_here(&hint);
        lock(&self.0.outgoing).insert(hint);
        self.0.some_outgoing.notify_one();
    }

    /// Starts to listen for a hint.
    pub fn listen(&self, hint: Hint) -> Listener {
        let receiver = lock(&self.0.listeners).entry(hint.clone()).or_default().subscribe();
        Listener { hint, receiver, hints: self.clone() }
    }

    fn wake_here(&self, hint: &Hint) {
        if let Some(listeners) = lock(&self.0.listeners).get(hint) {
            listeners.send_modify(|number| *number += 1);
        }
    }

    /// Wakes all listeners of this replica, after hints may have been lost.
    fn wake_all_here(&self) {
        for listeners in lock(&self.0.listeners).values() {
            listeners.send_modify(|number| *number += 1);
        }
    }

    /// Exchanges hints with the other replicas. Returns only on an error.
    pub(crate) async fn carry(&self, db: Db, controller: ControllerId, at_work: &Notify) -> Result<()> {
        let mut listener = db.listen(CHANNEL).await?;
        self.wake_all_here();
        let mut heard = Instant::now();
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        loop {
            tokio::select! {
                message = listener.try_recv() => {
                    let Some(message) = message? else {
                        // The connection was lost and made again; hints in between did not arrive.
                        self.wake_all_here();
                        continue;
                    };
                    heard = Instant::now();
                    at_work.notify_one();
                    self.received(message.payload(), controller);
                }
                () = self.0.some_outgoing.notified() => {
                    tokio::time::sleep(GATHER).await;
                    self.send(&db, controller).await?;
                }
                _ = heartbeat.tick() => {
                    if heard.elapsed() > SILENT {
                        return Err(Error::Unavailable {
                            message: "the connection that listens for hints has no heartbeat".to_owned(),
                            retry_after: HEARTBEAT,
                        });
                    }
                    notify(&db, &controller.to_string()).await?;
                }
            }
        }
    }

    /// Handles a payload: the sender's id, then one hint per line. This replica's own hints have already woken
    /// listeners.
    fn received(&self, payload: &str, controller: ControllerId) {
        let mut lines = payload.lines();
        if lines.next() == Some(&controller.to_string()) {
            return;
        }
        for hint in lines.filter_map(|line| line.parse().ok()) {
            self.wake_here(&hint);
        }
    }

    async fn send(&self, db: &Db, controller: ControllerId) -> Result<()> {
        let outgoing: Vec<Hint> = lock(&self.0.outgoing).drain().collect();
        for batch in outgoing.chunks(BATCH) {
            let mut payload = controller.to_string();
            for hint in batch {
                payload.push('\n');
                payload.push_str(&hint.to_string());
            }
            if let Err(error) = notify(db, &payload).await {
                // The next run sends them; one that is sent twice wakes once more.
                lock(&self.0.outgoing).extend(outgoing.iter().cloned());
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Publishes a hint when the transaction of this connection commits, and never if it does not. For acts whose caller does not
/// know that there is somebody to wake.
pub(crate) async fn wake_at_commit(connection: &mut Connection, hint: &Hint) -> Result<()> {
    // No replica has this name, so all of them hear the hint.
    let payload = format!("a transaction\n{hint}");
    sqlx::query!("SELECT pg_notify($1, $2)", CHANNEL, payload).fetch_one(connection).await?;
    Ok(())
}

async fn notify(db: &Db, payload: &str) -> Result<()> {
    sqlx::query!("SELECT pg_notify($1, $2)", CHANNEL, payload).fetch_one(db).await?;
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for one hint.
#[derive(Debug)]
pub struct Listener {
    hint: Hint,
    receiver: watch::Receiver<u64>,
    hints: Hints,
}

impl Listener {
    /// Returns as soon as the hint has been published since the last return.
    pub async fn woken(&mut self) {
        if self.receiver.changed().await.is_err() {
            // Cannot happen: the map keeps the sender while this listener exists.
            std::future::pending::<()>().await;
        }
    }

    /// Number of the newest hint. It only grows while there is a listener.
    pub fn newest(&self) -> u64 {
        *self.receiver.borrow()
    }

    /// Whether a hint was given since the last return; it counts as heard.
    pub fn take(&mut self) -> bool {
        let given = self.receiver.has_changed().unwrap_or_default();
        self.receiver.mark_unchanged();
        given
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut listeners = lock(&self.hints.0.listeners);
        // Ends within the lock: of two listeners that are dropped at once, the later sees that it is the last.
        self.receiver = watch::channel(0).1;
        if listeners.get(&self.hint).is_some_and(|sender| sender.receiver_count() == 0) {
            listeners.remove(&self.hint);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn only_who_waits_for_the_thing_is_woken_once_for_many_hints() {
        let hints = Hints::default();
        let one = ProjectRef::generate();
        let other = ProjectRef::generate();
        let mut listener = hints.listen(Hint::Project(one.clone()));
        hints.wake(Hint::Project(other));
        assert!(listener.woken().now_or_never().is_none());
        hints.wake(Hint::Project(one.clone()));
        hints.wake(Hint::Project(one.clone()));
        assert!(listener.woken().now_or_never().is_some());
        assert!(listener.woken().now_or_never().is_none());
        assert!(!listener.take());
        hints.wake(Hint::Project(one));
        assert!(listener.take());
        assert!(listener.woken().now_or_never().is_none(), "it was taken");
    }

    #[test]
    fn nothing_is_left_of_listeners_that_are_gone() {
        let hints = Hints::default();
        let node = Hint::Node(NodeId::generate());
        let first = hints.listen(node.clone());
        let second = hints.listen(node.clone());
        drop(first);
        assert_eq!(lock(&hints.0.listeners).len(), 1);
        drop(second);
        assert!(lock(&hints.0.listeners).is_empty());
    }

    #[tokio::test]
    async fn hints_of_other_replicas_wake_and_our_own_do_not_wake_twice() {
        let hints = Hints::default();
        let us = ControllerId::generate();
        let mut listener = hints.listen(Hint::Capacity);
        hints.received(&format!("{us}\ncapacity"), us);
        assert!(listener.woken().now_or_never().is_none());
        hints.received(&format!("{}\nroots\nnonsense\ncapacity", ControllerId::generate()), us);
        assert!(listener.woken().now_or_never().is_some());
    }

    #[test]
    fn hints_survive_their_journey() {
        let all = [
            Hint::Project(ProjectRef::generate()),
            Hint::Node(NodeId::generate()),
            Hint::Organization(OrganizationId::generate()),
            Hint::Capacity,
            Hint::Sessions,
            Hint::Roots,
            Hint::Mails,
        ];
        for hint in all {
            assert_eq!(hint.to_string().parse(), Ok(hint.clone()));
            assert!(hint.to_string().len() <= 50);
        }
        assert!("project:x".parse::<Hint>().is_err());
    }
}
