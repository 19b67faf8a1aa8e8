//! The columns with sealed values: each room lists its own. Without the list a new column would be forgotten when the master key is
//! replaced, so a test walks the schema. The statements are made from the list, so that there is one for all columns; the same
//! test runs them.

use sqlx::{AssertSqlSafe, PgExecutor, Row as _, postgres::PgRow};

use super::{HEADER_LEN, KeyId, Scope};
use crate::{
    database::{Connection, Db},
    error::Result,
};

/// A column with sealed values, and how the place of a value follows from its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedColumn {
    /// Table.
    pub table: &'static str,
    /// Column.
    pub column: &'static str,
    /// [`Scope::kind`].
    pub kind: &'static str,
    /// SQL expression of [`Scope::id`].
    pub id: &'static str,
    /// SQL expression of [`Scope::name`].
    pub name: &'static str,
    /// SQL expression of [`Scope::version`].
    pub version: &'static str,
}

/// The beginning of a sealed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    /// [`Scope::id`].
    pub id: String,
    /// [`Scope::name`].
    pub name: String,
    /// [`Scope::version`].
    pub version: i64,
    /// The first bytes, a header at least.
    pub bytes: Vec<u8>,
}

impl SealedColumn {
    /// The place of a value.
    pub fn scope<'a>(&self, value: &'a Beginning) -> Scope<'a> {
        Scope { kind: self.kind, id: &value.id, name: &value.name, version: value.version.unsigned_abs() }
    }

    /// At most `limit` values that are not wrapped under `key`.
    pub async fn not_under(&self, db: impl PgExecutor<'_>, key: KeyId, limit: i64) -> Result<Vec<Beginning>> {
        let Self { table, column, id, name, version, .. } = self;
        let query = format!(
            "SELECT ({id})::text AS id, ({name})::text AS name, ({version})::bigint AS version,
                 substring({column} FOR {HEADER_LEN}) AS bytes
             FROM {table} WHERE octet_length({column}) > 0 AND substring({column} FOR $1) <> $2 LIMIT $3"
        );
        let prefix = key.prefix();
        let rows = sqlx::query(AssertSqlSafe(query))
            .bind(length(&prefix))
            .bind(prefix)
            .bind(limit)
            .fetch_all(db)
            .await?;
        Ok(rows.iter().map(beginning).collect::<Result<_, sqlx::Error>>()?)
    }

    /// How many values there are under each key: `None` for those that name no key. Reads each value: for people who ask, not for
    /// each start.
    pub async fn count(&self, db: &Db) -> Result<Vec<(Option<KeyId>, i64)>> {
        let Self { table, column, .. } = self;
        let query = format!(
            "SELECT CASE WHEN get_byte({column}, 0) = 2 THEN encode(substring({column} FROM 2 FOR 8), 'hex') END AS key,
                 count(*) AS count
             FROM {table} WHERE octet_length({column}) > 0 GROUP BY 1"
        );
        let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(db).await?;
        let counted = rows.iter().map(|row| -> Result<_, sqlx::Error> {
            let key: Option<String> = row.try_get("key")?;
            // What is too short for an id is damaged, and counts as the first key's.
            Ok((key.and_then(|key| key.parse().ok()), row.try_get("count")?))
        });
        Ok(counted.collect::<Result<_, sqlx::Error>>()?)
    }

    /// Replaces the header of a value, unless the value has changed meanwhile.
    pub async fn replace(
        &self,
        connection: &mut Connection,
        value: &Beginning,
        header: &[u8],
        old_length: usize,
    ) -> Result<()> {
        let Self { table, column, id, name, version, .. } = self;
        let query = format!(
            "UPDATE {table} SET {column} = $1 || substring({column} FROM $2)
             WHERE {id} = $3 AND {name} = $4 AND ({version})::bigint = $5 AND substring({column} FOR $6) = $7"
        );
        sqlx::query(AssertSqlSafe(query))
            .bind(header)
            .bind(i32::try_from(old_length).unwrap_or(i32::MAX).saturating_add(1))
            .bind(&value.id)
            .bind(&value.name)
            .bind(value.version)
            .bind(length(&value.bytes))
            .bind(&value.bytes)
            .execute(connection)
            .await?;
        Ok(())
    }
}

fn length(bytes: &[u8]) -> i32 {
    i32::try_from(bytes.len()).unwrap_or(i32::MAX)
}

fn beginning(row: &PgRow) -> Result<Beginning, sqlx::Error> {
    Ok(Beginning {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        version: row.try_get("version")?,
        bytes: row.try_get("bytes")?,
    })
}
