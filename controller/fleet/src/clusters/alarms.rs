//! What is wrong with a node, as alarms: since when, what it means for its projects, and what helps. In: a node as it is
//! stored. They end by themselves, because they are derived each time.

use chrono::{DateTime, Utc};
use supalove_core::{
    Core,
    error::{Error, Result},
    ids::NodeId,
    wire::timestamp,
};
use supalove_proto::v1::{self as pb, NodeAlarmReason};
use uuid::Uuid;

use super::{
    Node, NodeState,
    store::{self, Wanted},
};

/// Nodes that are read at once, to look for alarms.
const READ: i64 = 500;

/// An alarm that the controller raises; the conditions that agents report are others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    reason: NodeAlarmReason,
    message: String,
    since: Option<DateTime<Utc>>,
    /// The node takes no new projects meanwhile.
    blocking: bool,
}

/// The controller's alarms about a node.
pub fn of(node: &Node) -> Vec<Alarm> {
    let mut all = Vec::new();
    let mut raise = |reason, since, blocking, message: String| {
        all.push(Alarm { reason, message, since, blocking });
    };
    if let Some((at, message)) = &node.duplicate {
        raise(NodeAlarmReason::DuplicateIdentity, Some(*at), false, message.clone());
    }
    if let Some(at) = node.returned_at {
        let message = "an agent asks for a session with the identity of this forgotten node; it is refused, and nothing that it has \
            is trusted: stop the agent there, remove what is left of its projects, and join the host again under another name";
        raise(NodeAlarmReason::Returned, Some(at), true, message.to_owned());
    }
    if node.revoked_at.is_some() {
        return all;
    }
    let silent = |what: &str| {
        format!(
            "{what}; its {} projects may run on, but nobody can change them: look at the host, its network and its agent \
             (`systemctl status supalove-agent`)",
            node.projects
        )
    };
    let is_silent = node.conditions.iter().all(|one| !one.blocking);
    match node.state {
        NodeState::Lost => {
            let message = format!(
                "{}; if it never comes back, the operator ends them with `supalove nodes forget {name}`, or whoever manages the node \
                 gives them up with `supalove nodes remove {name}`",
                silent("the node is lost"),
                name = node.name
            );
            raise(NodeAlarmReason::Lost, node.seen_at, true, message);
        }
        NodeState::Unhealthy if is_silent => {
            raise(NodeAlarmReason::Silent, node.seen_at, true, silent("the node is silent"));
        }
        _ => {}
    }
    if !node.unexplained.is_empty() {
        let message = format!(
            "the host has projects that no placement puts there: {}; `supalove nodes leftovers {}` shows what may be done about each: \
             adopt or delete it",
            node.unexplained.join(", "),
            node.name
        );
        raise(NodeAlarmReason::Leftovers, node.unexplained_since, false, message);
    }
    let (used, has) = (node.used, node.capacity);
    if used.cpu_millis > has.cpu_millis || used.memory_mib > has.memory_mib || used.disk_mib > has.disk_mib {
        let message = "projects reserve more than the node has now, so it takes no new ones: give the host more, raise the cluster's \
            factors, or delete projects there";
        raise(NodeAlarmReason::Overfull, None, true, message.to_owned());
    }
    all
}

/// All alarms about a node: the controller's, and the conditions that its agent reports.
pub fn all_of(node: &Node) -> Vec<pb::Alarm> {
    let alarm = |reason: String, message: String, since: Option<DateTime<Utc>>, blocking| pb::Alarm {
        node_id: node.id.to_string(),
        node_name: node.name.clone(),
        cluster_id: node.cluster.to_string(),
        reason,
        message,
        since: since.map(timestamp),
        blocking,
    };
    let told = node.conditions.iter().filter(|_| node.revoked_at.is_none());
    let told = told.map(|one| alarm(one.reason.clone(), one.message.clone(), one.since, one.blocking));
    let raised = of(node).into_iter().map(|one| {
        let reason = one.reason.as_str_name().trim_start_matches("NODE_ALARM_REASON_");
        alarm(reason.to_owned(), one.message, one.since, one.blocking)
    });
    raised.chain(told).collect()
}

/// Nodes with alarms, by name, at most `limit` of those that are wanted. What is an alarm stands above, and not in a query as well.
pub async fn troubled(core: &Core, wanted: Wanted<'_>, limit: i64) -> Result<Vec<Node>> {
    let most = usize::try_from(limit).unwrap_or_default();
    let mut found = Vec::new();
    let mut after = wanted.after.map(|(name, id)| (name.to_owned(), id));
    loop {
        let wanted = Wanted { after: after.as_ref().map(|(name, id)| (name.as_str(), *id)), ..wanted };
        let nodes = store::nodes(&core.db, wanted, READ, &core.times).await?;
        after = nodes.last().map(|node| (node.name.clone(), node.id.0));
        let are_all = nodes.len() < usize::try_from(READ).unwrap_or_default();
        found.extend(nodes.into_iter().filter(|node| !all_of(node).is_empty()));
        if are_all || found.len() >= most {
            found.truncate(most);
            return Ok(found);
        }
    }
}

/// Where a page begins: after a name and an id. The name is behind the id, which has no space.
pub fn parse_after(token: Option<&str>) -> Result<Option<(&str, Uuid)>> {
    let Some(token) = token else { return Ok(None) };
    let wrong = || Error::field("page_token", "is not from this list");
    let (id, name) = token.split_once(' ').ok_or_else(wrong)?;
    let id: NodeId = id.parse().map_err(|_| wrong())?;
    Ok(Some((name, id.0)))
}

impl From<Alarm> for pb::NodeAlarm {
    fn from(one: Alarm) -> Self {
        Self { reason: one.reason.into(), message: one.message, time: one.since.map(timestamp) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clusters::{Condition, Labels, NodeAmounts};
    use std::time::Duration;
    use supalove_core::ids::ClusterId;

    fn node() -> Node {
        let amounts = NodeAmounts { cpu_millis: 10, memory_mib: 10, disk_mib: 10, slots: 10 };
        Node {
            id: NodeId(Uuid::nil()),
            cluster: ClusterId(Uuid::nil()),
            name: "a".into(),
            state: NodeState::Ready,
            capacity: amounts,
            used: amounts,
            projects: 2,
            agent_version: String::new(),
            engine_version: String::new(),
            advertise_address: String::new(),
            seen_at: Some(DateTime::UNIX_EPOCH),
            lost_in: Duration::ZERO,
            blocked: Vec::new(),
            unexplained: Vec::new(),
            unexplained_since: None,
            created_at: DateTime::UNIX_EPOCH,
            revoked_at: None,
            certificate_ends: None,
            certificate_ca: String::new(),
            duplicate: None,
            conditions: Vec::new(),
            schedulable: true,
            draining_since: None,
            forgotten_at: None,
            returned_at: None,
            labels: Labels::new(),
            revision: 1,
        }
    }

    fn condition(blocking: bool) -> Condition {
        Condition { reason: "PORTS_GONE".into(), message: "m".into(), since: None, blocking }
    }

    fn reasons(node: &Node) -> Vec<String> {
        all_of(node).into_iter().map(|one| one.reason).collect()
    }

    #[test]
    fn each_trouble_is_an_alarm_and_a_good_node_has_none() {
        let now = Some(DateTime::UNIX_EPOCH);
        assert!(reasons(&node()).is_empty());
        let full = NodeAmounts { disk_mib: 11, ..node().used };
        let cases: [(Node, &[&str]); 8] = [
            (Node { state: NodeState::Lost, ..node() }, &["LOST"]),
            (Node { state: NodeState::Unhealthy, ..node() }, &["SILENT"]),
            (
                Node { state: NodeState::Unhealthy, conditions: vec![condition(true)], ..node() },
                &["PORTS_GONE"],
            ),
            (Node { conditions: vec![condition(false)], ..node() }, &["PORTS_GONE"]),
            (Node { unexplained: vec!["abc".into()], ..node() }, &["LEFTOVERS"]),
            (Node { used: full, ..node() }, &["OVERFULL"]),
            (
                Node { duplicate: Some((DateTime::UNIX_EPOCH, "two".into())), ..node() },
                &["DUPLICATE_IDENTITY"],
            ),
            // Of a node that is gone for good only its return counts.
            (
                Node {
                    state: NodeState::Revoked,
                    revoked_at: now,
                    forgotten_at: now,
                    returned_at: now,
                    used: full,
                    conditions: vec![condition(true)],
                    ..node()
                },
                &["RETURNED"],
            ),
        ];
        for (node, expected) in cases {
            assert_eq!(reasons(&node), expected);
        }
    }

    #[test]
    fn what_is_lost_names_its_remedy() {
        let alarms = of(&Node { state: NodeState::Lost, ..node() });
        assert!(alarms[0].blocking && alarms[0].since.is_some());
        assert!(alarms[0].message.contains("`supalove nodes forget a`"), "{}", alarms[0].message);
    }

    #[test]
    fn a_page_begins_after_a_name_and_an_id() {
        let token = format!("{} b c", NodeId(Uuid::nil()));
        assert_eq!(parse_after(Some(&token)).unwrap(), Some(("b c", Uuid::nil())));
        assert_eq!(parse_after(None).unwrap(), None);
        for wrong in ["", "b", "b c"] {
            assert!(parse_after(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
