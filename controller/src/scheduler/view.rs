//! The candidates of one cluster, and where each organization's projects lie among them.
//!
//! By organization and not by candidate, so that a decision looks one organization up and then walks both lists side by
//! side: a look-up per candidate was most of a decision's time.

use std::collections::HashMap;

use super::{Candidate, Resources};
use crate::ids::{NodeId, OrganizationId};

/// A cluster as the scheduler sees it.
#[derive(Debug, Clone, Default)]
pub struct View {
    candidates: Vec<Candidate>,
    /// Index of a candidate and the organization's projects there, ascending by index.
    spread: HashMap<OrganizationId, Vec<(usize, u32)>>,
}

impl View {
    /// In: the candidates, and how many projects of an organization lie on a node.
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
        Self { candidates, spread }
    }

    /// The candidates.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Each candidate with the number of the organization's projects on it.
    pub fn with_projects_of(&self, organization: OrganizationId) -> impl Iterator<Item = (&Candidate, u32)> {
        let mut places = self.spread.get(&organization).map_or(&[][..], Vec::as_slice).iter().peekable();
        self.candidates.iter().enumerate().map(move |(index, candidate)| {
            let here = places.next_if(|(place, _)| *place == index);
            (candidate, here.map_or(0, |(_, projects)| *projects))
        })
    }

    /// Counts a placement that was made since.
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
