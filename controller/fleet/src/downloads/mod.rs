//! What a host without an agent gets from the node port over HTTP/1.1: the join script, the digests of the agent's programs, and the
//! program for its processor. Nothing else.
//!
//! Input: a GET request of an unknown peer, of whom only the path is used. Output: a short answer, or a file from disk at a pace
//! that all downloads share. A connection is for one request.

mod command;
mod programs;

use std::{convert::Infallible, fmt::Write as _, fs::File, io, path::PathBuf, sync::Arc, time::Duration};

use futures::stream;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request,
    body::{Body as _, Bytes, Frame, Incoming},
};
use supalove_core::Core;
use tokio::{
    io::AsyncReadExt as _,
    sync::Mutex,
    time::{Instant, sleep_until},
};

pub use command::JoinCommand;
pub use programs::Architecture;
use programs::Programs;

/// Path of the join script.
pub const SCRIPT: &str = "/join";
/// Path of the list of digests, as `sha256sum` prints it.
pub const DIGESTS: &str = "/join/sha256";
/// What precedes the architecture in the path of a program.
const PROGRAM: &str = "/join/agent/";

/// Bytes that are read from a program at once.
const CHUNK: usize = 64 * 1024;

/// The answers' body.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What the operator sets.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Addresses at which hosts reach a controller, host:port. Empty: the node address of this replica.
    pub addresses: Vec<String>,
    /// Where the agent's programs are. Default: where this program is.
    pub agents_dir: Option<PathBuf>,
}

/// Answers the requests. Cheap to clone.
#[derive(Clone)]
pub struct Downloads(Arc<Inner>);

struct Inner {
    command: JoinCommand,
    script: Bytes,
    programs: Programs,
    pace: Pace,
}

impl Downloads {
    /// For this replica, whose certificate for downloads has the key of this pin.
    pub fn new(core: &Core, settings: Settings, pin: &str) -> Self {
        let addresses =
            if settings.addresses.is_empty() { vec![core.node_address.clone()] } else { settings.addresses };
        let command = JoinCommand::new(addresses, pin);
        Self(Arc::new(Inner {
            script: Bytes::from(command.script()),
            command,
            programs: Programs::new(settings.agents_dir),
            pace: Pace::new(core.limits.download_rate),
        }))
    }

    /// The command for a host.
    pub fn command(&self) -> &JoinCommand {
        &self.0.command
    }

    /// Architectures of hosts for which a program is there.
    pub fn architectures(&self) -> Vec<Architecture> {
        self.0.programs.present()
    }

    /// Answers one request.
    pub async fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let mut answer = if request.method() != Method::GET {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            refused
        } else if !request.body().is_end_stream() {
            text(StatusCode::BAD_REQUEST, "a request here has no body\n")
        } else {
            self.get(request.uri().path()).await
        };
        let headers = answer.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }

    /// The path is compared with names and never becomes part of a file's path.
    async fn get(&self, path: &str) -> Response<Body> {
        match path {
            SCRIPT => content("text/x-shellscript; charset=utf-8", self.0.script.clone()),
            DIGESTS => self.digests().await,
            _ => match path.strip_prefix(PROGRAM) {
                Some(architecture) => self.program(architecture).await,
                None => text(
                    StatusCode::NOT_FOUND,
                    "not found: this port is for hosts that join, and for agents\n",
                ),
            },
        }
    }

    async fn digests(&self) -> Response<Body> {
        let inner = self.0.clone();
        let list = self.blocking(move || {
            inner.programs.present().into_iter().fold(String::new(), |mut list, architecture| {
                if let Ok((_, program)) = inner.programs.open(architecture) {
                    // Writing to a string does not fail.
                    let _ = writeln!(list, "{}  {}", program.sha256, architecture.program());
                }
                list
            })
        });
        match list.await {
            Some(list) => content("text/plain; charset=utf-8", list.into()),
            None => unreadable(),
        }
    }

    async fn program(&self, name: &str) -> Response<Body> {
        let Some(architecture) = Architecture::from_name(name) else {
            let known = Architecture::ALL.map(Architecture::name).join(" and ");
            let refusal = format!("there is no agent for this architecture: it is made for {known}\n");
            return text(StatusCode::NOT_FOUND, refusal);
        };
        let inner = self.0.clone();
        match self.blocking(move || inner.programs.open(architecture)).await {
            Some(Ok((file, program))) => self.stream(file, program.bytes),
            Some(Err(missing)) => text(StatusCode::NOT_FOUND, format!("{missing}\n")),
            None => unreadable(),
        }
    }

    /// `None` if the work panicked.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let done = tokio::task::spawn_blocking(work).await;
        done.inspect_err(|error| tracing::error!(%error, "cannot look at the agent's programs")).ok()
    }

    fn stream(&self, file: File, bytes: u64) -> Response<Body> {
        let file = tokio::fs::File::from_std(file).take(bytes);
        let chunks = stream::try_unfold((file, self.clone()), async |(mut file, downloads)| {
            let mut chunk = vec![0; CHUNK];
            let read = file.read(&mut chunk).await?;
            if read == 0 {
                return Ok(None);
            }
            chunk.truncate(read);
            downloads.0.pace.wait(read).await;
            Ok(Some((Frame::data(Bytes::from(chunk)), (file, downloads))))
        });
        let mut answer = Response::new(StreamBody::new(chunks).boxed_unsync());
        answer.headers_mut().insert(CONTENT_LENGTH, bytes.into());
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        answer
    }
}

fn content(kind: &'static str, content: Bytes) -> Response<Body> {
    let mut answer =
        Response::new(Full::new(content).map_err(|never: Infallible| match never {}).boxed_unsync());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut answer = content("text/plain; charset=utf-8", text.into());
    *answer.status_mut() = status;
    answer
}

fn unreadable() -> Response<Body> {
    text(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the controller cannot read its programs of the agent: see its log\n",
    )
}

/// Spreads the bytes of all downloads over time.
struct Pace {
    bytes_per_second: u64,
    /// When the next bytes may go.
    next: Mutex<Instant>,
}

impl Pace {
    fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), next: Mutex::new(Instant::now()) }
    }

    async fn wait(&self, bytes: usize) {
        let nanos =
            u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(1_000_000_000) / self.bytes_per_second;
        let at = {
            let mut next = self.next.lock().await;
            let at = (*next).max(Instant::now());
            *next = at + Duration::from_nanos(nanos);
            at
        };
        sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_downloads_together_keep_the_pace() {
        let pace = Arc::new(Pace::new(1 << 20));
        let began = Instant::now();
        let both = [pace.clone(), pace].map(|pace| async move {
            for _ in 0..16 {
                pace.wait(CHUNK).await;
            }
        });
        futures::future::join_all(both).await;
        let took = began.elapsed();
        assert!(took > Duration::from_millis(1900) && took <= Duration::from_secs(2), "{took:?}");
    }
}
