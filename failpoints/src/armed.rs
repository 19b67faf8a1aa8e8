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
    let _passing = PASSING.lock().unwrap_or_else(PoisonError::into_inner);
    let dies = note(dir, name, project).and_then(|()| fires(dir, name, project));
    match dies {
        Ok(false) => {}
        Ok(true) => process::abort(),
        Err(error) => {
            // A test that is told nothing would believe that the point was not passed.
            eprintln!("failpoint {name}: {error}");
            process::abort();
        }
    }
}

fn note(dir: &Path, name: &str, project: &str) -> io::Result<()> {
    let mut passed = OpenOptions::new().create(true).append(true).open(dir.join(PASSED))?;
    passed.write_all(format!("{name} {project}\n").as_bytes())
}

/// Counts the pass; true if the process is to die now.
fn fires(dir: &Path, name: &str, project: &str) -> io::Result<bool> {
    let armed = dir.join(ARMED);
    let content = match fs::read_to_string(&armed) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        content => content?,
    };
    let words: Vec<&str> = content.split_ascii_whitespace().collect();
    let [point, count, spared] = words[..] else {
        return Err(io::Error::other(format!("{content:?} is not `name count spared`")));
    };
    if point != name || spared == project {
        return Ok(false);
    }
    let count: u32 = count.parse().map_err(io::Error::other)?;
    if count > 1 {
        fs::write(&armed, format!("{point} {} {spared}", count - 1))?;
        return Ok(false);
    }
    fs::rename(&armed, dir.join(FIRED))?;
    Ok(true)
}
