//! Chooses the node of a project: pure decisions over candidates, without I/O.
//!
//! Input: the candidates of one cluster and the resources that a project needs. Output: a node, or per node the
//! reason why it does not fit. The control database decides: the placing statement checks the same conditions on the
//! node's row, see `node_reserve` in `controller/migrations/0035_clusters.sql`.

#![allow(missing_docs, reason = "a room's crate: a comment is written where it says something")]

mod explain;
mod view;

use std::time::Duration;

use rand::{Rng, RngExt as _};

pub use explain::{Names, Obstacle, explain, obstacles, reasons, remedies};
pub use view::View;

use supalove_core::ids::{NodeId, OrganizationId};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Fill nodes up, so that other nodes keep capacity for large projects.
    Pack,
    /// Spread projects, so that the loss of one host affects the fewest.
    Spread,
}

/// Resources that a placement reserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_millis: i32,
    /// MiB of memory.
    pub memory_mib: i32,
    /// MiB of disk.
    pub disk_mib: i64,
}

/// A node that may take a project.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub node: NodeId,
    /// Its name, for reasons.
    pub name: String,
    /// True if the node accepts new projects.
    pub schedulable: bool,
    /// True if it is being emptied; then it is not schedulable.
    pub draining: bool,
    /// True if the node has a session and is not silent.
    pub connected: bool,
    /// What is wrong with its host, so that it takes no new projects.
    pub blocked: Option<Blocked>,
    /// Resources that projects may reserve, including overcommit.
    pub capacity: Resources,
    pub used: Resources,
    /// Slots that are neither taken nor blocked.
    pub free_slots: i32,
    /// Failed starts on the node since its last success, within [`FAILURE_MEMORY`].
    pub recent_failures: i32,
}

/// What is wrong with a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blocked {
    /// Its engine does not answer.
    EngineSilent,
    /// Its engine's chains are missing in the packet filter.
    ChainsMissing,
    /// Another condition, which the node shows.
    Other,
}

/// How long a failed start counts against a node.
pub const FAILURE_MEMORY: Duration = Duration::from_mins(10);

/// A condition that a candidate does not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Misfit {
    NotConnected,
    Blocked(Blocked),
    Draining,
    Cordoned,
    /// Missing thousandths of a core.
    Cpu(i32),
    /// Missing MiB.
    Memory(i32),
    /// Missing MiB.
    Disk(i64),
    /// No free slot (ports and network).
    Slots,
}

/// The order of the fields is their priority; the smallest score wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    recent_failures: i32,
    same_organization: u32,
    /// Thousandths of the scarcest resource that are free (pack) or used (spread) with the project.
    fill: i64,
}

/// Why a candidate cannot take the project; `None` if it can. The SQL function `node_reserve` has the same conditions.
pub fn misfit(candidate: &Candidate, needs: Resources) -> Option<Misfit> {
    let capacity = candidate.capacity;
    let used = candidate.used;
    let cpu = used.cpu_millis.saturating_add(needs.cpu_millis).saturating_sub(capacity.cpu_millis);
    let memory = used.memory_mib.saturating_add(needs.memory_mib).saturating_sub(capacity.memory_mib);
    let disk = used.disk_mib.saturating_add(needs.disk_mib).saturating_sub(capacity.disk_mib);
    if !candidate.connected {
        Some(Misfit::NotConnected)
    } else if let Some(blocked) = candidate.blocked {
        Some(Misfit::Blocked(blocked))
    } else if candidate.draining {
        Some(Misfit::Draining)
    } else if !candidate.schedulable {
        Some(Misfit::Cordoned)
    } else if memory > 0 {
        Some(Misfit::Memory(memory))
    } else if cpu > 0 {
        Some(Misfit::Cpu(cpu))
    } else if disk > 0 {
        Some(Misfit::Disk(disk))
    } else if candidate.free_slots <= 0 {
        Some(Misfit::Slots)
    } else {
        None
    }
}

/// Picks the node for a project; `None` if it fits nowhere.
///
/// Draws one of the candidates whose failures and spread equal the best's and whose fill is within 5 %, so that
/// concurrent creates do not all wait for one row.
pub fn pick(
    view: &View,
    needs: Resources,
    organization: OrganizationId,
    policy: Policy,
    rng: &mut impl Rng,
) -> Option<NodeId> {
    let mut best: Option<Score> = None;
    // Candidates that were near the best so far; the filter below drops those that are not near the final best.
    let mut near: Vec<(Score, NodeId)> = Vec::new();
    for (candidate, scale, same_organization) in view.with_projects_of(organization) {
        let rank = (candidate.recent_failures, same_organization);
        if best.is_some_and(|best| rank > best.rank()) || misfit(candidate, needs).is_some() {
            continue;
        }
        let share = scale.share(candidate.used, needs);
        let score = Score {
            recent_failures: candidate.recent_failures,
            same_organization,
            fill: match policy {
                Policy::Pack => 1000 - share,
                Policy::Spread => share,
            },
        };
        if best.is_some_and(|best| !score.is_near(&best)) {
            continue;
        }
        if best.is_none_or(|best| score < best) {
            best = Some(score);
        }
        near.push((score, candidate.node));
    }
    let best = best?;
    near.retain(|(score, _)| score.is_near(&best));
    Some(near[rng.random_range(0..near.len())].1)
}

impl Score {
    /// The fields that precede the fill.
    fn rank(&self) -> (i32, u32) {
        (self.recent_failures, self.same_organization)
    }

    /// True if it is better than the best, or equal except for up to 5 % of the fill.
    fn is_near(&self, best: &Self) -> bool {
        self.rank() < best.rank() || (self.rank() == best.rank() && self.fill <= best.fill + 50)
    }
}

#[cfg(test)]
mod tests;
