//! The channel of the generated clients: it adds the access token to every call. When the server reports that the token
//! has expired, the channel exchanges the refresh token once and repeats the call.

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

/// Default timeout for the beginning of a response (`Request::set_timeout` overrides it).
const TIMEOUT: Duration = Duration::from_secs(30);
/// Its request sets its duration, so its timeout is the maximum that the server allows, plus time for the response.
const WAIT: &str = "/supalove.v1.OperationService/WaitOperation";
const WAIT_TIMEOUT: Duration = Duration::from_secs(600 + 30);
/// A long-running stream, without a timeout.
const WATCH: &str = "/supalove.v1.ProjectService/WatchProject";
const GRPC_TIMEOUT: &str = "grpc-timeout";

type BoxError = Box<dyn Error + Send + Sync>;

/// The tokens of a session.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Bearer token of calls.
    pub access_token: String,
    /// Refresh token, valid once.
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
    /// Held during the exchange of the refresh token, which works once.
    refreshing: tokio::sync::Mutex<()>,
}

impl Session {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel, shared: Arc::default() }
    }

    /// Returns the same channel without tokens; it never repeats a call.
    pub(crate) fn bare(&self) -> Self {
        Self::new(self.channel.clone())
    }

    pub(crate) fn tokens(&self) -> Tokens {
        self.lock().clone()
    }

    pub(crate) fn keep(&self, tokens: Tokens) {
        *self.lock() = tokens;
    }

    /// Ignores a poisoned lock, because no panic can leave a pair of strings half-written.
    fn lock(&self) -> MutexGuard<'_, Tokens> {
        self.shared.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a new token for the refused one; `None` if the session has ended. Runs in a task of its own: the
    /// server accepts a refresh token once, so the response must be stored even if the caller cancels the call.
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
        // Otherwise a sign-in or sign-out came in between, whose tokens must stay.
        if kept.refresh_token == tokens.refresh_token {
            *kept = next;
        }
        Ok(Some(kept.access_token.clone()).filter(|token| !token.is_empty()))
    }

    /// Sends a request, if needed twice. No call of the API streams to the server, so a request is one message.
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

/// Converts a timeout of the channel to `DeadlineExceeded`; tonic would report `Cancelled`.
fn failure(error: transport::Error) -> BoxError {
    let mut causes = iter::successors(Some(&error as &(dyn Error + 'static)), |&cause| cause.source());
    if causes.any(<dyn Error>::is::<TimeoutExpired>) {
        return Status::deadline_exceeded("no answer within the time of the call").into();
    }
    error.into()
}

/// Returns the code of a response that consists only of a status.
fn code(answer: &Response<Body>) -> Option<Code> {
    Status::from_header_map(answer.headers()).map(|status| status.code())
}

impl Service<Request<Body>> for Session {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    /// Always ready, because each attempt waits for the channel.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}
