//! Fleet id and secrets of the installation. The first replica generates them; the secrets are
//! sealed rows, so that every replica can use them.

use zeroize::Zeroizing;

use crate::{
    database::Db,
    error::{Error, Result},
    vault::{Scope, Vault, columns::SealedColumn},
};

/// Sealed values of the platform.
pub const SEALED: &[SealedColumn] = &[SealedColumn {
    table: "platform_secrets",
    column: "sealed",
    kind: "platform",
    id: "''",
    name: "name",
    version: "1",
}];

/// Returns the fleet's id. The first start sets it to `wanted`, or to a random one.
pub async fn fleet_id(db: &Db, wanted: Option<&str>) -> Result<String> {
    let fresh = wanted.map_or_else(|| uuid::Uuid::new_v4().simple().to_string(), str::to_owned);
    sqlx::query!("INSERT INTO platform (fleet_id) VALUES ($1) ON CONFLICT DO NOTHING", fresh)
        .execute(db)
        .await?;
    Ok(sqlx::query_scalar!("SELECT fleet_id FROM platform").fetch_one(db).await?)
}

/// Returns a secret of the platform; generates and seals it if there is none. Concurrent replicas all use the first
/// one.
pub async fn secret(
    db: &Db,
    vault: &Vault,
    name: &str,
    make: impl FnOnce() -> Result<Zeroizing<Vec<u8>>>,
) -> Result<Zeroizing<Vec<u8>>> {
    if let Some(sealed) = stored(db, name).await? {
        return open(vault, name, &sealed);
    }
    let sealed = vault.seal(scope(name), &make()?).map_err(Error::internal)?;
    sqlx::query!(
        "INSERT INTO platform_secrets (name, sealed) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        name,
        sealed
    )
    .execute(db)
    .await?;
    let sealed = stored(db, name).await?.ok_or_else(|| Error::internal("a platform secret vanished"))?;
    open(vault, name, &sealed)
}

/// Opens a sealed secret of the platform.
pub fn open(vault: &Vault, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    vault.open(scope(name), sealed).map_err(Error::internal)
}

async fn stored(db: &Db, name: &str) -> Result<Option<Vec<u8>>> {
    let sealed = sqlx::query_scalar!("SELECT sealed FROM platform_secrets WHERE name = $1", name);
    Ok(sealed.fetch_optional(db).await?)
}

pub(crate) fn scope(name: &str) -> Scope<'_> {
    Scope { kind: "platform", id: "", name, version: 1 }
}
