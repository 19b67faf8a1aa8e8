//! Errors of calls: a dozen variants, and the only place that converts them to a gRPC status with
//! `google.rpc` details, so that a caller with grpcurl can act on it.

use std::time::Duration;

use supalove_net::allowance::Full;
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
    /// Several things do not allow the act.
    #[error("{message}")]
    FailedPreconditions {
        /// Stable reason.
        reason: ErrorReason,
        /// For people, with the remedy.
        message: String,
        /// Each of them: what it is, and what is wrong with it.
        violations: Vec<(String, String)>,
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
    /// The object is not the one that the caller has read: its etag is another one.
    #[error("the {0} has changed since you read it; read it again, then decide")]
    Changed(&'static str),
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
    /// The control database answered, but one statement took too long or waited too long for a locked row. Only the work
    /// with this row fails.
    #[error("the control database is too slow, or a row is locked for too long")]
    Slow,
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
    /// The caller, or others on the same account, did this too often.
    #[error("too many {what}; try again in {} s", retry_after.as_secs_f64().ceil())]
    TooOften {
        /// What was done too often, in the plural.
        what: &'static str,
        /// When the next one is possible.
        retry_after: Duration,
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

    /// The error for who finds an allowance full. `what` there is too much of, in the plural.
    pub fn full(full: Full, what: &'static str) -> Self {
        match full {
            Full::All(_) => Self::Busy,
            Full::Key(most) => Self::TooMany { what, most },
        }
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
            Self::AlreadyExists { kind, name } => Self::AlreadyExists { kind, name: name.clone() },
            Self::NameHeld { name, project, until } => {
                Self::NameHeld { name: name.clone(), project: project.clone(), until: until.clone() }
            }
            Self::FailedPrecondition { reason, message } => {
                Self::FailedPrecondition { reason: *reason, message: message.clone() }
            }
            Self::FailedPreconditions { reason, message, violations } => Self::FailedPreconditions {
                reason: *reason,
                message: message.clone(),
                violations: violations.clone(),
            },
            Self::Quota { subject, message } => {
                Self::Quota { subject: subject.clone(), message: message.clone() }
            }
            Self::Aborted(what) => Self::Aborted(what),
            Self::Changed(kind) => Self::Changed(kind),
            Self::Refused(why) => Self::Refused(why),
            Self::Slow => Self::Slow,
            Self::TooLate(limit) => Self::TooLate(*limit),
            Self::NoSuchMethod => Self::NoSuchMethod,
            Self::Busy => Self::Busy,
            Self::TooMany { what, most } => Self::TooMany { what, most: *most },
            Self::TooOften { what, retry_after } => Self::TooOften { what, retry_after: *retry_after },
            Self::Malformed(what) => Self::Malformed(what.clone()),
            Self::SlowRequest(limit) => Self::SlowRequest(*limit),
            Self::Internal(cause) => Self::internal(chain(cause.as_ref())),
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
            Self::FailedPrecondition { .. } | Self::FailedPreconditions { .. } => Code::FailedPrecondition,
            Self::Quota { .. } | Self::Busy | Self::TooMany { .. } | Self::TooOften { .. } => {
                Code::ResourceExhausted
            }
            Self::Aborted(_) | Self::Changed(_) => Code::Aborted,
            Self::Unavailable { .. } | Self::Slow => Code::Unavailable,
            Self::TooLate(_) | Self::SlowRequest(_) => Code::DeadlineExceeded,
            Self::NoSuchMethod => Code::Unimplemented,
            Self::Internal(_) => Code::Internal,
        }
    }

    /// The stable reason.
    pub fn reason(&self) -> ErrorReason {
        match self {
            Self::Invalid(_) | Self::Malformed(_) => ErrorReason::InvalidArgument,
            Self::Unauthenticated { reason, .. }
            | Self::FailedPrecondition { reason, .. }
            | Self::FailedPreconditions { reason, .. } => *reason,
            Self::PermissionDenied { .. } | Self::Refused(_) => ErrorReason::PermissionDenied,
            Self::NotFound { .. } => ErrorReason::NotFound,
            Self::AlreadyExists { .. } => ErrorReason::AlreadyExists,
            Self::NameHeld { .. } => ErrorReason::NameHeldByDeletedProject,
            Self::Quota { .. } => ErrorReason::QuotaExceeded,
            Self::Aborted(_) => ErrorReason::Conflict,
            Self::Changed(_) => ErrorReason::EtagMismatch,
            Self::Unavailable { .. } | Self::Slow => ErrorReason::Unavailable,
            Self::TooLate(_) | Self::SlowRequest(_) => ErrorReason::DeadlineExceeded,
            Self::NoSuchMethod => ErrorReason::NoSuchMethod,
            Self::Busy | Self::TooMany { .. } => ErrorReason::Busy,
            Self::TooOften { .. } => ErrorReason::TooOften,
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
            Self::FailedPreconditions { reason, violations, .. } => {
                for (subject, description) in violations {
                    details.add_precondition_failure_violation(reason.text(), subject, description);
                }
            }
            Self::Quota { subject, message } => {
                details.add_quota_failure_violation(subject.clone(), message.clone());
            }
            Self::Aborted(_) => {
                details.set_retry_info(Some(Duration::from_millis(100)));
            }
            Self::Busy | Self::TooMany { .. } | Self::Slow => {
                details.set_retry_info(Some(Duration::from_secs(1)));
            }
            Self::Unavailable { retry_after, .. } | Self::TooOften { retry_after, .. } => {
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
        if is_slow(&error) {
            return Self::Slow;
        }
        if let Some(message) = trouble(&error) {
            return Self::Unavailable { message: message.to_owned(), retry_after: Duration::from_secs(1) };
        }
        if is_lost_race(&error) {
            return Self::Aborted("a concurrent change won");
        }
        Self::internal(error)
    }
}

impl From<crate::sql_enum::UnknownText> for Error {
    fn from(error: crate::sql_enum::UnknownText) -> Self {
        Self::internal(error)
    }
}

/// True if the control database gave one statement up: statement timeout, lock timeout, idle in a transaction for too long.
fn is_slow(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("57014" | "55P03" | "25P03"))
}

/// Returns what is wrong if the control database cannot serve now: it is unreachable, starts, stops, is full or
/// read-only. The same statement succeeds later. Codes: PostgreSQL, appendix A.
fn trouble(error: &sqlx::Error) -> Option<&'static str> {
    const AWAY: &str = "the control database does not answer";
    let said = match error {
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) => return Some(AWAY),
        sqlx::Error::Database(said) => said.code()?,
        _ => return None,
    };
    match &*said {
        "25006" => Some("the control database is read-only"),
        "53100" => Some("the disk of the control database is full"),
        "57P01" | "57P02" | "57P03" => Some(AWAY),
        // Connections; insufficient resources; errors of the system below it (input and output).
        code if code.starts_with("08") => Some(AWAY),
        code if code.starts_with("53") || code.starts_with("58") => {
            Some("the control database lacks resources")
        }
        _ => None,
    }
}

/// True if the transaction lost against another one (deadlock, serialization failure).
fn is_lost_race(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("40P01" | "40001"))
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
