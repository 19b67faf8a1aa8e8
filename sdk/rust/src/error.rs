//! What a call can fail with: a status, and the `google.rpc` details in it.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be used.
    #[error("{address:?}: {why}")]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The server refused, or could not be reached.
    #[error("{}", .0.message)]
    Call(Box<Problem>),
}

/// A failed call, decoded.
#[derive(Debug, Clone)]
pub struct Problem {
    /// What kind of failure.
    pub code: Code,
    /// For people.
    pub message: String,
    /// Stable reason, for programs; empty if the server did not get to answer.
    pub reason: String,
    /// The wrong fields of an `InvalidArgument`.
    pub field_violations: Vec<FieldViolation>,
    /// Time after which the same call may succeed.
    pub retry_after: Option<Duration>,
    /// The status as it came, for its other details (`tonic_types::StatusExt`).
    pub status: Status,
}

/// A field of the request that is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Its name in the proto.
    pub field: String,
    /// For people.
    pub description: String,
}

impl Error {
    /// What the server said, if a call failed.
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
