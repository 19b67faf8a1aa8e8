//! Nodes as text.

use prost_types::Timestamp;
use supalove_proto::v1::{Node, NodeAvailability, NodeResources, StandingProject};

use crate::{
    commands::capacity::{bars, labels_text},
    table,
    table::joined,
};

/// Formats one node.
pub fn shown(node: Option<&Node>) -> String {
    let node = node.cloned().unwrap_or_default();
    let text = table::pairs([
        ("id", node.id.clone()),
        ("name", node.name.clone()),
        ("state", table::node_state(&node).into()),
        ("projects", node.projects.to_string()),
        ("address", node.advertise_address.clone()),
        ("agent", node.agent_version.clone()),
        ("seen", table::time(node.last_seen_time.as_ref())),
        ("certificate until", table::time(node.certificate_expire_time.as_ref())),
        ("certificate by", node.certificate_ca_sha256.clone()),
        ("revoked", table::time(node.revoke_time.as_ref())),
    ]);
    let notes = notes(&node);
    if notes.is_empty() { text } else { format!("{text}\n{}", notes.join("\n")) }
}

/// Formats one node with what is reserved on it.
pub fn described(node: &Node, standing: &[StandingProject]) -> String {
    let availability = match node.availability() {
        NodeAvailability::Cordoned => "cordoned: it takes no new projects".to_owned(),
        NodeAvailability::Draining => {
            "draining: it takes no new projects, and no stopped one starts".to_owned()
        }
        other => table::short(other.as_str_name(), "NODE_AVAILABILITY_").to_ascii_lowercase(),
    };
    let more = table::pairs([
        ("availability", availability),
        ("cluster", node.cluster_id.clone()),
        ("labels", labels_text(&node.labels)),
        ("engine", node.engine_version.clone()),
        ("etag", node.etag.clone()),
    ]);
    let bars = bars(node.used.as_ref(), node.capacity.as_ref());
    let standing: String = standing.iter().map(standing_text).collect();
    format!("{}\n{more}\n{bars}{standing}", shown(Some(node)))
}

/// Formats a project that stands on a node, on a line of its own.
pub fn standing_text(one: &StandingProject) -> String {
    format!("\n{}  {}", one.project_ref, if one.running { "runs" } else { "is stopped" })
}

/// Formats nodes as a table with notes below it.
pub fn table_of(nodes: &[Node], wide: bool) -> String {
    let header = ["ID", "NAME", "STATE", "PROJECTS", "CPU", "MEMORY", "DISK", "AGENT", "SEEN"];
    let more = ["ADDRESS", "ENGINE", "SLOTS", "CERTIFICATE UNTIL"];
    let table = if wide {
        let rows = nodes.iter().map(|node| joined(row(node), wide_row(node))).collect();
        table::rows::<13>(joined(header, more), rows, "no nodes")
    } else {
        table::rows(header, nodes.iter().map(row).collect(), "no nodes")
    };
    let below: Vec<String> = nodes.iter().flat_map(notes).collect();
    format!("{table}\n{}", below.join("\n"))
}

fn row(node: &Node) -> [String; 9] {
    let used = node.used.unwrap_or_default();
    let capacity = node.capacity.unwrap_or_default();
    [
        node.id.clone(),
        node.name.clone(),
        table::node_state(node).into(),
        node.projects.to_string(),
        cores(&used, &capacity),
        format!("{}/{} MiB", used.memory_mib, capacity.memory_mib),
        format!("{}/{} MiB", used.disk_mib, capacity.disk_mib),
        node.agent_version.clone(),
        table::time(node.last_seen_time.as_ref()),
    ]
}

fn wide_row(node: &Node) -> [String; 4] {
    let capacity = node.capacity.unwrap_or_default();
    let used = node.used.unwrap_or_default();
    [
        node.advertise_address.clone(),
        node.engine_version.clone(),
        format!("{}/{}", used.slots, capacity.slots),
        table::time(node.certificate_expire_time.as_ref()),
    ]
}

/// Formats reserved and available cores, to a tenth.
fn cores(used: &NodeResources, capacity: &NodeResources) -> String {
    let tenths = |millis: u32| format!("{}.{}", millis / 1_000, millis % 1_000 / 100);
    format!("{}/{}", tenths(used.cpu_millis), tenths(capacity.cpu_millis))
}

/// Returns notes on problems of a node.
fn notes(node: &Node) -> Vec<String> {
    let blocked = node.blocked_slots.iter().map(|slot| format!("{}: blocked {slot}", node.name));
    let told = |reason: &str, since: Option<&Timestamp>, message: &str| {
        let since = since.map(|since| format!(" since {}", table::time(Some(since)))).unwrap_or_default();
        format!("{}: {reason}{since}: {message}", node.name)
    };
    let alarms = node.alarms.iter().map(|alarm| {
        let reason = table::short(alarm.reason().as_str_name(), "NODE_ALARM_REASON_");
        told(reason, alarm.time.as_ref(), &alarm.message)
    });
    let conditions = node.conditions.iter().map(|one| told(&one.reason, one.since.as_ref(), &one.message));
    conditions.chain(alarms).chain(blocked).map(|line| crate::output::clean(&line)).collect()
}
