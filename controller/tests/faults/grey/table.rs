//! What was measured, as a table.

use std::{fmt, time::Duration};

/// What a fault meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    Database,
    AgentLink,
    Engine,
}

/// One fault of one thing.
#[derive(Debug)]
pub struct Cell {
    pub fault: &'static str,
    pub met: Met,
    /// Until the controller said so. `None`: the controller was right all the time, as everything worked.
    pub told: Option<Duration>,
    /// From the end of the fault until everything was true.
    pub true_again: Duration,
    /// Containers that were started again.
    pub restarts: usize,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.told {
            Some(told) => write!(f, "told after {:.1} s", told.as_secs_f32())?,
            None => write!(f, "works on")?,
        }
        write!(f, ", true again after {:.1} s, restarts {}", self.true_again.as_secs_f32(), self.restarts)
    }
}

const ROWS: [&str; 9] = [
    "frozen",
    "slow 2 s",
    "refusing",
    "read-only",
    "disk full",
    "failed over silently",
    "restored to an earlier time",
    "cut",
    "half-open",
];

pub fn print(cells: &[Cell]) {
    let at = |fault: &str, met| {
        let cell = cells.iter().find(|cell| cell.fault == fault && cell.met == met);
        cell.map(Cell::to_string).unwrap_or_default()
    };
    println!("{:<28}| {:<54}| {:<54}| engine", "fault", "controller's database", "agent link");
    for row in ROWS {
        let [database, link, engine] = [Met::Database, Met::AgentLink, Met::Engine].map(|met| at(row, met));
        println!("{row:<28}| {database:<54}| {link:<54}| {engine}");
    }
    let unknown = cells.iter().find(|cell| !ROWS.contains(&cell.fault));
    assert!(unknown.is_none(), "no row for {unknown:?}");
}
