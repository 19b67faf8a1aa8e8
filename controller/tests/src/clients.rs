//! Clients that are not ours, and the SDKs, as programs: `deploy/dev/clients.sh` makes ready what is run here.

use std::{path::PathBuf, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
    sync::mpsc,
};

use super::{Controller, PASSWORD, root};

/// The first user's address.
pub const EMAIL: &str = "operator@example.com";

/// A program of the clients' folder.
pub fn client(name: &str) -> PathBuf {
    let path = root().join("target/clients").join(name);
    assert!(path.exists(), "{} is missing; run deploy/dev/clients.sh", path.display());
    path
}

/// The variables that the examples take.
pub fn with_user(mut command: Command, controller: &Controller) -> Command {
    command
        .env("SUPALOVE_API", format!("http://127.0.0.1:{}", controller.public_port))
        .env("SUPALOVE_EMAIL", EMAIL)
        .env("SUPALOVE_PASSWORD", PASSWORD)
        .env("SUPALOVE_ORGANIZATION", "acme");
    command
}

/// What a client says, line by line.
pub type Lines = mpsc::UnboundedReceiver<String>;

/// Runs a client. The last line is "ended with" and its exit code.
pub fn lines_of(mut command: Command) -> Lines {
    let (sender, lines) = mpsc::unbounded_channel();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    tokio::spawn(async move {
        while let Ok(Some(line)) = output.next_line().await {
            let _ = sender.send(line);
        }
        let status = child.wait().await.unwrap();
        let _ = sender.send(format!("ended with {}", status.code().unwrap_or(-1)));
    });
    lines
}
