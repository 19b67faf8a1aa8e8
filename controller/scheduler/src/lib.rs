//! Where a project goes: pure decisions over candidates, without I/O.
//!
//! In come the candidates of one cluster and what a project needs; out goes a node, or the reason per node why none fits.
//! The control database has the last word: the placing statement checks the same conditions on the node's row, see
//! [`supalove_projects::placement`].

mod explain;
mod view;

use std::time::Duration;

use rand::{Rng, RngExt as _};

pub use explain::explain;
pub use view::View;

use supalove_core::ids::{NodeId, OrganizationId};

/// Shared or private.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Shared clusters: fill nodes up, so that large projects still find room.
    BestFit,
    /// Private clusters: spread, so that one host's end hurts least.
    Spread,
}

/// What a placement reserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_millis: i32,
    /// MiB of memory.
    pub memory_mib: i32,
    /// MiB of disk.
    pub disk_mib: i64,
}

/// A node as the scheduler sees it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Node.
    pub node: NodeId,
    /// Its name, for reasons.
    pub name: String,
    /// New projects may come.
    pub schedulable: bool,
    /// It has a session and is not silent.
    pub connected: bool,
    /// What may be reserved, overcommit included.
    pub capacity: Resources,
    /// What is reserved.
    pub used: Resources,
    /// Slots that are neither taken nor blocked.
    pub free_slots: i32,
    /// Starts that failed there within [`FAILURE_MEMORY`], since the last success.
    pub recent_failures: i32,
}

/// How long a failed start counts against a node.
pub const FAILURE_MEMORY: Duration = Duration::from_mins(10);

/// A condition that a candidate does not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Misfit {
    /// No live session.
    NotConnected,
    /// Draining.
    Draining,
    /// Thousandths of a core that are missing.
    Cpu(i32),
    /// MiB that are missing.
    Memory(i32),
    /// MiB that are missing.
    Disk(i64),
    /// No free slot: ports and network.
    Slots,
}

/// The order of the fields is their priority; the smallest score wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    recent_failures: i32,
    same_organization: u32,
    /// Thousandths of the scarcest resource: left over (best fit) or used (spread) with the project.
    fill: i64,
}

/// Why a candidate cannot take the project; `None` if it can. The one condition that Rust and SQL share.
pub fn misfit(candidate: &Candidate, needs: Resources) -> Option<Misfit> {
    let (capacity, used) = (candidate.capacity, candidate.used);
    let cpu = used.cpu_millis.saturating_add(needs.cpu_millis).saturating_sub(capacity.cpu_millis);
    let memory = used.memory_mib.saturating_add(needs.memory_mib).saturating_sub(capacity.memory_mib);
    let disk = used.disk_mib.saturating_add(needs.disk_mib).saturating_sub(capacity.disk_mib);
    if !candidate.connected {
        Some(Misfit::NotConnected)
    } else if !candidate.schedulable {
        Some(Misfit::Draining)
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

/// The node for a project; `None` if it fits nowhere.
///
/// Among candidates whose failures and spread equal the best's and whose fill is within 5 %, one is drawn, so that
/// simultaneous creates do not all meet on one row.
pub fn pick(
    view: &View,
    needs: Resources,
    organization: OrganizationId,
    policy: Policy,
    rng: &mut impl Rng,
) -> Option<NodeId> {
    let mut best: Option<Score> = None;
    // What was near the best when it was met; the best may have become better since.
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
                Policy::BestFit => 1000 - share,
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
    /// What outranks the fill.
    fn rank(&self) -> (i32, u32) {
        (self.recent_failures, self.same_organization)
    }

    /// Better, or as good but for 5 % of the fill.
    fn is_near(&self, best: &Self) -> bool {
        self.rank() < best.rank() || (self.rank() == best.rank() && self.fill <= best.fill + 50)
    }
}

#[cfg(test)]
mod tests;
