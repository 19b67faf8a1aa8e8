//! Grey faults: something neither works nor is gone. Each fault meets the control database, the link of an agent, or an
//! agent's engine. During it the controller says so; afterwards everything that it says is true again, what was asked during
//! the fault has been done once, and no container was started again.
//!
//! Faults that do not meet each other run at the same time: three fleets for the database, and one with eight nodes, each with
//! a fault of its own. `make grey SECONDS=180` makes each fault last so long at least; without it a fault ends soon after it
//! was told.

mod database;
mod nodes;
mod scene;
mod table;

use std::{
    env,
    panic::resume_unwind,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use supalove_system_tests::{Postgres, turn_alone};
use tokio::runtime::Builder;

use self::table::Cell;

/// `/healthz` or the state of a node is true after so long.
const TOLD: Duration = Duration::from_secs(15);
/// After the end of a fault everything is true after so long.
const TRUE_AGAIN: Duration = Duration::from_mins(1);

/// How long each fault lasts at least, instead of `short`.
fn lasts(short: Duration) -> Duration {
    let set = env::var("SUPALOVE_GREY_SECONDS").ok().filter(|text| !text.is_empty());
    set.map_or(short, |text| Duration::from_secs(text.parse().expect("SUPALOVE_GREY_SECONDS is a number")))
}

#[test]
fn during_a_grey_fault_the_controller_tells_the_truth_and_afterwards_everything_is_true() {
    // Here, as the scenes are threads without the test's name.
    turn_alone();
    // Its disk does not delay it: the server of all tests waits for a disk on which others write.
    let server = Arc::new(Postgres::start());
    let (cable, nodes) = (server.clone(), server);
    let scenes: [Box<dyn FnOnce() -> Vec<Cell> + Send>; 4] = [
        Box::new(move || run(database::behind_a_cable(&cable))),
        Box::new(|| run(database::on_a_small_disk())),
        Box::new(|| run(database::with_a_standby())),
        Box::new(move || run(nodes::all_at_once(&nodes))),
    ];
    // All of them end, also if one has failed: their programs and containers go with them.
    let ended = scenes.map(thread::spawn).map(JoinHandle::join);
    let mut cells = Vec::new();
    for scene in ended {
        match scene {
            Ok(of_scene) => cells.extend(of_scene),
            Err(panic) => resume_unwind(panic),
        }
    }
    table::print(&cells);
    assert_eq!(cells.len(), 15);
}

/// Runs a scene; its cables pass bytes on while it waits for a program.
fn run<T>(scene: impl Future<Output = T>) -> T {
    Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap().block_on(scene)
}
