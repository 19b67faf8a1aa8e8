//! What an installation has once: its database schema, fleet id, CA and token signing key. Made at the first start, by
//! whichever replica is first; the secrets are sealed rows, so that every replica can use them.

use std::{str::FromStr as _, time::Duration};

use chrono::Utc;
use sqlx::{
    PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use supalove_certs::CertificateAuthority;
use zeroize::Zeroizing;

use crate::{
    clusters,
    error::{Error, Result},
    identity::TokenSigner,
    pki::{self, Nonces},
    vault::{Scope, Vault},
};

/// Connections of one replica.
const POOL: u32 = 24;
/// Key of the advisory lock under which migrations and first secrets are made: "supalove" in ASCII.
const FIRST_START_LOCK: i64 = 0x7375_7061_6c6f_7665;

/// What was found or made.
pub struct Platform {
    /// Label value of this installation's containers.
    pub fleet_id: String,
    /// Nonces of recovering nodes.
    pub nonces: Nonces,
    /// Signs access tokens.
    pub signer: TokenSigner,
}

/// Connects. Statements have a time limit, so that a call's deadline frees its connection too.
pub async fn connect(url: &str) -> Result<PgPool> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| Error::field("database_url", "must be a postgresql:// URL"))?
        .application_name("supalove-controller")
        .options([("statement_timeout", "30000"), ("idle_in_transaction_session_timeout", "30000")]);
    let pool = PgPoolOptions::new()
        .max_connections(POOL)
        .acquire_timeout(Duration::from_secs(5))
        .connect_with(options)
        .await?;
    Ok(pool)
}

/// Migrations, the default cluster, the fleet's id and secrets; under one advisory lock.
pub async fn prepare(db: &PgPool, vault: &Vault, wanted_id: Option<&str>) -> Result<Platform> {
    let mut lock = db.acquire().await?;
    // Another replica may migrate for longer than a statement may take.
    sqlx::query!("SET statement_timeout = 0").execute(&mut *lock).await?;
    sqlx::query!("SELECT pg_advisory_lock($1)", FIRST_START_LOCK).fetch_one(&mut *lock).await?;
    let migrated = sqlx::migrate!().run_direct(None, &mut *lock, false).await.map_err(Error::internal);
    let prepared = match migrated {
        Ok(()) => prepare_locked(db, vault, wanted_id).await,
        Err(error) => Err(error),
    };
    sqlx::query!("SELECT pg_advisory_unlock($1)", FIRST_START_LOCK).fetch_one(&mut *lock).await?;
    lock.close_on_drop();
    prepared
}

async fn prepare_locked(db: &PgPool, vault: &Vault, wanted_id: Option<&str>) -> Result<Platform> {
    clusters::store::ensure_default(db).await?;
    let mut connection = db.acquire().await?;
    let fleet_id = fleet_id(&mut connection, wanted_id).await?;
    let key = secret(&mut connection, vault, "token-signing-key", TokenSigner::generate_key).await?;
    let signer = TokenSigner::from_pkcs8(&key)?;
    let key =
        secret(&mut connection, vault, "recovery-nonce-key", || Nonces::generate_key().map(Zeroizing::new))
            .await?;
    let nonces = Nonces::new(&key);
    first_root(&mut connection, vault, &fleet_id).await?;
    Ok(Platform { fleet_id, nonces, signer })
}

async fn fleet_id(db: &mut PgConnection, wanted: Option<&str>) -> Result<String> {
    let fresh = wanted.map_or_else(|| uuid::Uuid::new_v4().simple().to_string(), str::to_owned);
    sqlx::query!("INSERT INTO platform (fleet_id) VALUES ($1) ON CONFLICT DO NOTHING", fresh)
        .execute(&mut *db)
        .await?;
    Ok(sqlx::query_scalar!("SELECT fleet_id FROM platform").fetch_one(db).await?)
}

/// The first root. Installations from before there could be several have theirs among the secrets.
async fn first_root(db: &mut PgConnection, vault: &Vault, fleet_id: &str) -> Result<()> {
    let mut tx = sqlx::Connection::begin(db).await?;
    pki::store::ensure_first(&mut tx, vault, async |tx: &mut PgConnection| {
        let sealed =
            sqlx::query_scalar!("DELETE FROM platform_secrets WHERE name = 'fleet-ca' RETURNING sealed")
                .fetch_optional(tx)
                .await?;
        let Some(sealed) = sealed else {
            return CertificateAuthority::create(fleet_id, Utc::now()).map_err(Error::internal);
        };
        let scope = Scope { kind: "platform", id: "", name: "fleet-ca", version: 1 };
        let pem = vault.open(scope, &sealed).map_err(Error::internal)?;
        let text = std::str::from_utf8(&pem).map_err(Error::internal)?;
        let (certificate, key) =
            text.split_once('\0').ok_or_else(|| Error::internal("the sealed CA is damaged"))?;
        CertificateAuthority::load(certificate, key).map_err(Error::internal)
    })
    .await?;
    tx.commit().await?;
    Ok(())
}

/// A platform secret; made and sealed if it is not there yet.
async fn secret(
    db: &mut PgConnection,
    vault: &Vault,
    name: &str,
    make: impl FnOnce() -> Result<Zeroizing<Vec<u8>>>,
) -> Result<Zeroizing<Vec<u8>>> {
    let scope = Scope { kind: "platform", id: "", name, version: 1 };
    let found = sqlx::query_scalar!("SELECT sealed FROM platform_secrets WHERE name = $1", name)
        .fetch_optional(&mut *db)
        .await?;
    if let Some(sealed) = found {
        return vault.open(scope, &sealed).map_err(Error::internal);
    }
    let fresh = make()?;
    let sealed = vault.seal(scope, &fresh).map_err(Error::internal)?;
    sqlx::query!("INSERT INTO platform_secrets (name, sealed) VALUES ($1, $2)", name, sealed)
        .execute(db)
        .await?;
    Ok(fresh)
}
