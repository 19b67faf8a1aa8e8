//! Our errors → gRPC statuses with `google.rpc` details and a stable reason.

use supalove_net::status::{self, with_metadata, with_reason};
pub use supalove_net::status::{failed_precondition, invalid_field};
use supalove_proto::EPOCH_KEY;
use tonic::{Code, Request, Status};
use tonic_types::FieldViolation;

use crate::admission::Violation;
use crate::docker::EngineError;
use crate::node::Epochs;
use crate::stack::SuperviseError;

/// A call for something that does not exist.
pub fn not_found(message: impl Into<String>) -> Status {
    with_reason(Code::NotFound, "NOT_FOUND", message)
}

/// A refusal that names each wrong field.
pub fn invalid(violations: Vec<Violation>) -> Status {
    let fields = violations.into_iter().map(|wrong| FieldViolation::new(wrong.field, wrong.description));
    status::invalid(fields.collect())
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
        failed_precondition("HELLO_FIRST", format!("epoch {epoch} has not said Hello"))
    } else {
        with_metadata(
            Code::FailedPrecondition,
            "STALE_EPOCH",
            format!("epoch {epoch} is older than {newest}: a newer session has begun"),
            [("newest_epoch", newest.to_string())],
        )
    }
}

impl From<SuperviseError> for Status {
    fn from(error: SuperviseError) -> Self {
        let message = error.to_string();
        match error {
            SuperviseError::Refused(refused) => with_metadata(
                Code::FailedPrecondition,
                refused.reason(),
                message,
                [
                    ("stored_generation", refused.stored().to_string()),
                    ("removed", refused.removed().to_string()),
                ],
            ),
            SuperviseError::SlotTaken { .. } => failed_precondition("SLOT_TAKEN", message),
            SuperviseError::Store(_) => with_reason(Code::Internal, "STORE_FAILED", message),
        }
    }
}

impl From<EngineError> for Status {
    fn from(error: EngineError) -> Self {
        with_reason(Code::Unavailable, "ENGINE_ERROR", error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::state::Refused;

    fn call(epoch: &str) -> Request<()> {
        let mut request = Request::new(());
        request.metadata_mut().insert(EPOCH_KEY, epoch.parse().unwrap());
        request
    }

    fn reason(status: &Status) -> String {
        status::reason(status).unwrap()
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
        bytes("epoch metadata", &Samples::new(["7", "07", "6", "123456"]).words(["+", "\t"]), |input| {
            let mut request = Request::new(());
            if let Ok(value) = MetadataValue::try_from(input) {
                request.metadata_mut().insert(EPOCH_KEY, value);
            }
            let checked = check_epoch(&epochs, &request);
            assert!(
                checked.as_ref().is_err() || input.trim_ascii().ends_with(b"7"),
                "another session's call"
            );
            Verdict::from_result(&checked)
        });
    }
}
