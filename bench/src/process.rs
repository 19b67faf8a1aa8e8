//! A measured program: starts it, reads its memory from /proc, ends it.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::process::{Child, Command};

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    pid_file: PathBuf,
}

/// Resident memory, KiB.
#[derive(Debug, Clone, Copy)]
pub struct Resident {
    /// All of it, including the pages of the binary (VmRSS).
    pub all: u64,
    /// The private part (RssAnon).
    pub own: u64,
}

impl Process {
    /// Starts it; what it prints goes to `<dir>/<name>.log`, its id to `<dir>/<name>.pid`.
    pub fn start(mut command: Command, dir: &Path, name: &str) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let pid_file = dir.join(format!("{name}.pid"));
        let file = File::create(&log).with_context(|| log.display().to_string())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        std::fs::write(&pid_file, child.id().unwrap_or_default().to_string())?;
        Ok(Self { child, log, pid_file })
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Returns an error with its last lines if it has ended.
    pub fn check(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        bail!(
            "{} ended with {status}:\n{}",
            self.log.display(),
            lines[lines.len().saturating_sub(20)..].join("\n")
        )
    }

    /// Its memory now.
    pub fn resident(&self) -> Result<Resident> {
        let id = self.child.id().context("the process has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such field")?;
            Ok(line.trim_start_matches(':').trim().trim_end_matches(" kB").parse()?)
        };
        Ok(Resident { all: field("VmRSS")?, own: field("RssAnon")? })
    }

    /// Processor time that it has used, to a hundredth of a second.
    pub fn cpu(&self) -> Result<Duration> {
        let id = self.child.id().context("the process has ended")?;
        let text = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
        // The name, in parentheses, may hold anything.
        let (_, rest) = text.rsplit_once(')').context("no name")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let ticks =
            |index: usize| -> Result<u64> { Ok(fields.get(index).context("no such field")?.parse()?) };
        // User and system time, in hundredths.
        Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
    }

    /// Ends it and waits for its end.
    pub async fn end(mut self) -> Result<()> {
        self.child.kill().await?;
        std::fs::remove_file(&self.pid_file)?;
        Ok(())
    }
}

/// Returns a free port.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
