//! One stack up and down, by Supalove and by docker-compose in turn: the same images by id, the same limits, mounts,
//! networks and dependencies, the same probes. While a service starts, the agent probes more often than docker-compose
//! can be told to: the rows say so, and there is one without waiting for health. Both speak to the engine through one
//! proxy, which says when which call was under way.
//!
//! "Up" is from the wish (CreateProject sent, the program docker-compose started) to the moment its asker knows that
//! every service is healthy; "down" from the wish to nothing left, volumes included.

mod compose;
mod container;
mod phases;
mod proxy;
mod release;
mod rounds;
mod supalove;

use std::time::Duration;

use anyhow::Result;

use crate::{
    arguments::Arguments,
    stats::{Samples, ms},
    table::{Aim, Table, number},
};
use phases::{Measured, Phase};
use rounds::{Round, Rounds};

/// The engine of this machine.
pub const ENGINE: &str = "unix:///var/run/docker.sock";

/// What the two do not share on the way up (the agent's `Times`; an engine has no shorter interval for starts).
const START_PROBES: &str = "start probes: Supalove every 0.1, later 0.25, then 1 s; docker-compose every 1 s";

/// Supalove's way and docker-compose's in a round.
type Pick = fn(&Round) -> (&Measured, &Measured);

/// Adds the rows.
pub async fn measure(arguments: &Arguments, table: &mut Table) -> Result<()> {
    let Rounds { compose_version, ordered, unordered } = rounds::run(arguments).await?;
    table.note("compared with", compose_version);
    let up: Pick = |round| (&round.supalove_up, &round.compose_up);
    rows(table, "stack up", &format!("whole ({START_PROBES})"), &ordered, up);
    let (ours, theirs) = medians(&ordered, up, Measured::without_waiting);
    let name = "stack up, whole without waiting for health";
    table.note(format!("{name}: Supalove, docker-compose"), both(ours, theirs));
    table.note(format!("{name}: Supalove ÷ docker-compose"), number(ours / theirs, ""));
    share(table, "stack up", ordered.iter().map(|round| &round.supalove_up));
    rows(table, "stack down", "whole", &ordered, |round| (&round.supalove_down, &round.compose_down));
    share(table, "stack down", ordered.iter().map(|round| &round.supalove_down));
    let alone =
        |pick: fn(&Round) -> &Measured| median(unordered.iter().map(|round| pick(round).create_and_start()));
    let ours = alone(|round| &round.supalove_up);
    let theirs = alone(|round| &round.compose_up);
    let name = "create + start alone, nobody waiting for anybody";
    table.note(format!("{name}: Supalove, docker-compose"), both(ours, theirs));
    table.judge(format!("{name}: Supalove ÷ docker-compose"), ours / theirs, "", Aim::AtMost(0.7));
    Ok(())
}

fn share<'a>(table: &mut Table, name: &str, all: impl Iterator<Item = &'a Measured>) {
    let share = median(all.filter_map(|measured| measured.controller));
    table.judge(format!("{name}: controller's share"), share, "ms", Aim::AtMost(150.0));
}

/// Milliseconds.
fn median(all: impl Iterator<Item = Duration>) -> f64 {
    ms(Samples::new(all.collect()).median())
}

/// Of both, milliseconds.
fn medians(all: &[Round], pick: Pick, value: impl Fn(&Measured) -> Duration) -> (f64, f64) {
    let ours = median(all.iter().map(|round| value(pick(round).0)));
    (ours, median(all.iter().map(|round| value(pick(round).1))))
}

/// Medians of both, and their quotient.
fn rows(table: &mut Table, name: &str, whole: &str, all: &[Round], pick: Pick) {
    let (ours, theirs) = medians(all, pick, |measured| measured.whole);
    let rounds = all.len();
    table
        .note(format!("{name}, {whole}: Supalove, docker-compose (medians of {rounds})"), both(ours, theirs));
    table.judge(format!("{name}, {whole}: Supalove ÷ docker-compose"), ours / theirs, "", Aim::AtMost(1.0));
    for phase in Phase::ALL {
        let (ours, theirs) = medians(all, pick, |measured| measured.phase(phase));
        if ours > 0.0 || theirs > 0.0 {
            table.note(format!("{name}, {phase}: Supalove, docker-compose"), both(ours, theirs));
        }
    }
}

fn both(ours: f64, theirs: f64) -> String {
    format!("{}, {}", number(ours, "ms"), number(theirs, "ms"))
}
