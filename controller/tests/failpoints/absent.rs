//! Shipped programs contain no failpoints, so nobody can make them die.

use std::{collections::BTreeSet, path::PathBuf};

use supalove_failpoints::{DIRECTORY, POINTS};
use supalove_system_tests::texts_in;

/// A text that every program contains, to prove that the search works.
const CONTROL: &str = "supalove.node.v1";
/// Folder with the programs as `make up` builds them.
const SHIPPED: &str = "SUPALOVE_TEST_SHIPPED";

#[test]
fn programs_know_no_failpoints() {
    let shipped = std::env::var_os(SHIPPED);
    let shipped =
        PathBuf::from(shipped.expect("SUPALOVE_TEST_SHIPPED is not set; run the tests with `make test`"));
    let names = POINTS.iter().map(|point| point.name);
    let texts: Vec<&str> = names.chain([DIRECTORY, CONTROL]).collect();
    for program in ["supalove-controller", "supalove-agent"] {
        let program = shipped.join(program);
        let found = texts_in(&program, &texts);
        assert_eq!(found, BTreeSet::from([CONTROL.to_owned()]), "{}", program.display());
    }
}
