//! Responses as text: tables without frames, pairs of names and values, times and enum names.

use comfy_table::{ContentArrangement, Table, presets};
use prost_types::Timestamp;
use supalove_proto::v1::{
    Node, NodeAvailability, NodeState, Operation, OperationState, ProjectEvent, ProjectServiceStatus,
    ProjectState,
};

use crate::output::clean;

/// Formats a table; returns `none` if there are no rows.
pub fn rows<const N: usize>(header: [&str; N], rows: Vec<[String; N]>, none: &str) -> String {
    if rows.is_empty() {
        return none.to_owned();
    }
    let mut table = plain();
    table.set_header(header);
    for row in rows {
        table.add_row(row.map(|cell| clean(&cell)));
    }
    trimmed(&table)
}

/// Formats one object: a name and a value per line; skips pairs without a value.
pub fn pairs<const N: usize>(pairs: [(&str, String); N]) -> String {
    let mut table = plain();
    for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
        table.add_row([format!("{name}:"), clean(&value)]);
    }
    trimmed(&table)
}

/// Joins the usual columns and the additional columns of a wide table.
pub fn joined<T, const N: usize, const M: usize, const S: usize>(first: [T; N], more: [T; M]) -> [T; S]
where
    T: Default,
{
    const { assert!(N + M == S, "the columns do not add up") };
    let mut all = first.into_iter().chain(more);
    std::array::from_fn(|_| all.next().unwrap_or_default())
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// Formats a table without trailing spaces.
fn trimmed(table: &Table) -> String {
    let text = table.to_string();
    let lines: Vec<_> = text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    lines.join("\n")
}

/// Formats a truth.
pub fn yes_or_no(truth: bool) -> &'static str {
    if truth { "yes" } else { "no" }
}

/// Formats a time in UTC; empty if unset.
pub fn time(timestamp: Option<&Timestamp>) -> String {
    timestamp
        .and_then(|t| chrono::DateTime::from_timestamp(t.seconds, 0))
        .map(|t| t.format("%Y-%m-%d %H:%M:%SZ").to_string())
        .unwrap_or_default()
}

/// Returns a project's state without the enum's prefix.
pub fn project_state(state: ProjectState) -> &'static str {
    short(state.as_str_name(), "PROJECT_STATE_")
}

/// Returns an operation's state without the enum's prefix.
pub fn operation_state(state: OperationState) -> &'static str {
    short(state.as_str_name(), "OPERATION_STATE_")
}

/// Returns an operation's kind without the enum's prefix.
pub fn operation_kind(operation: &Operation) -> &'static str {
    short(operation.kind().as_str_name(), "OPERATION_KIND_")
}

/// Returns the graver one of a node's state and availability, without the enum's prefix.
pub fn node_state(node: &Node) -> &'static str {
    match (node.state(), node.availability()) {
        (NodeState::Ready, NodeAvailability::Cordoned | NodeAvailability::Draining) => {
            short(node.availability().as_str_name(), "NODE_AVAILABILITY_")
        }
        (state, _) => short(state.as_str_name(), "NODE_STATE_"),
    }
}

/// Returns a service's state without the enum's prefix.
pub fn service_state(service: &ProjectServiceStatus) -> &'static str {
    short(service.state().as_str_name(), "SERVICE_STATE_")
}

/// Returns the type of an event as two words, e.g. "service.ready".
pub fn event_type(event: &ProjectEvent) -> String {
    let name = short(event.r#type().as_str_name(), "PROJECT_EVENT_TYPE_");
    name.to_ascii_lowercase().replacen('_', ".", 1)
}

/// Returns an enum value's name without the prefix.
pub fn short(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_made_of_bare_columns() {
        let text =
            rows(["REF", "NAME"], vec![["abc".into(), "first".into()], ["d".into(), "x".into()]], "none");
        assert_eq!(text, "REF  NAME\nabc  first\nd    x");
        assert_eq!(rows(["REF"], vec![], "no projects"), "no projects");
    }

    #[test]
    fn empty_values_are_left_out() {
        assert_eq!(pairs([("ref", "abc".into()), ("node", String::new())]), "ref:  abc");
    }
}
