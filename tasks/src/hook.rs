//! Logs panics: the name of the task, the place, and the message.

use std::panic;

use super::{Name, message};

tokio::task_local! {
    static NAME: Name;
}

/// Runs a future with its task's name, for the log of a panic.
pub(super) fn with_name<F: Future>(name: Name, future: F) -> impl Future<Output = F::Output> {
    NAME.scope(name, future)
}

/// Writes every panic of this process to the log instead of to standard error. A program's `main` calls it once.
pub fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let task = NAME.try_with(Clone::clone).unwrap_or(Name::Borrowed("none"));
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(%task, place, message = message(info.payload()), "task panicked");
    }));
}
