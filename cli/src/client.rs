//! Calls to the API: the channel, deadlines, the bearer token and its refresh, and retries.
//!
//! Every call has a deadline. The client retries a call only when that is safe: reads, and changes with a request id.

use std::{
    error::Error as _,
    future::Future,
    net::IpAddr,
    time::{Duration, Instant},
};

use supalove_proto::v1::{GetMeRequest, RefreshRequest, auth_service_client::AuthServiceClient};
use tonic::{
    Code, Request, Response, Status,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use crate::{
    args::Global,
    credentials::{Store, Stored},
    error::Error,
};

/// Backoff before the first, second … retry of a call to an unavailable API.
const BACK_OFF: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(600), Duration::from_millis(1_500)];
/// Maximum delay of a server's RetryInfo; for a longer one the client gives up.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(10);
/// Deadline of a streaming call; a watch then opens the next stream after its last event.
const STREAM_DEADLINE: Duration = Duration::from_hours(1);
/// Metadata key with the server's version, in every response.
const VERSION_KEY: &str = "supalove-version";
/// Interval of HTTP/2 pings, which detect a dead connection under a silent stream.
const PING_PERIOD: Duration = Duration::from_secs(20);

/// Client of the API for one user.
#[derive(Debug)]
pub struct Client {
    channel: Channel,
    api: String,
    timeout: Duration,
    store: Store,
    /// From SUPALOVE_ACCESS_TOKEN; it cannot be refreshed.
    given_token: Option<String>,
}

/// Settings of a call.
#[derive(Clone, Copy)]
struct Manner {
    /// Deadline that the server gets.
    deadline: Duration,
    /// How long to wait for the response (of a stream: its beginning).
    patience: Duration,
    retries: usize,
}

impl Client {
    /// Creates a client, which connects at the first call.
    pub fn new(global: &Global) -> Result<Self, Error> {
        let api = global.api();
        let endpoint = endpoint(&api)?.connect_timeout(global.timeout);
        Ok(Self {
            channel: endpoint.connect_lazy(),
            api,
            timeout: global.timeout,
            store: Store::locate()?,
            given_token: std::env::var("SUPALOVE_ACCESS_TOKEN").ok().filter(|token| !token.is_empty()),
        })
    }

    /// Address of the API.
    pub fn api(&self) -> &str {
        &self.api
    }

    /// The stored sessions.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Deadline of a call.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Makes a public call once, without a token.
    pub async fn call_anonymously<Q, R, F, A>(&self, message: Q, rpc: F) -> Result<R, Error>
    where
        F: FnOnce(Channel, Request<Q>) -> A,
        A: Future<Output = Result<Response<R>, Status>>,
    {
        let request = request(message, None, self.timeout)?;
        within(self.timeout, rpc(self.channel.clone(), request)).await.map_err(|status| self.error(status))
    }

    /// Returns the server's version, which every response carries, even a refusal.
    pub async fn server_version(&self) -> Result<String, Error> {
        let request = request(GetMeRequest {}, None, self.timeout)?;
        let mut client = AuthServiceClient::new(self.channel.clone());
        let metadata = match tokio::time::timeout(self.timeout, client.get_me(request)).await {
            Ok(Ok(answer)) => answer.metadata().clone(),
            Ok(Err(status)) if status.code() == Code::Unauthenticated => status.metadata().clone(),
            Ok(Err(status)) => return Err(self.error(status)),
            Err(_) => return Err(deadline_exceeded(self.timeout).into()),
        };
        let version = metadata.get(VERSION_KEY).and_then(|value| value.to_str().ok());
        Ok(version.unwrap_or("unknown").to_owned())
    }

    /// Converts a status; the error names the address if the API is unreachable.
    fn error(&self, status: Status) -> Error {
        match unreachable_because(&status) {
            Some(why) => Error::Unreachable { api: self.api.clone(), why },
            None => status.into(),
        }
    }

    /// Makes a call that is safe to retry.
    pub async fn call<Q, R, F, A>(&self, message: Q, rpc: F) -> Result<R, Error>
    where
        Q: Clone,
        F: Fn(Channel, Request<Q>) -> A,
        A: Future<Output = Result<Response<R>, Status>>,
    {
        self.call_patiently(self.timeout, message, rpc).await
    }

    /// Makes a call that is safe to retry, with a deadline of its own.
    pub async fn call_patiently<Q, R, F, A>(&self, patience: Duration, message: Q, rpc: F) -> Result<R, Error>
    where
        Q: Clone,
        F: Fn(Channel, Request<Q>) -> A,
        A: Future<Output = Result<Response<R>, Status>>,
    {
        let manner = Manner { deadline: patience, patience, retries: BACK_OFF.len() };
        self.attempt(manner, message, rpc).await
    }

    /// Makes a call that is not safe to retry.
    pub async fn call_once<Q, R, F, A>(&self, message: Q, rpc: F) -> Result<R, Error>
    where
        Q: Clone,
        F: Fn(Channel, Request<Q>) -> A,
        A: Future<Output = Result<Response<R>, Status>>,
    {
        let manner = Manner { deadline: self.timeout, patience: self.timeout, retries: 0 };
        self.attempt(manner, message, rpc).await
    }

    /// Makes a call that takes as long as it takes, e.g. an upload; it is not repeated.
    pub async fn call_long<Q, R, F, A>(&self, patience: Duration, message: Q, rpc: F) -> Result<R, Error>
    where
        Q: Clone,
        F: Fn(Channel, Request<Q>) -> A,
        A: Future<Output = Result<Response<R>, Status>>,
    {
        self.attempt(Manner { deadline: patience, patience, retries: 0 }, message, rpc).await
    }

    /// Opens a stream; the caller must reopen it when it breaks.
    pub async fn open<Q, R, F, A>(&self, message: Q, rpc: F) -> Result<R, Error>
    where
        Q: Clone,
        F: Fn(Channel, Request<Q>) -> A,
        A: Future<Output = Result<Response<R>, Status>>,
    {
        let manner = Manner { deadline: STREAM_DEADLINE, patience: self.timeout, retries: BACK_OFF.len() };
        self.attempt(manner, message, rpc).await
    }

    async fn attempt<Q, R, F, A>(&self, manner: Manner, message: Q, rpc: F) -> Result<R, Error>
    where
        Q: Clone,
        F: Fn(Channel, Request<Q>) -> A,
        A: Future<Output = Result<Response<R>, Status>>,
    {
        let end = Instant::now() + manner.patience;
        let mut token = self.access_token().await?;
        let mut refreshed = false;
        let mut waits = BACK_OFF.iter().take(manner.retries);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let deadline = if manner.deadline > manner.patience { manner.deadline } else { left };
            let request = request(message.clone(), Some(&token), deadline)?;
            let status = match within(left, rpc(self.channel.clone(), request)).await {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            match status.code() {
                Code::Unauthenticated if !refreshed && self.given_token.is_none() => {
                    token = self.refresh(&token).await?;
                    refreshed = true;
                }
                Code::Unavailable => {
                    let wait = waits.next().and_then(|wait| retry_delay(&status, *wait));
                    match wait.filter(|wait| Instant::now() + *wait < end) {
                        Some(wait) => tokio::time::sleep(wait).await,
                        None => return Err(self.error(status)),
                    }
                }
                _ => return Err(self.error(status)),
            }
        }
    }

    /// True if calls carry a token from the environment instead of the stored session's.
    pub fn has_given_token(&self) -> bool {
        self.given_token.is_some()
    }

    /// Returns an access token that has not expired, as far as the client knows.
    pub async fn access_token(&self) -> Result<String, Error> {
        if let Some(token) = &self.given_token {
            return Ok(token.clone());
        }
        match self.store.load(&self.api)? {
            None => Err(self.not_signed_in()),
            Some(session) if session.is_fresh() => Ok(session.access_token),
            Some(session) => self.refresh(&session.access_token).await,
        }
    }

    /// Exchanges the refresh token, unless another process has just done so.
    pub async fn refresh(&self, refused: &str) -> Result<String, Error> {
        if self.given_token.is_some() {
            return Err(Error::Usage(
                "a token from SUPALOVE_ACCESS_TOKEN cannot be refreshed; unset it to use the stored session"
                    .into(),
            ));
        }
        let lock = self.store.lock(self.timeout).await?;
        let session = self.store.load(&self.api)?.ok_or_else(|| self.not_signed_in())?;
        if session.access_token != refused && session.is_fresh() {
            return Ok(session.access_token);
        }
        let message = RefreshRequest { refresh_token: session.refresh_token };
        let answer = self
            .call_anonymously(message, |channel, request| async move {
                AuthServiceClient::new(channel).refresh(request).await
            })
            .await;
        let tokens = match answer {
            Ok(answer) => answer.tokens.ok_or_else(|| Error::Answer("no tokens".into()))?,
            Err(error) if error.is_unauthenticated() => {
                self.store.forget(&lock, &self.api)?;
                let api = self.api.clone();
                return Err(Error::SessionEnded { api });
            }
            Err(error) => return Err(error),
        };
        let token = tokens.access_token.clone();
        self.store.save(&lock, &self.api, Stored::new(session.email, tokens))?;
        Ok(token)
    }

    fn not_signed_in(&self) -> Error {
        Error::NotSignedIn { api: self.api.clone() }
    }
}

/// Parses an address, which must be plain HTTP: this build has no TLS client.
fn endpoint(api: &str) -> Result<Endpoint, Error> {
    let bad = |why: &str| Error::Usage(format!("--api {api}: {why}"));
    let endpoint = Endpoint::from_shared(api.to_owned())
        .map_err(|_| bad("expected an address such as http://127.0.0.1:8000"))?;
    let host = match (endpoint.uri().scheme_str(), endpoint.uri().host()) {
        (Some("http"), Some(host)) => host,
        (Some("https"), _) => {
            return Err(bad("only http:// is spoken; use a tunnel or a proxy on this host"));
        }
        _ => return Err(bad("expected an address such as http://127.0.0.1:8000")),
    };
    if !is_loopback(host) {
        eprintln!("warning: {api} is not encrypted and not on this host; secrets travel in the clear");
    }
    endpoint
        .http2_keep_alive_interval(PING_PERIOD)
        .keep_alive_timeout(PING_PERIOD)
        .keep_alive_while_idle(true)
        .user_agent(concat!("supalove-cli/", env!("CARGO_PKG_VERSION")))
        .map_err(|_| bad("bad user agent"))
}

/// True for `http://127.0.0.1:8000` and the like.
pub fn is_loopback_address(api: &str) -> bool {
    let uri = api.parse::<tonic::transport::Uri>();
    uri.is_ok_and(|uri| uri.host().is_some_and(is_loopback))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn request<Q>(message: Q, token: Option<&str>, deadline: Duration) -> Result<Request<Q>, Error> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    if let Some(token) = token {
        let mut value = MetadataValue::try_from(format!("Bearer {token}"))
            .map_err(|_| Error::Usage("the access token has characters that no token has".into()))?;
        value.set_sensitive(true);
        request.metadata_mut().insert("authorization", value);
    }
    Ok(request)
}

/// Waits for a response. Uses a timer of its own, because the transport's timer reports `Cancelled`.
async fn within<R>(
    limit: Duration,
    answer: impl Future<Output = Result<Response<R>, Status>>,
) -> Result<R, Status> {
    match tokio::time::timeout(limit, answer).await {
        Ok(Err(status)) if status.code() == Code::Cancelled && status.message() == "Timeout expired" => {
            Err(deadline_exceeded(limit))
        }
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => Err(deadline_exceeded(limit)),
    }
}

fn deadline_exceeded(limit: Duration) -> Status {
    Status::deadline_exceeded(format!("no answer within {:.0} s", limit.as_secs_f64().ceil()))
}

/// Returns the innermost cause, the operating system's message, if the API was unreachable.
fn unreachable_because(status: &Status) -> Option<String> {
    let transport = status.source()?.downcast_ref::<tonic::transport::Error>()?;
    let mut cause: &dyn std::error::Error = transport;
    while let Some(next) = cause.source() {
        cause = next;
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return Some("connection refused".to_owned());
        }
    }
    Some(cause.to_string())
}

/// Returns the server's retry delay, else the default; `None` if it is too long to wait.
fn retry_delay(status: &Status, default: Duration) -> Option<Duration> {
    let asked = status.get_details_retry_info().and_then(|info| info.retry_delay).unwrap_or(default);
    (asked <= MAX_RETRY_DELAY).then(|| asked.max(default))
}
