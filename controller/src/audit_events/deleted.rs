//! The log of a deleted organization, which only operators still read: by its id, also after its row is gone, or by its slug.

use supalove_core::{
    audit::Chain,
    database::Db,
    error::{Error, Result},
    ids::OrganizationId,
};
use supalove_organizations::store;

const FIELD: &str = "deleted_organization";

/// The chain of the organization that the request names.
pub async fn chain(db: &Db, named: &str) -> Result<Chain> {
    if let Ok(id) = named.parse::<OrganizationId>() {
        if store::is_live(db, id).await? {
            let live = "is not deleted; name it by its slug as the organization of ListAuditEvents or ExportAuditEvents";
            return Err(Error::field(FIELD, live));
        }
        return Ok(Chain::Organization(id));
    }
    match store::deleted(db, named).await?.as_slice() {
        [] => Err(Error::NotFound { kind: "deleted organization", name: named.to_owned() }),
        [one] => Ok(Chain::Organization(one.id)),
        several => {
            let ids: Vec<_> = several
                .iter()
                .map(|deleted| format!("{} (deleted {})", deleted.id, deleted.deleted_at.format("%Y-%m-%d")))
                .collect();
            let which =
                format!("was the slug of several organizations; name one by its id: {}", ids.join(", "));
            Err(Error::field(FIELD, which))
        }
    }
}
