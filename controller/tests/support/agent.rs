//! The agent's real binary, on the host's Docker Engine or on one in a network namespace.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU16, Ordering},
};

use tempfile::TempDir;

use super::{Controller, Process, remove_fleet};

/// Each agent of a test binary gets ports and networks of its own.
static NUMBER: AtomicU16 = AtomicU16::new(0);
const SLOTS: u16 = 8;

/// What a test sets.
#[derive(Default, Clone)]
pub struct AgentOptions {
    /// Program and arguments that the agent is run under, e.g. nsenter.
    pub under: Vec<String>,
    /// More arguments of `run`.
    pub arguments: Vec<String>,
    /// Docker Engine; default the host's.
    pub docker_host: Option<String>,
}

/// A host that has joined, with its agent running.
pub struct Agent {
    /// Its process.
    pub process: Process,
    /// Its files.
    pub state: TempDir,
    fleet: String,
    options: AgentOptions,
    number: u16,
}

impl Agent {
    /// Joins with a real token and runs.
    pub fn start(controller: &Controller, token: &str) -> Self {
        Self::start_with(controller, token, AgentOptions::default())
    }

    /// The same with options.
    pub fn start_with(controller: &Controller, token: &str, options: AgentOptions) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let state = tempfile::Builder::new().prefix("supalove-test-agent-").tempdir().unwrap();
        let joined =
            join(state.path(), &controller.node_address, token, &format!("host-{number}"), &options.under);
        assert!(joined.status.success(), "join failed: {}", String::from_utf8_lossy(&joined.stderr));
        let process = spawn(state.path(), number, &options);
        Self { process, state, fleet: controller.fleet.clone(), options, number }
    }

    /// Runs it again, after a kill.
    pub fn restart(&mut self) {
        self.process = spawn(self.state.path(), self.number, &self.options);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.process.interrupt();
        remove_fleet(&self.fleet, self.options.docker_host.as_deref());
    }
}

/// `supalove-agent join`.
pub fn join(state: &Path, controller: &str, token: &str, name: &str, under: &[String]) -> Output {
    command(under)
        .arg("join")
        .args(["--controller", controller, "--name", name])
        .arg("--state-dir")
        .arg(state)
        .env("SUPALOVE_JOIN_TOKEN", token)
        .output()
        .unwrap()
}

fn spawn(state: &Path, number: u16, options: &AgentOptions) -> Process {
    let mut run = command(&options.under);
    run.arg("run")
        .arg("--state-dir")
        .arg(state)
        .args(["--publish-address", "127.0.0.1", "--advertise-address", "127.0.0.1"])
        .args(["--port-base", &(21_000 + number * SLOTS * 8).to_string()])
        .args(["--slots", &SLOTS.to_string()])
        .args(["--network-range", &format!("10.220.{number}.0/24")])
        .args(&options.arguments);
    if let Some(host) = &options.docker_host {
        run.args(["--docker-host", host]);
    }
    Process::start(&mut run, &state.join("agent.log"))
}

fn command(under: &[String]) -> Command {
    let binary = binary();
    match under.split_first() {
        None => Command::new(binary),
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary);
            command
        }
    }
}

/// Built beside the controller's.
fn binary() -> PathBuf {
    std::env::var_os("SUPALOVE_AGENT_BIN").map_or_else(
        || Path::new(env!("CARGO_BIN_EXE_supalove-controller")).with_file_name("supalove-agent"),
        PathBuf::from,
    )
}
