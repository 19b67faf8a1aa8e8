//! Which rule bounds a project now by what it holds on its disk: its database is read-only, or services are stopped. In: reports
//! of its agent, which measures and acts. Out: one rule, which ends by itself.
//!
//! Several rules may be broken at once. The agent reports the one that has to be kept first: deleting for another one would not
//! do.

use chrono::{DateTime, Utc};
use supalove_core::{sql_enum, wire::timestamp};
use supalove_proto::{
    node::v1::{ObservedStack, StackPhase},
    v1 as pb,
};

use crate::reconciler::judge::printable;

sql_enum! {
    /// A rule. The texts are those of the agents' reports, and of `ErrorReason`.
    Rule {
        /// A volume is full.
        DiskFull = "DISK_FULL",
        /// A full volume was written on.
        DiskLimit = "DISK_LIMIT",
        /// The database holds what its plan allows.
        DatabaseOverPlan = "DATABASE_OVER_PLAN",
    }
}

/// A rule that bounds a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restriction {
    pub rule: Rule,
    /// What it compares and does, for people.
    pub message: String,
}

/// What bounds a project; nothing does if there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds(pub Option<Restriction>);

/// What a report says; none: it is as it was before.
pub fn reported(report: &ObservedStack) -> Option<Bounds> {
    let told = report.error.as_ref().and_then(|error| {
        let rule = error.reason.parse().ok()?;
        Some(Restriction { rule, message: printable(&error.message) })
    });
    match (told, report.phase()) {
        (Some(told), _) => Some(Bounds(Some(told))),
        // The agent says what bounds a project before anything else. In the other phases it may not have measured yet.
        (None, StackPhase::Healthy | StackPhase::Unhealthy | StackPhase::Stopped | StackPhase::Removed) => {
            Some(Bounds(None))
        }
        (None, StackPhase::Converging | StackPhase::Failed | StackPhase::Unspecified) => None,
    }
}

/// What ends it, beside what its message says.
fn remedy(rule: Rule) -> &'static str {
    match rule {
        Rule::DiskFull => {
            "Delete what is not needed, or give the project a larger size: supalove projects resize. It ends by itself below 95 % \
             of the volume's size."
        }
        Rule::DiskLimit => {
            "Start the project: supalove projects start. It may then use a tenth more, to delete what is not needed. Or give it a \
             larger size: supalove projects resize."
        }
        Rule::DatabaseOverPlan => {
            "Delete what is not needed, or ask for a larger plan. It ends by itself below 95 % of what the plan allows."
        }
    }
}

/// Converts a restriction, with its beginning.
pub fn wire(restriction: Restriction, since: DateTime<Utc>) -> pb::ProjectRestriction {
    let reason = match restriction.rule {
        Rule::DiskFull => pb::ProjectRestrictionReason::DiskFull,
        Rule::DiskLimit => pb::ProjectRestrictionReason::DiskLimit,
        Rule::DatabaseOverPlan => pb::ProjectRestrictionReason::DatabaseOverPlan,
    };
    pb::ProjectRestriction {
        reason: reason.into(),
        message: restriction.message,
        since: Some(timestamp(since)),
        remedy: remedy(restriction.rule).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use supalove_proto::node::v1::StackError;

    use super::*;

    fn report(phase: StackPhase, reason: &str) -> ObservedStack {
        let error = (!reason.is_empty()).then(|| StackError {
            reason: reason.into(),
            message: "what\0".into(),
            ..StackError::default()
        });
        ObservedStack { phase: phase.into(), error, ..ObservedStack::default() }
    }

    #[test]
    fn a_rule_is_known_by_its_word_in_any_phase() {
        for rule in Rule::ALL.iter().copied() {
            for phase in [StackPhase::Converging, StackPhase::Unhealthy, StackPhase::Failed] {
                let found = reported(&report(phase, rule.as_sql())).unwrap().0.unwrap();
                assert_eq!((found.rule, found.message.contains('\0')), (rule, false));
            }
            let shown = wire(Restriction { rule, message: "m".into() }, DateTime::UNIX_EPOCH);
            assert_eq!(
                shown.reason().as_str_name().strip_prefix("PROJECT_RESTRICTION_REASON_"),
                Some(rule.as_sql())
            );
            assert!(pb::ErrorReason::from_text(rule.as_sql()).is_some(), "docs/guides/errors.md has it");
            assert!(shown.since.is_some() && !shown.remedy.is_empty());
        }
    }

    #[test]
    fn what_is_over_is_forgotten_and_what_is_not_known_is_as_before() {
        for phase in [StackPhase::Healthy, StackPhase::Stopped, StackPhase::Removed] {
            assert_eq!(reported(&report(phase, "")), Some(Bounds(None)));
        }
        assert_eq!(reported(&report(StackPhase::Unhealthy, "SERVICE_EXITED")), Some(Bounds(None)));
        assert_eq!(reported(&report(StackPhase::Unhealthy, "DISK_UNMEASURED")), Some(Bounds(None)));
        assert_eq!(reported(&report(StackPhase::Converging, "")), None, "an agent that starts again");
        assert_eq!(reported(&report(StackPhase::Failed, "IMAGE_PULL_FAILED")), None);
    }
}
