//! Logs a job's failures: the first, each with a new error, one line a minute while it goes on, and the end. A job runs
//! every second; without this the log of a database that is away is a thousand equal lines.

use std::time::Duration;

use tokio::time::Instant;

/// Between two lines about the same failure.
const REPEAT: Duration = Duration::from_mins(1);

/// What was logged about the current failure of a job.
#[derive(Debug, Default)]
pub struct Failures(Option<Failing>);

#[derive(Debug)]
struct Failing {
    error: String,
    since: Instant,
    logged: Instant,
    runs: u32,
}

/// What a run's result adds to the log.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Nothing,
    Failed,
    StillFails { runs: u32, lasting: Duration },
    WorksAgain { runs: u32, lasting: Duration },
}

impl Failures {
    /// Notes the result of a run of `job`: nothing, or its error.
    pub fn note(&mut self, job: &str, error: Option<&String>) {
        let text = error.map(String::as_str).unwrap_or_default();
        match self.line(Instant::now(), error.cloned()) {
            Line::Nothing => {}
            Line::Failed => tracing::warn!(job, error = text, "job failed; it runs again at its next turn"),
            Line::StillFails { runs, lasting } => {
                tracing::warn!(
                    job,
                    error = text,
                    runs,
                    ?lasting,
                    "job still fails; it runs again at its next turn"
                );
            }
            Line::WorksAgain { runs, lasting } => {
                tracing::info!(job, failed_runs = runs, ?lasting, "job works again");
            }
        }
    }

    fn line(&mut self, now: Instant, error: Option<String>) -> Line {
        let lasting = |failing: &Failing| Duration::from_secs((now - failing.since).as_secs());
        let Some(error) = error else {
            return self.0.take().map_or(Line::Nothing, |failing| Line::WorksAgain {
                runs: failing.runs,
                lasting: lasting(&failing),
            });
        };
        match &mut self.0 {
            Some(failing) if failing.error == error => {
                failing.runs += 1;
                if now - failing.logged < REPEAT {
                    return Line::Nothing;
                }
                failing.logged = now;
                Line::StillFails { runs: failing.runs, lasting: lasting(failing) }
            }
            Some(failing) => {
                failing.runs += 1;
                failing.error = error;
                failing.logged = now;
                Line::Failed
            }
            None => {
                self.0 = Some(Failing { error, since: now, logged: now, runs: 1 });
                Line::Failed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_the_first_failure_each_new_error_a_line_a_minute_and_the_end() {
        let start = Instant::now();
        let mut failures = Failures::default();
        let mut at = |seconds, error: Option<&str>| {
            failures.line(start + Duration::from_secs(seconds), error.map(str::to_owned))
        };
        assert_eq!(at(0, None), Line::Nothing);
        assert_eq!(at(1, Some("away")), Line::Failed);
        assert_eq!(at(2, Some("away")), Line::Nothing);
        assert_eq!(at(60, Some("away")), Line::Nothing);
        assert_eq!(at(61, Some("away")), Line::StillFails { runs: 4, lasting: Duration::from_mins(1) });
        assert_eq!(at(62, Some("away")), Line::Nothing);
        assert_eq!(at(63, Some("refused")), Line::Failed);
        assert_eq!(at(64, None), Line::WorksAgain { runs: 6, lasting: Duration::from_secs(63) });
        assert_eq!(at(65, None), Line::Nothing);
    }
}
