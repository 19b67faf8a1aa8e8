//! Certificates of the projects' databases: what is known of the newest one of each, and which are to be renewed.

use chrono::{DateTime, TimeDelta, Utc};
use supalove_core::{
    Write,
    database::Db,
    error::{Error, Result},
    ids::ProjectRef,
};
use supalove_stack::ProjectSecrets;

/// Shortest time between two renewals: near its own end a CA issues shorter and shorter certificates.
const SHORTEST: TimeDelta = TimeDelta::days(7);

/// What is stored of a certificate besides its sealed secrets.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub serial: String,
    pub names: Vec<String>,
    pub issued_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
    pub renew_at: DateTime<Utc>,
}

impl Certificate {
    /// Of the certificate among these secrets.
    pub fn from_secrets(secrets: &ProjectSecrets) -> Result<Self> {
        let facts = secrets.db_certificate().map_err(Error::internal)?;
        Ok(Self {
            renew_at: facts.issued + ((facts.ends - facts.issued) / 2).max(SHORTEST),
            serial: facts.serial_hex,
            names: facts.names,
            issued_at: facts.issued,
            ends_at: facts.ends,
        })
    }
}

/// A certificate to be renewed.
#[derive(Debug)]
pub struct Due {
    pub project: ProjectRef,
    /// Host of the database's address.
    pub host: Option<String>,
}

/// Returns certificates whose time has come, or that lack the host of their database's address.
pub async fn due(db: &Db, most: i64) -> Result<Vec<Due>> {
    let due = sqlx::query_as!(
        Due,
        "SELECT c.project_ref AS \"project: ProjectRef\", e.host AS \"host?\"
         FROM project_certificates c JOIN projects p ON p.ref = c.project_ref
         LEFT JOIN project_endpoints e ON e.project_ref = c.project_ref AND e.scheme = 'postgresql'
         WHERE (c.renew_at <= now() OR NOT e.host = ANY (c.names)) AND p.desired <> 'REMOVED' AND p.removed_at IS NULL
             AND NOT EXISTS (SELECT 1 FROM operations o WHERE o.project_ref = p.ref AND o.state IN ('PENDING', 'RUNNING'))
         ORDER BY random() LIMIT $1",
        most,
    );
    Ok(due.fetch_all(db).await?)
}

/// Stores the newest certificate of a project.
pub async fn put(write: &mut impl Write, project: &ProjectRef, newest: &Certificate) -> Result<()> {
    sqlx::query!(
        "INSERT INTO project_certificates (project_ref, serial, names, issued_at, ends_at, renew_at)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (project_ref) DO UPDATE SET serial = $2, names = $3, issued_at = $4, ends_at = $5, renew_at = $6",
        project.as_str(),
        newest.serial,
        &newest.names,
        newest.issued_at,
        newest.ends_at,
        newest.renew_at,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Makes a certificate due: the project returns to a specification with an older one.
pub async fn renew_now(write: &mut impl Write, project: &ProjectRef) -> Result<()> {
    sqlx::query!("UPDATE project_certificates SET renew_at = now() WHERE project_ref = $1", project.as_str())
        .execute(write.connection().await?)
        .await?;
    Ok(())
}

/// Forgets a project's certificate.
pub async fn delete(write: &mut impl Write, project: &str) -> Result<()> {
    sqlx::query!("DELETE FROM project_certificates WHERE project_ref = $1", project)
        .execute(write.connection().await?)
        .await?;
    Ok(())
}
