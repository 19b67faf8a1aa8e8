//! Errors of calls: a dozen variants, and the only place that converts them to a gRPC status with
//! `google.rpc` details, so that a caller with grpcurl can act on it.

use std::time::Duration;

use supalove_proto::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

pub use supalove_net::status::{DOMAIN, chain};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of the request are wrong.
    #[error("{}", summary(.0))]
    Invalid(Vec<FieldViolation>),
    /// The caller is not signed in, or the session has ended.
    #[error("{message}")]
    Unauthenticated {
        /// Stable reason.
        reason: ErrorReason,
        /// For people.
        message: String,
    },
    /// The caller may see the object but not perform this act.
    #[error("you may not {action}; you need {needs}")]
    PermissionDenied {
        /// The act.
        action: String,
        /// Who may perform it.
        needs: String,
    },
    /// There is no such object, or the caller may not see it.
    #[error("{kind} {name:?} was not found")]
    NotFound {
        /// Kind of the object.
        kind: &'static str,
        /// Name in the request.
        name: String,
    },
    /// The name is taken.
    #[error("{kind} {name:?} exists already; choose another name")]
    AlreadyExists {
        /// Kind of the object.
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
    /// The state of the object does not allow the act.
    #[error("{message}")]
    FailedPrecondition {
        /// Stable reason.
        reason: ErrorReason,
        /// For people, with the remedy.
        message: String,
    },
    /// The organization has used up its quota.
    #[error("{message}")]
    Quota {
        /// Owner of the quota.
        subject: String,
        /// For people.
        message: String,
    },
    /// A concurrent change won; the caller can retry.
    #[error("{0}; try again")]
    Aborted(&'static str),
    /// The controller has refused the peer and told it why. The public API never returns it.
    #[error("{0}")]
    Refused(&'static str),
    /// A dependency of the call is unavailable.
    #[error("{message}")]
    Unavailable {
        /// For people.
        message: String,
        /// How long the caller should wait before a retry.
        retry_after: Duration,
    },
    /// The call missed its deadline.
    #[error("no answer within {} s; the work may continue, so read the object before you retry", .0.as_secs_f32())]
    TooLate(Duration),
    /// The path names no RPC.
    #[error("no such method; list the methods through the server's reflection")]
    NoSuchMethod,
    /// Too many concurrent calls of this kind.
    #[error("too many concurrent calls; try again")]
    Busy,
    /// One caller has too much open at once.
    #[error("you have too many {what} at once (the maximum is {most}); end some, or try again later")]
    TooMany {
        /// What there is too much of, in the plural.
        what: &'static str,
        /// The maximum.
        most: usize,
    },
    /// The bytes of a request are no message of its method.
    #[error("the request is malformed: {0}")]
    Malformed(String),
    /// The request did not arrive in time.
    #[error("the request did not arrive within {} s", .0.as_secs_f32())]
    SlowRequest(Duration),
    /// A bug or a fault of the platform. The controller logs the cause with the trace id and never sends it.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Result of calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Creates an error about one wrong field.
    pub fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldViolation::new(field, description)])
    }

    /// The same error, for another caller who waited for the same result.
    #[must_use]
    pub fn again(&self) -> Self {
        match self {
            Self::Invalid(violations) => Self::Invalid(violations.clone()),
            Self::Unauthenticated { reason, message } => {
                Self::Unauthenticated { reason: *reason, message: message.clone() }
            }
            Self::PermissionDenied { action, needs } => {
                Self::PermissionDenied { action: action.clone(), needs: needs.clone() }
            }
            Self::NotFound { kind, name } => Self::NotFound { kind, name: name.clone() },
            Self::Unavailable { message, retry_after } => {
                Self::Unavailable { message: message.clone(), retry_after: *retry_after }
            }
            Self::Aborted(what) => Self::Aborted(what),
            Self::TooLate(limit) => Self::TooLate(*limit),
            Self::Busy => Self::Busy,
            Self::Internal(cause) => Self::internal(chain(cause.as_ref())),
            other => Self::internal(other.to_string()),
        }
    }

    /// Creates an internal error from its cause.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    fn code(&self) -> Code {
        match self {
            Self::Invalid(_) | Self::Malformed(_) => Code::InvalidArgument,
            Self::Unauthenticated { .. } => Code::Unauthenticated,
            Self::PermissionDenied { .. } | Self::Refused(_) => Code::PermissionDenied,
            Self::NotFound { .. } => Code::NotFound,
            Self::AlreadyExists { .. } | Self::NameHeld { .. } => Code::AlreadyExists,
            Self::FailedPrecondition { .. } => Code::FailedPrecondition,
            Self::Quota { .. } | Self::Busy | Self::TooMany { .. } => Code::ResourceExhausted,
            Self::Aborted(_) => Code::Aborted,
            Self::Unavailable { .. } => Code::Unavailable,
            Self::TooLate(_) | Self::SlowRequest(_) => Code::DeadlineExceeded,
            Self::NoSuchMethod => Code::Unimplemented,
            Self::Internal(_) => Code::Internal,
        }
    }

    /// The stable reason.
    pub fn reason(&self) -> ErrorReason {
        match self {
            Self::Invalid(_) | Self::Malformed(_) => ErrorReason::InvalidArgument,
            Self::Unauthenticated { reason, .. } | Self::FailedPrecondition { reason, .. } => *reason,
            Self::PermissionDenied { .. } | Self::Refused(_) => ErrorReason::PermissionDenied,
            Self::NotFound { .. } => ErrorReason::NotFound,
            Self::AlreadyExists { .. } => ErrorReason::AlreadyExists,
            Self::NameHeld { .. } => ErrorReason::NameHeldByDeletedProject,
            Self::Quota { .. } => ErrorReason::QuotaExceeded,
            Self::Aborted(_) => ErrorReason::Conflict,
            Self::Unavailable { .. } => ErrorReason::Unavailable,
            Self::TooLate(_) | Self::SlowRequest(_) => ErrorReason::DeadlineExceeded,
            Self::NoSuchMethod => ErrorReason::NoSuchMethod,
            Self::Busy | Self::TooMany { .. } => ErrorReason::Busy,
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
            Self::Busy | Self::TooMany { .. } => {
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
        if let Some(fault) = fault_of_a_statement(&error) {
            return fault;
        }
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

/// What a statement that the database could not finish means for the caller. Codes: PostgreSQL, appendix A.
fn fault_of_a_statement(error: &sqlx::Error) -> Option<Error> {
    let code = error.as_database_error()?.code()?;
    let unavailable = |message: &str| Error::Unavailable {
        message: message.to_owned(),
        retry_after: Duration::from_secs(1),
    };
    Some(match &*code {
        // query_canceled, by the statement's timeout
        "57014" => unavailable("the control database is too slow"),
        // lock_not_available, by a lock's timeout; serialization_failure; deadlock_detected
        "55P03" | "40001" | "40P01" => Error::Aborted("a concurrent change was in the way"),
        // insufficient_resources: disk full, out of memory; read_only_sql_transaction, after a failover
        "53000" | "53100" | "53200" | "53400" => unavailable("the control database has no resources left"),
        "25006" => unavailable("the control database accepts no changes"),
        _ => return None,
    })
}

/// True if the database is unreachable, starting or stopping. Codes: PostgreSQL, appendix A: class 08 (connection),
/// 53300 (too many connections), 57P01 to 57P03 (shut down, crashed, not ready yet).
fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) => true,
        sqlx::Error::Database(said) => said.code().is_some_and(|code| {
            code.starts_with("08") || matches!(&*code, "53300" | "57P01" | "57P02" | "57P03")
        }),
        _ => false,
    }
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
