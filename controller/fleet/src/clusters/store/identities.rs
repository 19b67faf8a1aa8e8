//! What proves a node's identity in PostgreSQL: its key, its certificates on record, and the nonces of its recovery.

use std::time::Duration;

use chrono::{DateTime, Utc};

use supalove_certs::{CaFingerprint, IssuedCertificate};
use supalove_core::{
    Write,
    database::Db,
    error::{Error, Result},
    ids::{ClusterId, NodeId},
};

/// Rows that one statement deletes.
const BATCH: i64 = 1000;
/// Certificates of a node on record; an agent may renew as often as it likes.
const CERTIFICATES: i64 = 50;

/// A node to store.
pub struct NewNode<'a> {
    pub id: NodeId,
    pub cluster: ClusterId,
    pub name: &'a str,
    /// Version of its agent.
    pub agent_version: &'a str,
    /// SHA-256 of its public key.
    pub key_sha256: &'a [u8],
    /// SHA-256 of the roots in its bundle, hex.
    pub trusted_ca: Vec<String>,
}

pub async fn insert_node(write: &mut impl Write, new: &NewNode<'_>) -> Result<()> {
    let made = sqlx::query!(
        "INSERT INTO nodes (id, cluster_id, name, key_sha256, agent_version, trusted_ca) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (cluster_id, name) DO NOTHING",
        new.id.0,
        new.cluster.0,
        new.name,
        new.key_sha256,
        new.agent_version,
        &new.trusted_ca,
    )
    .execute(write.connection().await?)
    .await?;
    if made.rows_affected() == 0 {
        return Err(Error::AlreadyExists { kind: "node", name: new.name.to_owned() });
    }
    Ok(())
}

/// Records a certificate of a node, and deletes the oldest records if there are too many.
pub async fn insert_certificate(
    write: &mut impl Write,
    node: NodeId,
    issued: &IssuedCertificate,
    ca: CaFingerprint,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO certificates (serial, node_id, key_sha256, not_before, not_after, ca_sha256)
         VALUES ($1, $2, $3, $4, $5, $6)",
        issued.serial_hex,
        node.0,
        issued.spki_sha256.as_slice(),
        issued.not_before,
        issued.not_after,
        ca.as_bytes().as_slice(),
    )
    .execute(write.connection().await?)
    .await?;
    sqlx::query!(
        "DELETE FROM certificates WHERE serial IN (
             SELECT serial FROM certificates WHERE node_id = $1 ORDER BY created_at DESC OFFSET $2)",
        node.0,
        CERTIFICATES,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Returns the SHA-256 of the key with which a node enrolled; `None` if there is no such node. It never changes.
pub async fn enrolled_key(db: &Db, node: NodeId) -> Result<Option<Vec<u8>>> {
    let key = sqlx::query_scalar!("SELECT key_sha256 FROM nodes WHERE id = $1", node.0);
    Ok(key.fetch_optional(db).await?)
}

/// Returns when a nonce that is made now expires, by the database's clock.
pub async fn nonce_end(db: &Db, life: Duration) -> Result<DateTime<Utc>> {
    let ends =
        sqlx::query_scalar!("SELECT now() + make_interval(secs => $1) AS \"ends!\"", life.as_secs_f64());
    Ok(ends.fetch_one(db).await?)
}

/// Uses up a nonce; false if it was used before or has expired.
pub async fn use_nonce(write: &mut impl Write, nonce: &[u8], ends: DateTime<Utc>) -> Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO used_recovery_nonces (nonce_sha256, expires_at) SELECT sha256($1), $2 WHERE $2 > now()
         ON CONFLICT DO NOTHING",
        nonce,
        ends,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Deletes used nonces that expired more than a day ago.
pub async fn prune_nonces(write: &mut impl Write) -> Result<()> {
    sqlx::query!("DELETE FROM used_recovery_nonces WHERE expires_at < now() - interval '1 day'")
        .execute(write.connection().await?)
        .await?;
    Ok(())
}

/// Deletes records of certificates that expired long ago, but the newest of each node; false if there may be more.
pub async fn prune_certificates(write: &mut impl Write, kept: Duration) -> Result<bool> {
    let gone = sqlx::query!(
        "DELETE FROM certificates WHERE serial IN (
             SELECT c.serial FROM certificates c WHERE c.not_after < now() - make_interval(secs => $1)
                 AND EXISTS (SELECT 1 FROM certificates n WHERE n.node_id = c.node_id AND n.created_at > c.created_at)
             ORDER BY c.not_after LIMIT $2)",
        kept.as_secs_f64(),
        BATCH,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(gone.rows_affected() < BATCH.unsigned_abs())
}
