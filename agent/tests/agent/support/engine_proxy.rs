//! The real Docker Engine behind a socket that can fall silent, as a whole or for one kind of call.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

const ENGINE: &str = "/var/run/docker.sock";

/// Kinds of calls: their method, and a part of the path of each.
type Kinds = (&'static str, Vec<String>);

pub struct EngineProxy {
    path: PathBuf,
    open: watch::Sender<bool>,
    held: watch::Sender<Option<Kinds>>,
    /// Requests that hang.
    hanging: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl EngineProxy {
    pub fn start(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let open = watch::Sender::new(true);
        let opened = open.clone();
        let held = watch::Sender::new(None);
        let holding = held.clone();
        let hanging = Arc::new(AtomicUsize::new(0));
        let counted = hanging.clone();
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let engine = UnixStream::connect(ENGINE).await.unwrap();
                let ((from_client, to_client), (from_engine, to_engine)) =
                    (client.into_split(), engine.into_split());
                connections.spawn(copy(
                    from_client,
                    to_engine,
                    opened.subscribe(),
                    Hold(holding.subscribe(), counted.clone()),
                ));
                connections.spawn(copy(
                    from_engine,
                    to_client,
                    opened.subscribe(),
                    Hold(holding.subscribe(), counted.clone()),
                ));
            }
        });
        Self { path: path.to_owned(), open, held, hanging, serving }
    }

    /// From now on calls of these kinds, and of no other, hang.
    pub fn hold(&self, method: &'static str, parts: &[&str]) {
        let parts = parts.iter().map(|&part| part.to_owned()).collect();
        self.held.send_replace(Some((method, parts)));
    }

    /// Returns when a call of the kinds hangs.
    pub async fn until_held(&self) {
        let until = Instant::now() + Duration::from_secs(30);
        while self.hanging.load(Ordering::SeqCst) == 0 {
            assert!(Instant::now() < until, "no call {:?}", *self.held.borrow());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What hangs goes on.
    pub fn release(&self) {
        self.held.send_replace(None);
    }

    /// Connections stand, but nothing gets through any more, or gets through again.
    pub fn set_silent(&self, silent: bool) {
        self.open.send_replace(!silent);
    }

    /// The engine is gone, with all connections.
    pub async fn end(self) {
        self.serving.abort();
        let _ = self.serving.await;
        std::fs::remove_file(self.path).unwrap();
    }
}

/// Keeps back requests of the kinds that hang.
struct Hold(watch::Receiver<Option<Kinds>>, Arc<AtomicUsize>);

impl Hold {
    /// The client writes the head of a request at once, at the beginning of what is read.
    async fn pass(&mut self, bytes: &[u8]) -> Result<(), watch::error::RecvError> {
        let head = String::from_utf8_lossy(bytes);
        let line = head.lines().next().unwrap_or_default();
        let hangs = |kinds: &Option<Kinds>| {
            kinds.as_ref().is_some_and(|(method, parts)| {
                line.starts_with(method) && parts.iter().any(|part| line.contains(part))
            })
        };
        if !hangs(&self.0.borrow()) {
            return Ok(());
        }
        self.1.fetch_add(1, Ordering::SeqCst);
        let passed = self.0.wait_for(|kinds| !hangs(kinds)).await.map(drop);
        self.1.fetch_sub(1, Ordering::SeqCst);
        passed
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut open: watch::Receiver<bool>,
    mut hold: Hold,
) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if hold.pass(&bytes[..length]).await.is_err() {
            return;
        }
        if open.wait_for(|open| *open).await.is_err() || to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
