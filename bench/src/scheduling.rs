//! The scheduler alone: decisions per second on one core, over candidates in memory.

use std::{
    collections::HashMap,
    hint::black_box,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use supalove_core::ids::{NodeId, OrganizationId};
use supalove_scheduler::{Candidate, Policy, Resources, View, pick};

use crate::{
    arguments::Arguments,
    table::{Aim, Table},
};

/// What a project of the release "core" reserves.
const NEEDS: Resources = Resources { cpu_millis: 250, memory_mib: 448, disk_mib: 1280 };
/// Organizations whose projects lie on the nodes.
const ORGANIZATIONS: usize = 500;

/// Adds the rows.
pub fn measure(arguments: &Arguments, table: &mut Table) {
    let time = arguments.effort().decisions;
    let rate = decisions(1000, time);
    table.judge("scheduler, 1,000 nodes, one core: decisions", rate, "/s", Aim::AtLeast(50_000.0));
    let rate = decisions(10_000, time);
    table.note("scheduler, 10,000 nodes, one core: decisions", crate::table::number(rate, "/s"));
}

/// Decisions per second.
fn decisions(nodes: usize, time: Duration) -> f64 {
    let mut rng = SmallRng::seed_from_u64(1);
    let organizations: Vec<_> = (0..ORGANIZATIONS).map(|_| OrganizationId::generate()).collect();
    let view = view(nodes, &organizations, &mut rng);
    let mut made = 0_u32;
    let started = Instant::now();
    while started.elapsed() < time {
        for _ in 0..100 {
            let organization = organizations[rng.random_range(0..ORGANIZATIONS)];
            black_box(pick(black_box(&view), NEEDS, organization, Policy::Pack, &mut rng));
        }
        made += 100;
    }
    f64::from(made) / started.elapsed().as_secs_f64()
}

/// Nodes that hold up to 60 projects each, of organizations drawn at random.
fn view(nodes: usize, organizations: &[OrganizationId], rng: &mut SmallRng) -> View {
    let mut placed: HashMap<_, u32> = HashMap::new();
    let mut candidates = Vec::new();
    for number in 0..nodes {
        let projects = rng.random_range(0..60);
        let candidate = candidate(number, projects);
        for _ in 0..projects {
            let organization = organizations[rng.random_range(0..organizations.len())];
            *placed.entry((candidate.node, organization)).or_default() += 1;
        }
        candidates.push(candidate);
    }
    View::new(candidates, placed.into_iter().map(|((node, organization), count)| (node, organization, count)))
}

/// A node of 16 cores and 32 GiB; a twentieth has less memory, some are draining, away or had failed starts.
fn candidate(number: usize, projects: i32) -> Candidate {
    let memory_mib = if number.is_multiple_of(20) { 16_384 } else { 49_152 };
    Candidate {
        node: NodeId::generate(),
        name: format!("node-{number}"),
        schedulable: !number.is_multiple_of(50),
        draining: false,
        connected: number % 100 != 1,
        blocked: None,
        capacity: Resources { cpu_millis: 128_000, memory_mib, disk_mib: 2_097_152 },
        used: Resources {
            cpu_millis: NEEDS.cpu_millis * projects,
            memory_mib: NEEDS.memory_mib * projects,
            disk_mib: NEEDS.disk_mib * i64::from(projects),
        },
        free_slots: 256 - projects,
        recent_failures: i32::from(number.is_multiple_of(30)),
    }
}
