//! Errors of calls: a status, and its decoded `google.rpc` details.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is malformed or unsupported.
    #[error("{address:?}: {why}")]
    Address {
        /// The given address.
        address: String,
        /// What is wrong with the address.
        why: &'static str,
    },
    /// The server refused the call, or is unreachable.
    #[error("{}", .0.message)]
    Call(Box<Problem>),
}

/// A failed call, decoded.
#[derive(Debug, Clone)]
pub struct Problem {
    /// gRPC code.
    pub code: Code,
    /// Message for people.
    pub message: String,
    /// Stable reason, for programs; empty if the server did not answer.
    pub reason: String,
    /// The wrong fields of an `InvalidArgument`.
    pub field_violations: Vec<FieldViolation>,
    /// How long to wait before a retry.
    pub retry_after: Option<Duration>,
    /// The original status, for its other details (`tonic_types::StatusExt`).
    pub status: Status,
}

/// A wrong field of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Its name in the proto.
    pub field: String,
    /// Message for people.
    pub description: String,
}

impl Error {
    /// Returns the details of a failed call.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Call(problem) => Some(problem),
            Self::Address { .. } => None,
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let violations = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
        let field_violations = violations
            .iter()
            .map(|v| FieldViolation { field: v.field.clone(), description: v.description.clone() })
            .collect();
        Self::Call(Box::new(Problem {
            code: status.code(),
            message: status.message().to_owned(),
            reason: details.error_info().map(|info| info.reason.clone()).unwrap_or_default(),
            field_violations,
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
            status,
        }))
    }
}
