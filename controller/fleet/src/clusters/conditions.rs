//! What an agent reports to be wrong with its host, checked and in the database's types.

use chrono::{DateTime, Datelike as _, Utc};
use supalove_proto::node::v1::NodeConditions;
use supalove_spec::{
    limits::{CONDITIONS, NODE_TEXT_CHARS, REPORT_CHARS},
    text::single_line,
};

/// Something that is wrong with a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Stable reason, e.g. "`ENGINE_SILENT`".
    pub reason: String,
    /// For people.
    pub message: String,
    /// When it began; none if the agent did not say so.
    pub since: Option<DateTime<Utc>>,
    /// True if the node takes no new projects meanwhile.
    pub blocking: bool,
}

/// Checks a report. Leaves out conditions whose reason is not one word of capitals, and all but the first of each reason; at
/// most [`CONDITIONS`].
pub fn conditions(told: &NodeConditions) -> Vec<Condition> {
    let mut all: Vec<Condition> = Vec::new();
    for one in told.conditions.iter().take(CONDITIONS) {
        if !is_reason(&one.reason) || all.iter().any(|known| known.reason == one.reason) {
            continue;
        }
        let since = one
            .since
            .and_then(|time| DateTime::from_timestamp(time.seconds, u32::try_from(time.nanos).ok()?));
        all.push(Condition {
            reason: one.reason.clone(),
            message: single_line(&one.message, REPORT_CHARS),
            // No host was set up before 1970, and PostgreSQL does not know every time that the message can carry.
            since: since.filter(|time| (1970..3000).contains(&time.year())),
            blocking: one.blocking,
        });
    }
    all
}

fn is_reason(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NODE_TEXT_CHARS
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use supalove_proto::node::v1::NodeCondition;

    use super::*;

    #[test]
    fn only_well_formed_conditions_are_kept_each_reason_once() {
        let told = |reason: &str, message: &str| NodeCondition {
            reason: reason.into(),
            message: message.into(),
            since: Some(prost_types::Timestamp { seconds: -1, nanos: 0 }),
            blocking: true,
        };
        let mut all = vec![told("ENGINE_SILENT", "a\nb\u{1b}[2J"), told("ENGINE_SILENT", "again")];
        all.push(told("engine silent", ""));
        all.push(told("", ""));
        let kept = conditions(&NodeConditions { conditions: all });
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert!(!kept[0].message.contains(char::is_control));
        assert_eq!((kept[0].since, kept[0].blocking), (None, true));
        let flood: Vec<_> = (0..1000).map(|number| told(&format!("C{number}"), "")).collect();
        assert_eq!(conditions(&NodeConditions { conditions: flood }).len(), CONDITIONS);
    }
}
