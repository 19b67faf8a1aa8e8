//! A PostgreSQL of the test's own, to be stopped and started.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::{free_port, turn};

/// A running server; stopped and removed when dropped.
pub struct Postgres {
    /// Superuser's URL.
    pub url: String,
    dir: TempDir,
    port: u16,
}

impl Postgres {
    /// Makes one.
    pub fn start() -> Self {
        turn();
        let dir = tempfile::Builder::new().prefix("supalove-test-postgres-").tempdir().unwrap();
        run(Command::new("chown").arg("postgres").arg(dir.path()));
        let port = free_port();
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        let server = Self { url, dir, port };
        let data = server.data();
        run(as_postgres("initdb").arg("--pgdata").arg(&data).args([
            "--auth=trust",
            "--username=postgres",
            "--no-sync",
        ]));
        server.run_again();
        server
    }

    /// Ends it as a crash does: no connection is told, nothing is written any more.
    pub fn crash(&self) {
        run(as_postgres("pg_ctl").args(["stop", "--mode=immediate", "--wait", "--pgdata"]).arg(self.data()));
    }

    /// Starts it again; returns when it answers.
    pub fn run_again(&self) {
        let sockets = self.dir.path().display();
        let options = format!(
            "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories={sockets}",
            self.port
        );
        run(as_postgres("pg_ctl")
            .args(["start", "--wait", "--silent", "--options", &options, "--log"])
            .arg(self.dir.path().join("log"))
            .arg("--pgdata")
            .arg(self.data()));
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let mut stop = as_postgres("pg_ctl");
        // It may be stopped already.
        let _ = stop.args(["stop", "--mode=immediate", "--silent", "--pgdata"]).arg(self.data()).output();
    }
}

/// A program of the installed server, run as its unprivileged user.
fn as_postgres(program: &str) -> Command {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("a PostgreSQL server is installed");
    let newest =
        versions.map(|version| version.unwrap().path()).max().expect("a PostgreSQL server is installed");
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(newest.join("bin").join(program)).current_dir(Path::new("/"));
    command
}

fn run(command: &mut Command) {
    // Not piped: a server that is started keeps what it was given for ever.
    let status =
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}
