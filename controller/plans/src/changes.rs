//! Changes of plans and entitlements. Each locks the plans, then the organizations that it concerns, writes, and looks whether
//! what is in use fits; if not, the error lists everything that is over, and the caller's transaction is rolled back.

use supalove_core::{
    Write,
    error::{Error, Result},
    ids::{OrganizationId, UserId},
};
use supalove_proto::v1::ErrorReason;

use crate::{
    entitlement::{Entitlement, Over, Value},
    sizes::{self, ProjectSize},
    store::{self, Entitlements, Plan},
};

/// How many uses that are over a limit an error names; it says how many more there are.
const NAMED: usize = 20;

/// Changes a plan by `edit`; returns the organizations whose limits have changed.
pub async fn update_plan(
    write: &mut impl Write,
    name: &str,
    etag: &str,
    edit: impl FnOnce(&mut Plan) -> Result<()>,
) -> Result<Vec<OrganizationId>> {
    let before = locked(write, name).await?;
    check_etag("plan", etag, before.revision)?;
    let mut after = before.clone();
    edit(&mut after)?;
    if after == before {
        return Ok(Vec::new());
    }
    if after.is_default != before.is_default {
        if !after.is_default {
            return Err(Error::field(
                "default_for_new_organizations",
                "new organizations need a plan; make another plan the default instead",
            ));
        }
        store::clear_default(write).await?;
    }
    store::update(write, &after).await?;
    if after.limits == before.limits {
        return Ok(Vec::new());
    }
    let organizations = store::lock_organizations_of(write, name).await?;
    let lowered = |entitlement| after.limits.lowered(&before.limits, entitlement);
    let taken_away = after.limits.sizes_taken_away(&before.limits);
    let over = store::over(
        write,
        name,
        lowered(Entitlement::Projects),
        lowered(Entitlement::Members),
        lowered(Entitlement::PrivateClusters),
        &taken_away,
    );
    check_fits(&over.await?, &format!("the limits of the plan {name}"))?;
    store::settle_plan(write, name).await?;
    Ok(organizations)
}

/// Changes what a size gives by `edit`. Projects keep what they have until they are resized.
pub async fn update_size(
    write: &mut impl Write,
    name: &str,
    etag: &str,
    edit: impl FnOnce(&mut ProjectSize) -> Result<()>,
) -> Result<()> {
    let before = sizes::lock(write, name).await?;
    check_etag("size", etag, before.revision)?;
    let mut after = before.size.clone();
    edit(&mut after)?;
    if after != before.size {
        sizes::update(write, &after).await?;
    }
    Ok(())
}

/// Who changes the entitlements of an organization, and why.
pub struct Act<'a> {
    pub organization: OrganizationId,
    /// Of the entitlements that the caller has read, or empty.
    pub etag: &'a str,
    pub reason: &'a str,
    pub by: UserId,
}

/// Gives an organization another plan.
pub async fn assign(write: &mut impl Write, act: &Act<'_>, plan: &str) -> Result<Entitlements> {
    locked(write, plan).await?;
    let before = begin(write, act).await?;
    store::assign(write, act.organization, plan, act.reason, act.by).await?;
    end(write, act, &before, &format!("the plan {plan}")).await
}

/// Overrides one limit of an organization.
pub async fn set(
    write: &mut impl Write,
    act: &Act<'_>,
    entitlement: Entitlement,
    value: &Value,
) -> Result<Entitlements> {
    store::lock_plans(write).await?;
    let before = begin(write, act).await?;
    store::set(write, act.organization, entitlement, value, act.reason, act.by).await?;
    end(write, act, &before, "the limit").await
}

/// Takes the override of a limit back.
pub async fn clear(write: &mut impl Write, act: &Act<'_>, entitlement: Entitlement) -> Result<Entitlements> {
    store::lock_plans(write).await?;
    let before = begin(write, act).await?;
    if before.overridden(entitlement).is_none() {
        return Ok(before);
    }
    store::clear(write, act.organization, entitlement).await?;
    end(write, act, &before, &format!("the limit of the plan {}", before.plan.name)).await
}

/// Locks all plans; returns the one of this name.
async fn locked(write: &mut impl Write, name: &str) -> Result<Plan> {
    let plans = store::lock_plans(write).await?;
    let found = plans.into_iter().find(|plan| plan.name == name);
    found.ok_or_else(|| Error::NotFound { kind: "plan", name: name.to_owned() })
}

async fn begin(write: &mut impl Write, act: &Act<'_>) -> Result<Entitlements> {
    store::lock_organization(write, act.organization).await?;
    let before = store::entitlements(write.connection().await?, act.organization).await?;
    check_etag("set of entitlements", act.etag, before.revision)?;
    Ok(before)
}

async fn end(
    write: &mut impl Write,
    act: &Act<'_>,
    before: &Entitlements,
    what: &str,
) -> Result<Entitlements> {
    let after = store::entitlements(write.connection().await?, act.organization).await?;
    let over = after.used.over(&after.organization, &before.limits()?, &after.limits()?);
    check_fits(&over, what)?;
    store::settle(write, act.organization).await?;
    Ok(after)
}

fn check_etag(kind: &'static str, given: &str, revision: i64) -> Result<()> {
    if given.is_empty() || given == revision.to_string() { Ok(()) } else { Err(Error::Changed(kind)) }
}

fn check_fits(over: &[Over], what: &str) -> Result<()> {
    if over.is_empty() {
        return Ok(());
    }
    let named = &over[..over.len().min(NAMED)];
    let in_words = |over: &Over| match over.entitlement {
        Entitlement::PrivateClusters => "private clusters, and would be allowed none".to_owned(),
        Entitlement::ProjectSizes => "projects of a size that would not be allowed".to_owned(),
        entitlement => {
            format!("{}, and would be allowed {}", entitlement.as_sql().to_lowercase(), over.limit)
        }
    };
    let each: Vec<_> = named
        .iter()
        .map(|over| format!("{} has {} {}", over.organization, over.used, in_words(over)))
        .collect();
    let more = match over.len() - named.len() {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let subject = |over: &Over| format!("{}:{}", over.organization, over.entitlement.as_sql().to_lowercase());
    let violations = named
        .iter()
        .map(|over| (subject(over), format!("uses {}; the limit would be {}", over.used, over.limit)));
    Err(Error::FailedPreconditions {
        reason: ErrorReason::UseOverLimits,
        message: format!(
            "{what} would not fit what is in use: {}{more}; use less first, or override the limit for the organization",
            each.join("; ")
        ),
        violations: violations.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(organization: &str, entitlement: Entitlement, used: i64, limit: i64) -> Over {
        Over { organization: organization.to_owned(), entitlement, used, limit }
    }

    #[test]
    fn a_refusal_lists_everything_that_is_over() {
        check_fits(&[], "the plan free").unwrap();
        let all =
            [over("acme", Entitlement::Projects, 5, 2), over("acme", Entitlement::PrivateClusters, 1, 0)];
        let Err(Error::FailedPreconditions { reason, message, violations }) =
            check_fits(&all, "the plan free")
        else {
            panic!("it fits");
        };
        assert_eq!(reason, ErrorReason::UseOverLimits);
        assert_eq!(
            message,
            "the plan free would not fit what is in use: acme has 5 projects, and would be allowed 2; acme has 1 private \
             clusters, and would be allowed none; use less first, or override the limit for the organization"
        );
        assert_eq!(violations[0], ("acme:projects".to_owned(), "uses 5; the limit would be 2".to_owned()));
        assert_eq!(violations[1].0, "acme:private_clusters");
    }

    #[test]
    fn a_long_list_says_how_much_is_left_out() {
        let all = vec![over("acme", Entitlement::Members, 9, 5); NAMED + 7];
        let error = check_fits(&all, "it").unwrap_err();
        assert!(error.to_string().contains("; and 7 more;"), "{error}");
    }

    #[test]
    fn an_etag_is_compared_only_if_there_is_one() {
        check_etag("plan", "", 3).unwrap();
        check_etag("plan", "3", 3).unwrap();
        assert!(matches!(check_etag("plan", "2", 3), Err(Error::Changed("plan"))));
    }
}
