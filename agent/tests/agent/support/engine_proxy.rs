//! The real Docker Engine behind a socket that can fall silent.

use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

const ENGINE: &str = "/var/run/docker.sock";

pub struct EngineProxy {
    path: PathBuf,
    open: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl EngineProxy {
    pub fn start(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let open = watch::Sender::new(true);
        let opened = open.clone();
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let engine = UnixStream::connect(ENGINE).await.unwrap();
                let ((from_client, to_client), (from_engine, to_engine)) =
                    (client.into_split(), engine.into_split());
                connections.spawn(copy(from_client, to_engine, opened.subscribe()));
                connections.spawn(copy(from_engine, to_client, opened.subscribe()));
            }
        });
        Self { path: path.to_owned(), open, serving }
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

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut open: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if open.wait_for(|open| *open).await.is_err() || to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
