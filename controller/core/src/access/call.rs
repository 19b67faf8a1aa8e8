//! The caller of a request, and what a handler knows of its call.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use futures::future::BoxFuture;
use supalove_proto::v1::ErrorReason;
use supalove_spec::{limits::REASON_CHARS, text::single_line};
use tokio::time::Instant;
use tonic::{Extensions, Request};

use super::{Permission, Rule, TokenScope, TokenScopes};
use crate::{
    error::{Error, Result},
    ids::{OrganizationId, PersonalAccessTokenId, SessionId, UserId},
};

/// A user who calls.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The user.
    pub user: UserId,
    /// How the caller has shown to be this user.
    pub credential: Credential,
    /// True for the operator of the platform.
    pub operator: bool,
}

/// What a principal called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Credential {
    /// The access token of a sign-in: it may do all that the user may.
    Session(SessionId),
    /// A personal access token: it may do what its scopes name.
    Token(PersonalAccessTokenId, TokenScopes),
}

/// The user, and the personal access token if it is one: for logs and the audit log.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.credential {
            Credential::Session(_) => write!(f, "{}", self.user),
            Credential::Token(token, _) => write!(f, "{} {token}", self.user),
        }
    }
}

impl Principal {
    /// The sign-in. Methods that need one have a permission that no scope contains.
    pub fn session(&self) -> Result<SessionId> {
        match self.credential {
            Credential::Session(session) => Ok(session),
            Credential::Token(..) => Err(Error::internal("a token passed where a session is needed")),
        }
    }

    /// Returns an error if a personal access token has no scope for the permission. Whether the user has it, is decided on
    /// the object.
    pub fn check_scope(&self, needs: Permission, action: &str) -> Result<()> {
        let Credential::Token(_, scopes) = self.credential else { return Ok(()) };
        let needs = match TokenScope::of(needs) {
            Some(scope) if scopes.contains(scope) => return Ok(()),
            Some(scope) => format!("a token with the scope {}", scope.as_sql()),
            None => "a session: sign in, a personal access token may not do this".to_owned(),
        };
        Err(Error::PermissionDenied { action: action.to_owned(), needs })
    }
}

/// Authenticates callers. The identity room implements it.
pub trait Authenticator: Send + Sync + 'static {
    /// Returns the principal of a bearer token.
    fn authenticate<'a>(&'a self, bearer: &'a str) -> BoxFuture<'a, Result<Principal>>;

    /// Returns the principal as it is now; an error if its session has ended, or its token was revoked, meanwhile.
    fn confirm<'a>(&'a self, principal: &'a Principal) -> BoxFuture<'a, Result<Principal>>;
}

/// The context of a call. The call layer adds it to the request.
#[derive(Clone)]
pub struct Call {
    /// `/package.Service/Method`.
    pub method: &'static str,
    /// Authorization rule of the method.
    pub rule: &'static Rule,
    /// `None` for methods that anyone may call.
    pub principal: Option<Principal>,
    /// The client's address: that of the socket, or the one that a trusted proxy reports.
    pub client: Option<IpAddr>,
    /// 32 hex digits.
    pub trace_id: String,
    /// When the caller stops waiting for the response.
    pub deadline: Instant,
    /// Lets a long-running call check its session again.
    pub authenticator: Arc<dyn Authenticator>,
    /// The object that the request names, for the audit row of a refusal.
    pub named: Arc<OnceLock<String>>,
    /// The organization of that object, if the caller may see it: the audit row belongs to it.
    pub organization: Arc<OnceLock<OrganizationId>>,
    /// What the audit row of a refusal says instead of the gRPC code.
    pub refused_as: Arc<OnceLock<&'static str>>,
}

impl Call {
    /// Reads the call from a request. An error means that a service was mounted outside the call layer.
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

    /// Notes the object that the request names; the first one counts.
    pub fn names(&self, object: &str) {
        self.named.get_or_init(|| single_line(object, REASON_CHARS));
    }

    /// Notes the organization in which the caller acts; the first one counts.
    pub fn acts_in(&self, organization: OrganizationId) {
        self.organization.get_or_init(|| organization);
    }

    /// Lets the audit row of a refusal say more than its gRPC code, which many mistakes share.
    pub fn refuses_as(&self, outcome: &'static str) {
        self.refused_as.get_or_init(|| outcome);
    }

    /// Returns an error if the caller's session has ended since the call began. Rights that the user has lost are lost
    /// for the call.
    pub async fn confirm(&mut self) -> Result<()> {
        self.principal = Some(self.authenticator.confirm(self.principal()?).await?);
        Ok(())
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

/// The error for a call without a signed-in caller.
pub fn unauthenticated() -> Error {
    Error::Unauthenticated {
        reason: ErrorReason::NotSignedIn,
        message: "sign in first: send `authorization: Bearer <access token>` from AuthService.SignIn"
            .to_owned(),
    }
}
