//! A node: its state, and the properties that its agent reports at Hello.

use std::{ops::Range, time::Duration};

use chrono::{DateTime, Utc};
use ipnet::Ipv4Net;
use sqlx::postgres::types::PgRange;
use supalove_certs::{CaFingerprint, MAX_ROOTS};
use supalove_proto::node::v1::{BlockedSlot, HelloResponse, StoredProject};

use crate::clusters::{ClusterKind, Condition, Labels};
use supalove_core::{
    ids::{ClusterId, NodeId},
    times::Times,
};
use supalove_spec::{
    limits::{NODE_TEXT_CHARS, REASON_CHARS},
    slots::{MOST_SLOTS, SlotLayout},
    text::{is_host, is_plain, single_line},
};

/// What there is to say whether a node is lost.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    /// When its agent was last heard.
    pub seen_at: DateTime<Utc>,
    pub now: DateTime<Utc>,
    /// For how long a controller has been there to hear it.
    pub watched: Duration,
}

impl Heard {
    fn silence(self) -> Duration {
        (self.now - self.seen_at).to_std().unwrap_or_default()
    }

    /// How long it will be until the node is LOST, if its agent is not heard. Silence in which nobody was there does not count:
    /// after an outage of all controllers each node gets the time again.
    pub fn lost_in(self, kind: ClusterKind, times: &Times) -> Duration {
        kind.lost_after(times).saturating_sub(self.silence().min(self.watched))
    }
}

/// State of a node, derived from when its agent was last heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    Enrolled,
    Ready,
    /// Silent for `silent_after`, or heard but with a blocking condition.
    Unhealthy,
    /// Silent for `lost_after`, while a controller was there.
    Lost,
    /// Revoked, even if its agent was heard since.
    Revoked,
}

impl NodeState {
    /// The same, but a node that something keeps from new projects is not ready.
    #[must_use]
    pub fn with_conditions(self, conditions: &[Condition]) -> Self {
        let blocked = conditions.iter().any(|one| one.blocking);
        if self == Self::Ready && blocked { Self::Unhealthy } else { self }
    }

    /// Derives the state from when the agent was last heard; `None`: never.
    pub fn derive(heard: Option<Heard>, kind: ClusterKind, times: &Times) -> Self {
        let Some(heard) = heard else {
            return Self::Enrolled;
        };
        if heard.lost_in(kind, times).is_zero() {
            Self::Lost
        } else if heard.silence() >= times.silent_after {
            Self::Unhealthy
        } else {
            Self::Ready
        }
    }
}

/// A node with its capacity, certificate and alarms.
#[derive(Debug, Clone)]
pub struct Node {
    pub id: NodeId,
    pub cluster: ClusterId,
    /// Name of the host.
    pub name: String,
    pub state: NodeState,
    /// What projects may reserve on it.
    pub capacity: NodeAmounts,
    /// What projects have reserved on it.
    pub used: NodeAmounts,
    /// Number of projects placed on it.
    pub projects: i64,
    /// Version of the agent.
    pub agent_version: String,
    /// Version of the engine.
    pub engine_version: String,
    /// Address at which users reach published ports.
    pub advertise_address: String,
    /// When the agent was last heard.
    pub seen_at: Option<DateTime<Utc>>,
    /// How long it will be until it is LOST, if its agent is not heard.
    pub lost_in: Duration,
    /// Blocked slots, each with the holder of its port or network.
    pub blocked: Vec<String>,
    /// Projects that run on the host although no placement puts them there.
    pub unexplained: Vec<String>,
    /// When the first of them was found.
    pub unexplained_since: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    /// When the operator revoked it.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When its newest certificate expires.
    pub certificate_ends: Option<DateTime<Utc>>,
    /// Root that signed its newest certificate, hex.
    pub certificate_ca: String,
    /// When two agents with its identity were last seen, and their boot ids.
    pub duplicate: Option<(DateTime<Utc>, String)>,
    /// What is wrong with the host, by reason.
    pub conditions: Vec<Condition>,
    /// False if it is cordoned, draining or revoked.
    pub schedulable: bool,
    /// Since when nothing starts there.
    pub draining_since: Option<DateTime<Utc>>,
    /// When the operator gave it up as lost.
    pub forgotten_at: Option<DateTime<Utc>>,
    /// When it last asked for a session although it is forgotten, if that is not long ago.
    pub returned_at: Option<DateTime<Utc>>,
    pub labels: Labels,
    /// Etag of name and labels.
    pub revision: i64,
}

/// Amounts of a node's resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeAmounts {
    /// Cpu millis.
    pub cpu_millis: i32,
    /// Memory MiB.
    pub memory_mib: i32,
    /// Disk MiB.
    pub disk_mib: i64,
    pub slots: i32,
}

/// The agent's response to Hello, checked and in the database's types.
#[derive(Debug, Clone)]
pub struct HelloValues {
    /// Cpu millis of the host.
    pub cpu_millis: i32,
    /// Memory MiB of the host.
    pub memory_mib: i32,
    /// Disk MiB of the host.
    pub disk_mib: i64,
    /// First port of slot 0.
    pub port_base: i32,
    /// Range of the slots' networks.
    pub network_range: Ipv4Net,
    pub slots: i32,
    /// Blocked slots as ranges.
    pub blocked: Vec<PgRange<i32>>,
    /// Holder of the port or network of each range.
    pub blocked_reasons: Vec<String>,
    /// Identity of this boot.
    pub boot_id: String,
    /// Run id of the agent.
    pub run_id: String,
    /// SHA-256 of the roots that it trusts, hex.
    pub trusted_ca: Vec<String>,
    /// Version of the agent.
    pub agent_version: String,
    /// Version of the engine.
    pub engine_version: String,
    /// Address at which users reach published ports.
    pub advertise_address: String,
    /// Projects of which the agent has a record. Unchecked.
    pub stored: Vec<StoredProject>,
}

/// Maximum overcommit factor of a cluster.
const MOST_OVERCOMMIT: i32 = 64;

/// Checks an agent's response to Hello; the error names the wrong field.
pub fn hello_values(hello: &HelloResponse) -> Result<HelloValues, String> {
    let capacity = hello.capacity.ok_or("no capacity")?;
    let texts = [&hello.boot_id, &hello.agent_run_id, &hello.agent_version, &hello.engine_version];
    if !texts.into_iter().all(|text| is_plain(text, NODE_TEXT_CHARS)) {
        return Err(format!(
            "boot_id and versions must have at most {NODE_TEXT_CHARS} characters and no control characters"
        ));
    }
    let network_range: Ipv4Net =
        hello.network_range.parse().map_err(|_| "network_range is not an IPv4 network")?;
    let port_base = u16::try_from(hello.port_base).map_err(|_| "port_base is not a port")?;
    let layout = SlotLayout::new(port_base, network_range, hello.slots).map_err(|error| error.to_string())?;
    if !is_host(&hello.advertise_address) {
        return Err("advertise_address is neither a host name nor an IP address".to_owned());
    }
    let slots = i32::try_from(layout.slots()).map_err(|_| "too many slots")?;
    let (blocked, blocked_reasons) = blocked_ranges(&hello.blocked_slots, slots);
    Ok(HelloValues {
        cpu_millis: bounded(capacity.cpu_millis).ok_or("too much cpu")?,
        memory_mib: bounded(capacity.memory_mib).ok_or("too much memory")?,
        disk_mib: i64::try_from(capacity.disk_mib)
            .ok()
            .filter(|disk| *disk <= MOST_DISK)
            .ok_or("too much disk")?,
        port_base: layout.port_base().into(),
        network_range: layout.network_range(),
        slots,
        blocked,
        blocked_reasons,
        stored: hello.stored.clone(),
        boot_id: hello.boot_id.clone(),
        run_id: hello.agent_run_id.clone(),
        trusted_ca: named_roots(&hello.trusted_ca_sha256),
        agent_version: hello.agent_version.clone(),
        engine_version: hello.engine_version.clone(),
        advertise_address: hello.advertise_address.clone(),
    })
}

/// MiB of disk that no host has (4 PiB). A million such nodes do not overflow a sum, whatever the factor.
const MOST_DISK: i64 = 1 << 32;

/// Converts a capacity that does not overflow when multiplied by the maximum overcommit.
fn bounded(value: u32) -> Option<i32> {
    i32::try_from(value).ok().filter(|value| *value <= i32::MAX / MOST_OVERCOMMIT)
}

/// Filters the roots that an agent reports as trusted: well-formed hashes only, and not more than a bundle holds.
pub fn named_roots(said: &[String]) -> Vec<String> {
    let named = |text: &&String| text.parse::<CaFingerprint>().is_ok();
    said.iter().filter(named).take(MAX_ROOTS).cloned().collect()
}

/// Converts blocked slots to ranges and sentences; merges neighbours with the same reason.
pub fn blocked_ranges(blocked: &[BlockedSlot], slots: i32) -> (Vec<PgRange<i32>>, Vec<String>) {
    let mut runs: Vec<(Range<i32>, &str)> = Vec::new();
    for BlockedSlot { slot, reason } in blocked {
        let Some(slot) = i32::try_from(*slot).ok().filter(|slot| *slot < slots) else { continue };
        match runs.last_mut() {
            Some((run, said)) if run.end == slot && said == reason => run.end += 1,
            _ => runs.push((slot..slot + 1, reason)),
        }
    }
    let sentence = |run: &Range<i32>, reason: &str| {
        let reason = single_line(reason, REASON_CHARS);
        match run.end - run.start {
            1 => format!("slot {}: {reason}", run.start),
            _ => format!("slots {} to {}: {reason}", run.start, run.end - 1),
        }
    };
    let sentences =
        runs.into_iter().map(|(run, reason)| (PgRange::from(run.clone()), sentence(&run, reason)));
    sentences.take(MOST_SLOTS as usize).unzip()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use supalove_proto::node::v1::Capacity;

    use super::*;

    #[test]
    fn neighbours_blocked_for_one_reason_are_one_sentence() {
        let blocked = |slot, reason: &str| BlockedSlot { slot, reason: reason.into() };
        let all = [
            blocked(0, "full"),
            blocked(1, "full"),
            blocked(3, "full"),
            blocked(4, "port"),
            blocked(9, "far"),
        ];
        let (ranges, sentences) = blocked_ranges(&all, 8);
        assert_eq!(ranges, [PgRange::from(0..2), PgRange::from(3..4), PgRange::from(4..5)]);
        assert_eq!(sentences, ["slots 0 to 1: full", "slot 3: full", "slot 4: port"]);
    }

    #[test]
    fn silence_makes_a_node_unhealthy_then_lost_later_in_private_clusters() {
        let times = Times::default();
        let now = Utc::now();
        let heard = |seconds| Heard {
            seen_at: now - TimeDelta::seconds(seconds),
            now,
            watched: Duration::from_hours(1),
        };
        let state = |seconds, kind| NodeState::derive(Some(heard(seconds)), kind, &times);
        assert_eq!(state(19, ClusterKind::Shared), NodeState::Ready);
        assert_eq!(state(20, ClusterKind::Shared), NodeState::Unhealthy);
        assert_eq!(state(90, ClusterKind::Shared), NodeState::Lost);
        assert_eq!(state(90, ClusterKind::Private), NodeState::Unhealthy);
        assert_eq!(state(300, ClusterKind::Private), NodeState::Lost);
        assert_eq!(NodeState::derive(None, ClusterKind::Shared, &times), NodeState::Enrolled);
    }

    #[test]
    fn silence_that_nobody_was_there_to_hear_loses_no_node() {
        let times = Times::default();
        let now = Utc::now();
        let heard =
            |watched| Heard { seen_at: now - TimeDelta::days(1), now, watched: Duration::from_secs(watched) };
        let cases = [
            (0, ClusterKind::Shared, NodeState::Unhealthy, 90),
            (89, ClusterKind::Shared, NodeState::Unhealthy, 1),
            (90, ClusterKind::Shared, NodeState::Lost, 0),
            (90, ClusterKind::Private, NodeState::Unhealthy, 210),
            (300, ClusterKind::Private, NodeState::Lost, 0),
        ];
        for (watched, kind, state, lost_in) in cases {
            let heard = heard(watched);
            assert_eq!(NodeState::derive(Some(heard), kind, &times), state, "{watched}");
            assert_eq!(heard.lost_in(kind, &times), Duration::from_secs(lost_in), "{watched}");
        }
    }

    #[test]
    fn only_a_blocking_condition_makes_a_ready_node_unhealthy() {
        let condition = |blocking| Condition {
            reason: "ENGINE_SILENT".into(),
            message: String::new(),
            since: None,
            blocking,
        };
        assert_eq!(NodeState::Ready.with_conditions(&[condition(false)]), NodeState::Ready);
        assert_eq!(NodeState::Ready.with_conditions(&[condition(true)]), NodeState::Unhealthy);
        assert_eq!(NodeState::Lost.with_conditions(&[condition(true)]), NodeState::Lost);
    }

    fn hello() -> HelloResponse {
        HelloResponse {
            capacity: Some(Capacity { cpu_millis: 2000, memory_mib: 4096, disk_mib: 10_000 }),
            port_base: 5500,
            slots: 2048,
            network_range: "10.213.0.0/16".into(),
            advertise_address: "node-1.example.com".into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_hello_whose_slots_do_not_fit_its_ports_or_networks_is_refused() {
        assert!(hello_values(&hello()).is_ok());
        assert!(hello_values(&HelloResponse { slots: 2049, ..hello() }).is_err());
        assert!(hello_values(&HelloResponse { port_base: 60_000, ..hello() }).is_err());
        assert!(
            hello_values(&HelloResponse { network_range: "10.0.0.0/30".into(), slots: 1, ..hello() })
                .is_err()
        );
        assert!(hello_values(&HelloResponse { capacity: None, ..hello() }).is_err());
        assert!(hello_values(&HelloResponse { advertise_address: "a b/c".into(), ..hello() }).is_err());
    }
}
