//! gRPC errors with `google.rpc` details, so that a caller can act on them, and errors as text for logs.

use std::error::Error;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

/// `google.rpc.ErrorInfo.domain` of every error.
pub const DOMAIN: &str = "supalove";

/// Creates error details with a stable reason, e.g. "STALE_EPOCH".
pub fn details(reason: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, [] as [(String, String); 0])
}

/// Creates a status with a stable reason.
pub fn with_reason(code: Code, reason: &str, message: impl Into<String>) -> Status {
    Status::with_error_details(code, message, details(reason))
}

/// The same with facts that the caller can act on without reading the message.
pub fn with_metadata<const N: usize>(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    metadata: [(&str, String); N],
) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, metadata.map(|(name, value)| (name.to_owned(), value)));
    Status::with_error_details(code, message, details)
}

/// Returns a fact of a peer's status: `None` without an `ErrorInfo` that has it.
pub fn metadata(status: &Status, name: &str) -> Option<String> {
    status.get_details_error_info()?.metadata.get(name).cloned()
}

/// Creates FAILED_PRECONDITION with a stable reason.
pub fn failed_precondition(reason: &str, message: impl Into<String>) -> Status {
    with_reason(Code::FailedPrecondition, reason, message)
}

/// Creates INVALID_ARGUMENT with each wrong field.
pub fn invalid(violations: Vec<FieldViolation>) -> Status {
    let message = violations_text(&violations);
    let mut details = details("INVALID_ARGUMENT");
    details.set_bad_request(violations);
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// Creates INVALID_ARGUMENT for one wrong field.
pub fn invalid_field(field: impl Into<String>, description: impl Into<String>) -> Status {
    invalid(vec![FieldViolation::new(field, description)])
}

/// Formats wrong fields in one line: "name: must not be empty; size: must be above 0".
pub fn violations_text(violations: &[FieldViolation]) -> String {
    let each: Vec<_> = violations.iter().map(|v| format!("{}: {}", v.field, v.description)).collect();
    each.join("; ")
}

/// Returns the stable reason of a peer's status; `None` without an `ErrorInfo` or with an empty reason.
pub fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason).filter(|reason| !reason.is_empty())
}

/// Formats an error with its causes on one line. Skips a cause that the text already contains.
pub fn chain(error: &(dyn Error + 'static)) -> String {
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

/// Returns the last cause of an error, which says what happened; its wrappers only say where.
pub fn root_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug)]
    struct Layer(String, Option<Box<Layer>>);

    impl std::fmt::Display for Layer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(&self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    fn layers(texts: &[&str]) -> Layer {
        let inner = texts[1..]
            .iter()
            .rev()
            .fold(None, |inner, text| Some(Box::new(Layer((*text).to_owned(), inner))));
        Layer(texts[0].to_owned(), inner)
    }

    #[test]
    fn a_chain_says_each_thing_once() {
        assert_eq!(chain(&layers(&["cannot dial", "cannot dial", "refused"])), "cannot dial: refused");
        assert_eq!(chain(&layers(&["cannot dial: refused", "refused"])), "cannot dial: refused");
        assert_eq!(root_cause(&layers(&["a", "b", "c"])).to_string(), "c");
        assert_eq!(root_cause(&layers(&["a"])).to_string(), "a");
    }

    #[test]
    fn wrong_fields_are_named_in_message_and_details() {
        let status = invalid_field("spec.services[0].image", "is no image reference");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "spec.services[0].image: is no image reference");
        assert_eq!(reason(&status).as_deref(), Some("INVALID_ARGUMENT"));
        let fields = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(fields[0].field, "spec.services[0].image");
    }

    #[test]
    fn a_reason_survives_the_wire_form() {
        let status = failed_precondition("STALE_EPOCH", "a newer session has begun");
        let sent = Status::with_details(status.code(), status.message(), status.details().to_vec().into());
        assert_eq!(reason(&sent).as_deref(), Some("STALE_EPOCH"));
        assert_eq!(reason(&Status::internal("x")), None);
        assert_eq!(reason(&with_reason(Code::Internal, "", "x")), None);
    }

    proptest! {
        #[test]
        fn a_chain_holds_every_cause(texts in prop::collection::vec("[a-z]{1,8}", 1..6)) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let said = chain(&layers(&texts));
            prop_assert!(texts.iter().all(|text| said.contains(text)));
        }
    }
}
