//! The real agent in a process of its own: joined with a token, on an engine.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tokio::process::Command;

use crate::{
    api::Api,
    arguments::Arguments,
    process::{Process, Resident},
};

/// Timeout until the agent has a session.
const START: Duration = Duration::from_mins(1);
/// Networks of the bench's projects.
const NETWORKS: &str = "10.219.0.0/24";
/// The one of slot 0.
pub const FIRST_NETWORK: &str = "10.219.0.0/27";
/// Number of slots.
const SLOTS: u16 = 8;
/// Ports of all slots.
const PORTS: u16 = SLOTS * 8;

/// A running agent.
pub struct Agent {
    /// First port of slot 0.
    pub port_base: u16,
    process: Process,
}

impl Agent {
    /// Joins and runs. In: a name for its files, the controller's address, a join token, the engine's address.
    pub async fn start(
        arguments: &Arguments,
        name: &str,
        node_address: &str,
        token: &str,
        engine: &str,
    ) -> Result<Self> {
        Self::start_with(arguments, name, node_address, token, engine, &[]).await
    }

    /// The same with more arguments of `run`. The node is named after the files.
    pub async fn start_with(
        arguments: &Arguments,
        name: &str,
        node_address: &str,
        token: &str,
        engine: &str,
        more: &[&str],
    ) -> Result<Self> {
        let state = arguments.dir.join(format!("{name}-agent"));
        let joined = Command::new(&arguments.agent)
            .args(["join", "--controller", node_address, "--name", name, "--state-dir"])
            .arg(&state)
            .env("SUPALOVE_JOIN_TOKEN", token)
            .output()
            .await?;
        ensure!(joined.status.success(), "join failed: {}", String::from_utf8_lossy(&joined.stderr));
        let port_base = free_ports()?;
        let mut run = run(&arguments.agent, &state, engine, port_base);
        run.args(more);
        let process = Process::start(run, &arguments.dir, &format!("{name}-agent"))?;
        Ok(Self { port_base, process })
    }

    /// Waits until its node is READY. Out: the node's id.
    pub async fn wait_ready(&mut self, api: &Api) -> Result<String> {
        let until = Instant::now() + START;
        loop {
            if let Some(node) = api.ready_node().await? {
                return Ok(node);
            }
            self.process.check()?;
            ensure!(Instant::now() < until, "the node is not READY after {START:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its memory now.
    pub fn resident(&self) -> Result<Resident> {
        self.process.resident()
    }

    /// Processor time that it has used.
    pub fn cpu(&self) -> Result<Duration> {
        self.process.cpu()
    }

    /// Ends the agent. The item or `make bench` removes what it made in the engine.
    pub async fn end(self) -> Result<()> {
        self.process.end().await
    }
}

fn run(program: &Path, state: &Path, engine: &str, port_base: u16) -> Command {
    let mut command = Command::new(program);
    command
        .arg("run")
        .arg("--state-dir")
        .arg(state)
        .args(["--docker-host", engine])
        .args(["--port-base", &port_base.to_string()])
        .args(["--slots", &SLOTS.to_string()])
        .args(["--network-range", NETWORKS])
        // File systems of volumes would be left mounted by a run that is killed.
        .args(["--volume-quota", "measure"]);
    command
}

/// Returns the first of enough consecutive free ports.
fn free_ports() -> Result<u16> {
    let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let first = (20_000..32_000).step_by(PORTS.into()).find(|first| (*first..first + PORTS).all(is_free));
    first.ok_or_else(|| anyhow::anyhow!("there are no {PORTS} free ports in a row between 20000 and 32000"))
}
