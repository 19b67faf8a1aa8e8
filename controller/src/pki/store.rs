//! Roots in PostgreSQL, their keys sealed, so that every replica can use them.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use supalove_certs::CertificateAuthority;
use supalove_proto::v1::ErrorReason;

use super::{AuthorityState, Root};
use crate::{
    audit,
    error::{Error, Result},
    ids::AuthorityId,
    times::Times,
    vault::{Scope, Vault},
};

/// Most names that `needed_by` lists.
const NAMES: i64 = 20;

/// A root as callers see it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Id.
    pub id: AuthorityId,
    /// SHA-256 of the certificate, hex.
    pub sha256: String,
    /// What it is used for.
    pub state: AuthorityState,
    /// The certificate.
    pub certificate_pem: String,
    /// End of its life.
    pub expires_at: DateTime<Utc>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Nodes that trust it.
    pub trusting: i64,
    /// Nodes whose newest certificate it signed.
    pub certified: i64,
    /// Names of nodes that could not come back without it.
    pub needed_by: Vec<String>,
}

/// At the first start: the first root, from `make`. Rows of certificates that name no root are of this one.
pub async fn ensure_first(
    db: &mut PgConnection,
    vault: &Vault,
    make: impl AsyncFnOnce(&mut PgConnection) -> Result<CertificateAuthority>,
) -> Result<()> {
    let any = sqlx::query_scalar!("SELECT true AS \"any!\" FROM authorities LIMIT 1")
        .fetch_optional(&mut *db)
        .await?;
    if any.is_some() {
        return Ok(());
    }
    let first = make(db).await?;
    insert(db, vault, AuthorityId::generate(), &first, "SIGNING").await?;
    let ca = first.fingerprint();
    sqlx::query!("UPDATE certificates SET ca_sha256 = $1 WHERE ca_sha256 IS NULL", ca.as_bytes().as_slice())
        .execute(&mut *db)
        .await?;
    sqlx::query!("UPDATE nodes SET trusted_ca = ARRAY[$1] WHERE trusted_ca = '{}'", ca.to_string())
        .execute(db)
        .await?;
    Ok(())
}

async fn insert(
    db: &mut PgConnection,
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
    .execute(db)
    .await?;
    Ok(())
}

fn scope(id: &str) -> Scope<'_> {
    Scope { kind: "authority", id, name: "key", version: 1 }
}

/// Which roots are trusted, by id.
pub async fn trusted(db: impl sqlx::PgExecutor<'_>) -> Result<Vec<(AuthorityId, AuthorityState)>> {
    let rows = sqlx::query!("SELECT id, state FROM authorities WHERE state <> 'RETIRED' ORDER BY id")
        .fetch_all(db)
        .await?;
    Ok(rows.into_iter().map(|row| (AuthorityId(row.id), AuthorityState::from_sql(&row.state))).collect())
}

/// The same within a transaction, until whose end there is no act on the roots: the mode conflicts with that of [`lock`]
/// and not with itself. Rows are not locked, since an activation would lock the same two in another order.
pub async fn hold_trusted(tx: &mut PgConnection) -> Result<Vec<(AuthorityId, AuthorityState)>> {
    sqlx::query!("LOCK TABLE authorities IN ROW EXCLUSIVE MODE").execute(&mut *tx).await?;
    trusted(tx).await
}

/// The trusted roots with their keys.
pub async fn open(db: &PgPool, vault: &Vault) -> Result<Vec<Root>> {
    let rows = sqlx::query!(
        "SELECT id, state, certificate_pem, sealed_key AS \"sealed_key!\" FROM authorities WHERE state <> 'RETIRED'"
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let id = AuthorityId(row.id);
            let key = vault.open(scope(&id.to_string()), &row.sealed_key).map_err(Error::internal)?;
            let key = std::str::from_utf8(&key).map_err(Error::internal)?;
            let authority = CertificateAuthority::load(&row.certificate_pem, key).map_err(Error::internal)?;
            Ok(Root { id, state: AuthorityState::from_sql(&row.state), authority })
        })
        .collect()
}

/// All roots, newest first.
pub async fn list(db: impl sqlx::PgExecutor<'_>) -> Result<Vec<Listed>> {
    let rows = sqlx::query!(
        r#"WITH held AS (
               SELECT n.name, n.trusted_ca, (SELECT c.ca_sha256 FROM certificates c WHERE c.node_id = n.id
                   ORDER BY c.created_at DESC LIMIT 1) AS ca
               FROM nodes n WHERE n.revoked_at IS NULL),
           signing AS (SELECT encode(ca_sha256, 'hex') AS name FROM authorities WHERE state = 'SIGNING')
           SELECT a.id, encode(a.ca_sha256, 'hex') AS "sha256!", a.state, a.certificate_pem, a.expires_at, a.created_at,
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
            id: AuthorityId(row.id),
            sha256: row.sha256,
            state: AuthorityState::from_sql(&row.state),
            certificate_pem: row.certificate_pem,
            expires_at: row.expires_at,
            created_at: row.created_at,
            trusting: row.trusting,
            certified: row.certified,
            needed_by: row.needed_by,
        })
        .collect())
}

/// Stores the next root; an error if there are two already.
pub async fn add_next(
    db: &PgPool,
    vault: &Vault,
    authority: &CertificateAuthority,
    id: AuthorityId,
    entry: &audit::Entry,
) -> Result<()> {
    let mut tx = db.begin().await?;
    lock(&mut tx).await?;
    let other = sqlx::query_scalar!("SELECT state FROM authorities WHERE state IN ('NEXT', 'OLD')")
        .fetch_optional(&mut *tx)
        .await?;
    if let Some(other) = other {
        return Err(Error::FailedPrecondition {
            reason: ErrorReason::RotationUnderWay,
            message: format!(
                "a rotation is under way: there is a root in state {other}; activate or retire it first"
            ),
        });
    }
    insert(&mut tx, vault, id, authority, "NEXT").await?;
    audit::record(&mut *tx, entry).await?;
    tx.commit().await?;
    Ok(())
}

/// The next root signs, the signing one becomes old.
pub async fn activate(db: &PgPool, id: AuthorityId, times: &Times, entry: &audit::Entry) -> Result<()> {
    let mut tx = db.begin().await?;
    lock(&mut tx).await?;
    let row = sqlx::query!(
        "SELECT state, created_at <= now() - make_interval(secs => $2) AS \"settled!\" FROM authorities WHERE id = $1",
        id.0,
        times.authority_settled.as_secs_f64(),
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or_else(|| not_found(id))?;
    if row.state != "NEXT" {
        return Err(wrong_state(&row.state, "only a root in state NEXT can be activated"));
    }
    if !row.settled {
        return Err(Error::Unavailable {
            message: "not every controller has taken up this root yet; try again in a moment".to_owned(),
            retry_after: times.authority_settled,
        });
    }
    // In one statement, at whose end the constraints of the table are checked.
    sqlx::query!(
        "UPDATE authorities SET state = CASE WHEN id = $1 THEN 'SIGNING' ELSE 'OLD' END WHERE id = $1 OR state = 'SIGNING'",
        id.0
    )
    .execute(&mut *tx)
    .await?;
    audit::record(&mut *tx, entry).await?;
    tx.commit().await?;
    Ok(())
}

/// Ends the trust in a root and destroys its key.
pub async fn retire(db: &PgPool, id: AuthorityId, force: bool, entry: &audit::Entry) -> Result<()> {
    let mut tx = db.begin().await?;
    lock(&mut tx).await?;
    let found = list(&mut *tx).await?.into_iter().find(|root| root.id == id).ok_or_else(|| not_found(id))?;
    match found.state {
        AuthorityState::Signing => {
            return Err(wrong_state(
                "SIGNING",
                "the signing root cannot be retired: create and activate another first",
            ));
        }
        AuthorityState::Retired => return Ok(()),
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
        .execute(&mut *tx)
        .await?;
    audit::record(&mut *tx, entry).await?;
    tx.commit().await?;
    Ok(())
}

/// One act on the roots at a time, and none while a certificate is signed; readers are not kept waiting.
async fn lock(tx: &mut PgConnection) -> Result<()> {
    sqlx::query!("LOCK TABLE authorities IN SHARE ROW EXCLUSIVE MODE").execute(tx).await?;
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
