//! What organizations may use. The counters of quotas are written only by SQL functions that this room owns
//! (`plan_take_project`, `plan_give_back_project`), which the placing statement of the projects calls too.

use supalove_core::{
    Write,
    error::{Error, Result},
    ids::OrganizationId,
};

/// Projects an organization may have, until plans say otherwise.
pub const DEFAULT_PROJECTS_LIMIT: i32 = 100;

/// Counts one project of an organization less.
pub async fn give_back_project(write: &mut impl Write, organization: OrganizationId) -> Result<()> {
    sqlx::query!("SELECT plan_give_back_project($1)", organization.0)
        .fetch_one(write.connection().await?)
        .await?;
    Ok(())
}

/// The organization has all the projects it may have.
pub fn projects_exceeded() -> Error {
    Error::Quota {
        subject: "organization:projects".to_owned(),
        message:
            "the organization has all the projects it may have; delete one, or ask the operator for more"
                .to_owned(),
    }
}
