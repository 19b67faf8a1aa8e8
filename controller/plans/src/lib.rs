//! Quotas of organizations. Only SQL functions of this room write the counters
//! (`plan_take_project`, `plan_give_back_project`); the placing statement of the projects room calls them too.

#![allow(missing_docs, reason = "a room's crate: a comment is written where it says something")]

use supalove_core::{
    Write,
    error::{Error, Result},
    ids::OrganizationId,
};

/// Maximum number of projects of an organization, until there are plans.
pub const DEFAULT_PROJECTS_LIMIT: i32 = 100;

/// Maximum number of organizations that a user owns, until there are plans: each has its own quota of projects.
pub const ORGANIZATIONS_LIMIT: i64 = 10;

/// The error for a user who owns as many organizations as a user may.
pub fn organizations_exceeded() -> Error {
    Error::Quota {
        subject: "user:organizations".to_owned(),
        message: format!(
            "a user owns at most {ORGANIZATIONS_LIMIT} organizations; delete one that is no longer needed"
        ),
    }
}

/// Decrements an organization's number of projects.
pub async fn give_back_project(write: &mut impl Write, organization: OrganizationId) -> Result<()> {
    sqlx::query!("SELECT plan_give_back_project($1)", organization.0)
        .fetch_one(write.connection().await?)
        .await?;
    Ok(())
}

/// The error for an organization that has used up its quota of projects.
pub fn projects_exceeded() -> Error {
    Error::Quota {
        subject: "organization:projects".to_owned(),
        message:
            "the organization has used up its quota of projects; delete one, or ask the operator for more"
                .to_owned(),
    }
}
