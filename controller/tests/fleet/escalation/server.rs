//! The database of a release alone: its image with the files and variables that the controller renders, without a fleet.
//! The same data can be started as another release's.

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use supalove_proto::node::v1::{ServiceSpec, StackSpec};
use supalove_stack::{ProjectInput, ProjectSecrets, ProjectSettings, Releases, render};
use supalove_system_tests::{docker, try_docker, turn, wait_for};
use tempfile::TempDir;
use tokio_postgres::{Client, Config, NoTls};

const REF: &str = "abcdefghijklmnopqrst";
/// Where the releases have the SQL of each start.
const START: &str = "/etc/supalove/start/start.sql";

/// Of a session of the agent's (`agent/src/stack/start_sql.rs`).
const OPTIONS: &str = "PGOPTIONS=-c idle_session_timeout=0 -c lock_timeout=5s -c role=none -c track_activities=off \
    -c pg_stat_statements.track=none";

pub(super) struct Server {
    name: String,
    secrets: ProjectSecrets,
    port: u16,
    _files: TempDir,
    /// The release before on the same data, whose volume this is.
    volume: String,
    trusts_loopback: bool,
}

/// A release's specification, with these secrets.
pub(super) fn spec_of(release: &str, secrets: &ProjectSecrets) -> StackSpec {
    let releases = Releases::embedded().unwrap();
    let settings = ProjectSettings::default();
    let input = ProjectInput { project_ref: REF, project_name: "Shop", secrets, settings: &settings };
    render(releases.get(release).unwrap(), &input).unwrap()
}

fn postgres_of(spec: StackSpec) -> ServiceSpec {
    spec.services.into_iter().find(|service| service.name == "postgres").unwrap()
}

impl Server {
    /// A new database of this release.
    pub(super) async fn start(release: &str) -> Self {
        turn();
        let volume = format!("supalove-test-escalation-{}", uuid::Uuid::now_v7().simple());
        docker(None, &["volume", "create", &volume]);
        let server = Self::run(release, ProjectSecrets::generate(REF).unwrap(), volume);
        let ready = || async { server.try_tenant().await.ok() };
        wait_for("the database answers", Duration::from_mins(1), ready).await;
        server
    }

    /// The same data as a database of another release.
    pub(super) async fn upgrade(mut self, release: &str) -> Self {
        docker(None, &["stop", &self.name]);
        let volume = std::mem::take(&mut self.volume);
        let secrets = self.secrets.clone();
        drop(self);
        let server = Self::run(release, secrets, volume);
        // What the agent does at each start. Before, a tenant that is a superuser cannot even log in.
        let ready = || async { server.run_start_sql().map_err(|error| println!("{error}")).ok() };
        wait_for("the rules", Duration::from_mins(1), ready).await;
        server
    }

    fn run(release: &str, secrets: ProjectSecrets, volume: String) -> Self {
        let service = postgres_of(spec_of(release, &secrets));
        let files = tempfile::Builder::new().prefix("supalove-test-escalation-").tempdir().unwrap();
        fs::set_permissions(files.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let name = format!("supalove-test-escalation-{}", uuid::Uuid::now_v7().simple());
        let data = format!("{volume}:/var/lib/postgresql/data");
        let mut command: Vec<String> =
            ["run", "--detach", "--name", &name, "--read-only", "--cap-drop", "ALL"]
                .into_iter()
                .chain([
                    "--security-opt",
                    "no-new-privileges",
                    "--memory",
                    "512m",
                    "--publish",
                    "127.0.0.1::5432",
                ])
                .chain([
                    "--tmpfs",
                    "/tmp:mode=1777",
                    "--tmpfs",
                    "/var/run/postgresql:mode=0775,uid=999,gid=999",
                ])
                .chain(["--volume", &data])
                .map(str::to_owned)
                .collect();
        for one in &service.env {
            command.extend(["--env".to_owned(), format!("{}={}", one.name, one.value)]);
        }
        for (number, mount) in service.config_mounts.iter().enumerate() {
            let folder = files.path().join(number.to_string());
            for file in &mount.files {
                write(&folder.join(&file.path), &file.content);
            }
            let source = if mount.single_file { folder.join(&mount.files[0].path) } else { folder };
            command.extend(["--volume".to_owned(), format!("{}:{}:ro", source.display(), mount.path)]);
        }
        command.push(service.image.clone());
        let arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        docker(None, &arguments);
        let port = published_port(&name);
        let trusts_loopback = release == "core";
        Self { name, secrets, port, _files: files, volume, trusts_loopback }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn secrets(&self) -> &ProjectSecrets {
        &self.secrets
    }

    /// Starts the server again, up to where an agent would run the SQL of the start.
    pub(super) async fn restart(&mut self) {
        docker(None, &["restart", &self.name]);
        self.port = published_port(&self.name);
        let answers = || async { self.as_superuser("SELECT 1").ok() };
        wait_for("the server answers over its socket", Duration::from_mins(1), answers).await;
    }

    pub(super) fn secret(&self, name: &str) -> String {
        self.secrets.iter().find(|(one, _)| *one == name).unwrap().1.to_owned()
    }

    /// The password of the service roles.
    /// The tenant's own.
    pub(super) fn tenant_password(&self) -> String {
        self.secret("tenant_db_password")
    }

    /// The container's name.
    pub(super) fn container(&self) -> &str {
        &self.name
    }

    pub(super) fn internal_password(&self) -> String {
        self.secret("postgres_password")
    }

    /// A login over TCP.
    pub(super) async fn log_in(&self, user: &str, password: &str) -> Result<Client, tokio_postgres::Error> {
        self.log_in_to("postgres", user, password).await
    }

    pub(super) async fn log_in_to(
        &self,
        database: &str,
        user: &str,
        password: &str,
    ) -> Result<Client, tokio_postgres::Error> {
        let mut config = Config::new();
        config.hostaddr(IpAddr::V4(Ipv4Addr::LOCALHOST)).port(self.port).dbname(database);
        config.user(user).password(password);
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    async fn try_tenant(&self) -> Result<Client, tokio_postgres::Error> {
        self.log_in("postgres", &self.secret("tenant_db_password")).await
    }

    /// A session of the tenant.
    pub(super) async fn tenant(&self) -> Client {
        self.try_tenant().await.unwrap()
    }

    /// What the platform does inside the container, as a superuser. Answers the output.
    pub(super) fn as_superuser(&self, sql: &str) -> Result<String, String> {
        let host = if self.trusts_loopback { "127.0.0.1" } else { "/var/run/postgresql" };
        self.psql(&["--host", host, "--username", "supabase_admin", "--file", "-"], sql)
    }

    /// The SQL of each start, as the agent runs it.
    pub(super) fn run_start_sql(&self) -> Result<String, String> {
        self.psql(&["--username", "supabase_admin", "--file", START], "")
    }

    fn psql(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut command = Command::new("docker");
        command.args([
            "exec",
            "--interactive",
            "--env",
            OPTIONS,
            &self.name,
            "psql",
            "--no-psqlrc",
            "--no-password",
            "--tuples-only",
        ]);
        command
            .args(["--no-align", "--quiet", "--dbname", "postgres", "--set", "ON_ERROR_STOP=1"])
            .args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(words(&output.stdout)) } else { Err(words(&output.stderr)) }
    }

    /// Whoever the server lets in without a password over a connection from its own host, as `role@host`.
    pub(super) fn trusted(&self, roles: &[String]) -> (usize, Vec<String>) {
        let script = "for host in 127.0.0.1 ::1 $(hostname -i); do for role in \"$@\"; do
            ! psql --no-psqlrc --no-password --quiet --host $host --username $role --dbname postgres --command '' 2>/dev/null ||
            echo $role@$host; done; done";
        let fixed = ["exec", "--env", "PGPASSWORD=", &self.name, "sh", "-c", script, "trusted"];
        let arguments: Vec<&str> = fixed.into_iter().chain(roles.iter().map(String::as_str)).collect();
        let found = docker(None, &arguments);
        (3 * roles.len(), found.lines().map(str::to_owned).collect())
    }
}

fn published_port(container: &str) -> u16 {
    let published = docker(None, &["port", container, "5432/tcp"]);
    published.lines().next().unwrap().rsplit_once(':').unwrap().1.parse().unwrap()
}

fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o444)).unwrap();
}

impl Drop for Server {
    fn drop(&mut self) {
        try_docker(None, &["rm", "--force", "--volumes", &self.name]).ok();
        if !self.volume.is_empty() {
            try_docker(None, &["volume", "rm", "--force", &self.volume]).ok();
        }
    }
}
