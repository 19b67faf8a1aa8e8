//! The owner of the schema, and the role that the controller logs in as.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::Rows;

/// Makes both roles, and the first one the database's owner. In: a superuser's URL.
pub(crate) async fn make_roles(url: &str, database: &str, owner: &str, controller: &str, password: &str) {
    let statements = format!(
        "CREATE ROLE {owner} LOGIN PASSWORD '{password}'; CREATE ROLE {controller} LOGIN PASSWORD '{password}';
         ALTER DATABASE {database} OWNER TO {owner}"
    );
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute(AssertSqlSafe(statements)).await.unwrap();
}

/// What became of a statement: the rows that it changed, or its SQLSTATE.
pub type Outcome = Result<u64, String>;

impl Rows {
    /// Runs statements as the user of this URL, each in a session of its own.
    pub async fn run_as(url: &str, statements: &[String]) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for statement in statements {
            let mut connection = PgConnection::connect(url).await.unwrap();
            let done = connection.execute(AssertSqlSafe(statement.clone())).await;
            outcomes.push(done.map(|done| done.rows_affected()).map_err(|error| {
                let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
                code.expect("the server refuses it").into_owned()
            }));
        }
        outcomes
    }

    /// As if the newest migration had not been applied.
    pub async fn forget_newest_migration(&self) -> i64 {
        self.one("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations) RETURNING version")
            .await
    }
}
