//! The real controller in a process of its own, on a database of its own, with its first user.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sqlx::PgPool;
use tokio::process::Command;
use uuid::Uuid;

use crate::{
    api::Api,
    arguments::Arguments,
    database::Database,
    process::{Process, Resident, free_port},
};

/// Timeout of the start.
const START: Duration = Duration::from_mins(1);

/// A running controller.
pub struct Controller {
    /// Its first user's client.
    pub api: Api,
    /// That user.
    pub user: Uuid,
    /// Its database.
    pub database: Database,
    /// Port of the public API.
    pub public: u16,
    /// Where agents dial.
    pub node_address: String,
    /// Label of its containers.
    pub fleet: String,
    process: Process,
}

/// Files of a controller: master key, database URL.
pub struct Files(PathBuf);

impl Files {
    /// Writes them into a folder.
    pub fn write(dir: &Path, database: &Database) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key)?;
        let files = Self(dir.to_owned());
        std::fs::write(files.master_key(), STANDARD.encode(key))?;
        std::fs::write(files.database_url(), &database.url)?;
        Ok(files)
    }

    /// The master key.
    pub fn master_key(&self) -> PathBuf {
        self.0.join("master.key")
    }

    /// The database's URL.
    pub fn database_url(&self) -> PathBuf {
        self.0.join("database-url")
    }

    /// Where the controller leaves its setup token.
    pub fn setup_token(&self) -> PathBuf {
        self.0.join("setup-token")
    }

    /// The images that the controller keeps.
    pub fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    /// Becomes the first user of a controller that has just started on a port.
    pub async fn set_up(&self, port: u16) -> Result<Api> {
        Api::set_up(port, std::fs::read_to_string(self.setup_token())?.trim()).await
    }
}

/// Returns a fleet id that `make bench` recognises during its clean-up.
pub fn fleet_id() -> String {
    format!("bench{}", &Uuid::new_v4().simple().to_string()[..12])
}

impl Controller {
    /// Starts one. In: a name for its files, more arguments.
    pub async fn start(arguments: &Arguments, name: &str, more: &[&str]) -> Result<Self> {
        let database = Database::create(&arguments.database_url).await?;
        let files = Files::write(&arguments.dir.join(name), &database)?;
        let public = free_port()?;
        let node_address = format!("127.0.0.1:{}", free_port()?);
        let fleet = fleet_id();
        let mut command = Command::new(&arguments.controller);
        command
            .arg("run")
            .args(["--public-listen", &format!("127.0.0.1:{public}")])
            .args(["--node-listen", &node_address])
            .arg("--database-url-file")
            .arg(files.database_url())
            .arg("--master-key-file")
            .arg(files.master_key())
            .arg("--setup-token-file")
            .arg(files.setup_token())
            .arg("--images-dir")
            .arg(files.images())
            .args(["--fleet-id", &fleet])
            .args(more);
        let mut process = Process::start(command, &arguments.dir, &format!("{name}-controller"))?;
        let until = Instant::now() + START;
        // The controller binds the port before it prepares the database, and writes the token afterwards.
        while !files.setup_token().exists()
            || tokio::net::TcpStream::connect(("127.0.0.1", public)).await.is_err()
        {
            process.check()?;
            ensure!(Instant::now() < until, "the controller is not up after {START:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let api = files.set_up(public).await?;
        let db = database.pool().await?;
        let user = sqlx::query_scalar("SELECT id FROM users").fetch_one(&db).await?;
        db.close().await;
        Ok(Self { api, user, database, public, node_address, fleet, process })
    }

    /// A look behind the API.
    pub async fn pool(&self) -> Result<PgPool> {
        self.database.pool().await
    }

    /// Its memory now.
    pub fn resident(&self) -> Result<Resident> {
        self.process.resident()
    }

    /// Ends it and drops its database.
    pub async fn end(self) -> Result<()> {
        self.process.end().await?;
        self.database.drop().await
    }
}
