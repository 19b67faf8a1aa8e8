//! The programs under test, built by cargo beside the test programs.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A program of the workspace, e.g. "supalove-agent". Panics if it is older than its sources: cargo builds programs for
/// the tests of their own package only.
pub fn program(name: &str) -> PathBuf {
    current(folder().join(name))
}

/// An example of the workspace, with the same check.
pub fn example(name: &str) -> PathBuf {
    current(folder().join("examples").join(name))
}

/// `target/<profile>`; a test program lies in its folder `deps`.
fn folder() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned()
}

fn current(program: PathBuf) -> PathBuf {
    let remedy =
        "build it with `cargo build --workspace --bins --examples`, or run the tests with `make test`";
    let changed = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    let built = changed(&program);
    assert!(built.is_some(), "{} is missing: {remedy}", program.display());
    // What cargo generated is its own matter.
    for source in sources(&program).iter().filter(|source| !source.starts_with(folder())) {
        assert!(
            changed(source) <= built,
            "{} is older than {}: {remedy}",
            program.display(),
            source.display()
        );
    }
    program
}

/// What cargo noted beside the program: `program: source source …`, with spaces in paths escaped.
fn sources(program: &Path) -> Vec<PathBuf> {
    let noted = fs::read_to_string(program.with_added_extension("d")).unwrap();
    let (_, sources) = noted.lines().next().unwrap().split_once(": ").unwrap();
    let sources = sources.replace("\\ ", "\0");
    sources.split(' ').map(|source| source.replace('\0', " ").into()).collect()
}
