//! An organization as what requests name.

use sqlx::PgPool;
use supalove_core::{
    access::{Found, Object, Role},
    error::Result,
    ids::{OrganizationId, UserId},
};

/// An organization that the caller may work with.
#[derive(Debug, Clone)]
pub struct OrganizationKey {
    /// Its id.
    pub id: OrganizationId,
    /// Its slug.
    pub slug: String,
}

impl Object for OrganizationKey {
    const KIND: &'static str = "organization";

    async fn find(db: &PgPool, slug: &str, user: UserId) -> Result<Option<Found<Self>>> {
        let row = sqlx::query!(
            "SELECT o.id AS \"id: OrganizationId\", m.role AS \"role?: Role\" FROM organizations o
             LEFT JOIN members m ON m.organization_id = o.id AND m.user_id = $2 WHERE o.slug = $1",
            slug,
            user.0,
        )
        .fetch_optional(db)
        .await?;
        Ok(row.map(|row| Found { object: Self { id: row.id, slug: slug.to_owned() }, role: row.role }))
    }
}
