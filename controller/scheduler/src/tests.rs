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
        draining: false,
        connected: true,
        blocked: None,
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
    assert_eq!(choose(&nodes, OrganizationId::generate(), Policy::Pack), Some(fuller.node));
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
    let same = candidate("same");
    let same_less = candidate("same_less");
    let placed = [(same_less.node, organization, 1), (same.node, organization, 2)];
    let view = View::new(vec![failing, same, same_less.clone()], placed);
    let picked = pick(&view, NEEDS, organization, Policy::Pack, &mut SmallRng::seed_from_u64(1));
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
        let node = pick(&view, NEEDS, organization, Policy::Pack, &mut rng).unwrap();
        view.reserve(node, NEEDS, organization);
        *hits.entry(node).or_default() += 1;
    }
    assert!(hits.len() == 5 && hits.values().all(|&n| n == 3), "an organization is spread: {hits:?}");
    let first = &view.candidates()[0];
    assert_eq!((first.used.memory_mib, first.free_slots), (3 * NEEDS.memory_mib, 7));
    assert!(view.with_projects_of(organization).all(|(.., projects)| projects == 3));
}

#[test]
fn equal_nodes_share_the_load() {
    let nodes: Vec<_> = (0..10).map(|i| candidate(&format!("n{i}"))).collect();
    let view = View::new(nodes, []);
    let mut rng = SmallRng::seed_from_u64(7);
    let mut hits: HashMap<NodeId, u32> = HashMap::new();
    for _ in 0..1000 {
        let node = pick(&view, NEEDS, OrganizationId::generate(), Policy::Pack, &mut rng).unwrap();
        *hits.entry(node).or_default() += 1;
    }
    assert_eq!(hits.len(), 10);
    assert!(hits.values().all(|&n| n > 50), "{hits:?}");
}

fn explained(candidates: &[Candidate]) -> String {
    explain(candidates, NEEDS, Names::Shown)
}

#[test]
fn explain_names_every_reason() {
    let with = |change: fn(&mut Candidate)| {
        let mut one = candidate("n");
        change(&mut one);
        one
    };
    let blocked = |by| Candidate { blocked: Some(by), ..candidate("n") };
    let cases = [
        (with(|one| one.connected = false), "n is not connected", "reconnect n"),
        (blocked(Blocked::EngineSilent), "n has an engine that does not answer", "mend what"),
        (blocked(Blocked::ChainsMissing), "n has lost the engine's chains", "mend what"),
        (blocked(Blocked::Other), "n has a condition", "mend what"),
        (with(|one| one.schedulable = false), "n is cordoned", "uncordon n"),
        (
            with(|one| (one.draining, one.schedulable) = (true, false)),
            "n is draining",
            "end the drain of n (`supalove nodes uncordon`)",
        ),
        (
            with(|one| one.used.cpu_millis = 15_500),
            "n lacks 500 millicores",
            "500 millicores more on n, or a smaller project",
        ),
        (
            with(|one| one.used.memory_mib = 8192),
            "n lacks 512 MiB memory",
            "512 MiB memory more on n, or a smaller project",
        ),
        (
            with(|one| one.used.disk_mib = 100_000),
            "n lacks 1024 MiB disk",
            "1024 MiB disk more on n, or a smaller project",
        ),
        (with(|one| one.free_slots = 0), "n has no free slot", "a free slot on n"),
    ];
    let reasons: Vec<Misfit> = cases.iter().filter_map(|(one, ..)| misfit(one, NEEDS)).collect();
    assert_eq!(reasons.len(), cases.len());
    for (one, reason, help) in cases {
        let text = explained(std::slice::from_ref(&one));
        assert!(text.contains(reason) && text.contains(help), "{reason}, {help}: {text}");
        let counted = explain(&[Candidate { name: "secret".into(), ..one }], NEEDS, Names::Counted);
        assert!(!counted.contains("secret"), "{counted}");
    }
    // The compiler asks for a case above when a reason is added.
    for reason in reasons {
        match reason {
            Misfit::NotConnected
            | Misfit::Draining
            | Misfit::Cordoned
            | Misfit::Slots
            | Misfit::Cpu(_)
            | Misfit::Memory(_)
            | Misfit::Disk(_)
            | Misfit::Blocked(Blocked::EngineSilent | Blocked::ChainsMissing | Blocked::Other) => {}
        }
    }
}

#[test]
fn the_reason_says_what_each_node_lacks_and_which_is_nearest() {
    let mut small = candidate("b1");
    small.used.memory_mib = 8192;
    let mut small2 = candidate("b2");
    small2.used.memory_mib = 8192;
    let mut cordoned = candidate("c");
    cordoned.schedulable = false;
    let mut nearly = candidate("d");
    nearly.used.memory_mib = 7700;
    nearly.used.cpu_millis = 15_100;
    let nodes = [small, small2, cordoned, nearly];
    let text = explained(&nodes);
    assert!(
        text.starts_with(
            "0 of 4 nodes fit: c is cordoned, d lacks 20 MiB memory, b1 and b2 lack 512 MiB memory."
        ),
        "{text}"
    );
    assert!(
        text.ends_with("uncordon c; or 100 millicores and 20 MiB memory more on d, or a smaller project"),
        "{text}"
    );
    let counted = explain(&nodes, NEEDS, Names::Counted);
    assert!(
        counted.starts_with("0 of 4 nodes fit: 1 is cordoned, 1 lacks 20 MiB memory, 2 lack 512"),
        "{counted}"
    );
    assert!(counted.contains("uncordon one node"), "{counted}");
    assert!(explained(&[]).contains("no nodes"));
    assert_eq!(explained(&[candidate("a")]), "1 of 1 node fits");
    assert!(remedies(&[candidate("a"), nodes[0].clone()], NEEDS, Names::Shown).is_empty());
}

proptest! {
    #[test]
    fn a_picked_node_is_one_of_the_best(
        drawn in prop::collection::vec(node_and_placements(), 1..20),
        spread: bool,
        seed: u64,
    ) {
        let mine = OrganizationId::generate();
        let other = OrganizationId::generate();
        let nodes: Vec<_> = drawn.iter().map(|(node, ..)| node.clone()).collect();
        let placed = drawn.iter().flat_map(|(node, mine_here, others_here)| {
            [(node.node, mine, *mine_here), (node.node, other, *others_here)]
        });
        // A node without projects of an organization has no row.
        let view = View::new(nodes, placed.filter(|(.., projects)| *projects > 0));
        let policy = if spread { Policy::Spread } else { Policy::Pack };
        let picked = pick(&view, NEEDS, mine, policy, &mut SmallRng::seed_from_u64(seed));
        let best = best_by_definition(&drawn, policy);
        match picked {
            Some(node) => prop_assert!(best.contains(&node), "{node} is not of {best:?}: {drawn:?}"),
            None => prop_assert!(best.is_empty(), "nothing was picked of {best:?}"),
        }
    }
}

/// A node, the asking organization's projects on it, and another's.
fn node_and_placements() -> impl Strategy<Value = (Candidate, u32, u32)> {
    let used = (0..20_000i32, 0..9000i32, 0..110_000i64);
    let open = (prop::bool::weighted(0.9), prop::bool::weighted(0.9), 0..5i32);
    (used, open, 0..3i32, 0..3u32, 0..3u32).prop_map(|(used, open, recent_failures, mine, others)| {
        let (cpu_millis, memory_mib, disk_mib) = used;
        let (schedulable, connected, free_slots) = open;
        let used = Resources { cpu_millis, memory_mib, disk_mib };
        (
            Candidate { schedulable, connected, used, free_slots, recent_failures, ..candidate("n") },
            mine,
            others,
        )
    })
}

/// Of the nodes that fit those with the fewest failures, of these those with the fewest projects of the organization,
/// and of these those whose fill is within 5 % of the best.
fn best_by_definition(drawn: &[(Candidate, u32, u32)], policy: Policy) -> Vec<NodeId> {
    let mut left: Vec<_> = drawn.iter().filter(|(node, ..)| misfit(node, NEEDS).is_none()).collect();
    let fewest = left.iter().map(|(node, ..)| node.recent_failures).min();
    left.retain(|(node, ..)| Some(node.recent_failures) == fewest);
    let fewest = left.iter().map(|(_, mine, _)| *mine).min();
    left.retain(|(_, mine, _)| Some(*mine) == fewest);
    let fill = |(node, ..): &(Candidate, u32, u32)| plain_fill(node, policy);
    let best = left.iter().map(|drawn| fill(drawn)).min().unwrap_or_default();
    left.into_iter().filter(|drawn| fill(drawn) <= best + 50).map(|(node, ..)| node.node).collect()
}

/// Thousandths, in whole numbers.
fn plain_fill(node: &Candidate, policy: Policy) -> i64 {
    let used = node.used;
    let capacity = node.capacity;
    let cpu = i64::from(used.cpu_millis + NEEDS.cpu_millis) * 1000 / i64::from(capacity.cpu_millis);
    let memory = i64::from(used.memory_mib + NEEDS.memory_mib) * 1000 / i64::from(capacity.memory_mib);
    let disk = (used.disk_mib + NEEDS.disk_mib) * 1000 / capacity.disk_mib;
    let share = cpu.max(memory).max(disk);
    if policy == Policy::Spread { share } else { 1000 - share }
}
