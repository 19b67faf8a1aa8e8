//! `kill -9` at every step: each failpoint kills its process in the middle of an act on a project. The test restarts the
//! process; the act must complete, with nothing done twice and no other project affected.
//!
//! Needs programs that were built with the feature `failpoints`: `deploy/dev/test.sh` does that.

mod absent;
mod acts;
mod checks;
mod images;
mod leftovers;
mod mail;
mod node_life;
mod pair;
mod panics;
mod people;
mod rows;
mod supervisor;
mod transfer;
mod usage;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, resume_unwind},
    thread,
};

use futures::FutureExt as _;
use supalove_failpoints::{POINTS, Side};
use supalove_system_tests::{program, texts_in};
use tokio::runtime::Runtime;

use self::{
    acts::LIFE,
    pair::Pair,
    rows::{Done, Rows},
};

/// Number of concurrent pairs of a controller and an agent.
const PAIRS: usize = 3;

#[test]
fn a_process_that_dies_at_any_step_finishes_what_was_asked() {
    let rows = Rows::default();
    // A thread each: looking at the engine blocks.
    let workers: Vec<_> = (0..PAIRS)
        .map(|_| {
            let rows = rows.clone();
            thread::spawn(|| Runtime::new().unwrap().block_on(work(rows)))
        })
        .collect();
    let mut passed: BTreeMap<String, usize> = BTreeMap::new();
    for worker in workers {
        for (point, times) in worker.join().unwrap() {
            *passed.entry(point).or_default() += times;
        }
    }
    report(&rows, &passed);
}

/// Runs rows until none is left; returns how often each point was passed.
async fn work(rows: Rows) -> BTreeMap<String, usize> {
    let mut passed = BTreeMap::new();
    while rows.are_left() {
        let mut pair = Pair::start().await;
        lives(&mut pair, &rows).await;
        pair.count_passes(&mut passed);
    }
    passed
}

/// Runs whole lives of projects until no row is left or one has failed; after a failure the state is undefined.
async fn lives(pair: &mut Pair, rows: &Rows) {
    while rows.are_left() {
        for stage in LIFE {
            if stage.is_detour() && !stage.acts.iter().any(|act| rows.want(*act)) {
                continue;
            }
            for act in stage.acts {
                let row = rows.take(*act);
                let run = AssertUnwindSafe(pair.run(*act, row.as_ref())).catch_unwind().await;
                match (row, run) {
                    (Some(row), Ok(took)) => rows.put(Done::new(row, Some(took))),
                    (Some(row), Err(_)) => return rows.put(Done::new(row, None)),
                    (None, Ok(_)) => {}
                    // The act failed although no process died, so the rows prove nothing.
                    (None, Err(panic)) => resume_unwind(panic),
                }
            }
        }
    }
}

fn report(rows: &Rows, passed: &BTreeMap<String, usize>) {
    let done = rows.done();
    println!("\n{:<38} {:<10} {:<26} {:>5} {:>6}", "failpoint", "side", "act", "pass", "s");
    for row in &done {
        println!("{row}");
    }
    let failed: Vec<&Done> = done.iter().filter(|row| row.seconds.is_none()).collect();
    let dead = |name: &str| done.iter().any(|row| row.row.point == name && row.seconds.is_some());
    println!("\n{:<38} {:>7} {:>6}", "failpoint", "passed", "died");
    for point in POINTS {
        let died = done.iter().filter(|row| row.row.point == point.name && row.seconds.is_some()).count();
        println!("{:<38} {:>7} {:>6}", point.name, passed.get(point.name).unwrap_or(&0), died);
    }
    // `api` dies at those of the master key's replacement; no act on a project passes these.
    let [pushes, fetches] = images::PREFIXES;
    let of_people = [mail::PREFIX, people::PREFIX, transfer::PREFIX, "controller.rotation."];
    let of_the_fleet = [leftovers::PREFIX, usage::PREFIX, pushes, fetches];
    let of_others = [&of_people[..], &of_the_fleet[..]].concat();
    let is_of_projects = |name: &&str| !of_others.iter().any(|prefix| name.starts_with(prefix));
    let of_projects = POINTS.iter().map(|point| point.name).filter(is_of_projects);
    let never: Vec<&str> = of_projects.filter(|name| !dead(name)).collect();
    println!("{} points, {} deaths, {} failed", POINTS.len(), done.len(), failed.len());
    assert!(failed.is_empty(), "did not end as asked: {failed:#?}");
    assert!(never.is_empty() || Rows::are_some_left_out(), "nothing died at {never:?}");
}

/// The counterpart of `absent`: what is looked for there is found in programs that have them.
#[test]
fn programs_with_failpoints_hold_their_names() {
    for (side, program) in
        [(Side::Controller, program("supalove-controller")), (Side::Agent, program("supalove-agent"))]
    {
        let of_side = POINTS.iter().filter(|point| point.side() == side);
        let names: Vec<&str> = of_side.map(|point| point.name).collect();
        let found = texts_in(&program, &names);
        assert_eq!(found, names.iter().map(|name| (*name).to_owned()).collect(), "{}", program.display());
    }
}
