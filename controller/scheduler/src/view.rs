//! The candidates of one cluster, and how many projects each organization has on them.
//!
//! The counts are grouped by organization, so that a decision looks up one organization and then walks both lists in
//! parallel: a look-up per candidate took most of a decision's time.

use std::collections::HashMap;

use super::{Candidate, Resources};
use supalove_core::ids::{NodeId, OrganizationId};

/// Share of a candidate's capacity in thousandths per unit of a resource. Precomputed, so that a decision needs no
/// division.
#[derive(Debug, Clone)]
pub(super) struct Scale {
    cpu: f64,
    memory: f64,
    disk: f64,
}

impl Scale {
    fn from_capacity(capacity: Resources) -> Self {
        let thousandths = |capacity: f64| 1000.0 / capacity.max(1.0);
        Self {
            cpu: thousandths(capacity.cpu_millis.into()),
            memory: thousandths(capacity.memory_mib.into()),
            disk: thousandths(mib(capacity.disk_mib)),
        }
    }

    /// Returns the used share of the scarcest resource with the project, in whole thousandths.
    pub(super) fn share(&self, used: Resources, needs: Resources) -> i64 {
        let cpu = (f64::from(used.cpu_millis) + f64::from(needs.cpu_millis)) * self.cpu;
        let memory = (f64::from(used.memory_mib) + f64::from(needs.memory_mib)) * self.memory;
        let disk = (mib(used.disk_mib) + mib(needs.disk_mib)) * self.disk;
        // Epsilon, so that rounding does not truncate 3.999… to 3.
        let share = larger(larger(cpu, memory), disk) + 1e-6;
        #[expect(clippy::cast_possible_truncation, reason = "thousandths; the cast saturates")]
        let share = share as i64;
        share
    }
}

/// Faster than `f64::max`, because neither value is NaN.
fn larger(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

#[expect(clippy::cast_precision_loss, reason = "a share in thousandths; no disk has 2^53 MiB")]
fn mib(value: i64) -> f64 {
    value as f64
}

/// The scheduler's view of a cluster.
#[derive(Debug, Clone, Default)]
pub struct View {
    candidates: Vec<Candidate>,
    /// Scale of each candidate, in the same order.
    scales: Vec<Scale>,
    /// Index of a candidate and the organization's number of projects there, ascending by index.
    spread: HashMap<OrganizationId, Vec<(usize, u32)>>,
}

impl View {
    /// Creates a view from the candidates and the number of projects per node and organization.
    pub fn new(
        candidates: Vec<Candidate>,
        placed: impl IntoIterator<Item = (NodeId, OrganizationId, u32)>,
    ) -> Self {
        let index: HashMap<NodeId, usize> =
            candidates.iter().enumerate().map(|(index, candidate)| (candidate.node, index)).collect();
        let mut spread: HashMap<OrganizationId, Vec<(usize, u32)>> = HashMap::new();
        for (node, organization, projects) in placed {
            if let Some(index) = index.get(&node) {
                spread.entry(organization).or_default().push((*index, projects));
            }
        }
        for places in spread.values_mut() {
            places.sort_unstable();
        }
        let scales = candidates.iter().map(|candidate| Scale::from_capacity(candidate.capacity)).collect();
        Self { candidates, scales, spread }
    }

    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Iterates over the candidates, each with its scale and the organization's number of projects on it.
    pub(super) fn with_projects_of(
        &self,
        organization: OrganizationId,
    ) -> impl Iterator<Item = (&Candidate, &Scale, u32)> {
        let mut places = self.spread.get(&organization).map_or(&[][..], Vec::as_slice).iter().peekable();
        self.candidates.iter().zip(&self.scales).enumerate().map(move |(index, (candidate, scale))| {
            let here = places.next_if(|(place, _)| *place == index);
            (candidate, scale, here.map_or(0, |(_, projects)| *projects))
        })
    }

    /// Adds a placement that was made after the view was read.
    pub fn reserve(&mut self, node: NodeId, needs: Resources, organization: OrganizationId) {
        let Some(index) = self.candidates.iter().position(|candidate| candidate.node == node) else { return };
        let candidate = &mut self.candidates[index];
        candidate.used.cpu_millis += needs.cpu_millis;
        candidate.used.memory_mib += needs.memory_mib;
        candidate.used.disk_mib += needs.disk_mib;
        candidate.free_slots -= 1;
        let places = self.spread.entry(organization).or_default();
        match places.binary_search_by_key(&index, |(place, _)| *place) {
            Ok(found) => places[found].1 += 1,
            Err(missing) => places.insert(missing, (index, 1)),
        }
    }
}
