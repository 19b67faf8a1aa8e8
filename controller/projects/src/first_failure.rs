//! The result of a job that works through many projects: it tries all of them, and fails with the first error.

use supalove_core::{
    error::{Error, Result, chain},
    ids::ProjectRef,
};

/// The first error of a run. The job's log line and its stored result have it; those of other projects are likely the same.
#[derive(Debug, Default)]
pub struct FirstFailure(Option<Error>);

impl FirstFailure {
    /// Notes how one project went.
    pub fn note(&mut self, project: &ProjectRef, done: Result<()>) {
        let Err(error) = done else { return };
        tracing::debug!(%project, error = chain(&error), "job cannot change a project");
        // A database that is away is no matter of this project.
        let named = |error| match error {
            Error::Unavailable { .. } => error,
            other => Error::internal(format!("project {project}: {}", chain(&other))),
        };
        self.0.get_or_insert_with(|| named(error));
    }

    /// The result of the run.
    pub fn result(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_is_the_runs_and_names_its_project() {
        let (one, other) = (ProjectRef::generate(), ProjectRef::generate());
        let mut failed = FirstFailure::default();
        failed.note(&one, Ok(()));
        failed.note(&other, Err(Error::Aborted("the project changed at the same time")));
        failed.note(&one, Err(Error::Aborted("another")));
        let error = chain(&failed.result().unwrap_err());
        assert!(error.contains(other.as_str()) && error.contains("at the same time"), "{error}");
        assert!(FirstFailure::default().result().is_ok());
    }
}
