//! Who may do what: one table of method × permission, the caller of a request, and `authorize`.
//!
//! The call layer looks the method up in [`table`], so a method without a row is refused. Handlers then ask for the
//! object they work on through [`Access`]: someone else's object is NOT_FOUND, one's own without the right is
//! PERMISSION_DENIED.

mod objects;
mod table;

use std::net::IpAddr;

use supalove_proto::v1::ErrorReason;
use tokio::time::Instant;
use tonic::{Extensions, Request};

pub use objects::{Access, OperationGrant, OrganizationGrant, ProjectGrant};
pub use table::{METHODS, Permission, Rule, Scope, rule_for};

use crate::{
    error::{Error, Result},
    ids::{SessionId, UserId},
};

/// A signed-in user.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub user: UserId,
    /// By which sign-in.
    pub session: SessionId,
    /// Runs the platform.
    pub operator: bool,
}

/// What a handler knows of its call. Put into the request by the call layer.
#[derive(Debug, Clone)]
pub struct Call {
    /// `/package.Service/Method`.
    pub method: &'static str,
    /// The row of the table.
    pub rule: &'static Rule,
    /// Nobody for public methods.
    pub caller: Option<Caller>,
    /// From the socket, or from a trusted proxy.
    pub client: Option<IpAddr>,
    /// 32 hex digits.
    pub trace_id: String,
    /// When the caller stops waiting.
    pub deadline: Instant,
}

impl Call {
    /// The call of a request. It is missing only if a service was mounted outside the call layer.
    pub fn of<T>(request: &Request<T>) -> Result<Self> {
        Self::in_extensions(request.extensions())
    }

    fn in_extensions(extensions: &Extensions) -> Result<Self> {
        extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Error::internal("service is mounted outside the call layer"))
    }

    /// The signed-in caller.
    pub fn caller(&self) -> Result<&Caller> {
        self.caller.as_ref().ok_or_else(unauthenticated)
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
