use std::collections::HashMap;

use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::SmallRng};

use super::*;

const NEEDS: Resources = Resources { cpu_millis: 1000, memory_mib: 512, disk_mib: 1024 };

fn candidate(name: &str) -> Candidate {
    Candidate {
        node: NodeId::generate(),
        name: name.to_owned(),
        schedulable: true,
        connected: true,
        capacity: Resources { cpu_millis: 16_000, memory_mib: 8192, disk_mib: 100_000 },
        used: Resources { cpu_millis: 0, memory_mib: 0, disk_mib: 0 },
        free_slots: 10,
        recent_failures: 0,
    }
}

fn choose(candidates: &[Candidate], organization: OrganizationId, policy: Policy) -> Option<NodeId> {
    let view = View::new(candidates.to_vec(), []);
    pick(&view, NEEDS, organization, policy, &mut SmallRng::seed_from_u64(1))
}

#[test]
fn a_shared_cluster_fills_the_fullest_node_that_fits() {
    let mut fuller = candidate("fuller");
    fuller.used.memory_mib = 4096;
    let mut full = candidate("full");
    full.used.memory_mib = 8000;
    let nodes = [candidate("empty"), fuller.clone(), full];
    assert_eq!(choose(&nodes, OrganizationId::generate(), Policy::BestFit), Some(fuller.node));
}

#[test]
fn a_private_cluster_spreads() {
    let mut fuller = candidate("fuller");
    fuller.used.memory_mib = 4096;
    let empty = candidate("empty");
    let nodes = [fuller, empty.clone()];
    assert_eq!(choose(&nodes, OrganizationId::generate(), Policy::Spread), Some(empty.node));
}

#[test]
fn failures_outrank_spread_and_spread_outranks_fill() {
    let organization = OrganizationId::generate();
    let mut failing = candidate("failing");
    failing.recent_failures = 1;
    failing.used.memory_mib = 4096;
    let (same, same_less) = (candidate("same"), candidate("same_less"));
    let placed = [(same_less.node, organization, 1), (same.node, organization, 2)];
    let view = View::new(vec![failing, same, same_less.clone()], placed);
    let picked = pick(&view, NEEDS, organization, Policy::BestFit, &mut SmallRng::seed_from_u64(1));
    assert_eq!(picked, Some(same_less.node));
}

#[test]
fn a_reservation_counts_at_once() {
    let organization = OrganizationId::generate();
    let nodes: Vec<_> = (0..5).map(|i| candidate(&format!("n{i}"))).collect();
    let mut view = View::new(nodes, []);
    let mut rng = SmallRng::seed_from_u64(1);
    let mut hits: HashMap<NodeId, u32> = HashMap::new();
    for _ in 0..15 {
        let node = pick(&view, NEEDS, organization, Policy::BestFit, &mut rng).unwrap();
        view.reserve(node, NEEDS, organization);
        *hits.entry(node).or_default() += 1;
    }
    assert!(hits.len() == 5 && hits.values().all(|&n| n == 3), "an organization is spread: {hits:?}");
    let first = &view.candidates()[0];
    assert_eq!((first.used.memory_mib, first.free_slots), (3 * NEEDS.memory_mib, 7));
    assert!(view.with_projects_of(organization).all(|(_, projects)| projects == 3));
}

#[test]
fn equal_nodes_share_the_load() {
    let nodes: Vec<_> = (0..10).map(|i| candidate(&format!("n{i}"))).collect();
    let (view, mut rng) = (View::new(nodes, []), SmallRng::seed_from_u64(7));
    let mut hits: HashMap<NodeId, u32> = HashMap::new();
    for _ in 0..1000 {
        let node = pick(&view, NEEDS, OrganizationId::generate(), Policy::BestFit, &mut rng).unwrap();
        *hits.entry(node).or_default() += 1;
    }
    assert_eq!(hits.len(), 10);
    assert!(hits.values().all(|&n| n > 50), "{hits:?}");
}

#[test]
fn the_reason_names_what_each_node_lacks() {
    let mut small = candidate("b1");
    small.used.memory_mib = 8192;
    let mut small2 = candidate("b2");
    small2.used.memory_mib = 8192;
    let mut draining = candidate("c");
    draining.schedulable = false;
    let nodes = [small, small2, draining];
    assert_eq!(explain(&nodes, NEEDS), "0 of 3 nodes fit: c is draining, b1 and b2 lack 512 MiB memory");
    assert!(explain(&[], NEEDS).contains("no nodes"));
}

proptest! {
    #[test]
    fn a_picked_node_always_fits(used in prop::collection::vec((0..20_000i32, 0..9000i32, 0..110_000i64, 0..3i32), 1..20), seed: u64) {
        let nodes: Vec<_> = used
            .iter()
            .map(|&(cpu_millis, memory_mib, disk_mib, free_slots)| Candidate {
                used: Resources { cpu_millis, memory_mib, disk_mib },
                free_slots,
                ..candidate("n")
            })
            .collect();
        let view = View::new(nodes.clone(), []);
        let picked = pick(&view, NEEDS, OrganizationId::generate(), Policy::BestFit, &mut SmallRng::seed_from_u64(seed));
        match picked {
            Some(node) => {
                let chosen = nodes.iter().find(|n| n.node == node).unwrap();
                prop_assert_eq!(misfit(chosen, NEEDS), None);
                let fill = |n: &Candidate| score(n, NEEDS, 0, Policy::BestFit).fill;
                let best = nodes.iter().filter(|n| misfit(n, NEEDS).is_none()).map(fill).min().unwrap();
                prop_assert!(fill(chosen) <= best + 50);
            }
            None => prop_assert!(nodes.iter().all(|n| misfit(n, NEEDS).is_some())),
        }
    }
}
