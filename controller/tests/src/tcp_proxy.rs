//! A proxy between agent and controller that a test can cut. A cut proxy silently drops all bytes, like a
//! firewall that drops packets.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// Listens on loopback and passes everything on.
pub struct TcpProxy {
    /// Where it listens.
    pub address: String,
    cut: watch::Sender<bool>,
}

impl TcpProxy {
    /// A whole cable to `target`.
    pub async fn to(target: &str) -> Self {
        let target: SocketAddr = target.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let cut = watch::Sender::new(false);
        tokio::spawn(serve(listener, target, cut.subscribe()));
        Self { address, cut }
    }

    /// Nothing passes any more; or it passes again, on new connections only.
    pub fn set_cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }
}

/// Dropping the proxy drops `cut`, and ends this.
async fn serve(listener: TcpListener, target: SocketAddr, cut: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let mut whole = cut.clone();
    loop {
        let near = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            gone = gone(&mut whole) => return gone,
        };
        let Ok(far) = TcpStream::connect(target).await else { continue };
        let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
        connections.spawn(copy(from_near, to_far, cut.clone()));
        connections.spawn(copy(from_far, to_near, cut.clone()));
    }
}

async fn gone(cut: &mut watch::Receiver<bool>) {
    while cut.changed().await.is_ok() {}
}

/// What arrives while the cable is cut is lost, and with it the connection: it stays open and says nothing for ever.
async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, cut: watch::Receiver<bool>) {
    let mut bytes = vec![0; 64 * 1024];
    let mut lost = false;
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        lost |= *cut.borrow();
        if !lost && to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
    if !lost {
        let _ = to.shutdown().await;
    }
}
