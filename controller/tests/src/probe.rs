//! Whether addresses can be reached from inside a container, asked with the Deno that it ships.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdout, Command, Stdio},
};

use super::docker;

/// Tries all targets at once; prints a JSON object of name and outcome.
const PROGRAM: &str = include_str!("probe.js");
/// Holds connections until it is told to try them.
const HOLDER: &str = include_str!("hold.js");

/// What is tried.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Target {
    /// For people; unique in a list.
    pub name: &'static str,
    /// Address or name.
    pub host: String,
    /// Port.
    pub port: u16,
    /// UDP, to somebody who answers; else TCP.
    pub udp: bool,
}

impl Target {
    /// Over TCP.
    pub fn tcp(name: &'static str, host: &str, port: u16) -> Self {
        Self { name, host: host.to_owned(), port, udp: false }
    }

    /// Over UDP.
    pub fn udp(name: &'static str, host: &str, port: u16) -> Self {
        Self { udp: true, ..Self::tcp(name, host, port) }
    }
}

/// Outcomes by name: "open" and the address that answered, or why nobody did within two seconds.
pub fn probe(engine: &str, container: &str, targets: &[Target]) -> BTreeMap<String, String> {
    let targets = format!("TARGETS={}", serde_json::to_string(targets).unwrap());
    let said = docker(
        Some(engine),
        &["exec", "--env", &targets, container, "deno", "eval", "--quiet", "--unstable-net", PROGRAM],
    );
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Connections that a container holds open to somebody who sends back what he gets.
pub struct Held {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Held {
    /// Opens them; panics if one does not work.
    pub fn open(engine: &str, container: &str, targets: &[Target]) -> Self {
        let targets = format!("TARGETS={}", serde_json::to_string(targets).unwrap());
        let mut child = Command::new("docker")
            .args(["--host", engine, "exec", "--interactive", "--env", &targets, container])
            .args(["deno", "eval", "--quiet", HOLDER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut held = Self { said: BufReader::new(child.stdout.take().unwrap()), child };
        assert_eq!(held.line(), "held");
        held
    }

    /// Outcomes by name: "open", or why nothing comes back within two seconds.
    pub fn outcomes(mut self) -> BTreeMap<String, String> {
        self.child.stdin.take().unwrap().write_all(b"\n").unwrap();
        serde_json::from_str(&self.line()).unwrap()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
