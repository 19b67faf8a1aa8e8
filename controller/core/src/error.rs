//! What can go wrong in a call, in a dozen words, and the one place that turns it into a gRPC status with
//! `google.rpc` details, so that a caller with grpcurl can act on it.

use std::time::Duration;

use supalove_proto::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

/// `google.rpc.ErrorInfo.domain` of every error.
pub const DOMAIN: &str = "supalove";

/// Why a call did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of the request are wrong.
    #[error("{}", summary(.0))]
    Invalid(Vec<FieldViolation>),
    /// Nobody, or somebody whose session is over.
    #[error("{message}")]
    Unauthenticated {
        /// Stable reason.
        reason: ErrorReason,
        /// For people.
        message: String,
    },
    /// The caller's own object, but not this act.
    #[error("you may not {action}; it takes {needs}")]
    PermissionDenied {
        /// What was tried.
        action: String,
        /// Who may.
        needs: String,
    },
    /// There is none, or it is someone else's.
    #[error("{kind} {name:?} was not found")]
    NotFound {
        /// What kind of thing.
        kind: &'static str,
        /// What was asked for.
        name: String,
    },
    /// The name is taken.
    #[error("{kind} {name:?} exists already; choose another name")]
    AlreadyExists {
        /// What kind of thing.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A deleted project keeps the name.
    #[error(
        "the deleted project {project} holds the name {name:?} until {until}; undelete it, delete it again with an undo \
         window of 0, or choose another name"
    )]
    NameHeld {
        /// The name.
        name: String,
        /// Ref of the deleted project.
        project: String,
        /// When its undo window ends.
        until: String,
    },
    /// Not in this state.
    #[error("{message}")]
    FailedPrecondition {
        /// Stable reason.
        reason: ErrorReason,
        /// For people: what to do.
        message: String,
    },
    /// The organization has used what it may.
    #[error("{message}")]
    Quota {
        /// Whose quota.
        subject: String,
        /// For people.
        message: String,
    },
    /// Somebody else was first; the same call may succeed.
    #[error("{0}; try again")]
    Aborted(&'static str),
    /// Turned away, and told so. Never an answer of the public API.
    #[error("{0}")]
    Refused(&'static str),
    /// Something the call needs is away.
    #[error("{message}")]
    Unavailable {
        /// For people.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// No answer within the call's time.
    #[error("no answer within {} s; what was begun may go on, look before you try again", .0.as_secs_f32())]
    TooLate(Duration),
    /// The path names no RPC.
    #[error("no such method; see the server's reflection for what there is")]
    NoSuchMethod,
    /// Too many calls of this kind at the same time.
    #[error("too many calls at the same time; try again")]
    Busy,
    /// Our fault. The cause is logged with the trace id, never sent.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What calls return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// One wrong field.
    pub fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldViolation::new(field, description)])
    }

    /// An internal error from its cause.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::Unauthenticated { .. } => Code::Unauthenticated,
            Self::PermissionDenied { .. } | Self::Refused(_) => Code::PermissionDenied,
            Self::NotFound { .. } => Code::NotFound,
            Self::AlreadyExists { .. } | Self::NameHeld { .. } => Code::AlreadyExists,
            Self::FailedPrecondition { .. } => Code::FailedPrecondition,
            Self::Quota { .. } | Self::Busy => Code::ResourceExhausted,
            Self::Aborted(_) => Code::Aborted,
            Self::Unavailable { .. } => Code::Unavailable,
            Self::TooLate(_) => Code::DeadlineExceeded,
            Self::NoSuchMethod => Code::Unimplemented,
            Self::Internal(_) => Code::Internal,
        }
    }

    /// The stable reason.
    pub fn reason(&self) -> ErrorReason {
        match self {
            Self::Invalid(_) => ErrorReason::InvalidArgument,
            Self::Unauthenticated { reason, .. } | Self::FailedPrecondition { reason, .. } => *reason,
            Self::PermissionDenied { .. } | Self::Refused(_) => ErrorReason::PermissionDenied,
            Self::NotFound { .. } => ErrorReason::NotFound,
            Self::AlreadyExists { .. } => ErrorReason::AlreadyExists,
            Self::NameHeld { .. } => ErrorReason::NameHeldByDeletedProject,
            Self::Quota { .. } => ErrorReason::QuotaExceeded,
            Self::Aborted(_) => ErrorReason::Conflict,
            Self::Unavailable { .. } => ErrorReason::Unavailable,
            Self::TooLate(_) => ErrorReason::DeadlineExceeded,
            Self::NoSuchMethod => ErrorReason::NoSuchMethod,
            Self::Busy => ErrorReason::Busy,
            Self::Internal(_) => ErrorReason::Internal,
        }
    }

    fn details(&self) -> ErrorDetails {
        let mut details = ErrorDetails::new();
        details.set_error_info(self.reason().text(), DOMAIN, [] as [(String, String); 0]);
        match self {
            Self::Invalid(violations) => {
                details.set_bad_request(violations.clone());
            }
            Self::NotFound { kind, name } | Self::AlreadyExists { kind, name } => {
                details.set_resource_info(*kind, name.clone(), "", self.to_string());
            }
            Self::NameHeld { project, .. } => {
                details.set_resource_info("project", project.clone(), "", self.to_string());
            }
            Self::FailedPrecondition { reason, message } => {
                details.add_precondition_failure_violation(reason.text(), "state", message.clone());
            }
            Self::Quota { subject, message } => {
                details.add_quota_failure_violation(subject.clone(), message.clone());
            }
            Self::Aborted(_) => {
                details.set_retry_info(Some(Duration::from_millis(100)));
            }
            Self::Busy => {
                details.set_retry_info(Some(Duration::from_secs(1)));
            }
            Self::Unavailable { retry_after, .. } => {
                details.set_retry_info(Some(*retry_after));
            }
            _ => {}
        }
        details
    }
}

fn summary(violations: &[FieldViolation]) -> String {
    let each: Vec<_> = violations.iter().map(|v| format!("{}: {}", v.field, v.description)).collect();
    each.join("; ")
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        if let Error::Internal(cause) = &error {
            tracing::error!(error = chain(cause.as_ref()), "internal error");
        }
        Status::with_error_details(error.code(), error.to_string(), error.details())
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if is_away(&error) {
            return Self::Unavailable {
                message: "the control database does not answer".to_owned(),
                retry_after: Duration::from_secs(1),
            };
        }
        Self::internal(error)
    }
}

impl From<crate::sql_enum::UnknownText> for Error {
    fn from(error: crate::sql_enum::UnknownText) -> Self {
        Self::internal(error)
    }
}

/// The database is stopping, starting, or gone. Codes: PostgreSQL, appendix A: class 08 (connection), 53300 (too many
/// connections), 57P01 to 57P03 (shut down, crashed, not ready yet).
fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) => true,
        sqlx::Error::Database(said) => said.code().is_some_and(|code| {
            code.starts_with("08") || matches!(&*code, "53300" | "57P01" | "57P02" | "57P03")
        }),
        _ => false,
    }
}

/// An error with its causes, on one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_field_is_named_in_the_details() {
        let status = Status::from(Error::field("name", "must not be empty"));
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_details_bad_request().unwrap();
        assert_eq!(details.field_violations[0].field, "name");
    }

    #[test]
    fn an_internal_cause_is_not_sent() {
        let status = Status::from(Error::internal("password=canary"));
        assert_eq!(status.code(), Code::Internal);
        assert!(!format!("{status:?}").contains("canary"));
    }
}
