//! The dashboard: its files, which are part of the program, and the answers to requests for them. No file is read and nothing is
//! compressed when a request comes.
//!
//! Input: the static export of `dashboard/`, laid out by `build.rs`; method, target and headers of a request. Output: a response.

mod csp;
mod encoding;
mod file;
#[cfg(test)]
mod fuzz;
mod kind;
mod route;
mod site;

use std::sync::LazyLock;

use include_dir::{Dir, include_dir};

pub use site::{Answer, Site};

static FILES: Dir<'static> = include_dir!("$OUT_DIR/site");

static EMBEDDED: LazyLock<Option<Site>> = LazyLock::new(|| Site::new(files(&FILES)));

/// The dashboard that is part of this program; `None` if the program was built without it.
pub fn embedded() -> Option<&'static Site> {
    EMBEDDED.as_ref()
}

/// Path and content of each file.
fn files(dir: &'static Dir<'static>) -> Vec<(&'static str, &'static [u8])> {
    let own = dir.files().filter_map(|file| Some((file.path().to_str()?, file.contents())));
    own.chain(dir.dirs().flat_map(files)).collect()
}
