//! Our errors → gRPC statuses with `google.rpc` details and a stable reason.

use supalove_proto::EPOCH_KEY;
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::docker::EngineError;
use crate::node::Epochs;
use crate::spec::Violation;
use crate::stack::SuperviseError;

/// `ErrorInfo.domain` of every error.
const DOMAIN: &str = "supalove";

/// A refusal with a stable reason.
pub fn precondition(reason: &str, message: impl Into<String>) -> Status {
    with_reason(Code::FailedPrecondition, reason, message)
}

/// Something does not exist.
pub fn not_found(message: impl Into<String>) -> Status {
    with_reason(Code::NotFound, "NOT_FOUND", message)
}

/// One wrong field.
pub fn invalid_field(field: &str, description: &str) -> Status {
    invalid(&[Violation { field: field.to_owned(), description: description.to_owned() }])
}

/// Wrong fields.
pub fn invalid(violations: &[Violation]) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info("INVALID_ARGUMENT", DOMAIN, [] as [(String, String); 0]);
    for violation in violations {
        details.add_bad_request_violation(&violation.field, &violation.description);
    }
    let summary: Vec<String> =
        violations.iter().map(|violation| format!("{} {}", violation.field, violation.description)).collect();
    Status::with_error_details(Code::InvalidArgument, summary.join("; "), details)
}

/// Errs unless the call carries the newest session's epoch.
pub fn check_epoch<T>(epochs: &Epochs, request: &Request<T>) -> Result<u64, Status> {
    let epoch = request
        .metadata()
        .get(EPOCH_KEY)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
        .ok_or_else(|| invalid_field(EPOCH_KEY, "metadata must hold the session's epoch"))?;
    let newest = epochs.newest();
    if epoch == newest && epoch > 0 {
        return Ok(epoch);
    }
    Err(stale_epoch(epoch, newest))
}

/// The refusal of an older session, or of one that has not said Hello.
pub fn stale_epoch(epoch: u64, newest: u64) -> Status {
    if epoch > newest {
        precondition("HELLO_FIRST", format!("epoch {epoch} has not said Hello"))
    } else {
        precondition(
            "STALE_EPOCH",
            format!("epoch {epoch} is older than {newest}: a newer session has begun"),
        )
    }
}

impl From<SuperviseError> for Status {
    fn from(error: SuperviseError) -> Self {
        let message = error.to_string();
        match error {
            SuperviseError::Refused(refused) => precondition(refused.reason(), message),
            SuperviseError::SlotTaken { .. } => precondition("SLOT_TAKEN", message),
            SuperviseError::Store(_) => with_reason(Code::Internal, "STORE_FAILED", message),
        }
    }
}

impl From<EngineError> for Status {
    fn from(error: EngineError) -> Self {
        with_reason(Code::Unavailable, "ENGINE_ERROR", error.to_string())
    }
}

fn with_reason(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, [] as [(String, String); 0]);
    Status::with_error_details(code, message, details)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Refused;

    fn call(epoch: &str) -> Request<()> {
        let mut request = Request::new(());
        request.metadata_mut().insert(EPOCH_KEY, epoch.parse().unwrap());
        request
    }

    fn reason(status: &Status) -> String {
        status.get_details_error_info().unwrap().reason
    }

    #[test]
    fn only_the_newest_epoch_may_call() {
        let epochs = Epochs::default();
        assert_eq!(reason(&check_epoch(&epochs, &call("1")).unwrap_err()), "HELLO_FIRST");
        epochs.raise(7);
        assert_eq!(check_epoch(&epochs, &call("7")).unwrap(), 7);
        let older = check_epoch(&epochs, &call("6")).unwrap_err();
        assert_eq!((older.code(), reason(&older).as_str()), (Code::FailedPrecondition, "STALE_EPOCH"));
        for wrong in ["", "x", "-1"] {
            assert_eq!(check_epoch(&epochs, &call(wrong)).unwrap_err().code(), Code::InvalidArgument);
        }
        assert_eq!(check_epoch(&epochs, &Request::new(())).unwrap_err().code(), Code::InvalidArgument);
    }

    #[test]
    fn refusals_and_wrong_fields_can_be_acted_on() {
        let status = Status::from(SuperviseError::from(Refused::Conflict(3)));
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::FailedPrecondition, "GENERATION_CONFLICT")
        );
        let status = invalid_field("spec.services[0].image", "is no image reference");
        let fields = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(fields[0].field, "spec.services[0].image");
    }
}

#[cfg(test)]
mod fuzz {
    use supalove_fuzz::{Samples, Verdict, bytes};
    use tonic::metadata::MetadataValue;

    use super::*;

    #[test]
    fn epochs_in_metadata() {
        let epochs = Epochs::default();
        epochs.raise(7);
        bytes("epoch metadata", &Samples::of(["7", "07", "6", "123456"]).words(["+", "\t"]), |input| {
            let mut request = Request::new(());
            if let Ok(value) = MetadataValue::try_from(input) {
                request.metadata_mut().insert(EPOCH_KEY, value);
            }
            let checked = check_epoch(&epochs, &request);
            assert!(
                checked.as_ref().is_err() || input.trim_ascii().ends_with(b"7"),
                "another session's call"
            );
            Verdict::of(&checked)
        });
    }
}
