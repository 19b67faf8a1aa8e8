//! Passing a point in a program that was built to be killed. In: the directory that the environment names. Out: a line
//! for each pass, and the end of the process at the pass that was asked for.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    process,
    sync::{LazyLock, Mutex, PoisonError},
};

use crate::{ARMED, DIRECTORY, FIRED, PASSED};

static DIR: LazyLock<Option<PathBuf>> = LazyLock::new(|| std::env::var_os(DIRECTORY).map(PathBuf::from));
/// One pass at a time, so that the count is right.
static PASSING: Mutex<()> = Mutex::new(());

/// Passes a point on behalf of a project ("" = of none). May not return.
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
            // A test that is told nothing would believe that the point was not passed.
            eprintln!("failpoint {name}: {error}");
            process::abort();
        }
    }
}

/// What ends at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The process, as `kill -9` would end it.
    Process,
    /// The task that passes the point: it panics.
    Task,
}

fn note(dir: &Path, name: &str, project: &str) -> io::Result<()> {
    let mut passed = OpenOptions::new().create(true).append(true).open(dir.join(PASSED))?;
    passed.write_all(format!("{name} {project}\n").as_bytes())
}

/// Counts the pass; says what has to end now.
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
