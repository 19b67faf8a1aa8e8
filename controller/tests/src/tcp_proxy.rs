//! A cable that a test can harm: a proxy between agent and controller, controller and PostgreSQL, agent and engine. It can lose
//! all bytes like a firewall that drops packets, hold them back, delay them, reset or half-close connections, refuse new ones,
//! and fail over silently: what is open swallows all bytes, and new connections work.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

/// What happens to bytes on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Line {
    /// They pass.
    #[default]
    Whole,
    /// They are lost, and with them the connection: it stays open and says nothing for ever.
    Cut,
    /// They wait, and pass later.
    Frozen,
    /// They pass after this time.
    Slow(Duration),
}

/// The state of the cable. Connections are numbered; what is done to the established ones is done to those below a number.
#[derive(Debug, Clone, Copy, Default)]
struct Cable {
    line: Line,
    /// New connections are reset at once.
    refuses: bool,
    /// Number of the next connection.
    next: u64,
    lost_below: u64,
    reset_below: u64,
    half_closed_below: u64,
}

/// Listens on loopback and passes everything on.
pub struct TcpProxy {
    /// Where it listens.
    pub address: String,
    cable: watch::Sender<Cable>,
}

impl TcpProxy {
    /// A whole cable to `target`.
    pub async fn to(target: &str) -> Self {
        let target: SocketAddr = target.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let cable = watch::Sender::new(Cable::default());
        tokio::spawn(serve(listener, target, cable.clone(), cable.subscribe()));
        Self { address, cable }
    }

    /// Nothing passes any more; or it passes again, on new connections only.
    pub fn set_cut(&self, cut: bool) {
        self.set(if cut { Line::Cut } else { Line::Whole });
    }

    /// Everything waits; or what waited passes, and everything after it.
    pub fn set_frozen(&self, frozen: bool) {
        self.set(if frozen { Line::Frozen } else { Line::Whole });
    }

    /// Everything takes so much longer in each direction.
    pub fn set_delay(&self, delay: Duration) {
        self.set(if delay.is_zero() { Line::Whole } else { Line::Slow(delay) });
    }

    /// New connections are reset; or accepted again.
    pub fn set_refusing(&self, refuses: bool) {
        self.cable.send_modify(|cable| cable.refuses = refuses);
    }

    /// Fails over without a word: established connections swallow all bytes, new ones pass. Ends a freeze.
    pub fn fail_over_silently(&self) {
        self.cable.send_modify(|cable| {
            cable.lost_below = cable.next;
            cable.line = Line::Whole;
        });
    }

    /// Resets all established connections.
    pub fn reset(&self) {
        self.cable.send_modify(|cable| cable.reset_below = cable.next);
    }

    /// Ends what comes from the target on all established connections; the other direction stays.
    pub fn half_close(&self) {
        self.cable.send_modify(|cable| cable.half_closed_below = cable.next);
    }

    fn set(&self, line: Line) {
        self.cable.send_modify(|cable| cable.line = line);
    }
}

/// Ends when the proxy is dropped: then only this task's own sender is left.
async fn serve(
    listener: TcpListener,
    target: SocketAddr,
    cable: watch::Sender<Cable>,
    state: watch::Receiver<Cable>,
) {
    let mut connections = JoinSet::new();
    let mut look = tokio::time::interval(Duration::from_millis(200));
    loop {
        let near = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            _ = look.tick() => {
                if cable.sender_count() == 1 {
                    return;
                }
                continue;
            }
        };
        if cable.borrow().refuses {
            near.set_zero_linger().unwrap();
            continue;
        }
        let Ok(far) = TcpStream::connect(target).await else { continue };
        near.set_zero_linger().unwrap();
        let mut number = 0;
        cable.send_modify(|cable| {
            number = cable.next;
            cable.next += 1;
        });
        connections.spawn(pass(near, far, number, state.clone()));
    }
}

async fn pass(near: TcpStream, far: TcpStream, number: u64, cable: watch::Receiver<Cable>) {
    let mut state = cable.clone();
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    let there = copy(from_near, to_far, number, false, cable.clone());
    let back = copy(from_far, to_near, number, true, cable);
    tokio::select! {
        _ = async { tokio::join!(there, back) } => {}
        // Both sides are dropped; the near one without lingering, which is a reset.
        () = async { drop(state.wait_for(|cable| number < cable.reset_below).await) } => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: u64,
    back: bool,
    mut cable: watch::Receiver<Cable>,
) {
    let mut bytes = vec![0; 64 * 1024];
    let mut lost = false;
    let mut halves = cable.clone();
    loop {
        let length = tokio::select! {
            read = from.read(&mut bytes) => match read {
                Ok(length @ 1..) => length,
                _ => break,
            },
            () = half_closed(&mut halves, number, back) => break,
        };
        let line = cable.borrow().line;
        if let Line::Slow(delay) = line {
            tokio::time::sleep(delay).await;
        }
        let thawed = cable.wait_for(|cable| cable.line != Line::Frozen).await.map(|now| *now);
        let Ok(now) = thawed else { return };
        lost |= now.line == Line::Cut || number < now.lost_below;
        if !lost && to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
    lost |= number < cable.borrow().lost_below;
    if lost {
        // Whoever waits here waits for ever.
        std::future::pending::<()>().await;
    }
    let _ = to.shutdown().await;
}

/// Returns when what comes from the target has to end.
async fn half_closed(cable: &mut watch::Receiver<Cable>, number: u64, back: bool) {
    let ended = cable.wait_for(|cable| back && number < cable.half_closed_below).await.is_ok();
    if !ended {
        // The proxy is gone, and the copy ends with its task.
        std::future::pending::<()>().await;
    }
}
