//! Limits the number of concurrent tests on this machine, across programs, and records how long each took.
//!
//! libtest gives each test a thread with the test's name. The first resource of a test (a controller, a host, a server)
//! takes the thread's turn here; the thread holds it until it ends.

use std::{
    cell::OnceCell,
    fs::File,
    io::Write as _,
    num::NonZero,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::machine::{Taken, take};

/// How many tests may be at work; default as many as suit the processors.
const AT_ONCE: &str = "SUPALOVE_TEST_AT_ONCE";
/// A file for a line per test: seconds, program, name.
const TIMES: &str = "SUPALOVE_TEST_TIMES";

/// Between two looks for a free place.
const LOOK: Duration = Duration::from_millis(500);

thread_local!(static TURN: OnceCell<Option<Turn>> = const { OnceCell::new() });

struct Turn {
    name: String,
    began: Instant,
    /// One, or all.
    _places: Vec<Taken>,
}

/// Waits for the turn of this thread's test, if it has none yet.
pub fn turn() {
    TURN.with(|turn| turn.get_or_init(|| Turn::wait(false)).is_some());
}

/// Waits until no other test is at work. For tests that load the machine with hundreds of calls at once, which would delay
/// others beyond the times that they assert. Must come before the test's first resource.
#[allow(dead_code, reason = "the agent's tests include this file and do not need it")]
pub fn turn_alone() {
    TURN.with(|turn| {
        assert!(turn.get().is_none(), "this test has its turn already");
        turn.get_or_init(|| Turn::wait(true)).is_some()
    });
}

impl Turn {
    fn wait(alone: bool) -> Option<Self> {
        let name = thread::current().name()?.to_owned();
        // Threads of a runtime work for a test that has its turn; all tests on one thread have it one after another.
        if name.starts_with("tokio") || name == "main" {
            return None;
        }
        // One test at a time waits for its places. Two that need all would wait for each other, and one that needs all would
        // hold those that it has, unused, for as long as others take the next free one.
        let _waits = wait_for_one("next", 1);
        let all = at_once();
        let places = (0..if alone { all } else { 1 }).map(|_| wait_for_one("turns", all)).collect();
        Some(Self { name, began: Instant::now(), _places: places })
    }

    fn note(&self) -> Option<()> {
        let path = std::env::var_os(TIMES)?;
        let mut file = File::options().create(true).append(true).open(path).ok()?;
        let program = std::env::current_exe().ok()?;
        let program = program.file_stem()?.to_str()?.rsplit_once('-')?.0.to_owned();
        // At once, so that lines of several programs do not mix.
        let line = format!("{:.1} {program} {}\n", self.began.elapsed().as_secs_f32(), self.name);
        file.write_all(line.as_bytes()).ok()
    }
}

fn wait_for_one(kind: &str, places: u16) -> Taken {
    loop {
        if let Some(place) = take(kind, 0..places) {
            return place;
        }
        // Dozens of threads wait here, and each look costs as many system calls as there are places.
        thread::sleep(LOOK);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.note().is_none() && std::env::var_os(TIMES).is_some() {
            eprintln!("the time of {} is not noted in {}", self.name, Path::new(TIMES).display());
        }
    }
}

/// Tests wait more than they compute.
fn at_once() -> u16 {
    let chosen = std::env::var(AT_ONCE).ok().map(|number| number.parse().expect(AT_ONCE));
    chosen.unwrap_or_else(|| {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        u16::try_from(2 * processors).unwrap().max(4)
    })
}
