//! What the transfer of a project means for the limits of the two organizations. The quota itself moves in the statement of the
//! projects room, by `plan_move_project`.

use supalove_core::{
    database::{Connection, Db},
    error::{Error, Result},
    ids::OrganizationId,
};
use supalove_proto::v1 as pb;

use crate::{
    api::wire::{wire_entitlement, wire_value},
    entitlement::{Entitlement, Limits, Used},
    quotas::projects_exceeded,
    sizes::size_refused,
    store,
};

/// Limits of the two organizations of a transfer.
#[derive(Debug)]
pub struct Compared {
    pub limits: Vec<pb::TransferLimit>,
    /// Days for which the organization that has the project keeps its audit log.
    pub source_log_days: i64,
    /// Days for which the other one does.
    pub target_log_days: i64,
}

/// Compares the limits of two organizations, for a project of the first one that would become one of the second.
pub async fn compare_for_transfer(
    db: &Db,
    source: OrganizationId,
    target: OrganizationId,
) -> Result<Compared> {
    let source = store::entitlements(db, source).await?.limits()?;
    let held = store::entitlements(db, target).await?;
    let target = held.limits()?;
    Ok(Compared {
        limits: compared(&source, &target, held.used),
        source_log_days: source.log_days,
        target_log_days: target.log_days,
    })
}

/// The errors for an organization whose plan does not allow one more project, or none of this size; none if it may have it.
pub async fn refused_by_plan(
    connection: &mut Connection,
    organization: OrganizationId,
    size: &str,
) -> Result<Vec<Error>> {
    let found = sqlx::query!(
        "SELECT projects_used >= projects_limit AS \"full!\", coalesce($2 = ANY (plan_sizes(id)), false) AS \"size_allowed!\"
         FROM organizations WHERE id = $1",
        organization.0,
        size,
    )
    .fetch_one(&mut *connection)
    .await?;
    let mut refused = Vec::new();
    if found.full {
        refused.push(projects_exceeded(&mut *connection, organization).await);
    }
    if !found.size_allowed {
        refused.push(size_refused(&mut *connection, organization, size).await);
    }
    Ok(refused)
}

fn compared(source: &Limits, target: &Limits, used: Used) -> Vec<pb::TransferLimit> {
    // The project comes alone: the members and clusters of its organization do not.
    let used = Used { projects: used.projects + 1, ..used };
    let one = |entitlement: Entitlement| {
        let used = used.of(entitlement);
        let over = matches!((used, target.bound(entitlement)), (Some(used), Some(bound)) if used > bound);
        pb::TransferLimit {
            entitlement: wire_entitlement(entitlement).into(),
            source: Some(wire_value(source.value(entitlement))),
            target: Some(wire_value(target.value(entitlement))),
            used: used.map(i64::unsigned_abs),
            over,
        }
    };
    Entitlement::ALL.iter().copied().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entitlement::tests::limits;

    #[test]
    fn the_project_counts_as_one_of_the_target_and_what_is_over_is_marked() {
        let target = Limits { projects: 2, members: 5, ..limits() };
        let used = Used { projects: 2, members: 5, private_clusters: 0, sizes: [2, 0, 0, 0, 0] };
        let all = compared(&limits(), &target, used);
        assert_eq!(all.len(), Entitlement::ALL.len());
        let of = |wanted: pb::Entitlement| all.iter().find(|one| one.entitlement() == wanted).unwrap();
        let projects = of(pb::Entitlement::Projects);
        assert_eq!((projects.used, projects.over), (Some(3), true));
        assert_eq!(projects.source, Some(wire_value(crate::Value::Number(20))));
        assert_eq!((of(pb::Entitlement::Members).used, of(pb::Entitlement::Members).over), (Some(5), false));
        assert_eq!((of(pb::Entitlement::LogDays).used, of(pb::Entitlement::LogDays).over), (None, false));
    }
}
