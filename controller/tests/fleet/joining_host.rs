//! A host on which a test runs the command that `CreateJoinToken` prints: it has a network and an engine of its own
//! (`src/docker_host.rs`), and a folder for the files of a system, which the script takes for `/`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use supalove_system_tests::{Controller, DockerHost, Options, program};
use tempfile::TempDir;

/// Options of each run: the engine's disk is small, and file systems of volumes would be left mounted by a test that fails.
const OPTIONS: &str = "--accept-warnings --volume-quota measure";

/// A folder that stands for a host's `/`, and how to run something on the host.
pub struct Host {
    root: TempDir,
    /// Where its shells are: one that took a broken program for a script would make files there.
    cwd: TempDir,
    pub under: Vec<String>,
    pub engine: String,
    /// Programs; default those of this machine.
    path: Option<PathBuf>,
}

impl Host {
    pub fn on(host: &DockerHost) -> Self {
        let root = tempfile::Builder::new().prefix("supalove-test-root-").tempdir().unwrap();
        let cwd = tempfile::tempdir().unwrap();
        Self { root, cwd, under: host.under(), engine: host.engine.clone(), path: None }
    }

    pub fn with_engine(mut self, engine: String) -> Self {
        self.engine = engine;
        self
    }

    pub fn with_programs(mut self, programs: &TempDir) -> Self {
        self.path = Some(programs.path().to_owned());
        self
    }

    /// Runs a printed command with more options.
    pub fn run(&self, command: &str, options: &str) -> Output {
        let text = format!("{command} {OPTIONS} --docker-host {} {options}", self.engine);
        let words: Vec<&str> = self.under.iter().map(String::as_str).chain(["sh", "-c", &text]).collect();
        let mut shell = Command::new(words[0]);
        shell.args(&words[1..]).current_dir(self.cwd.path());
        shell.env("SUPALOVE_TEST_SYSTEM", self.root.path()).env_remove("RUST_LOG");
        if let Some(path) = &self.path {
            shell.env("PATH", path);
        }
        shell.output().unwrap()
    }

    /// The same; panics with what it said if it fails.
    pub fn succeeds(&self, command: &str, options: &str) -> String {
        let output = self.run(command, options);
        assert!(output.status.success(), "{options}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn file(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// All files, but not folders.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.root.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.is_symlink() { folders.push(path) } else { files.push(path) }
            }
        }
        files.sort();
        files
    }

    /// Process id of the agent that was installed; empty if it does not run.
    pub fn agent_pid(&self) -> String {
        let command = format!("{}\0run\0", self.file("usr/local/bin/supalove-agent").display());
        let is_agent = |pid: &String| {
            fs::read(Path::new("/proc").join(pid).join("cmdline"))
                .is_ok_and(|line| line == command.as_bytes())
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let mut pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
        pids.find(|pid| pid.starts_with(|c: char| c.is_ascii_digit()) && is_agent(pid)).unwrap_or_default()
    }

    pub fn agent(&self, arguments: &[&str]) -> Output {
        let words: Vec<&str> = self.under.iter().map(String::as_str).collect();
        Command::new(words[0])
            .args(&words[1..])
            .arg(self.file("usr/local/bin/supalove-agent"))
            .args(arguments)
            .arg("--state-dir")
            .arg(self.file("var/lib/supalove-agent"))
            .args(["--docker-host", &self.engine])
            .output()
            .unwrap()
    }
}

impl Drop for Host {
    /// What a failed test left running, by its process id.
    fn drop(&mut self) {
        for file in ["run/supalove-agent-supervisord.pid", "run/supalove-agent.pid"] {
            if let Ok(pid) = fs::read_to_string(self.file(file)) {
                let _ = Command::new("kill").arg(pid.trim()).output();
            }
        }
    }
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A folder with the agent's program, without what debuggers read: the tests copy it often.
pub fn agents_dir() -> TempDir {
    let dir = tempfile::Builder::new().prefix("supalove-test-agents-").tempdir().unwrap();
    let small = dir.path().join(agent_name());
    let stripped = Command::new("strip").arg("-o").arg(&small).arg(program("supalove-agent")).status();
    assert!(stripped.unwrap().success());
    dir
}

pub fn agent_name() -> String {
    format!("supalove-agent-{}", std::env::consts::ARCH)
}

/// A controller that hosts reach over the cable of this one, and that has the agent for them.
pub async fn controller(host: &DockerHost, agents: &TempDir) -> Controller {
    let arguments = vec![format!("--agents-dir={}", agents.path().display())];
    Controller::start_with(Options { node_host: Some(host.near.clone()), arguments, ..Options::default() })
        .await
}
