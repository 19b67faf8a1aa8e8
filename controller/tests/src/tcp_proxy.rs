//! A cable that a test can harm: a proxy between agent and controller, controller and PostgreSQL, agent and engine. It can lose
//! all bytes like a firewall that drops packets, or those of one direction, hold them back, delay them, reset or half-close
//! connections, refuse new ones, and fail over silently: what is open swallows all bytes or stays with the old target, and new
//! connections work.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinSet,
};

/// Where the host's Docker Engine listens.
const ENGINE: &str = "/var/run/docker.sock";

/// The other end of the cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Far {
    Tcp(SocketAddr),
    Engine,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Far {
    async fn connect(self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(address) => Box::new(TcpStream::connect(address).await?),
            Self::Engine => Box::new(UnixStream::connect(ENGINE).await?),
        })
    }
}

/// A direction of the cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the target.
    There,
    /// From the target.
    Back,
}

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
    /// Those of one direction are lost, the others pass: each side believes something else.
    HalfOpen(Way),
}

/// The state of the cable. Connections are numbered; what is done to the established ones is done to those below a number.
#[derive(Debug, Clone, Copy)]
struct Cable {
    line: Line,
    /// Where new connections lead.
    far: Far,
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
        Self::to_far(Far::Tcp(target.parse().unwrap())).await
    }

    /// A whole cable to the host's Docker Engine, for `--docker-host tcp://…`.
    pub async fn to_engine() -> Self {
        Self::to_far(Far::Engine).await
    }

    /// A whole cable to `target` that begins at this address of this machine.
    pub async fn from(address: &str, target: &str) -> Self {
        Self::between(address, Far::Tcp(target.parse().unwrap())).await
    }

    async fn to_far(far: Far) -> Self {
        Self::between("127.0.0.1", far).await
    }

    async fn between(address: &str, far: Far) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let line = Line::default();
        let cable =
            Cable { line, far, refuses: false, next: 0, lost_below: 0, reset_below: 0, half_closed_below: 0 };
        let cable = watch::Sender::new(cable);
        tokio::spawn(serve(listener, cable.clone(), cable.subscribe()));
        Self { address, cable }
    }

    /// Leads new connections elsewhere; established ones stay.
    pub fn lead_to(&self, target: &str) {
        let far = Far::Tcp(target.parse().unwrap());
        self.cable.send_modify(|cable| cable.far = far);
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

    /// What goes this way is lost, and what goes the other way passes; or all passes again, on new connections only.
    pub fn set_half_open(&self, lost: Option<Way>) {
        self.set(lost.map_or(Line::Whole, Line::HalfOpen));
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
async fn serve(listener: TcpListener, cable: watch::Sender<Cable>, state: watch::Receiver<Cable>) {
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
        let to = cable.borrow().far;
        let Ok(far) = to.connect().await else { continue };
        near.set_zero_linger().unwrap();
        let mut number = 0;
        cable.send_modify(|cable| {
            number = cable.next;
            cable.next += 1;
        });
        connections.spawn(pass(near, far, number, state.clone()));
    }
}

async fn pass(near: TcpStream, far: Box<dyn Stream>, number: u64, cable: watch::Receiver<Cable>) {
    let mut state = cable.clone();
    let (from_near, to_near) = near.into_split();
    let (from_far, to_far) = split(far);
    let there = copy(from_near, to_far, number, Way::There, cable.clone());
    let back = copy(from_far, to_near, number, Way::Back, cable);
    tokio::select! {
        _ = async { tokio::join!(there, back) } => {}
        // Both sides are dropped; the near one without lingering, which is a reset.
        () = async { drop(state.wait_for(|cable| number < cable.reset_below).await) } => {}
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    number: u64,
    way: Way,
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
            () = half_closed(&mut halves, number, way) => break,
        };
        let line = cable.borrow().line;
        if let Line::Slow(delay) = line {
            tokio::time::sleep(delay).await;
        }
        let thawed = cable.wait_for(|cable| cable.line != Line::Frozen).await.map(|now| *now);
        let Ok(now) = thawed else { return };
        lost |= now.line == Line::Cut || now.line == Line::HalfOpen(way) || number < now.lost_below;
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
async fn half_closed(cable: &mut watch::Receiver<Cable>, number: u64, way: Way) {
    let ended = cable.wait_for(|cable| way == Way::Back && number < cable.half_closed_below).await.is_ok();
    if !ended {
        // The proxy is gone, and the copy ends with its task.
        std::future::pending::<()>().await;
    }
}
