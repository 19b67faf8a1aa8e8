//! How many projects and operations there are, for metrics.

use supalove_core::{database::Db, error::Result};

/// Projects by state, without those that are removed.
pub async fn projects(db: &Db) -> Result<Vec<(String, i64)>> {
    let rows = sqlx::query!(
        "SELECT lower(state) AS \"state!\", count(*) AS \"count!\" FROM projects WHERE state <> 'REMOVED' GROUP BY 1 ORDER BY 1"
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.state, row.count)).collect())
}

/// Operations that have not ended, by kind.
pub async fn operations(db: &Db) -> Result<Vec<(String, i64)>> {
    let rows = sqlx::query!(
        "SELECT lower(kind) AS \"kind!\", count(*) AS \"count!\" FROM operations WHERE ended_at IS NULL GROUP BY 1 ORDER BY 1"
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.kind, row.count)).collect())
}
