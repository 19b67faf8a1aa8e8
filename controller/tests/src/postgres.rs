//! A PostgreSQL of the test's own, to be stopped and started.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;

use super::{free_port, turn, wait_for};

/// A running server; stopped and removed when dropped.
pub struct Postgres {
    /// Superuser's URL.
    pub url: String,
    /// Where it listens, host:port.
    pub address: String,
    dir: TempDir,
    port: u16,
}

impl Postgres {
    /// Makes one.
    pub fn start() -> Self {
        let server = Self::empty();
        server.initialise();
        server.run_again();
        server
    }

    /// One whose databases lie on a disk of this size of their own, e.g. "64m"; its write-ahead log does not.
    pub async fn on_small_disk(size: &str) -> Self {
        let server = Self::empty();
        server.initialise();
        let disk = server.disk();
        std::fs::create_dir(&disk).unwrap();
        // In a mount namespace of its own, so that nothing is left mounted when the server has ended.
        let mount = format!(
            "mount -t tmpfs -o size={size},mode=0700 tmpfs \"$0\" && chown postgres \"$0\" && exec \"$@\""
        );
        let start = server.start_command();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &mount]).arg(&disk);
        command.arg(start.get_program()).args(start.get_args()).current_dir("/");
        run(&mut command);
        server.execute(&format!("CREATE TABLESPACE small LOCATION '{}'", disk.display())).await;
        // New databases are copies of this one.
        server.execute("ALTER DATABASE template1 SET TABLESPACE small").await;
        server
    }

    /// A standby that follows this server until it is promoted.
    #[must_use]
    pub fn standby(&self) -> Self {
        let standby = Self::empty();
        self.copy_to(&standby.data(), &["--write-recovery-conf"]);
        standby.run_again();
        standby
    }

    /// Waits until this standby has everything that `primary` has written.
    pub async fn catch_up(&self, primary: &Self) {
        let written = primary.ask("SELECT pg_current_wal_flush_lsn()::text").await;
        let reached = format!("SELECT (pg_last_wal_replay_lsn() >= '{written}')::text");
        wait_for("the standby to catch up", Duration::from_secs(30), async || {
            (self.ask(&reached).await == "true").then_some(())
        })
        .await;
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        run(as_postgres("pg_ctl").args(["promote", "--wait", "--silent", "--pgdata"]).arg(self.data()));
    }

    /// All sessions may read only; or write again.
    pub async fn set_read_only(&self, read_only: bool) {
        self.execute(&format!("ALTER SYSTEM SET default_transaction_read_only = {read_only}")).await;
        self.execute("SELECT pg_reload_conf()").await;
    }

    /// Copies the data folder, to be restored later.
    pub fn back_up(&self) {
        self.copy_to(&self.dir.path().join("backup"), &[]);
    }

    /// Stops it as a crash does, and puts the copy in the place of its data folder. It does not run then.
    pub fn restore(&self) {
        self.crash();
        std::fs::remove_dir_all(self.data()).unwrap();
        run(Command::new("cp").arg("--archive").arg(self.dir.path().join("backup")).arg(self.data()));
    }

    /// Fills the small disk.
    pub fn fill_disk(&self) {
        let mut filling = File::create(self.filling()).unwrap();
        let zeros = vec![0; 1 << 20];
        // Whole pages at last, so that really nothing is left.
        for step in [1 << 20, 4096] {
            while filling.write_all(&zeros[..step]).is_ok() {}
        }
    }

    /// Gives it back.
    pub fn free_disk(&self) {
        std::fs::remove_file(self.filling()).unwrap();
    }

    /// Ends it as a crash does: no connection is told, nothing is written any more.
    pub fn crash(&self) {
        run(as_postgres("pg_ctl").args(["stop", "--mode=immediate", "--wait", "--pgdata"]).arg(self.data()));
    }

    /// Starts it again; returns when it answers.
    pub fn run_again(&self) {
        run(&mut self.start_command());
    }

    fn empty() -> Self {
        turn();
        let dir = tempfile::Builder::new().prefix("supalove-test-postgres-").tempdir().unwrap();
        run(Command::new("chown").arg("postgres").arg(dir.path()));
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        Self { url: format!("postgres://postgres@{address}/postgres"), address, dir, port }
    }

    fn initialise(&self) {
        let initdb = ["--auth=trust", "--username=postgres", "--no-sync"];
        run(as_postgres("initdb").arg("--pgdata").arg(self.data()).args(initdb));
    }

    fn start_command(&self) -> Command {
        let sockets = self.dir.path().display();
        let options = format!(
            "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories={sockets} -c fsync=off",
            self.port
        );
        let mut start = as_postgres("pg_ctl");
        start
            .args(["start", "--wait", "--silent", "--options", &options, "--log"])
            .arg(self.dir.path().join("log"))
            .arg("--pgdata")
            .arg(self.data());
        start
    }

    fn copy_to(&self, folder: &Path, more: &[&str]) {
        let mut copy = as_postgres("pg_basebackup");
        copy.args(["--checkpoint=fast", "--no-sync", "--dbname", &self.url]);
        run(copy.args(more).arg("--pgdata").arg(folder));
    }

    async fn execute(&self, statement: &str) {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        connection.execute(AssertSqlSafe(statement.to_owned())).await.unwrap();
    }

    async fn ask(&self, query: &str) -> String {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(&mut connection).await.unwrap()
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn disk(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    /// As the server sees it.
    fn filling(&self) -> PathBuf {
        let pid = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        let root = Path::new("/proc").join(pid.lines().next().unwrap()).join("root");
        root.join(self.disk().strip_prefix("/").unwrap()).join("filling")
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
