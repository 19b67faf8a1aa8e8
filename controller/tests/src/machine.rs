//! Resources that tests on one machine must not share: numbers, each for a range of ports and a network, and single ports.
//! A process owns a resource while it holds the lock of its file; the kernel releases the lock when the process ends.

use std::{
    fs::{self, DirBuilder, File},
    net::TcpListener,
    ops::Range,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::Path,
    sync::Mutex,
};

const LOCKS: &str = "/tmp/supalove-test-locks";
/// Below what the kernel gives to outgoing connections and to port 0 (32768 on), and below the ports of agents.
const PORTS: Range<u16> = 10_000..15_000;

/// A number that is this process's own while the value lives.
pub struct Taken {
    /// The number.
    pub number: u16,
    _lock: File,
}

/// The first number of a range that nobody has.
pub fn take(kind: &str, range: Range<u16>) -> Option<Taken> {
    // Nobody else may have put links there: an existing folder is used only if it is this user's.
    let made = DirBuilder::new().mode(0o700).create(LOCKS);
    let found = fs::symlink_metadata(LOCKS).unwrap();
    let own = fs::metadata("/proc/self").unwrap().uid();
    assert!(found.is_dir() && found.uid() == own, "{LOCKS} is another user's ({made:?}): remove it");
    let folder = Path::new(LOCKS).join(kind);
    fs::create_dir_all(&folder).unwrap();
    // Not always from the start: what was used a moment ago may still be on its way out of the kernel.
    let start = std::process::id() * 7;
    let count = u32::from(range.end - range.start);
    (0..count).find_map(|step| {
        let number = range.start + u16::try_from((start + step) % count).unwrap();
        let lock = File::options().create(true).append(true).open(folder.join(number.to_string())).unwrap();
        lock.try_lock().ok().map(|()| Taken { number, _lock: lock })
    })
}

/// A port on which nobody listens, and which no other test gets as long as this process lives: its program can be
/// started on it again and again.
pub fn free_port() -> u16 {
    static HELD: Mutex<Vec<Taken>> = Mutex::new(Vec::new());
    let mut held = HELD.lock().unwrap();
    loop {
        let port = take("ports", PORTS).expect("a free port");
        let number = port.number;
        // One that somebody else uses is held as well, so that it is not tried again.
        held.push(port);
        if TcpListener::bind(("127.0.0.1", number)).is_ok() {
            return number;
        }
    }
}
