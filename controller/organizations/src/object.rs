//! An organization that a request names.

use supalove_core::{
    access::{Found, Object, Role},
    database::Db,
    error::Result,
    ids::{OrganizationId, UserId},
};

/// An organization on which the caller has the permission.
#[derive(Debug, Clone)]
pub struct OrganizationKey {
    pub id: OrganizationId,
    pub slug: String,
}

impl Object for OrganizationKey {
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
        Ok(row.map(|row| Found { object: Self { id: row.id, slug: slug.to_owned() }, role: row.role }))
    }

    fn organization(&self) -> Option<OrganizationId> {
        Some(self.id)
    }
}
