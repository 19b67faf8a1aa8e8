//! The wall clock of one process, and of what it starts: libfaketime tells it another time. The monotonic clock stays
//! the machine's.

use std::path::PathBuf;

use tempfile::TempDir;

/// A clock that can jump.
pub struct Clock(TempDir);

impl Clock {
    /// Right.
    pub fn start() -> Self {
        let clock = Self(tempfile::tempdir().unwrap());
        clock.jump(0);
        clock
    }

    /// So many hours from the right time; within a second.
    pub fn jump(&self, hours: i64) {
        self.set(&format!("{hours:+}h\n"));
    }

    /// The same in minutes.
    pub fn jump_minutes(&self, minutes: i64) {
        self.set(&format!("{minutes:+}m\n"));
    }

    fn set(&self, offset: &str) {
        let next = self.0.path().join("next");
        std::fs::write(&next, offset).unwrap();
        std::fs::rename(next, self.file()).unwrap();
    }

    /// Program and arguments that a program is run under to have this clock.
    pub fn under(&self) -> Vec<String> {
        let library = library().display().to_string();
        [
            "env".to_owned(),
            format!("LD_PRELOAD={library}"),
            format!("FAKETIME_TIMESTAMP_FILE={}", self.file().display()),
            "FAKETIME_CACHE_DURATION=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        ]
        .into()
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("clock")
    }
}

/// The one for programs with threads.
fn library() -> PathBuf {
    let architectures = std::fs::read_dir("/usr/lib").unwrap();
    architectures
        .map(|one| one.unwrap().path().join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.exists())
        .expect("the package faketime is needed")
}
