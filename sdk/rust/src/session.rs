//! The channel that generated clients call through: every call carries the access token. When the server says that it
//! has ended, the refresh token is traded once and the call made again.

use std::{
    error::Error,
    fmt,
    future::Future,
    iter,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::AUTHORIZATION, request::Parts};
use http_body_util::{BodyExt as _, Full};
use supalove_proto::v1::{RefreshRequest, SessionTokens, auth_service_client::AuthServiceClient};
use tonic::{
    Code, Status, TimeoutExpired,
    body::Body,
    transport::{self, Channel},
};
use tower::{Service, ServiceExt as _};

/// For the beginning of an answer, if the caller names no other time (`Request::set_timeout`).
const TIMEOUT: Duration = Duration::from_secs(30);
/// Ends when its request says; the time for it is the longest that the server grants, and some for the answer.
const WAIT: &str = "/supalove.v1.OperationService/WaitOperation";
const WAIT_TIMEOUT: Duration = Duration::from_secs(600 + 30);
/// Lasts; the server is told no time.
const WATCH: &str = "/supalove.v1.ProjectService/WatchProject";
const GRPC_TIMEOUT: &str = "grpc-timeout";

type BoxError = Box<dyn Error + Send + Sync>;

/// The tokens of a session.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Bearer token of calls.
    pub access_token: String,
    /// Trades for the next pair, once.
    pub refresh_token: String,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl From<SessionTokens> for Tokens {
    fn from(tokens: SessionTokens) -> Self {
        Self { access_token: tokens.access_token, refresh_token: tokens.refresh_token }
    }
}

/// A channel with a session. Clones share the session.
#[derive(Debug, Clone)]
pub struct Session {
    channel: Channel,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    tokens: Mutex<Tokens>,
    /// Held while the refresh token is traded: it works once.
    refreshing: tokio::sync::Mutex<()>,
}

impl Session {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel, shared: Arc::default() }
    }

    /// The same channel without tokens: what fails there is not made again.
    pub(crate) fn bare(&self) -> Self {
        Self::new(self.channel.clone())
    }

    pub(crate) fn tokens(&self) -> Tokens {
        self.lock().clone()
    }

    pub(crate) fn keep(&self, tokens: Tokens) {
        *self.lock() = tokens;
    }

    /// A string pair cannot be left half-written, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, Tokens> {
        self.shared.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token instead of the refused one; none if the session has ended. In a task of its own: the server takes a
    /// refresh token once, so its answer must be kept even if the call that asked for it is given up.
    async fn refresh(&self, refused: String) -> Result<Option<String>, Status> {
        let session = self.clone();
        let traded = tokio::spawn(async move { session.trade(&refused).await }).await;
        traded.unwrap_or_else(|error| Err(Status::from_error(error.into())))
    }

    async fn trade(&self, refused: &str) -> Result<Option<String>, Status> {
        let _one_at_a_time = self.shared.refreshing.lock().await;
        let tokens = self.tokens();
        if tokens.access_token != refused {
            return Ok(Some(tokens.access_token).filter(|token| !token.is_empty()));
        }
        if tokens.refresh_token.is_empty() {
            return Ok(None);
        }
        let request = RefreshRequest { refresh_token: tokens.refresh_token.clone() };
        let next = match AuthServiceClient::new(self.bare()).refresh(request).await {
            Ok(answer) => Tokens::from(answer.into_inner().tokens.unwrap_or_default()),
            Err(status) if status.code() == Code::Unauthenticated => Tokens::default(),
            Err(status) => return Err(status),
        };
        let mut kept = self.lock();
        // Else a sign-in or sign-out came in between, and its tokens stay.
        if kept.refresh_token == tokens.refresh_token {
            *kept = next;
        }
        Ok(Some(kept.access_token.clone()).filter(|token| !token.is_empty()))
    }

    /// No call of the API streams to the server, so a request is one message and can be sent twice.
    async fn send(self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let (parts, body) = request.into_parts();
        let message = body.collect().await?.to_bytes();
        let token = self.tokens().access_token;
        let answer = self.attempt(&parts, &message, &token).await?;
        if code(&answer) != Some(Code::Unauthenticated) {
            return Ok(answer);
        }
        match self.refresh(token).await? {
            Some(token) => self.attempt(&parts, &message, &token).await,
            None => Ok(answer),
        }
    }

    async fn attempt(&self, parts: &Parts, message: &Bytes, token: &str) -> Result<Response<Body>, BoxError> {
        let mut parts = parts.clone();
        if !token.is_empty() {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))?;
            value.set_sensitive(true);
            parts.headers.insert(AUTHORIZATION, value);
        }
        let limit = if parts.uri.path() == WAIT { WAIT_TIMEOUT } else { TIMEOUT };
        let timed = parts.headers.contains_key(GRPC_TIMEOUT);
        if !timed && parts.uri.path() != WATCH {
            parts.headers.insert(GRPC_TIMEOUT, HeaderValue::from_str(&format!("{}S", limit.as_secs()))?);
        }
        let request = Request::from_parts(parts, Body::new(Full::new(message.clone())));
        let answer = self.channel.clone().oneshot(request);
        if timed {
            return answer.await.map_err(failure);
        }
        match tokio::time::timeout(limit, answer).await {
            Ok(answer) => answer.map_err(failure),
            Err(_) => Err(Status::deadline_exceeded(format!("no answer within {limit:?}")).into()),
        }
    }
}

/// The channel keeps to `grpc-timeout` itself; tonic would make `Cancelled` of it.
fn failure(error: transport::Error) -> BoxError {
    let mut causes = iter::successors(Some(&error as &(dyn Error + 'static)), |&cause| cause.source());
    if causes.any(<dyn Error>::is::<TimeoutExpired>) {
        return Status::deadline_exceeded("no answer within the time of the call").into();
    }
    error.into()
}

/// The status of an answer that has nothing else.
fn code(answer: &Response<Body>) -> Option<Code> {
    Status::from_header_map(answer.headers()).map(|status| status.code())
}

impl Service<Request<Body>> for Session {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    /// Always: each attempt waits for the channel itself.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}
