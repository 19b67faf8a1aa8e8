//! Runs `nft`, and `iptables` to look at what others wrote with it: argument list and standard input, no shell, with a time
//! limit.

use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const PROGRAM: &str = "nft";
const IPTABLES: &str = "iptables";

/// Why the packet filter could not be set.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NftError {
    #[error("the program `nft` is missing: install the package `nftables`")]
    Missing,
    /// It refused, with its own message.
    #[error("nft failed: {0}")]
    Refused(String),
    /// It did not end.
    #[error("nft did not end within {0:?}")]
    Timeout(Duration),
    /// It could not be run.
    #[error("cannot run nft: {0}")]
    Run(String),
    /// The task that owns the packet rules has ended.
    #[error("the agent is stopping")]
    Stopping,
}

/// The program's version; errs if it is not installed.
pub async fn version(limit: Duration) -> Result<String, NftError> {
    run(&["--version"], None, limit).await
}

/// Loads a script in one transaction.
pub async fn load(script: &str, limit: Duration) -> Result<(), NftError> {
    run(&["-f", "-"], Some(script), limit).await.map(drop)
}

/// The table as the kernel lists it; none if it does not exist.
pub async fn list(table: &str, limit: Duration) -> Result<Option<String>, NftError> {
    list_table(["inet", table], limit).await
}

/// A table of this family and name as the kernel lists it; none if it does not exist.
pub async fn list_table([family, name]: [&str; 2], limit: Duration) -> Result<Option<String>, NftError> {
    match run(&["list", "table", family, name], None, limit).await {
        Ok(listing) => Ok(Some(listing)),
        Err(NftError::Refused(words)) if words.contains("No such file or directory") => Ok(None),
        Err(error) => Err(error),
    }
}

/// The rules of the IPv4 table `nat`, as `iptables` lists them.
pub async fn list_rules(limit: Duration) -> Result<String, NftError> {
    run_program(IPTABLES, &["--wait", "5", "-t", "nat", "-S"], None, limit).await
}

async fn run(arguments: &[&str], input: Option<&str>, limit: Duration) -> Result<String, NftError> {
    run_program(PROGRAM, arguments, input, limit).await
}

async fn run_program(
    program: &str,
    arguments: &[&str],
    input: Option<&str>,
    limit: Duration,
) -> Result<String, NftError> {
    let output = tokio::time::timeout(limit, spawn(program, arguments, input))
        .await
        .map_err(|_| NftError::Timeout(limit))?
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => NftError::Missing,
            _ => NftError::Run(error.to_string()),
        })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(NftError::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

async fn spawn(program: &str, arguments: &[&str], input: Option<&str>) -> io::Result<Output> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A run whose caller gave up must not go on.
        .kill_on_drop(true)
        .spawn()?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes()).await?;
        drop(stdin);
    }
    child.wait_with_output().await
}
