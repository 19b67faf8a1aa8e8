//! A database of the test's own on the server that `make test` started.

use std::{path::Path, process::Command};

use sqlx::PgPool;
use supalove_core::database::Pools;
use tokio::sync::OnceCell;

use super::rows::{Rows, copy_database, create_database, make_roles};

/// The database that those with a schema are copies of: the migrations take longer than many tests.
static PREPARED: OnceCell<Database> = OnceCell::const_new();

/// A new, empty database.
#[derive(Clone)]
pub struct Database {
    /// Its URL.
    pub url: String,
    /// Its name.
    pub name: String,
}

/// URL of the server.
fn server() -> String {
    std::env::var("SUPALOVE_TEST_DATABASE_URL")
        .expect("SUPALOVE_TEST_DATABASE_URL is not set; run the tests with `make test`")
}

fn new_name() -> String {
    format!("test_{}", uuid::Uuid::new_v4().simple())
}

impl Database {
    /// Makes one.
    pub async fn create() -> Self {
        super::turn();
        Self::create_on(&server()).await
    }

    /// Makes one that has the schema, as a controller's first start prepares it.
    pub async fn create_prepared() -> Self {
        super::turn();
        let server = server();
        let template = PREPARED
            .get_or_init(async || {
                let database = Self::create_on(&server).await;
                Pools::connect(&database.url).await.unwrap().work.prepare().await.unwrap();
                database
            })
            .await;
        let name = new_name();
        copy_database(&server, &template.name, &name).await;
        Self::named(&server, name)
    }

    /// Makes one on another server.
    pub async fn create_on(server: &str) -> Self {
        let name = new_name();
        create_database(server, &name).await;
        Self::named(server, name)
    }

    fn named(server: &str, name: String) -> Self {
        let (base, query) = server.split_once('?').unwrap_or((server, ""));
        let (base, _) = base.rsplit_once('/').expect("the URL names a database");
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        Self { url: format!("{base}/{name}{query}"), name }
    }

    /// Name of the role that its controller logs in as, if its schema has an owner of its own.
    pub fn controller_role(&self) -> String {
        format!("{}_controller", self.name)
    }

    /// Gives it, while it is empty, an owner of its own and a role for the controller; returns their URLs.
    pub async fn separate_roles(&self) -> [String; 2] {
        let owner = format!("{}_owner", self.name);
        let controller = self.controller_role();
        let password = uuid::Uuid::new_v4().simple().to_string();
        make_roles(&self.url, &self.name, &owner, &controller, &password).await;
        let at = self.url.split_once('@').expect("the URL has a password").1;
        [owner, controller].map(|role| format!("postgresql://{role}:{password}@{at}"))
    }

    /// Writes all of it to a file.
    pub fn dump(&self, file: &Path) {
        self.run("pg_dump", &["--format=custom", "--file", &file.display().to_string()]);
    }

    /// Makes it what it was at that dump.
    pub fn restore(&self, file: &Path) {
        self.run("pg_restore", &["--clean", "--if-exists", "--no-owner", &file.display().to_string()]);
    }

    /// Runs a program of PostgreSQL on it.
    fn run(&self, program: &str, arguments: &[&str]) {
        let output = Command::new(program).args(arguments).arg("--dbname").arg(&self.url).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Its rows, for looking behind the API.
    pub async fn rows(&self) -> Rows {
        Rows::new(PgPool::connect(&self.url).await.unwrap())
    }
}
