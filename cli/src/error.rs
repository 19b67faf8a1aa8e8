//! Errors, their exit codes, and their output.
//!
//! The only mapping from gRPC codes to exit codes; `args.rs` documents it in `--help`.

use std::{io, path::PathBuf, process::ExitCode};

use supalove_proto::v1::{Operation, OperationState};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{client::is_loopback_address, output::clean};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// There is no session for this API.
    #[error("not signed in to {api}; run `supalove login`")]
    NotSignedIn {
        /// Address of the API.
        api: String,
    },
    /// The API refused the refresh token.
    #[error("the session at {api} has ended; run `supalove login`")]
    SessionEnded {
        /// Address of the API.
        api: String,
    },
    /// The API refused the call.
    #[error("{}", clean(.0.message()))]
    Status(Box<Status>),
    /// The API is unreachable.
    #[error("cannot reach the platform at {api}: {}; {}", clean(why), remedy(api))]
    Unreachable {
        /// Address of the API.
        api: String,
        /// Why not.
        why: String,
    },
    /// Nothing has this name.
    #[error("no {kind} is named {name:?}; see: supalove {list}")]
    NoSuch {
        /// Kind of the object.
        kind: &'static str,
        /// The given name.
        name: String,
        /// Command that lists them.
        list: &'static str,
    },
    /// The name is ambiguous.
    #[error("{name:?} is ambiguous; use one of these {kind}s:\n  {}", candidates.join("\n  "))]
    Ambiguous {
        /// Kind of the object.
        kind: &'static str,
        /// The given name.
        name: String,
        /// The objects with this name.
        candidates: Vec<String>,
    },
    /// The operation failed or was cancelled.
    #[error("operation {} {}", .0.id, ended_how(.0))]
    OperationFailed(Box<Operation>),
    /// The user pressed Ctrl-C while an operation runs.
    #[error(
        "interrupted; operation {operation_id} continues. Follow it with:\n  supalove operations wait {operation_id}"
    )]
    Interrupted {
        /// The operation.
        operation_id: String,
    },
    /// The caller's time limit has passed.
    #[error(
        "operation {operation_id} has not ended within the time limit and continues. Follow it with:\n  supalove operations wait {operation_id}"
    )]
    StillRunning {
        /// The operation.
        operation_id: String,
    },
    /// A watched project did not reach the state within the time limit.
    #[error("project {project_ref} is still {state} after the time limit")]
    NotYet {
        /// The project.
        project_ref: String,
        /// Its current state.
        state: String,
    },
    /// A watched project was removed or has failed, and cannot reach the state.
    #[error("project {project_ref} is {state}: {reason}")]
    NeverWill {
        /// The project.
        project_ref: String,
        /// Its current state.
        state: String,
        /// Why.
        reason: String,
    },
    /// Parts of the platform say different things.
    #[error("{count} {}; see: docs/guides/operating.md, \"Is the platform consistent?\"", if *count == 1 { "difference" } else { "differences" })]
    Differs {
        /// How many.
        count: usize,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The credentials file is malformed.
    #[error("{} is not a credentials file: {source}; remove it and run `supalove login`", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// Another process holds the lock of the credentials.
    #[error("another process holds the lock {}; retry when it has ended", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// stdin, stdout or the terminal failed.
    #[error("terminal: {0}")]
    Terminal(#[from] io::Error),
    /// The API's response does not match the protos.
    #[error("the answer cannot be shown: {0}")]
    Answer(String),
}

impl Error {
    /// True if a stream broke but what it is about may still exist.
    pub fn is_interruption(&self) -> bool {
        match self {
            Self::Status(status) => crate::watch::is_interruption(status),
            Self::Unreachable { .. } => true,
            _ => false,
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl Error {
    /// Returns the exit code of the process.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            // The reader has closed the pipe (`| head`), so nobody reads a message.
            Self::Terminal(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Usage(_) | Self::Ambiguous { .. } => 2,
            Self::NoSuch { .. } => 5,
            Self::NotSignedIn { .. } | Self::SessionEnded { .. } => 3,
            Self::Status(status) => code_of(status.code()),
            Self::Unreachable { .. }
            | Self::StillRunning { .. }
            | Self::NotYet { .. }
            | Self::Locked { .. } => 8,
            Self::Interrupted { .. } => 130,
            Self::OperationFailed(_)
            | Self::Differs { .. }
            | Self::NeverWill { .. }
            | Self::File { .. }
            | Self::Credentials { .. }
            | Self::Terminal(_)
            | Self::Answer(_) => 1,
        })
    }

    /// True if the API says that the caller is not signed in.
    pub fn is_unauthenticated(&self) -> bool {
        matches!(self, Self::Status(status) if status.code() == Code::Unauthenticated)
    }
}

fn code_of(code: Code) -> u8 {
    match code {
        Code::Unauthenticated => 3,
        Code::PermissionDenied => 4,
        Code::NotFound => 5,
        Code::FailedPrecondition | Code::AlreadyExists | Code::Aborted => 6,
        Code::InvalidArgument | Code::OutOfRange => 7,
        Code::Unavailable | Code::DeadlineExceeded => 8,
        Code::ResourceExhausted => 9,
        _ => 1,
    }
}

fn ended_how(operation: &Operation) -> &'static str {
    match operation.state() {
        OperationState::Cancelled => "was cancelled",
        _ => "failed",
    }
}

/// Prints the error to stderr.
pub fn report(error: &Error) {
    if matches!(error, Error::Terminal(e) if e.kind() == io::ErrorKind::BrokenPipe) {
        return;
    }
    eprintln!("error: {error}");
    for line in more_lines(error) {
        eprintln!("  {line}");
    }
}

fn more_lines(error: &Error) -> Vec<String> {
    match error {
        Error::Status(status) => status_lines(status),
        Error::OperationFailed(operation) => operation_lines(operation),
        _ => Vec::new(),
    }
}

fn remedy(api: &str) -> &'static str {
    if is_loopback_address(api) { "is it up? make up" } else { "check the address, and that it is up" }
}

/// Formats the `google.rpc` details that the message does not contain; without a reason, the gRPC code.
fn status_lines(status: &Status) -> Vec<String> {
    let mut lines = detail_lines(&status.get_error_details(), status.message());
    if !lines.iter().any(|line| line.starts_with("reason: ")) {
        lines.insert(0, format!("code: {:?}", status.code()));
    }
    lines.iter().map(|line| clean(line)).collect()
}

/// `said` is the text that is already printed.
fn detail_lines(details: &ErrorDetails, said: &str) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(info) = details.error_info() {
        lines.push(format!("reason: {}", info.reason));
        let mut metadata: Vec<_> = info.metadata.iter().collect();
        metadata.sort();
        lines.extend(metadata.iter().map(|(key, value)| format!("{key}: {value}")));
    }
    let new = |description: &str| !said.contains(description);
    for violation in details.bad_request().iter().flat_map(|d| &d.field_violations) {
        if new(&violation.description) {
            lines.push(format!("field {}: {}", violation.field, violation.description));
        }
    }
    for violation in details.precondition_failure().iter().flat_map(|d| &d.violations) {
        if new(&violation.description) {
            lines.push(format!("{}: {}", violation.subject, violation.description));
        }
    }
    for violation in details.quota_failure().iter().flat_map(|d| &d.violations) {
        if new(&violation.description) {
            lines.push(format!("quota {}: {}", violation.subject, violation.description));
        } else {
            lines.push(format!("quota: {}", violation.subject));
        }
    }
    if let Some(delay) = details.retry_info().and_then(|retry| retry.retry_delay) {
        lines.push(format!("retry in: {} s", delay.as_secs_f64().ceil()));
    }
    for link in details.help().iter().flat_map(|d| &d.links) {
        lines.push(format!("help: {} {}", link.description, link.url));
    }
    if let Some(request) = details.request_info() {
        lines.push(format!("request: {}", request.request_id));
    }
    lines
}

fn operation_lines(operation: &Operation) -> Vec<String> {
    let Some(error) = &operation.error else {
        return Vec::new();
    };
    let mut lines = vec![clean(&error.message), format!("reason: {}", clean(&error.reason))];
    if !error.service.is_empty() {
        lines.push(format!("service: {}", clean(&error.service)));
    }
    if !error.log_tail.is_empty() {
        lines.push("last lines of its log:".into());
        lines.extend(error.log_tail.iter().map(|line| format!("  {}", clean(line))));
    }
    lines
}
