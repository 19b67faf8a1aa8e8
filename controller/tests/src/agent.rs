//! The agent's real binary, on the host's Docker Engine or on one in a network namespace.

use std::{
    ops::Range,
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

use super::{
    Controller, Process,
    machine::{Taken, take},
    program, remove_fleet,
};

const SLOTS: u16 = 8;
/// Each agent has a number of its own: for its ports, from 21,000 to 32,520, and its networks.
const NUMBERS: Range<u16> = 0..180;

/// What a test sets.
#[derive(Default, Clone)]
pub struct AgentOptions {
    /// Program and arguments that the agent is run under, e.g. nsenter.
    pub under: Vec<String>,
    /// More arguments of `run`.
    pub arguments: Vec<String>,
    /// Docker Engine; default the host's.
    pub docker_host: Option<String>,
    /// The agent's own way to the host's engine, which the test may harm.
    pub engine_cable: Option<String>,
    /// Environment of `run`.
    pub environment: Vec<(String, String)>,
}

/// A host that has joined, with its agent running.
pub struct Agent {
    /// Its process.
    pub process: Process,
    /// Its files.
    pub state: TempDir,
    fleet: String,
    options: AgentOptions,
    number: Taken,
}

impl Agent {
    /// Joins with a real token and runs.
    pub fn start(controller: &Controller, token: &str) -> Self {
        Self::start_with(controller, token, AgentOptions::default())
    }

    /// The same with options.
    pub fn start_with(controller: &Controller, token: &str, options: AgentOptions) -> Self {
        Self::start_at(&controller.node_address, &controller.fleet, token, options)
    }

    /// The same for a controller at this address.
    pub fn start_at(node_address: &str, fleet: &str, token: &str, options: AgentOptions) -> Self {
        let number = number();
        let state = tempfile::Builder::new().prefix("supalove-test-agent-").tempdir().unwrap();
        let name = format!("host-{}", number.number);
        let joined = join(state.path(), node_address, token, &name, &options.under);
        assert!(joined.status.success(), "join failed: {}", String::from_utf8_lossy(&joined.stderr));
        let process = spawn(state.path(), number.number, &options);
        Self { process, state, fleet: fleet.to_owned(), options, number }
    }

    /// What `supalove-agent status --json` shows.
    pub fn status(&self) -> serde_json::Value {
        let shown = command(&self.options.under)
            .args(["status", "--json", "--state-dir"])
            .arg(self.state.path())
            .output()
            .unwrap();
        serde_json::from_slice(&shown.stdout).unwrap_or_default()
    }

    /// `supalove-agent recover` with these arguments; the agent must not run.
    pub fn recover(&self, arguments: &[&str]) -> Output {
        let mut recover = command(&self.options.under);
        recover.args(["recover", "--state-dir"]).arg(self.state.path()).args(arguments).output().unwrap()
    }

    /// Its identity file.
    pub fn identity(&self) -> serde_json::Value {
        let text = std::fs::read_to_string(self.state.path().join("identity.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Rewrites its identity file.
    pub fn set_identity(&self, identity: &serde_json::Value) {
        std::fs::write(self.state.path().join("identity.json"), identity.to_string()).unwrap();
    }

    /// A second agent with a copy of this one's state directory, as of a copied virtual machine.
    #[must_use]
    pub fn copied(&self, options: AgentOptions) -> Self {
        let number = number();
        let state = tempfile::Builder::new().prefix("supalove-test-agent-").tempdir().unwrap();
        for file in ["identity.json", "seal.key"] {
            std::fs::copy(self.state.path().join(file), state.path().join(file)).unwrap();
        }
        let process = spawn(state.path(), number.number, &options);
        Self { process, state, fleet: self.fleet.clone(), options, number }
    }

    /// Runs it again, after a kill.
    pub fn restart(&mut self) {
        self.process = spawn(self.state.path(), self.number.number, &self.options);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.process.interrupt();
        self.remove_rules();
        remove_fleet(&self.fleet, self.options.docker_host.as_deref());
    }
}

impl Agent {
    /// The agent's table of network rules outlives it, as it should; not a test.
    fn remove_rules(&self) {
        let identity = std::fs::read_to_string(self.state.path().join("identity.json")).unwrap_or_default();
        let identity: serde_json::Value = serde_json::from_str(&identity).unwrap_or_default();
        let Some(node) = identity["node_id"].as_str() else { return };
        // The table is named after the node: see `Identity::short` of the agent.
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, node.as_bytes());
        let short = hex::encode(&digest.as_ref()[..4]);
        let (program, arguments) =
            self.options.under.split_first().map_or(("nft", &[][..]), |(p, a)| (p.as_str(), a));
        let mut nft = Command::new(program);
        nft.args(arguments);
        if program != "nft" {
            nft.arg("nft");
        }
        // Gone already if the agent never came to write it.
        let _ = nft.args(["delete", "table", "inet", &format!("supalove_{short}")]).output();
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
        .args(["--port-base", &(21_000 + number * SLOTS * 8).to_string()])
        .args(["--slots", &SLOTS.to_string()])
        .args(["--network-range", &format!("10.220.{number}.0/24")])
        .args(&options.arguments);
    for address in ["--publish-address", "--advertise-address"] {
        if !options.arguments.iter().any(|argument| argument == address) {
            run.args([address, "127.0.0.1"]);
        }
    }
    // File systems of volumes would be left mounted by a test that fails; a test that wants them says so.
    run.env("SUPALOVE_AGENT_VOLUME_QUOTA", "measure");
    // The disk of the machine that tests run on may be as full as it likes.
    run.env("SUPALOVE_AGENT_FULL_DISK_PERCENT", "100");
    run.envs(options.environment.iter().map(|(name, value)| (name, value)));
    match &options.docker_host {
        Some(host) => run.args(["--docker-host", host]),
        None => run.arg("--volumes-dir").arg(state.join("volumes")),
    };
    if let Some(cable) = &options.engine_cable {
        run.args(["--docker-host", cable]);
    }
    Process::start(&mut run, &state.join("agent.log"))
}

fn command(under: &[String]) -> Command {
    let binary = program("supalove-agent");
    match under.split_first() {
        None => Command::new(binary),
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary);
            command
        }
    }
}

fn number() -> Taken {
    take("agents", NUMBERS).expect("a number for an agent")
}
