//! Credentials for registries in PostgreSQL. Passwords are sealed before they come here.

use chrono::{DateTime, Utc};
use supalove_core::{
    Write,
    database::Db,
    error::{Error, Result},
    ids::{ClusterId, NodeId, UserId},
};
use supalove_spec::registry::Registry;

use crate::clusters::store::clusters;

/// Registries of one cluster.
const MOST: i64 = 32;

/// A cluster's credentials for a registry, without the password.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub cluster: ClusterId,
    pub registry: String,
    pub username: String,
    pub set_by: UserId,
    pub set_at: DateTime<Utc>,
}

/// Credentials to store.
pub struct New<'a> {
    pub cluster: ClusterId,
    pub registry: &'a Registry,
    pub username: &'a str,
    pub sealed: &'a [u8],
    pub by: UserId,
}

/// What a node needs.
pub struct OfNode {
    pub cluster: ClusterId,
    pub username: String,
    pub sealed: Vec<u8>,
}

/// Stores credentials, in place of those for the same registry.
pub async fn set(write: &mut impl Write, new: &New<'_>) -> Result<Credentials> {
    // Whoever deletes the cluster, or sets others, waits.
    clusters::lock(write, new.cluster).await?;
    let others = sqlx::query_scalar!(
        "SELECT count(*) AS \"count!\" FROM registry_credentials WHERE cluster_id = $1 AND registry <> $2",
        new.cluster.0,
        new.registry.as_str(),
    )
    .fetch_one(write.connection().await?)
    .await?;
    if others >= MOST {
        let wrong = format!(
            "the cluster has credentials for {MOST} registries, which is the most; delete some first"
        );
        return Err(Error::field("registry", wrong));
    }
    let row = sqlx::query!(
        "INSERT INTO registry_credentials (cluster_id, registry, username, sealed, set_by) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (cluster_id, registry) DO UPDATE SET username = excluded.username, sealed = excluded.sealed,
             set_by = excluded.set_by, set_at = now()
         RETURNING set_at",
        new.cluster.0,
        new.registry.as_str(),
        new.username,
        new.sealed,
        new.by.0,
    )
    .fetch_one(write.connection().await?)
    .await?;
    Ok(Credentials {
        cluster: new.cluster,
        registry: new.registry.to_string(),
        username: new.username.to_owned(),
        set_by: new.by,
        set_at: row.set_at,
    })
}

/// A cluster's credentials, ordered by registry.
pub async fn list(db: &Db, cluster: ClusterId, after: Option<&str>, limit: i64) -> Result<Vec<Credentials>> {
    let rows = sqlx::query!(
        "SELECT registry, username, set_by AS \"set_by: UserId\", set_at FROM registry_credentials
         WHERE cluster_id = $1 AND ($2::text IS NULL OR registry > $2) ORDER BY registry LIMIT $3",
        cluster.0,
        after,
        limit,
    )
    .fetch_all(db)
    .await?;
    let found = rows.into_iter().map(|row| Credentials {
        cluster,
        registry: row.registry,
        username: row.username,
        set_by: row.set_by,
        set_at: row.set_at,
    });
    Ok(found.collect())
}

/// Deletes a cluster's credentials for a registry.
pub async fn delete(write: &mut impl Write, cluster: ClusterId, registry: &Registry) -> Result<()> {
    let deleted = sqlx::query!(
        "DELETE FROM registry_credentials WHERE cluster_id = $1 AND registry = $2",
        cluster.0,
        registry.as_str(),
    )
    .execute(write.connection().await?)
    .await?;
    if deleted.rows_affected() == 0 {
        return Err(Error::NotFound { kind: "registry", name: registry.to_string() });
    }
    Ok(())
}

/// Deletes all credentials of a cluster that is being deleted.
pub async fn delete_of_cluster(write: &mut impl Write, cluster: ClusterId) -> Result<()> {
    sqlx::query!("DELETE FROM registry_credentials WHERE cluster_id = $1", cluster.0)
        .execute(write.connection().await?)
        .await?;
    Ok(())
}

/// The credentials of a node's cluster for a registry. A revoked node has none.
pub async fn of_node(db: &Db, node: NodeId, registry: &Registry) -> Result<Option<OfNode>> {
    let row = sqlx::query!(
        "SELECT c.cluster_id AS \"cluster: ClusterId\", c.username, c.sealed
         FROM nodes n JOIN registry_credentials c ON c.cluster_id = n.cluster_id
         WHERE n.id = $1 AND n.revoked_at IS NULL AND c.registry = $2",
        node.0,
        registry.as_str(),
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| OfNode { cluster: row.cluster, username: row.username, sealed: row.sealed }))
}
