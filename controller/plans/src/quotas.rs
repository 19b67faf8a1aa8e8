//! Quotas, as the other rooms take them, and the errors of those that are used up.

use sqlx::PgExecutor;
use supalove_core::{
    Write,
    database::Db,
    error::{Error, Result},
    ids::OrganizationId,
};

use crate::{
    entitlement::{Limits, SizeAction},
    store,
};

/// Maximum number of organizations that a user owns: each has its own quota of projects.
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

/// What bounds an organization.
#[derive(Debug, Clone)]
pub struct Held {
    /// Name of its plan.
    pub plan: String,
    /// The limits that count for it.
    pub limits: Limits,
    pub at_size_limit: SizeAction,
}

/// The plan of an organization, and the limits that count for it.
pub async fn held(db: &Db, organization: OrganizationId) -> Result<Held> {
    let found = store::entitlements(db, organization).await?;
    let limits = found.limits()?;
    Ok(Held { plan: found.plan.name, limits, at_size_limit: found.plan.at_size_limit })
}

/// Decrements an organization's number of projects.
pub async fn give_back_project(write: &mut impl Write, organization: OrganizationId) -> Result<()> {
    sqlx::query!("SELECT plan_give_back_project($1)", organization.0)
        .fetch_one(write.connection().await?)
        .await?;
    Ok(())
}

/// The error for an organization that has used up its quota of projects. The placing statement says only that it has, so this
/// looks up how much that is; if it cannot, returns that error.
pub async fn projects_exceeded(db: impl PgExecutor<'_>, organization: OrganizationId) -> Error {
    let found = sqlx::query!(
        "SELECT o.projects_limit, p.display_name,
             EXISTS (SELECT FROM entitlement_overrides x WHERE x.organization_id = o.id AND x.entitlement = 'PROJECTS')
                 AS \"overridden!\"
         FROM organizations o JOIN organization_entitlements e ON e.organization_id = o.id JOIN plans p ON p.name = e.plan
         WHERE o.id = $1",
        organization.0
    );
    match found.fetch_optional(db).await {
        Err(error) => error.into(),
        Ok(None) => Error::Aborted("the organization was deleted"),
        Ok(Some(row)) => exceeded(
            "projects",
            row.projects_limit.into(),
            &source(&row.display_name, row.overridden),
            "delete one (a deleted one counts until its undo window ends)",
        ),
    }
}

/// Takes the place of one more member. Whoever adds a member calls this in the same transaction, before the member's row: it
/// locks the organization's row (harmless if the caller has), so that of two such calls the second counts the row of the first.
///
/// It counts rows and keeps no counter: members are few and seldom added, and a counter could differ from its rows.
pub async fn take_member(write: &mut impl Write, organization: OrganizationId) -> Result<()> {
    let places = sqlx::query!(
        "SELECT used AS \"used!\", allowed AS \"allowed!\" FROM plan_take_member($1)",
        organization.0
    )
    .fetch_one(write.connection().await?)
    .await?;
    if places.used < places.allowed {
        return Ok(());
    }
    let from = sqlx::query!(
        "SELECT p.display_name,
             EXISTS (SELECT FROM entitlement_overrides x WHERE x.organization_id = $1 AND x.entitlement = 'MEMBERS')
                 AS \"overridden!\"
         FROM organization_entitlements e JOIN plans p ON p.name = e.plan WHERE e.organization_id = $1",
        organization.0
    )
    .fetch_one(write.connection().await?)
    .await?;
    let source = source(&from.display_name, from.overridden);
    Err(exceeded("members", places.allowed, &source, "remove a member who is no longer needed"))
}

/// Returns an error if the organization may have no private cluster. Whoever makes one, or assigns one to an organization, calls
/// this in the same transaction, before the cluster's row: it locks the organization's row, so that the plan cannot be lowered
/// meanwhile.
pub async fn take_private_cluster(write: &mut impl Write, organization: OrganizationId) -> Result<()> {
    let allowed = sqlx::query_scalar!("SELECT plan_take_private_cluster($1) AS \"allowed!\"", organization.0)
        .fetch_one(write.connection().await?)
        .await?;
    if allowed {
        return Ok(());
    }
    Err(Error::Quota {
        subject: "organization:private_clusters".to_owned(),
        message: "the organization's plan allows no private clusters; ask the operator for a plan that does"
            .to_owned(),
    })
}

/// Where a limit comes from, for people.
fn source(plan: &str, overridden: bool) -> String {
    if overridden {
        format!("the operator allows this organization, whatever its plan {plan} says")
    } else {
        format!("its plan {plan} allows")
    }
}

/// All of a limit is in use.
fn exceeded(what: &str, limit: i64, source: &str, remedy: &str) -> Error {
    Error::Quota {
        subject: format!("organization:{what}"),
        message: format!(
            "the organization has all of the {limit} {what} that {source}; {remedy}, or ask the operator for another plan or a \
             higher limit"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_how_much_and_how_to_get_more() {
        let refused =
            |overridden| exceeded("projects", 20, &source("Pro", overridden), "delete one").to_string();
        let by_plan = refused(false);
        for part in ["20 projects", "plan Pro allows", "delete one", "ask the operator for another plan"] {
            assert!(by_plan.contains(part), "{part}: {by_plan}");
        }
        assert!(refused(true).contains("whatever its plan Pro says"));
    }
}
