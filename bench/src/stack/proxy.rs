//! A proxy in front of the engine's socket that records when each request was sent and answered.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::{Context as _, Result};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};

use super::phases::EngineCall;

const SOCKET: &str = "/var/run/docker.sock";

type Calls = Arc<Mutex<Vec<EngineCall>>>;

/// The proxy; ends when dropped.
pub struct Proxy {
    /// `unix://…`, for clients.
    pub address: String,
    calls: Calls,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a socket in a folder.
    pub fn start(dir: &Path) -> Result<Self> {
        let path: PathBuf = dir.join("engine.sock");
        let listener = UnixListener::bind(&path).with_context(|| path.display().to_string())?;
        let calls = Calls::default();
        let serving = tokio::spawn(serve(listener, calls.clone()));
        Ok(Self { address: format!("unix://{}", path.display()), calls, serving })
    }

    /// Calls that were answered since the last time.
    pub fn take(&self) -> Vec<EngineCall> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: UnixListener, calls: Calls) {
    while let Ok((stream, _)) = listener.accept().await {
        let calls = calls.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| pass_on(request, calls.clone()));
            // A client that goes away in the middle is its own affair.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn pass_on(request: Request<Incoming>, calls: Calls) -> Result<Response<Incoming>> {
    let method = request.method().to_string();
    let path = without_version(request.uri().path());
    let started = Instant::now();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(UnixStream::connect(SOCKET).await?)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let call = EngineCall { method, path, started, ended: Instant::now() };
    calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    Ok(response)
}

/// `/v1.41/containers/json` → `/containers/json`
fn without_version(path: &str) -> String {
    let rest = path.strip_prefix("/v").and_then(|rest| rest.split_once('/'));
    match rest {
        Some((version, rest)) if version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
            format!("/{rest}")
        }
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_version_is_no_part_of_the_path() {
        assert_eq!(without_version("/v1.41/containers/json"), "/containers/json");
        assert_eq!(without_version("/volumes/create"), "/volumes/create");
        assert_eq!(without_version("/_ping"), "/_ping");
    }
}
