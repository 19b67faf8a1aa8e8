//! One more Docker host, in a network namespace of its own, made by `deploy/dev/dockerhost.sh`. It is joined to this
//! machine by one cable and has no way further: nothing that runs there reaches the outside.

use std::{
    collections::HashMap,
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_yaml_ng::Value;

use super::{docker, turn};

/// The script that makes and removes hosts.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/dev/dockerhost.sh");
/// The release whose images the host gets.
const RELEASE: &str = include_str!("../../../deploy/stacks/core-3/stack.yaml");

/// A running host; removed with everything on it when dropped, and by the next run if this one is killed.
pub struct DockerHost {
    /// Its engine, for `--docker-host` and `docker --host`.
    pub engine: String,
    /// This machine's address on the cable.
    pub near: String,
    /// The host's own address on the cable.
    pub far: String,
    namespace: String,
    pid_file: PathBuf,
    dir: String,
}

impl DockerHost {
    /// Makes one that has the images of the release `core-3`.
    pub fn up() -> Self {
        Self::with_disk("4g")
    }

    /// The same with so much room for images and volumes, e.g. "2g".
    pub fn with_disk(size: &str) -> Self {
        Self::made(size, images())
    }

    /// One that has no images.
    pub fn without_images() -> Self {
        Self::made("4g", Vec::new())
    }

    fn made(size: &str, images: Vec<String>) -> Self {
        turn();
        let owner = std::process::id().to_string();
        let facts = run(Command::new(SCRIPT).arg("up").arg(owner).args(images).env("DOCKERHOST_DISK", size));
        let mut facts: HashMap<&str, &str> = facts.lines().filter_map(|line| line.split_once('=')).collect();
        let mut fact =
            |name: &str| facts.remove(name).unwrap_or_else(|| panic!("{name} is missing")).to_owned();
        Self {
            engine: fact("ENGINE"),
            near: fact("NEAR"),
            far: fact("FAR"),
            namespace: fact("NAMESPACE"),
            pid_file: fact("ENGINE_PID_FILE").into(),
            dir: fact("DIR"),
        }
    }

    /// Program and arguments that another program is run under to run in the host's network.
    pub fn under(&self) -> Vec<String> {
        vec!["nsenter".into(), format!("--net={}", self.namespace)]
    }

    /// Runs a program in the host's network; answers its output.
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        let under = self.under();
        run(Command::new(&under[0]).args(&under[1..]).arg(program).args(arguments))
    }

    /// Asks its engine.
    pub fn docker(&self, arguments: &[&str]) -> String {
        docker(Some(&self.engine), arguments)
    }

    /// `kill -9` of its engine. Containers go on.
    pub fn kill_engine(&self) {
        self.signal_engine("-9");
    }

    /// Its engine lives, and does nothing any more.
    pub fn freeze_engine(&self) {
        self.signal_engine("-STOP");
    }

    /// It goes on.
    pub fn thaw_engine(&self) {
        self.signal_engine("-CONT");
    }

    fn signal_engine(&self, signal: &str) {
        let pid = std::fs::read_to_string(&self.pid_file).unwrap();
        run(Command::new("kill").args([signal, pid.trim()]));
    }

    /// Asks its engine to end, and waits for that. Containers go on.
    pub fn stop_engine(&self) {
        let pid = std::fs::read_to_string(&self.pid_file).unwrap();
        run(Command::new("kill").args(["-TERM", pid.trim()]));
        let until = Instant::now() + Duration::from_secs(30);
        while Path::new("/proc").join(pid.trim()).exists() {
            assert!(Instant::now() < until, "the engine does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Everything on it ends at once; afterwards it has what a machine has after a boot, and no engine yet.
    pub fn power_off(&self) {
        run(Command::new(SCRIPT).args(["poweroff", &self.dir]));
    }

    /// Takes the database of networks from its engine, which is down.
    pub fn lose_networks(&self) {
        std::fs::remove_file(Path::new(&self.dir).join("data/network/files/local-kv.db")).unwrap();
    }

    /// Fills the disk of its engine; returns how many MiB that took.
    pub fn fill_disk(&self) -> usize {
        let mut filling = File::create(self.filling()).unwrap();
        let mut full = 0;
        let zeros = vec![0; 1 << 20];
        // Whole pages at last, so that really nothing is left.
        for step in [1 << 20, 4096] {
            while filling.write_all(&zeros[..step]).is_ok() {
                full += step;
            }
        }
        full >> 20
    }

    /// Gives it back.
    pub fn free_disk(&self) {
        std::fs::remove_file(self.filling()).unwrap();
    }

    fn filling(&self) -> PathBuf {
        Path::new(&self.dir).join("data/filling")
    }

    /// Starts its engine again; returns when it answers.
    pub fn start_engine(&self) {
        run(Command::new(SCRIPT).args(["start", &self.dir]));
    }
}

impl Drop for DockerHost {
    fn drop(&mut self) {
        if let Ok(pid) = std::fs::read_to_string(&self.pid_file) {
            // One that a test left frozen would not end. The process may be gone.
            let _ = Command::new("kill").args(["-CONT", pid.trim()]).output();
        }
        let output = Command::new(SCRIPT).args(["down", &self.dir]).output();
        // A panic here, on top of the test's own, would hide why the test failed.
        if !output.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("{} is not removed: {output:?}", self.dir);
        }
    }
}

/// Panics with what it said if it fails.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn images() -> Vec<String> {
    let release: Value = serde_yaml_ng::from_str(RELEASE).unwrap();
    let services = release["services"].as_sequence().unwrap();
    services.iter().map(|service| service["image"].as_str().unwrap().to_owned()).collect()
}
