//! Programs that are built in the usual way can not be told to die: nothing of a failpoint is in them.
#![cfg(not(feature = "failpoints"))]

mod support;

use std::{collections::BTreeSet, path::Path};

use supalove_failpoints::{DIRECTORY, POINTS};
use support::texts_in;

/// In every program of ours, so that it is known that something was looked at.
const CONTROL: &str = "supalove.node.v1";

#[test]
fn programs_know_no_failpoints() {
    let controller = Path::new(env!("CARGO_BIN_EXE_supalove-controller"));
    let names = POINTS.iter().map(|point| point.name);
    let texts: Vec<&str> = names.chain([DIRECTORY, CONTROL]).collect();
    for program in [controller.to_owned(), controller.with_file_name("supalove-agent")] {
        let found = texts_in(&program, &texts);
        assert_eq!(found, BTreeSet::from([CONTROL.to_owned()]), "{}", program.display());
    }
}
