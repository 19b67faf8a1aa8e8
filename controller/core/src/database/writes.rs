//! Whether the control database takes writes. A server that is read-only, or whose disk is full, answers reads, and even
//! those writes for which it has room.

use sqlx::Executor as _;

use super::Db;

/// Rows that do not fit into `work_mem` below, so that the server writes them to its disk and deletes them again.
const SPILLED_ROWS: i32 = 5000;

/// Why a database that answers takes no writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is a standby, was made read-only, or has handed over to another server.
    #[error("the control database is read-only")]
    ReadOnly,
    /// Nothing can be appended to its tables.
    #[error("the disk of the control database is full")]
    DiskFull,
}

impl Db {
    /// Returns why the database takes no writes; `None` if it does. Writes a temporary file on its disk, and no row.
    pub async fn refuses_writes(&self) -> Result<Option<Refusal>, sqlx::Error> {
        let mut transaction = self.begin().await?;
        let Some(connection) = transaction.connection.as_mut() else {
            return Ok(None);
        };
        connection.execute("SET LOCAL work_mem = '64kB'").await?;
        let read_only =
            sqlx::query_scalar!("SELECT current_setting('transaction_read_only')::bool AS \"read_only!\"")
                .fetch_one(&mut *connection)
                .await?;
        if read_only {
            // Another server may take the writes now.
            self.silence.begins("the control database is read-only");
            return Ok(Some(Refusal::ReadOnly));
        }
        let spilled = sqlx::query_scalar!("SELECT count(*) FROM generate_series(1, $1::int)", SPILLED_ROWS);
        match spilled.fetch_one(&mut *connection).await {
            Ok(_) => Ok(None),
            Err(sqlx::Error::Database(said)) if said.code().as_deref() == Some("53100") => {
                Ok(Some(Refusal::DiskFull))
            }
            Err(error) => Err(error),
        }
    }
}
