//! A proxy that loses one response: the server performs the request, and then the connection breaks.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Listens on loopback and passes everything on but that answer.
pub struct LossyProxy {
    /// Where it listens.
    pub address: String,
    lost: Arc<AtomicBool>,
    _serving: JoinSet<()>,
}

impl LossyProxy {
    /// A line to `target`, on which the first answer to a request with this word is lost. The answer repeats the word.
    pub async fn to(target: SocketAddr, word: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let lost = Arc::new(AtomicBool::new(false));
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, target, word, lost.clone()));
        Self { address, lost, _serving: serving }
    }

    /// True if the answer was given and has been lost.
    pub fn has_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, word: &'static str, lost: Arc<AtomicBool>) {
    let mut connections = JoinSet::new();
    loop {
        let near = listener.accept().await.unwrap().0;
        let far = TcpStream::connect(target).await.unwrap();
        connections.spawn(pass(near, far, word, lost.clone()));
    }
}

/// Ends, and the connection with it, when a side ends or the answer is lost.
async fn pass(mut near: TcpStream, mut far: TcpStream, word: &str, lost: Arc<AtomicBool>) {
    let mut from_near = vec![0; 64 * 1024];
    let mut from_far = vec![0; 64 * 1024];
    let mut asked = Vec::new();
    let mut answered = Vec::new();
    loop {
        tokio::select! {
            read = near.read(&mut from_near) => {
                let Ok(length @ 1..) = read else { return };
                asked.extend_from_slice(&from_near[..length]);
                if far.write_all(&from_near[..length]).await.is_err() {
                    return;
                }
            }
            read = far.read(&mut from_far) => {
                let Ok(length @ 1..) = read else { return };
                let bytes = &from_far[..length];
                if has(&asked, word) && !lost.load(Ordering::SeqCst) {
                    // Kept back until it is whole: the other side sees no part of it.
                    answered.extend_from_slice(bytes);
                    if has(&answered, word) {
                        lost.store(true, Ordering::SeqCst);
                        return;
                    }
                } else if near.write_all(bytes).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn has(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|part| part == word.as_bytes())
}
