//! The controller's real binary.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tempfile::TempDir;

use super::{Api, Database, Process, free_port, program, turn};

/// File with the previous master key; it need not be there.
pub const PREVIOUS_KEY: &str = "previous.key";

/// What a test sets.
#[derive(Default, Clone)]
pub struct Options {
    /// More arguments.
    pub arguments: Vec<String>,
    /// Address to listen on for agents; default loopback.
    pub node_host: Option<String>,
    /// A superuser's URL of the server that its database is made on; default the tests'.
    pub database_server: Option<String>,
    /// Program and arguments that the controller is run under.
    pub under: Vec<String>,
    /// Environment.
    pub environment: Vec<(String, String)>,
    /// Its database belongs to another role than the one that it logs in as.
    pub separate_owner: bool,
}

/// A running controller with its database and files.
pub struct Controller {
    /// Its process.
    pub process: Process,
    /// Its database.
    pub database: Database,
    /// Its files.
    pub dir: TempDir,
    /// Port of the public API.
    pub public_port: u16,
    /// Address that agents dial.
    pub node_address: String,
    /// Label of its containers.
    pub fleet: String,
    options: Options,
}

impl Controller {
    /// Starts one on a new database.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// The same with options.
    pub async fn start_with(options: Options) -> Self {
        turn();
        super::install_crypto();
        let database = match &options.database_server {
            Some(server) => Database::create_on(server).await,
            None if options.separate_owner => Database::create().await,
            None => Database::create_prepared().await,
        };
        let dir = tempfile::Builder::new().prefix("supalove-test-").tempdir().unwrap();
        let mut key = [0u8; 32];
        aws_lc_rs::rand::fill(&mut key).unwrap();
        std::fs::write(dir.path().join("master.key"), STANDARD.encode(key)).unwrap();
        if options.separate_owner {
            let [owner, own] = database.separate_roles().await;
            std::fs::write(dir.path().join("owner-database-url"), owner).unwrap();
            std::fs::write(dir.path().join("database-url"), own).unwrap();
            migrate(dir.path(), &database.controller_role());
        } else {
            std::fs::write(dir.path().join("database-url"), &database.url).unwrap();
        }
        let public_port = free_port();
        let host = options.node_host.clone().unwrap_or_else(|| "127.0.0.1".to_owned());
        let node_address = format!("{host}:{}", free_port());
        let fleet = format!("test{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        let process = spawn(dir.path(), public_port, &node_address, &fleet, &options);
        let mut controller = Self { process, database, dir, public_port, node_address, fleet, options };
        controller.wait_until_up().await;
        controller
    }

    /// Another replica on the same database, with the same master key. Once there is an operator: until then each start
    /// makes a new setup token.
    pub async fn replica(&self) -> Self {
        let dir = tempfile::Builder::new().prefix("supalove-test-").tempdir().unwrap();
        for file in ["master.key", PREVIOUS_KEY, "database-url"]
            .into_iter()
            .filter(|file| self.dir.path().join(file).exists())
        {
            std::fs::copy(self.dir.path().join(file), dir.path().join(file)).unwrap();
        }
        let public_port = free_port();
        let node_address = format!("127.0.0.1:{}", free_port());
        let process = spawn(dir.path(), public_port, &node_address, &self.fleet, &self.options);
        let database = self.database.clone();
        let fleet = self.fleet.clone();
        let options = self.options.clone();
        let mut replica = Self { process, database, dir, public_port, node_address, fleet, options };
        replica.wait_until_up().await;
        replica
    }

    /// `kill -9`, then the same command again.
    pub async fn kill_and_restart(&mut self) {
        self.process.kill();
        self.restart().await;
    }

    /// The same command again, after a kill.
    pub async fn restart(&mut self) {
        self.process =
            spawn(self.dir.path(), self.public_port, &self.node_address, &self.fleet, &self.options);
        self.wait_until_up().await;
    }

    /// What the same command says that does not start, after a kill.
    pub fn refused_start(&mut self) -> String {
        self.process =
            spawn(self.dir.path(), self.public_port, &self.node_address, &self.fleet, &self.options);
        let until = Instant::now() + Duration::from_secs(20);
        let code = loop {
            if let Some(code) = self.process.ended() {
                break code;
            }
            assert!(Instant::now() < until, "it started:\n{}", self.process.log());
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(!code.success(), "{code}");
        self.process.log()
    }

    /// Has a new master key from its next start on; the old one becomes the previous one.
    pub fn new_master_key(&self) {
        let mut key = [0u8; 32];
        aws_lc_rs::rand::fill(&mut key).unwrap();
        let file = |name: &str| self.dir.path().join(name);
        std::fs::rename(file("master.key"), file(PREVIOUS_KEY)).unwrap();
        std::fs::write(file("master.key"), STANDARD.encode(key)).unwrap();
    }

    async fn wait_until_up(&mut self) {
        let until = Instant::now() + Duration::from_secs(20);
        while tokio::net::TcpStream::connect(("127.0.0.1", self.public_port)).await.is_err() {
            self.process.assert_alive();
            assert!(Instant::now() < until, "the controller is not up:\n{}", self.process.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A client that is not signed in.
    pub fn api(&self) -> Api {
        Api::connect(self.public_port)
    }

    /// The operator, made with the setup token, who also owns the organization "acme".
    pub async fn operator(&self) -> Api {
        let file = self.dir.path().join("setup-token");
        // The port is taken before the database is prepared; the token is written after that.
        while !file.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let token = std::fs::read_to_string(file).unwrap();
        let mut api = self.api();
        api.set_up(token.trim()).await;
        // Most tests are about other things than quotas; those that are give their organizations a plan.
        self.database.rows().await.set_default_plan("premium").await;
        api.create_organization("acme").await;
        api
    }
}

/// Prepares the database as its owner.
fn migrate(dir: &Path, role: &str) {
    let mut command = Command::new(program("supalove-controller"));
    command.args(["migrate", "--controller-role", role]);
    command.arg("--database-url-file").arg(dir.join("owner-database-url"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn spawn(dir: &Path, public_port: u16, node_address: &str, fleet: &str, options: &Options) -> Process {
    let controller = program("supalove-controller").display().to_string();
    let words: Vec<&str> = options.under.iter().map(String::as_str).chain([controller.as_str()]).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    let file = |name: &str| dir.join(name).display().to_string();
    command
        .arg("run")
        .args(["--public-listen", &format!("127.0.0.1:{public_port}")])
        .args(["--node-listen", node_address])
        .args(["--database-url-file", &file("database-url")])
        .args(["--master-key-file", &file("master.key")])
        .args(["--setup-token-file", &file("setup-token")])
        .args(["--images-dir", &file("images")])
        .args(["--fleet-id", fleet])
        .args(
            dir.join(PREVIOUS_KEY)
                .exists()
                .then(|| ["--previous-master-key-file".to_owned(), file(PREVIOUS_KEY)])
                .into_iter()
                .flatten(),
        )
        .args(&options.arguments)
        .envs(options.environment.iter().map(|(name, value)| (name, value)));
    Process::start(&mut command, &dir.join("controller.log"))
}
