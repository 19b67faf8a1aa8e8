//! Programs that are built in the usual way can not be told to die: nothing of a failpoint is in them.
#![cfg(not(feature = "failpoints"))]

use std::{fs, path::Path};

use supalove_failpoints::{DIRECTORY, POINTS};

#[test]
fn programs_know_no_failpoints() {
    let controller = Path::new(env!("CARGO_BIN_EXE_supalove-controller"));
    for program in [controller.to_owned(), controller.with_file_name("supalove-agent")] {
        let text = String::from_utf8_lossy(&fs::read(&program).unwrap()).into_owned();
        assert!(text.len() > 1_000_000, "{program:?} is no program");
        for name in POINTS.iter().map(|point| point.name).chain([DIRECTORY]) {
            assert!(!text.contains(name), "{name} in {program:?}");
        }
    }
}
