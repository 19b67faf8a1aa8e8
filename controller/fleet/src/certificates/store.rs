//! Roots in PostgreSQL. Their keys are sealed, so that every replica can use them.

use chrono::{DateTime, Utc};
use supalove_certs::CertificateAuthority;
use supalove_proto::v1::ErrorReason;

use super::{AuthorityState, Root};
use supalove_core::{
    Core, Write,
    database::Db,
    error::{Error, Result},
    ids::AuthorityId,
    platform,
    times::Times,
    vault::{Scope, Vault, columns::SealedColumn},
};

/// Sealed keys of roots; a retired root has none.
pub const SEALED: SealedColumn = SealedColumn {
    table: "authorities",
    column: "sealed_key",
    kind: "authority",
    id: "'aut_' || replace(id::text, '-', '')",
    name: "'key'",
    version: "1",
};

/// Maximum number of names in `needed_by`.
const NAMES: i64 = 20;

/// A root with its use by nodes.
#[derive(Debug, Clone)]
pub struct Listed {
    pub id: AuthorityId,
    /// SHA-256 of the certificate, hex.
    pub sha256: String,
    /// Whether it is trusted, and whether it signs.
    pub state: AuthorityState,
    pub certificate_pem: String,
    pub expires_at: DateTime<Utc>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Number of nodes that trust it.
    pub trusting: i64,
    /// Number of nodes whose newest certificate it signed.
    pub certified: i64,
    /// Names of nodes that could not reconnect without it.
    pub needed_by: Vec<String>,
}

/// Creates the first root at the first start. Certificate rows without a root belong to it.
pub async fn ensure_first(core: &Core) -> Result<()> {
    let mut write = core.system_write("fleet.open");
    // If two replicas start for the first time, only one creates the root.
    lock(&mut write).await?;
    let any = sqlx::query_scalar!("SELECT true AS \"any!\" FROM authorities LIMIT 1")
        .fetch_optional(write.connection().await?)
        .await?;
    if any.is_some() {
        return Ok(());
    }
    let first = match legacy_root(&mut write, &core.vault).await? {
        Some(root) => root,
        None => CertificateAuthority::create(&core.fleet_id, Utc::now()).map_err(Error::internal)?,
    };
    insert(&mut write, &core.vault, AuthorityId::generate(), &first, "SIGNING").await?;
    let ca = first.fingerprint();
    sqlx::query!("UPDATE certificates SET ca_sha256 = $1 WHERE ca_sha256 IS NULL", ca.as_bytes().as_slice())
        .execute(write.connection().await?)
        .await?;
    sqlx::query!("UPDATE nodes SET trusted_ca = ARRAY[$1] WHERE trusted_ca = '{}'", ca.to_string())
        .execute(write.connection().await?)
        .await?;
    write.audit("/supalove.fleet/first_root", &ca.to_string());
    write.commit([]).await
}

/// Old installations, which could have one root only, store it among the platform's secrets.
async fn legacy_root(write: &mut impl Write, vault: &Vault) -> Result<Option<CertificateAuthority>> {
    let sealed = sqlx::query_scalar!("DELETE FROM platform_secrets WHERE name = 'fleet-ca' RETURNING sealed")
        .fetch_optional(write.connection().await?)
        .await?;
    let Some(sealed) = sealed else { return Ok(None) };
    let pem = platform::open(vault, "fleet-ca", &sealed)?;
    let text = std::str::from_utf8(&pem).map_err(Error::internal)?;
    let (certificate, key) =
        text.split_once('\0').ok_or_else(|| Error::internal("the sealed CA is damaged"))?;
    CertificateAuthority::load(certificate, key).map(Some).map_err(Error::internal)
}

async fn insert(
    write: &mut impl Write,
    vault: &Vault,
    id: AuthorityId,
    authority: &CertificateAuthority,
    state: &str,
) -> Result<()> {
    let sealed =
        vault.seal(scope(&id.to_string()), authority.key_pem().as_bytes()).map_err(Error::internal)?;
    let ca = authority.fingerprint();
    sqlx::query!(
        "INSERT INTO authorities (id, ca_sha256, certificate_pem, sealed_key, state, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        id.0,
        ca.as_bytes().as_slice(),
        authority.cert_pem(),
        sealed,
        state,
        authority.not_after(),
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

fn scope(id: &str) -> Scope<'_> {
    Scope { kind: "authority", id, name: "key", version: 1 }
}

/// Returns the trusted roots, ordered by id.
pub async fn trusted(db: impl sqlx::PgExecutor<'_>) -> Result<Vec<(AuthorityId, AuthorityState)>> {
    let rows = sqlx::query!(
        "SELECT id AS \"id: AuthorityId\", state AS \"state: AuthorityState\" FROM authorities WHERE state <> 'RETIRED' ORDER BY id"
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.state)).collect())
}

/// The same within a transaction, and blocks changes of the roots until its end: the lock mode conflicts with that of
/// [`lock`] and not with itself. Row locks could deadlock, because an activation locks the same two rows in another
/// order.
pub async fn hold_trusted(write: &mut impl Write) -> Result<Vec<(AuthorityId, AuthorityState)>> {
    sqlx::query!("LOCK TABLE authorities IN ROW EXCLUSIVE MODE").execute(write.connection().await?).await?;
    trusted(write.connection().await?).await
}

/// The trusted roots with their keys.
pub async fn open(db: &Db, vault: &Vault) -> Result<Vec<Root>> {
    let rows = sqlx::query!(
        "SELECT id AS \"id: AuthorityId\", state AS \"state: AuthorityState\", certificate_pem, sealed_key AS \"sealed_key!\" FROM authorities WHERE state <> 'RETIRED'"
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let id = row.id;
            let key = vault.open(scope(&id.to_string()), &row.sealed_key).map_err(Error::internal)?;
            let key = std::str::from_utf8(&key).map_err(Error::internal)?;
            let authority = CertificateAuthority::load(&row.certificate_pem, key).map_err(Error::internal)?;
            Ok(Root { id, state: row.state, authority })
        })
        .collect()
}

/// Returns all roots, newest first.
pub async fn list(db: impl sqlx::PgExecutor<'_>) -> Result<Vec<Listed>> {
    let rows = sqlx::query!(
        r#"WITH held AS (
               SELECT n.name, n.trusted_ca, (SELECT c.ca_sha256 FROM certificates c WHERE c.node_id = n.id
                   ORDER BY c.created_at DESC LIMIT 1) AS ca
               FROM nodes n WHERE n.revoked_at IS NULL),
           signing AS (SELECT encode(ca_sha256, 'hex') AS name FROM authorities WHERE state = 'SIGNING')
           SELECT a.id AS "id: AuthorityId", encode(a.ca_sha256, 'hex') AS "sha256!", a.state AS "state: AuthorityState", a.certificate_pem, a.expires_at, a.created_at,
               (SELECT count(*) FROM held h WHERE encode(a.ca_sha256, 'hex') = ANY(h.trusted_ca)) AS "trusting!",
               (SELECT count(*) FROM held h WHERE h.ca = a.ca_sha256) AS "certified!",
               ARRAY(SELECT h.name FROM held h, signing s
                   WHERE a.state IN ('OLD', 'NEXT') AND (h.ca = a.ca_sha256
                       OR (encode(a.ca_sha256, 'hex') = ANY(h.trusted_ca) AND NOT s.name = ANY(h.trusted_ca)))
                   ORDER BY h.name LIMIT $1) AS "needed_by!"
           FROM authorities a ORDER BY a.created_at DESC, a.id DESC"#,
        NAMES,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Listed {
            id: row.id,
            sha256: row.sha256,
            state: row.state,
            certificate_pem: row.certificate_pem,
            expires_at: row.expires_at,
            created_at: row.created_at,
            trusting: row.trusting,
            certified: row.certified,
            needed_by: row.needed_by,
        })
        .collect())
}

/// Stores the next root; returns an error if there are already two trusted roots.
pub async fn add_next(
    write: &mut impl Write,
    vault: &Vault,
    authority: &CertificateAuthority,
    id: AuthorityId,
) -> Result<()> {
    lock(write).await?;
    let other = sqlx::query_scalar!("SELECT state FROM authorities WHERE state IN ('NEXT', 'OLD')")
        .fetch_optional(write.connection().await?)
        .await?;
    if let Some(other) = other {
        return Err(Error::FailedPrecondition {
            reason: ErrorReason::RotationUnderWay,
            message: format!(
                "a replacement of the CA is under way: a root is in state {other}; activate or retire it first"
            ),
        });
    }
    insert(write, vault, id, authority, "NEXT").await
}

/// Makes the next root the signing root, and the signing root old.
pub async fn activate(write: &mut impl Write, id: AuthorityId, times: &Times) -> Result<()> {
    lock(write).await?;
    let row = sqlx::query!(
        "SELECT state, created_at <= now() - make_interval(secs => $2) AS \"settled!\" FROM authorities WHERE id = $1",
        id.0,
        times.authority_settled.as_secs_f64(),
    )
    .fetch_optional(write.connection().await?)
    .await?
    .ok_or_else(|| not_found(id))?;
    if row.state != "NEXT" {
        return Err(wrong_state(&row.state, "only a root in state NEXT can become the signing root"));
    }
    if !row.settled {
        return Err(Error::Unavailable {
            message: "not every controller has loaded this root yet; try again in a few seconds".to_owned(),
            retry_after: times.authority_settled,
        });
    }
    // One statement, because PostgreSQL checks the table's deferrable constraints at its end.
    sqlx::query!(
        "UPDATE authorities SET state = CASE WHEN id = $1 THEN 'SIGNING' ELSE 'OLD' END WHERE id = $1 OR state = 'SIGNING'",
        id.0
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Ends the trust in a root and destroys its key; false if the root was already retired.
pub async fn retire(write: &mut impl Write, id: AuthorityId, force: bool) -> Result<bool> {
    lock(write).await?;
    let found = list(write.connection().await?)
        .await?
        .into_iter()
        .find(|root| root.id == id)
        .ok_or_else(|| not_found(id))?;
    match found.state {
        AuthorityState::Signing => {
            return Err(wrong_state(
                "SIGNING",
                "the signing root cannot be retired: create and activate another first",
            ));
        }
        AuthorityState::Retired => return Ok(false),
        AuthorityState::Next | AuthorityState::Old => {}
    }
    if !force && !found.needed_by.is_empty() {
        return Err(Error::FailedPrecondition {
            reason: ErrorReason::AuthorityInUse,
            message: format!(
                "nodes still need this root: {}; wait until they have connected and renewed, revoke those that will not \
                 come back, or force it: those nodes then recover by themselves if they know the signing root, else by \
                 `supalove-agent recover --ca`",
                found.needed_by.join(", ")
            ),
        });
    }
    sqlx::query!("UPDATE authorities SET state = 'RETIRED', sealed_key = NULL WHERE id = $1", id.0)
        .execute(write.connection().await?)
        .await?;
    Ok(true)
}

/// Serializes changes of the roots, also with the signing of certificates. Readers do not wait.
async fn lock(write: &mut impl Write) -> Result<()> {
    sqlx::query!("LOCK TABLE authorities IN SHARE ROW EXCLUSIVE MODE")
        .execute(write.connection().await?)
        .await?;
    Ok(())
}

fn not_found(id: AuthorityId) -> Error {
    Error::NotFound { kind: "authority", name: id.to_string() }
}

fn wrong_state(state: &str, what: &str) -> Error {
    Error::FailedPrecondition {
        reason: ErrorReason::WrongState,
        message: format!("{what}; this one is {state}"),
    }
}
