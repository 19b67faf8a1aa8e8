//! Answers as text: tables without frames, pairs of names and values, times and enum names.

use comfy_table::{ContentArrangement, Table, presets};
use prost_types::Timestamp;
use supalove_proto::v1::{
    NodeState, Operation, OperationState, ProjectEvent, ProjectServiceStatus, ProjectState,
};

use crate::output::clean;

/// A table. Without rows it says so, with `none`.
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

/// One thing: a name and a value per line; pairs without a value are left out.
pub fn pairs<const N: usize>(pairs: [(&str, String); N]) -> String {
    let mut table = plain();
    for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
        table.add_row([format!("{name}:"), clean(&value)]);
    }
    trimmed(&table)
}

/// The columns of a wide table: those of the usual one and more.
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

/// Without the padding that would only make trailing spaces.
fn trimmed(table: &Table) -> String {
    let text = table.to_string();
    let lines: Vec<_> = text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    lines.join("\n")
}

/// A time in UTC, or nothing.
pub fn time(timestamp: Option<&Timestamp>) -> String {
    timestamp
        .and_then(|t| chrono::DateTime::from_timestamp(t.seconds, 0))
        .map(|t| t.format("%Y-%m-%d %H:%M:%SZ").to_string())
        .unwrap_or_default()
}

/// A project's state without its prefix.
pub fn project_state(state: ProjectState) -> &'static str {
    short(state.as_str_name(), "PROJECT_STATE_")
}

/// An operation's state without its prefix.
pub fn operation_state(state: OperationState) -> &'static str {
    short(state.as_str_name(), "OPERATION_STATE_")
}

/// An operation's kind without its prefix.
pub fn operation_kind(operation: &Operation) -> &'static str {
    short(operation.kind().as_str_name(), "OPERATION_KIND_")
}

/// A node's state without its prefix.
pub fn node_state(state: NodeState) -> &'static str {
    short(state.as_str_name(), "NODE_STATE_")
}

/// A service's state without its prefix.
pub fn service_state(service: &ProjectServiceStatus) -> &'static str {
    short(service.state().as_str_name(), "SERVICE_STATE_")
}

/// The type of an event as its two words: "service.ready".
pub fn event_type(event: &ProjectEvent) -> String {
    let name = short(event.r#type().as_str_name(), "PROJECT_EVENT_TYPE_");
    name.to_ascii_lowercase().replacen('_', ".", 1)
}

/// An enum's name without its prefix.
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
