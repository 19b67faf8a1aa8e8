//! The caller of a request, and what a handler knows of its call.

use std::{fmt, net::IpAddr, sync::Arc};

use futures::future::BoxFuture;
use supalove_proto::v1::ErrorReason;
use tokio::time::Instant;
use tonic::{Extensions, Request};

use super::Rule;
use crate::{
    error::{Error, Result},
    ids::{SessionId, UserId},
};

/// Who calls: a user, by a sign-in.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The user.
    pub user: UserId,
    /// The sign-in.
    pub session: SessionId,
    /// The user runs the platform.
    pub operator: bool,
}

/// Finds out who calls. The room that keeps users and sessions implements it.
pub trait Authenticator: Send + Sync + 'static {
    /// The principal of a bearer token.
    fn authenticate<'a>(&'a self, bearer: &'a str) -> BoxFuture<'a, Result<Principal>>;

    /// An error if the principal's session has ended since.
    fn confirm<'a>(&'a self, principal: &'a Principal) -> BoxFuture<'a, Result<()>>;
}

/// What a handler knows of its call. The call layer puts it into the request.
#[derive(Clone)]
pub struct Call {
    /// `/package.Service/Method`.
    pub method: &'static str,
    /// The method's row.
    pub rule: &'static Rule,
    /// `None` for methods that anyone may call.
    pub principal: Option<Principal>,
    /// The client's address: the socket's, or what a trusted proxy says.
    pub client: Option<IpAddr>,
    /// 32 hex digits.
    pub trace_id: String,
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// Asked again by calls that last.
    pub authenticator: Arc<dyn Authenticator>,
}

impl Call {
    /// The call of a request. It is missing only if a service was mounted outside the call layer.
    pub fn from_request<T>(request: &Request<T>) -> Result<Self> {
        Self::from_extensions(request.extensions())
    }

    fn from_extensions(extensions: &Extensions) -> Result<Self> {
        extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Error::internal("service is mounted outside the call layer"))
    }

    /// The signed-in caller.
    pub fn principal(&self) -> Result<&Principal> {
        self.principal.as_ref().ok_or_else(unauthenticated)
    }

    /// An error if the caller's session has ended since the call began.
    pub async fn confirm(&self) -> Result<()> {
        self.authenticator.confirm(self.principal()?).await
    }

    /// The method's name without its service.
    pub fn short_method(&self) -> &'static str {
        self.method.rsplit('/').next().unwrap_or(self.method)
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("principal", &self.principal)
            .field("trace_id", &self.trace_id)
            .finish_non_exhaustive()
    }
}

/// Nobody is signed in.
pub fn unauthenticated() -> Error {
    Error::Unauthenticated {
        reason: ErrorReason::NotSignedIn,
        message: "sign in first: send `authorization: Bearer <access token>` from AuthService.SignIn"
            .to_owned(),
    }
}
