//! Named tasks with an owner. Nobody calls `tokio::spawn` bare: a task that panics unseen leaves a program that looks
//! alive and does nothing.
//!
//! - A **job** works as long as the program runs (a poll, a listener, a project's supervisor). One that panics ends the
//!   process with [`EXIT_CODE`] and its name in the log, so that the supervisor of the process starts it again.
//! - A **connection** works for one peer (a session, a tunnel, one request). One that panics ends alone: what it
//!   holds is
//!   dropped (guards run), and the panic is logged and counted.
//! - An **operation** runs to completion though its caller goes away. One that panics is an error to its caller.
//!
//! All of them have one owner, [`Tasks`]. [`Tasks::stop`] cancels jobs and connections at their next `await`, lets
//! operations end, and waits for all.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! # use supalove_tasks::Tasks;
//! # use std::time::Duration;
//! # async fn flush_seen() {} async fn serve(_: tokio::net::TcpStream) {} async fn signal() {}
//! let tasks = Tasks::default();
//! tasks.job("fleet.flush_seen", flush_seen());
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let owner = tasks.clone();
//! tasks.job("node port", async move {
//!     while let Ok((stream, peer)) = listener.accept().await {
//!         owner.connection(format!("connection of {peer}"), serve(stream));
//!     }
//! });
//! let failed = tokio::select! {
//!     failed = tasks.failed() => Some(failed),
//!     () = signal() => None,
//! };
//! tasks.stop(Duration::from_secs(5)).await;
//! if failed.is_some() {
//!     std::process::exit(supalove_tasks::EXIT_CODE.into());
//! }
//! # Ok(()) }
//! ```

mod hook;

use std::any::Any;
use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::hook::log_panics;

/// Exit code of a process that ends because a job panicked (`EX_SOFTWARE` of sysexits.h).
pub const EXIT_CODE: u8 = 70;

/// Name of a task, for logs: "fleet.flush_seen", "tunnel".
pub type Name = Cow<'static, str>;

/// The owner of all tasks of a program; cheap to clone. Tasks go on when it is dropped: only [`Tasks::stop`] ends them.
#[derive(Debug, Clone, Default)]
pub struct Tasks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    running: TaskTracker,
    stop: CancellationToken,
    /// The first job that panicked.
    failed: watch::Sender<Option<JobPanicked>>,
    connection_panics: AtomicU64,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            running: TaskTracker::new(),
            stop: CancellationToken::new(),
            failed: watch::Sender::new(None),
            connection_panics: AtomicU64::new(0),
        }
    }
}

/// A job panicked: the process has to end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("job {name} panicked: {message}")]
pub struct JobPanicked {
    /// Which job.
    pub name: Name,
    /// What it said.
    pub message: String,
}

/// Why a task gave no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// It panicked.
    #[error("the task panicked")]
    Panicked,
    /// It was stopped or aborted.
    #[error("the task was stopped")]
    Stopped,
}

/// A task's result, for whoever waits for it. Dropping it lets the task go on.
#[derive(Debug)]
pub struct Task<T>(JoinHandle<Result<T, Ended>>);

impl<T> Task<T> {
    /// Ends the task at its next `await`.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// True once the task has ended.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Ends the task when the returned value is dropped: for a task that must not outlive its caller.
    pub fn abort_on_drop(self) -> AbortOnDrop<T> {
        AbortOnDrop(self)
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, Ended>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll(cx)) {
            Ok(ended) => ended,
            // Panics are caught inside the task; what is left is an abort, or a runtime that shuts down.
            Err(error) if error.is_panic() => Err(Ended::Panicked),
            Err(_) => Err(Ended::Stopped),
        })
    }
}

/// See [`Task::abort_on_drop`].
#[derive(Debug)]
pub struct AbortOnDrop<T>(Task<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, Ended>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Tasks {
    /// Starts a job. It is dropped at its next `await` when the program stops. Its panic ends the process.
    pub fn job<F>(&self, name: impl Into<Name>, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.spawn_job(name.into(), until_stopped(self.stopping(), future))
    }

    /// Starts a job that ends by itself when the token that it gets is cancelled; for one that has to say goodbye.
    pub fn job_until<F>(
        &self,
        name: impl Into<Name>,
        start: impl FnOnce(CancellationToken) -> F,
    ) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.spawn_job(name.into(), start(self.stopping()).map(Ok))
    }

    /// Starts the task of one connection, session, tunnel or request. It is dropped at its next `await` when the
    /// program stops. Its panic ends nothing else: what it holds is dropped, and the panic is logged and counted.
    pub fn connection<F>(&self, name: impl Into<Name>, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.spawn_connection(name.into(), until_stopped(self.stopping(), future))
    }

    /// Starts the task of a connection that ends by itself when the token that it gets is cancelled.
    pub fn connection_until<F>(
        &self,
        name: impl Into<Name>,
        start: impl FnOnce(CancellationToken) -> F,
    ) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.spawn_connection(name.into(), start(self.stopping()).map(Ok))
    }

    /// Starts an operation that runs to completion, even if its caller gives up and even while the program stops.
    pub fn operation<F>(&self, name: impl Into<Name>, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.spawn(name.into(), future.map(Ok), |name, message| {
            tracing::error!(operation = %name, message, "operation panicked: its caller gets an error");
        })
    }

    /// Cancelled when the program stops.
    pub fn stopping(&self) -> CancellationToken {
        self.0.stop.child_token()
    }

    /// Returns when a job has panicked: the process has to end with [`EXIT_CODE`].
    pub async fn failed(&self) -> JobPanicked {
        let mut failed = self.0.failed.subscribe();
        match failed.wait_for(Option::is_some).await.map(|failed| failed.clone()) {
            Ok(Some(panicked)) => panicked,
            // The sender lives as long as self.
            _ => std::future::pending().await,
        }
    }

    /// How many connection tasks have panicked since the start.
    pub fn connection_panics(&self) -> u64 {
        self.0.connection_panics.load(Ordering::Relaxed)
    }

    /// How many tasks run.
    pub fn running(&self) -> usize {
        self.0.running.len()
    }

    /// Cancels jobs and connections, and waits for all tasks. False if some were left after `limit`.
    pub async fn stop(&self, limit: Duration) -> bool {
        self.0.stop.cancel();
        self.0.running.close();
        let ended = tokio::time::timeout(limit, self.0.running.wait()).await.is_ok();
        if !ended {
            tracing::warn!(tasks = self.running(), ?limit, "tasks did not end in time");
        }
        ended
    }

    fn spawn_job<T: Send + 'static>(
        &self,
        name: Name,
        future: impl Future<Output = Result<T, Ended>> + Send + 'static,
    ) -> Task<T> {
        let owner = self.clone();
        self.spawn(name, future, move |name, message| {
            tracing::error!(job = %name, message, "job panicked: the process ends so that its supervisor starts it again");
            owner.0.failed.send_if_modified(|failed| {
                let first = failed.is_none();
                failed.get_or_insert(JobPanicked { name, message });
                first
            });
        })
    }

    fn spawn_connection<T: Send + 'static>(
        &self,
        name: Name,
        future: impl Future<Output = Result<T, Ended>> + Send + 'static,
    ) -> Task<T> {
        let owner = self.clone();
        self.spawn(name, future, move |name, message| {
            let panics = owner.0.connection_panics.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::error!(task = %name, message, panics, "connection task panicked: only this connection ends");
        })
    }

    fn spawn<T: Send + 'static>(
        &self,
        name: Name,
        future: impl Future<Output = Result<T, Ended>> + Send + 'static,
        on_panic: impl FnOnce(Name, String) + Send + 'static,
    ) -> Task<T> {
        let named = hook::with_name(name.clone(), future);
        Task(self.0.running.spawn(async move {
            // A task that has panicked is never polled again, and what it holds is dropped: nobody sees a broken state.
            // What it shares is behind locks that are taken whether poisoned or not.
            match AssertUnwindSafe(named).catch_unwind().await {
                Ok(result) => result,
                Err(payload) => {
                    on_panic(name, message(payload.as_ref()));
                    Err(Ended::Panicked)
                }
            }
        }))
    }
}

async fn until_stopped<T>(stop: CancellationToken, future: impl Future<Output = T>) -> Result<T, Ended> {
    stop.run_until_cancelled_owned(future).await.ok_or(Ended::Stopped)
}

/// What a panic said: `panic!` with a text gives `&str` or `String`.
fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use tokio::sync::oneshot;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// Notes that it was dropped.
    struct Guard(Arc<AtomicBool>);

    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    fn guard() -> (Guard, Arc<AtomicBool>) {
        let dropped = Arc::new(AtomicBool::new(false));
        (Guard(dropped.clone()), dropped)
    }

    #[tokio::test]
    async fn a_job_that_panics_is_named_to_whoever_ends_the_process() {
        let tasks = Tasks::default();
        let healthy = tasks.job("healthy", std::future::pending::<()>());
        let ended = tasks.job("fleet.flush_seen", async { panic!("no {}", "rows") }).await;
        assert_eq!(ended, Err::<(), _>(Ended::Panicked));
        let failed = tasks.failed().await;
        assert_eq!(failed.to_string(), "job fleet.flush_seen panicked: no rows");
        // The first one is what the process ends for, and it is told to everybody who asks.
        let _: Result<(), _> = tasks.job("second", async { panic!("later") }).await;
        assert_eq!(tasks.failed().await.name, "fleet.flush_seen");
        assert!(!healthy.is_finished());
        assert_eq!(tasks.connection_panics(), 0);
    }

    #[tokio::test]
    async fn a_connection_that_panics_ends_alone_and_its_guard_runs() {
        let tasks = Tasks::default();
        let other = tasks.connection("other", std::future::pending::<()>());
        for panics in 1..=5 {
            let (guard, dropped) = guard();
            let task = tasks.connection("session", async move {
                let _held = guard;
                tokio::task::yield_now().await;
                panic!("forced")
            });
            assert_eq!(task.await, Err::<(), _>(Ended::Panicked));
            assert!(dropped.load(Ordering::SeqCst));
            assert_eq!(tasks.connection_panics(), panics);
        }
        assert!(tasks.failed().now_or_never().is_none(), "five panics do not end the process");
        assert!(!other.is_finished());
    }

    #[tokio::test]
    async fn an_operation_runs_to_completion_while_the_program_stops() {
        let tasks = Tasks::default();
        let (finish, finished) = oneshot::channel();
        let (done, seen) = oneshot::channel();
        drop(tasks.operation("write", async move {
            finished.await.unwrap();
            done.send(()).unwrap();
        }));
        assert!(!tasks.stop(Duration::from_millis(1)).await, "it is waited for");
        finish.send(()).unwrap();
        assert!(tasks.stop(LIMIT).await);
        seen.await.unwrap();
        let panicked: Result<(), _> = tasks.operation("write", async { panic!("x") }).await;
        assert_eq!(panicked, Err(Ended::Panicked));
        assert!(tasks.failed().now_or_never().is_none());
    }

    #[tokio::test]
    async fn stopping_cancels_jobs_and_connections_and_waits_for_goodbyes() {
        let tasks = Tasks::default();
        let (guard, dropped) = guard();
        let job = tasks.job("poll", async move {
            let _held = guard;
            std::future::pending::<()>().await;
        });
        let connection = tasks.connection("tunnel", std::future::pending::<()>());
        let said = Arc::new(AtomicBool::new(false));
        let goodbye = said.clone();
        let polite = tasks.job_until("session", |stop| async move {
            stop.cancelled().await;
            tokio::task::yield_now().await;
            goodbye.store(true, Ordering::SeqCst);
            "bye"
        });
        assert_eq!(tasks.running(), 3);
        assert!(tasks.stop(LIMIT).await);
        assert_eq!(tasks.running(), 0);
        assert!(dropped.load(Ordering::SeqCst) && said.load(Ordering::SeqCst));
        assert_eq!(job.await, Err(Ended::Stopped));
        assert_eq!(connection.await, Err(Ended::Stopped));
        assert_eq!(polite.await, Ok("bye"));
    }

    #[tokio::test]
    async fn a_task_gives_its_result_and_can_be_aborted() {
        let tasks = Tasks::default();
        assert_eq!(tasks.connection("sum", async { 1 + 1 }).await, Ok(2));
        let (guard, dropped) = guard();
        let bound = tasks.connection("bound", async move {
            let _held = guard;
            std::future::pending::<()>().await;
        });
        drop(bound.abort_on_drop());
        assert!(tasks.stop(LIMIT).await);
        assert!(dropped.load(Ordering::SeqCst));
    }
}
