//! Panics in the log: the name of the task, the place, and what was said.

use std::panic;

use super::{Name, message};

tokio::task_local! {
    static NAME: Name;
}

/// Runs a future under its task's name.
pub(super) fn with_name<F: Future>(name: Name, future: F) -> impl Future<Output = F::Output> {
    NAME.scope(name, future)
}

/// Writes every panic of this process to the log instead of to bare standard error. For a program's `main`, once.
pub fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let task = NAME.try_with(Clone::clone).unwrap_or(Name::Borrowed("none"));
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(%task, place, message = message(info.payload()), "task panicked");
    }));
}
