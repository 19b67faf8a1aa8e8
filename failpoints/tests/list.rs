//! The list and the programs agree.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use supalove_failpoints::{POINTS, Side};

/// How often each name is passed in the sources of a program.
fn in_sources(folder: &Path, found: &mut BTreeMap<String, usize>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            in_sources(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for call in text.split("failpoint!(\"").skip(1) {
            let (name, _) = call.split_once('"').unwrap();
            *found.entry(name.to_owned()).or_default() += 1;
        }
    }
}

/// The program's own crate and the rooms that lie below it.
fn parts(folder: &Path) -> Vec<PathBuf> {
    let below = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let rooms = below.filter(|path| path.join("src").is_dir() && !path.ends_with("tests"));
    rooms.chain([folder.to_owned()]).collect()
}

#[test]
fn every_point_of_the_list_is_in_its_program_once_and_no_other_is() {
    for (side, folder) in [(Side::Controller, "controller"), (Side::Agent, "agent")] {
        let mut found = BTreeMap::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for part in parts(&root.join(folder)) {
            in_sources(&part.join("src"), &mut found);
        }
        let of_side = POINTS.iter().filter(|point| point.side() == side);
        let listed: BTreeMap<String, usize> = of_side.map(|point| (point.name.to_owned(), 1)).collect();
        assert_eq!(found, listed, "{folder}");
    }
}
