//! The organization whose entitlements a request names. The organizations room stands on this one, so its object cannot serve
//! here.

use supalove_core::{
    access::{Call, Found, Object, Role},
    database::Db,
    error::{Error, Result},
    ids::{OrganizationId, UserId},
};

/// An organization, as the holder of entitlements.
#[derive(Debug, Clone)]
pub struct Holder {
    pub id: OrganizationId,
}

impl Object for Holder {
    const KIND: &'static str = "organization";

    async fn find(db: &Db, slug: &str, user: UserId) -> Result<Option<Found<Self>>> {
        let row = sqlx::query!(
            "SELECT o.id AS \"id: OrganizationId\", m.role AS \"role?: Role\" FROM organizations o
             LEFT JOIN members m ON m.organization_id = o.id AND m.user_id = $2 WHERE o.slug = $1 AND o.deleted_at IS NULL",
            slug,
            user.0,
        )
        .fetch_optional(db)
        .await?;
        Ok(row.map(|row| Found { object: Self { id: row.id }, role: row.role }))
    }

    fn organization(&self) -> Option<OrganizationId> {
        Some(self.id)
    }
}

impl Holder {
    /// Finds the organization that a request of the operator names. The call layer lets nobody else through.
    pub async fn for_operator(db: &Db, call: &Call, slug: &str) -> Result<Self> {
        call.names(slug);
        let not_found = || Error::NotFound { kind: Self::KIND, name: slug.to_owned() };
        // PostgreSQL takes no NUL in a text.
        if slug.contains('\0') {
            return Err(Error::NotFound { kind: Self::KIND, name: "?".to_owned() });
        }
        let found = Self::find(db, slug, call.principal()?.user).await?;
        Ok(found.ok_or_else(not_found)?.object)
    }
}
