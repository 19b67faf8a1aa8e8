//! How clusters and nodes change: create, update, delete; rename, drain, remove, forget.

use supalove_core::{
    Core, Write as _,
    access::{Call, Permission::ManageFleet},
    error::{Error, Result},
    hints::Hint,
    ids::{ClusterId, OrganizationId},
    wire::Changes,
};
use supalove_organizations::OrganizationKey;
use supalove_proto::v1::{
    CreateClusterRequest, ErrorReason, ForgetNodeRequest, RemoveNodeRequest, UpdateClusterRequest,
    UpdateNodeRequest,
};
use supalove_spec::text::host_name;

use super::{
    Cluster, ClusterKind, Node, NodeState, Settings,
    access::{ClusterKey, NodeKey, allow},
    quotas, settings, store,
};
use crate::sessions::Fleet;

/// Fields of a cluster that an update may change.
const CLUSTER_FIELDS: &[&str] = &["name", "region", "labels", "policy", "overcommit", "reserve"];
/// Fields of a node that an update may change.
const NODE_FIELDS: &[&str] = &["name", "labels"];

/// Creates a cluster, or returns the one that the same call has created before.
pub async fn create(core: &Core, call: &Call, body: &CreateClusterRequest) -> Result<Cluster> {
    let owner = owner(core, call, &body.organization).await?;
    let kind = if owner.is_some() { ClusterKind::Private } else { ClusterKind::Shared };
    let mut mutation = core.mutation(call).once(call, &body.request_id, body).await?;
    let id = if let Some(done) = mutation.replayed() {
        done.resource.parse().map_err(Error::internal)?
    } else {
        let settings = Settings {
            name: settings::name(&body.name)?,
            region: settings::region(&body.region)?,
            labels: settings::labels(&body.labels)?,
            policy: settings::policy(settings::known_policy(body.policy)?, kind),
            overcommit: settings::factors(body.overcommit.as_ref())?,
            reserve: settings::reserve(body.reserve.as_ref())?,
        };
        if let Some(owner) = owner {
            supalove_plans::take_private_cluster(&mut mutation, owner).await?;
            quotas::take_cluster(&mut mutation, owner).await?;
        }
        let id = store::clusters::insert(&mut mutation, kind, owner, &settings).await?;
        mutation.commit(&id.to_string(), []).await?;
        id
    };
    shown(core, call, id).await
}

/// Returns who will own a new cluster; `None` for shared ones, which only the operator creates.
async fn owner(core: &Core, call: &Call, organization: &str) -> Result<Option<OrganizationId>> {
    if !organization.is_empty() {
        return Ok(Some(core.access.allow::<OrganizationKey>(call, organization).await?.id));
    }
    let principal = call.principal()?;
    principal.check_scope(ManageFleet, call.short_method())?;
    if principal.operator {
        return Ok(None);
    }
    Err(Error::PermissionDenied {
        action: "create a shared cluster".to_owned(),
        needs: "the operator; name your organization in `organization` to create a private cluster"
            .to_owned(),
    })
}

/// Reads a cluster for the caller.
pub async fn shown(core: &Core, call: &Call, id: ClusterId) -> Result<Cluster> {
    store::clusters::cluster(&core.db, id, call.principal()?.user, &core.times).await
}

/// Changes a cluster; returns the names of nodes that are overfull since.
pub async fn update(
    fleet: &Fleet,
    call: &Call,
    body: &UpdateClusterRequest,
) -> Result<(Cluster, Vec<String>)> {
    let core = fleet.core().for_calls();
    let key: ClusterKey = allow(&core, call, &body.cluster).await?;
    let changes = Changes::parse(body.update_mask.as_ref(), CLUSTER_FIELDS)?;
    let mut mutation = core.mutation(call);
    let locked = store::clusters::lock(&mut mutation, key.id).await?;
    if !body.etag.is_empty() && body.etag != locked.revision.to_string() {
        return Err(Error::Changed("cluster"));
    }
    let before = locked.settings;
    let after = changed(&before, &changes, body, key.kind)?;
    if after.name != before.name {
        store::clusters::refuse_default(&key, "renamed")?;
    }
    store::clusters::update(&mut mutation, &key, &after).await?;
    let mut overfull = Vec::new();
    if (after.overcommit, after.reserve) != (before.overcommit, before.reserve) {
        overfull = fleet.recompute(&mut mutation, key.id).await?;
    }
    mutation.commit(&key.id.to_string(), [Hint::Capacity]).await?;
    Ok((shown(&core, call, key.id).await?, overfull))
}

/// Returns the settings with the fields of a request that it changes.
fn changed(
    before: &Settings,
    changes: &Changes<'_>,
    body: &UpdateClusterRequest,
    kind: ClusterKind,
) -> Result<Settings> {
    let mut after = before.clone();
    if changes.field("name") {
        after.name = settings::name(&body.name)?;
    }
    if changes.field("region") {
        after.region = settings::region(&body.region)?;
    }
    if changes.field("labels") {
        after.labels = settings::labels(&body.labels)?;
    }
    if changes.field("policy") {
        after.policy = settings::policy(settings::known_policy(body.policy)?, kind);
    }
    if changes.field("overcommit") {
        after.overcommit = settings::factors(body.overcommit.as_ref())?;
    }
    if changes.field("reserve") {
        after.reserve = settings::reserve(body.reserve.as_ref())?;
    }
    Ok(after)
}

/// Deletes an empty cluster.
pub async fn delete(core: &Core, call: &Call, cluster: &str) -> Result<()> {
    let key: ClusterKey = allow(core, call, cluster).await?;
    store::clusters::refuse_default(&key, "deleted")?;
    let mut mutation = core.mutation(call);
    store::clusters::delete(&mut mutation, &key).await?;
    mutation.commit(&key.id.to_string(), []).await
}

/// Renames a node, or changes its labels.
pub async fn update_node(core: &Core, call: &Call, body: &UpdateNodeRequest) -> Result<Node> {
    let key: NodeKey = allow(core, call, &body.node_id).await?;
    let changes = Changes::parse(body.update_mask.as_ref(), NODE_FIELDS)?;
    let wrong = || Error::field("name", "must be a host name");
    let name = changes.field("name").then(|| host_name(&body.name).ok_or_else(wrong)).transpose()?;
    let labels = changes.field("labels").then(|| settings::labels(&body.labels)).transpose()?;
    let mut mutation = core.mutation(call);
    store::update_node(&mut mutation, &key, name.as_deref(), labels.as_ref(), &body.etag).await?;
    let node =
        store::node(supalove_core::Write::connection(&mut mutation).await?, key.node, &core.times).await?;
    mutation.commit(&key.node.to_string(), [Hint::Node(key.node), Hint::Capacity]).await?;
    Ok(node)
}

/// Cordons a node, or lets it take projects again.
pub async fn set_schedulable(core: &Core, call: &Call, node_id: &str, schedulable: bool) -> Result<Node> {
    let key: NodeKey = allow(core, call, node_id).await?;
    let mut mutation = core.mutation(call);
    let node = store::set_schedulable(&mut mutation, &key, schedulable, &core.times).await?;
    mutation.commit(&key.node.to_string(), [Hint::Node(key.node), Hint::Capacity]).await?;
    Ok(node)
}

/// Drains a node; returns what stands on it.
pub async fn drain(core: &Core, call: &Call, node_id: &str) -> Result<(Node, Vec<(String, bool)>)> {
    let key: NodeKey = allow(core, call, node_id).await?;
    let mut mutation = core.mutation(call);
    let node = store::drain(&mut mutation, &key, &core.times).await?;
    let standing = store::standing_on(mutation.connection().await?, key.node).await?;
    mutation.commit(&key.node.to_string(), [Hint::Node(key.node), Hint::Capacity]).await?;
    Ok((node, standing))
}

/// Gives up a node that does not come back, with the projects on it, all of which the request names. Their room ends them.
pub async fn forget_node(core: &Core, call: &Call, body: &ForgetNodeRequest) -> Result<Node> {
    let key: NodeKey = allow(core, call, &body.node_id).await?;
    let mut mutation = core.mutation(call);
    let standing = store::projects_on(&mut mutation, key.node).await?;
    let found =
        store::node(supalove_core::Write::connection(&mut mutation).await?, key.node, &core.times).await?;
    // Again: what is left of its projects ends without being named.
    if found.forgotten_at.is_none() {
        refuse_living(&found)?;
        let means = "Forgetting the node ends them for good: their databases are lost to the platform, whatever is left on the \
            host; their names and quota are free again. To go on, name all of them";
        refuse_other_projects(&standing, &body.lost_projects, means)?;
    }
    let node = store::forget(&mut mutation, key.node, &core.times).await?;
    mutation.commit(&key.node.to_string(), [Hint::Sessions, Hint::Node(key.node)]).await?;
    Ok(node)
}

/// Returns an error unless the node is lost, revoked, or was never connected; it says how long to wait.
fn refuse_living(node: &Node) -> Result<()> {
    if matches!(node.state, NodeState::Ready | NodeState::Unhealthy) {
        return Err(Error::FailedPrecondition {
            reason: ErrorReason::NodeNotLost,
            message: format!(
                "the node {} was heard not long ago, or no controller was there to hear it, so it may have its projects: it is LOST if it \
                 stays silent for another {} s; wait for that, or drain and remove it",
                node.name,
                node.lost_in.as_secs() + 1
            ),
        });
    }
    Ok(())
}

/// Revokes a node on which no projects stand but those that the request gives up.
pub async fn remove_node(core: &Core, call: &Call, body: &RemoveNodeRequest) -> Result<Node> {
    let key: NodeKey = allow(core, call, &body.node_id).await?;
    let mut mutation = core.mutation(call);
    let standing = store::projects_on(&mut mutation, key.node).await?;
    let means = "Delete them, or name all of them: they stay on the host, and nobody manages them any more";
    refuse_other_projects(&standing, &body.abandon_projects, means)?;
    let node = store::revoke(&mut mutation, key.node, &core.times).await?;
    mutation.commit(&key.node.to_string(), [Hint::Sessions, Hint::Node(key.node)]).await?;
    Ok(node)
}

/// Returns an error unless the request names exactly the projects on the node. `standing` is sorted. `means`: what becomes of
/// them, and what to do.
fn refuse_other_projects(standing: &[String], named: &[String], means: &str) -> Result<()> {
    let mut named = named.to_vec();
    named.sort();
    named.dedup();
    if standing == named {
        return Ok(());
    }
    let message = if named.is_empty() {
        format!("projects stand on the node: {}. {means}", standing.len())
    } else {
        format!(
            "the request does not name exactly the projects that stand on the node: there are {}, and it names {}",
            standing.len(),
            named.len()
        )
    };
    Err(Error::FailedPreconditions {
        reason: ErrorReason::NodeNotEmpty,
        message,
        violations: standing
            .iter()
            .map(|project| {
                (format!("project:{project}"), format!("the project {project} stands on the node"))
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_names_exactly_what_stands_there() {
        let names = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        assert!(refuse_other_projects(&[], &[], "").is_ok());
        assert!(refuse_other_projects(&names(&["a", "b"]), &names(&["b", "a", "a"]), "").is_ok());
        let wrong: [(&[&str], &[&str]); 4] =
            [(&["a"], &[]), (&["a", "b"], &["a"]), (&["a"], &["a", "b"]), (&[], &["a"])];
        for (standing, named) in wrong {
            let refused = refuse_other_projects(&names(standing), &names(named), "").unwrap_err();
            let Error::FailedPreconditions { reason, violations, .. } = refused else { panic!("{refused}") };
            assert_eq!((reason, violations.len()), (ErrorReason::NodeNotEmpty, standing.len()));
        }
    }

    #[test]
    fn an_update_changes_only_the_fields_of_its_mask() {
        let before = Settings {
            name: "eu".into(),
            region: "here".into(),
            labels: settings::Labels::from([("a".into(), "b".into())]),
            policy: settings::PlacementPolicy::Pack,
            overcommit: settings::Factors { cpu: 4.0, memory: 2.0, disk: 1.0 },
            reserve: settings::Reserve::default(),
        };
        let body = UpdateClusterRequest { name: "us".into(), region: "there".into(), ..Default::default() };
        let mask = prost_types::FieldMask { paths: vec!["region".into()] };
        let changes = Changes::parse(Some(&mask), CLUSTER_FIELDS).unwrap();
        let after = changed(&before, &changes, &body, ClusterKind::Private).unwrap();
        assert_eq!(after, Settings { region: "there".into(), ..before.clone() });
        let all = Changes::parse(None, CLUSTER_FIELDS).unwrap();
        let after = changed(&before, &all, &body, ClusterKind::Private).unwrap();
        assert_eq!((after.name.as_str(), after.policy), ("us", settings::PlacementPolicy::Spread));
        assert_eq!(after.overcommit, settings::Factors::default());
    }
}
