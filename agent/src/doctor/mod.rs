//! `supalove-agent doctor`: examines a host and says what is wrong and how to mend it. In: the agent's options, and before joining
//! the controller's address and the join token. Out: a list of checks, in words and as JSON. It changes nothing.
//!
//! The join script asks it, too, so that each rule about hosts stands here once. `host` has what the host itself tells, `engine` what
//! the Docker Engine tells, `controller` what the way to the controller shows, `node` what a joined node knows.

mod controller;
mod engine;
mod host;
mod node;

use std::fmt;

use serde::Serialize;

use crate::args::Doctor;
use crate::config::{HostSettings, Times};
use crate::identity::{Identity, IdentityError};

/// How grave the result of a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Ok,
    /// It works, but not all of it, or not as well as it could.
    Warning,
    /// Projects would not run, or not be safe.
    Failure,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable name, e.g. "LIVE_RESTORE".
    pub check: &'static str,
    pub level: Level,
    /// What was found.
    pub message: String,
    /// What to do; empty if nothing.
    pub remedy: String,
}

impl Check {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, message: message.into(), remedy: String::new() }
    }

    fn warning(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Warning, message: message.into(), remedy: remedy.into() }
    }

    fn failure(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Failure, message: message.into(), remedy: remedy.into() }
    }
}

/// All results.
#[derive(Debug, Clone, Serialize)]
pub struct Findings {
    pub checks: Vec<Check>,
}

impl Findings {
    /// The gravest level.
    pub fn worst(&self) -> Level {
        self.checks.iter().map(|check| check.level).max().unwrap_or(Level::Ok)
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Check { check, level, message, remedy } in &self.checks {
            let level = match level {
                Level::Ok => "ok",
                Level::Warning => "warning",
                Level::Failure => "FAILURE",
            };
            writeln!(f, "{level:<8} {check:<14} {message}")?;
            if !remedy.is_empty() {
                writeln!(f, "{:23} remedy: {remedy}", "")?;
            }
        }
        Ok(())
    }
}

/// Runs all checks.
pub async fn examine(options: &Doctor, times: &Times) -> Findings {
    let mut checks =
        vec![host::rights(), host::platform(), host::cgroups(), host::packet_filter(times).await];
    let state_dir = &options.run.state.state_dir;
    let identity = Identity::load(state_dir);
    checks.push(node::identity(&identity, options.before_join));
    let settings = match options.run.settings(state_dir.clone()) {
        Ok(settings) => Some(settings),
        Err(error) => {
            checks.push(Check::failure("SETTINGS", error.to_string(), "change the options of the agent"));
            None
        }
    };
    checks.extend(engine::examine(&options.run, identity.as_ref().ok(), settings.as_ref(), times).await);
    checks.extend(controller::examine(options, &identity, times).await);
    if let Ok(identity) = &identity
        && !options.before_join
    {
        checks.extend(node::agent(identity, state_dir).await);
    }
    Findings { checks }
}

type Known = Result<Identity, IdentityError>;
type Settings<'a> = Option<&'a HostSettings>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_result_counts_and_each_is_told_with_its_remedy() {
        let mut found = Findings { checks: vec![Check::ok("A", "fine")] };
        assert_eq!(found.worst(), Level::Ok);
        found.checks.push(Check::failure("B", "broken", "mend it"));
        found.checks.push(Check::warning("C", "so so", "look at it"));
        assert_eq!(found.worst(), Level::Failure);
        let text = found.to_string();
        assert!(text.contains("ok       A              fine\nFAILURE  B              broken\n"), "{text}");
        assert!(text.contains(" remedy: mend it\n"), "{text}");
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!(json["checks"][1]["level"], "failure");
        assert_eq!(json["checks"][1]["remedy"], "mend it");
    }
}
