//! For how long controllers have been there to hear the nodes. While none was, every node was silent, which says nothing about the
//! node: it is lost only if somebody would have heard it. The function `watched_for` of the database has the rule.

use std::time::Duration;

use crate::{database::Db, error::Result, times::Times};

/// For how long some replica that is alive has been there without a break, by the database's clock.
pub async fn watched_for(db: &Db, times: &Times) -> Result<Duration> {
    let seconds =
        sqlx::query_scalar!("SELECT watched_for($1) AS \"seconds!\"", times.replica_gone.as_secs_f64());
    Ok(Duration::try_from_secs_f64(seconds.fetch_one(db).await?).unwrap_or_default())
}
