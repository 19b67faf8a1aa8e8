//! Passes failpoints in a program with the feature `armed`. Input: the directory that the environment names. Output:
//! a line for each pass, and the death of the process at the armed pass.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    process,
    sync::{LazyLock, Mutex, PoisonError},
};

use crate::{ARMED, DIRECTORY, FIRED, PASSED};

static DIR: LazyLock<Option<PathBuf>> = LazyLock::new(|| std::env::var_os(DIRECTORY).map(PathBuf::from));
/// Serializes passes, so that the count is right.
static PASSING: Mutex<()> = Mutex::new(());

/// Passes a point for a project ("" = for none). Does not return if the point is armed.
pub fn pass(name: &str, project: &str) {
    let Some(dir) = &*DIR else { return };
    let passing = PASSING.lock().unwrap_or_else(PoisonError::into_inner);
    let end = note(dir, name, project).and_then(|()| fires(dir, name, project));
    match end {
        Ok(None) => {}
        Ok(Some(End::Process)) => process::abort(),
        Ok(Some(End::Task)) => {
            drop(passing);
            panic!("forced at failpoint {name}");
        }
        Err(error) => {
            // Without this message a test would believe that the process did not pass the point.
            eprintln!("failpoint {name}: {error}");
            process::abort();
        }
    }
}

/// What an armed point ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The process, as `kill -9` would end it.
    Process,
    /// The task that passes the point, by a panic.
    Task,
}

fn note(dir: &Path, name: &str, project: &str) -> io::Result<()> {
    let mut passed = OpenOptions::new().create(true).append(true).open(dir.join(PASSED))?;
    passed.write_all(format!("{name} {project}\n").as_bytes())
}

/// Counts the pass and returns what must end now.
fn fires(dir: &Path, name: &str, project: &str) -> io::Result<Option<End>> {
    let armed = dir.join(ARMED);
    let content = match fs::read_to_string(&armed) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        content => content?,
    };
    let words: Vec<&str> = content.split_ascii_whitespace().collect();
    let (point, count, spared, end) = match words[..] {
        [point, count, spared] => (point, count, spared, End::Process),
        [point, count, spared, "panic"] => (point, count, spared, End::Task),
        _ => return Err(io::Error::other(format!("{content:?} is not `name count spared [panic]`"))),
    };
    if point != name || spared == project {
        return Ok(None);
    }
    let count: u32 = count.parse().map_err(io::Error::other)?;
    if count > 1 {
        let panic = if end == End::Task { " panic" } else { "" };
        fs::write(&armed, format!("{point} {} {spared}{panic}", count - 1))?;
        return Ok(None);
    }
    fs::rename(&armed, dir.join(FIRED))?;
    Ok(Some(end))
}
