//! Named tasks with an owner. Never call `tokio::spawn` directly: an unnoticed panic in a task leaves a program that looks
//! alive and does nothing.
//!
//! - A **job** runs as long as the program (a poll, a listener, a project's supervisor). A panic in it ends the process
//!   with [`EXIT_CODE`] and its name in the log, so that the process's supervisor restarts it.
//! - A **connection** serves one peer (a session, a tunnel, one request). A panic ends only this task: it drops what it
//!   holds (guards run), and the panic is logged and counted.
//! - An **operation** runs to completion even if its caller is cancelled. Its caller gets a panic as an error.
//!
//! [`Tasks`] owns all of them. [`Tasks::stop`] cancels jobs and connections at their next `await`, lets operations end, and
//! waits for all.
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

use std::{
    any::Any,
    borrow::Cow,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

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

/// The owner of all tasks of a program; cheap to clone. Dropping it does not end the tasks: only [`Tasks::stop`] does.
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

/// A job panicked, so the process must end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("job {name} panicked: {message}")]
pub struct JobPanicked {
    /// Name of the job.
    pub name: Name,
    /// Message of the panic.
    pub message: String,
}

/// Why a task has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// It panicked.
    #[error("the task panicked")]
    Panicked,
    /// It was stopped or aborted.
    #[error("the task was stopped")]
    Stopped,
}

/// Handle to await a task's result. Dropping it does not end the task.
#[derive(Debug)]
pub struct Task<T>(JoinHandle<Result<T, Ended>>);

impl<T> Task<T> {
    /// Ends the task at its next `await`.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// True if the task has ended.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Ends the task when the returned value is dropped, for a task that must not outlive its caller.
    pub fn abort_on_drop(self) -> AbortOnDrop<T> {
        AbortOnDrop(self)
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, Ended>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll(cx)) {
            Ok(ended) => ended,
            // The task itself catches panics, so this is an abort or the shutdown of the runtime.
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
    /// Starts a job. It is cancelled at its next `await` when the program stops. A panic in it ends the process.
    pub fn job<F>(&self, name: impl Into<Name>, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.spawn_job(name.into(), until_stopped(self.stopping(), future))
    }

    /// Starts a job that must return when its token is cancelled, for a job that has to clean up.
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

    /// Starts the task of one connection, session, tunnel or request. It is cancelled at its next `await` when the program
    /// stops. A panic ends only this task: it drops what it holds, and the panic is logged and counted.
    pub fn connection<F>(&self, name: impl Into<Name>, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.spawn_connection(name.into(), until_stopped(self.stopping(), future))
    }

    /// Starts the task of a connection that must return when its token is cancelled.
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

    /// Starts an operation that runs to completion, even if its caller is cancelled and while the program stops.
    pub fn operation<F>(&self, name: impl Into<Name>, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.spawn(name.into(), future.map(Ok), |name, message| {
            tracing::error!(operation = %name, message, "operation panicked: its caller gets an error");
        })
    }

    /// Returns a token that is cancelled when the program stops.
    pub fn stopping(&self) -> CancellationToken {
        self.0.stop.child_token()
    }

    /// Returns when a job has panicked; the process must then end with [`EXIT_CODE`].
    pub async fn failed(&self) -> JobPanicked {
        let mut failed = self.0.failed.subscribe();
        match failed.wait_for(Option::is_some).await.map(|failed| failed.clone()) {
            Ok(Some(panicked)) => panicked,
            // Cannot happen: `self` owns the sender.
            _ => std::future::pending().await,
        }
    }

    /// Returns how many connection tasks have panicked since the start.
    pub fn connection_panics(&self) -> u64 {
        self.0.connection_panics.load(Ordering::Relaxed)
    }

    /// Returns the number of running tasks.
    pub fn running(&self) -> usize {
        self.0.running.len()
    }

    /// Cancels jobs and connections, and waits for all tasks. False if some were still running after `limit`.
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
            // A task that has panicked is never polled again and drops what it holds, so nobody sees its inconsistent state.
            // Shared state is behind locks whose users ignore poisoning.
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

/// Returns the message of a panic: `panic!` with a text gives `&str` or `String`.
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
        // The first panic ends the process, and every waiter gets it.
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
