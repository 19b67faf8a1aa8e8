//! The counters of nodes are the sums of what stands on them, after ten thousand random acts at once, by the statements that placer and
//! jobs use.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use supalove_system_tests::{Database, Outcome, SLACK, Statements};

/// Acts, and who acts at the same time.
const ACTS: usize = 10_000;
const WORKERS: usize = 4;
/// Nodes and projects that they fight over.
const NODES: usize = 5;
const PROJECTS: usize = 60;
/// Of 10,000 acts a test has so much time.
const WITHIN: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn counters_equal_the_sums_of_placements_after_ten_thousand_random_acts() {
    let rows = Database::create().await.rows().await;
    rows.migrate().await;
    rows.add_cluster_and_organization().await;
    let mut nodes = Vec::new();
    for number in 0..NODES {
        // Some are short of memory, some of slots.
        let name = format!("node-{number}");
        rows.add_node(&name, 10 + 10 * i32::try_from(number).unwrap(), 16).await;
        nodes.push(rows.node_id(&name).await);
    }
    let projects = rows.add_waiting(0, PROJECTS).await;
    let statements = Statements::read();
    let seed = rand::random::<u64>();
    println!("seed {seed}");

    let began = Instant::now();
    let workers = (0..WORKERS).map(|worker| {
        let (rows, statements) = (rows.clone(), statements.clone());
        let (projects, nodes) = (projects.clone(), nodes.clone());
        let mut dice = SmallRng::seed_from_u64(seed.wrapping_add(worker as u64));
        tokio::spawn(async move {
            let mut ended: BTreeMap<Outcome, usize> = BTreeMap::new();
            for number in 0..ACTS / WORKERS {
                let outcome = rows.random_act(&statements, &mut dice, &projects, &nodes).await;
                *ended.entry(outcome).or_default() += 1;
                // In the middle, too: each act is one transaction.
                if number % 250 == dice.random_range(0..250) {
                    let wrong = rows.miscounts().await;
                    assert!(wrong.is_empty(), "after {number} acts of worker {worker}: {wrong:#?}");
                }
            }
            ended
        })
    });
    let mut ended: BTreeMap<Outcome, usize> = BTreeMap::new();
    for worker in workers.collect::<Vec<_>>() {
        for (outcome, count) in worker.await.unwrap() {
            *ended.entry(outcome).or_default() += count;
        }
    }
    println!("{ACTS} acts in {:?}: {ended:?}", began.elapsed());
    assert!(began.elapsed() < WITHIN * SLACK, "{:?}", began.elapsed());
    assert!(ended[&Outcome::Done] > ACTS / 4, "most acts did nothing: {ended:?}");
    let wrong = rows.miscounts().await;
    assert!(wrong.is_empty(), "{wrong:#?}");

    // Each node is given up with all that stands on it: then nothing is reserved any more.
    let mut released = 0;
    for node in &nodes {
        released += rows.forget_with_all(&statements, *node).await;
        let wrong = rows.miscounts().await;
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
    assert!(released > 0, "nothing stood on any node");
    assert_eq!(rows.placements_and_projects().await, (0, i64::try_from(PROJECTS).unwrap()));
    assert_eq!(rows.reserved().await, 0, "nothing is reserved");
}
