//! A database of the test's own on the server that `make test` started.

use sqlx::PgPool;

use super::rows::{Rows, create_database};

/// A new, empty database.
#[derive(Clone)]
pub struct Database {
    /// Its URL.
    pub url: String,
    /// Its name.
    pub name: String,
}

impl Database {
    /// Makes one.
    pub async fn create() -> Self {
        super::turn();
        let server = std::env::var("SUPALOVE_TEST_DATABASE_URL")
            .expect("SUPALOVE_TEST_DATABASE_URL is not set; run the tests with `make test`");
        Self::create_on(&server).await
    }

    /// Makes one on another server.
    pub async fn create_on(server: &str) -> Self {
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        create_database(server, &name).await;
        let (base, query) = server.split_once('?').unwrap_or((server, ""));
        let (base, _) = base.rsplit_once('/').expect("the URL names a database");
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        Self { url: format!("{base}/{name}{query}"), name }
    }

    /// Its rows, for looking behind the API.
    pub async fn rows(&self) -> Rows {
        Rows::new(PgPool::connect(&self.url).await.unwrap())
    }
}
