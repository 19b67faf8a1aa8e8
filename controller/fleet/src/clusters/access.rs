//! Clusters, nodes and join tokens that requests name, and who may do what with them.
//!
//! Shared clusters are the platform's: everybody sees that they exist, only the operator sees and manages their nodes. Private
//! ones are their organization's, and for everybody else they do not exist.

use supalove_core::{
    Core,
    access::{Call, Found, Object, Permission::ManageFleet, Role},
    database::Db,
    error::{Error, Result},
    ids::{ClusterId, InvalidId, JoinTokenId, NodeId, OrganizationId, UserId},
};

use super::{ClusterKind, store};

/// A cluster that the caller may see.
#[derive(Debug, Clone)]
pub struct ClusterKey {
    pub id: ClusterId,
    pub kind: ClusterKind,
    pub name: String,
    /// Who owns it; `None` for shared ones.
    pub organization: Option<OrganizationId>,
}

/// A node that the caller may see.
#[derive(Debug, Clone)]
pub struct NodeKey {
    pub node: NodeId,
    pub kind: ClusterKind,
    pub organization: Option<OrganizationId>,
}

/// A join token on which the caller has the permission.
#[derive(Debug, Clone)]
pub struct JoinTokenKey {
    pub token: JoinTokenId,
    pub kind: ClusterKind,
    pub organization: Option<OrganizationId>,
}

/// A part of the fleet: it is in a cluster, or is one.
pub trait FleetObject: Object {
    /// Who may use its cluster.
    fn kind(&self) -> ClusterKind;
}

/// Returns the object that a request names, if the caller has the permission on it: what belongs to a shared cluster takes
/// [`ManageFleet`], what belongs to a private one that of the call's rule.
pub async fn allow<T: FleetObject>(core: &Core, call: &Call, name: &str) -> Result<T> {
    let user = call.principal()?.user;
    // Whatever goes wrong here goes wrong again below, in the order of checks that all objects have.
    let found = T::find(&core.db, name, user).await;
    let shared = matches!(&found, Ok(Some(found)) if found.object.kind() == ClusterKind::Shared);
    let needs = if shared { ManageFleet } else { call.rule.permission };
    core.access.allow_item(call, name, needs).await
}

/// Whether the caller may see the nodes of shared clusters.
pub fn sees_fleet(call: &Call) -> Result<bool> {
    let principal = call.principal()?;
    Ok(principal.operator && principal.check_scope(ManageFleet, call.short_method()).is_ok())
}

impl Object for ClusterKey {
    const KIND: &'static str = "cluster";

    async fn find(db: &Db, name: &str, user: UserId) -> Result<Option<Found<Self>>> {
        let seen = store::clusters::seen_by(db, name, user).await?;
        let Some(one) = choose(seen, name)? else { return Ok(None) };
        // Everybody may see a shared cluster; no permission on it comes with that.
        let role = if one.key.kind == ClusterKind::Shared { Some(Role::ReadOnly) } else { one.role };
        Ok(Some(Found { object: one.key, role }))
    }

    fn organization(&self) -> Option<OrganizationId> {
        self.organization
    }
}

impl FleetObject for ClusterKey {
    fn kind(&self) -> ClusterKind {
        self.kind
    }
}

/// A cluster that a user may see.
#[derive(Debug, Clone)]
pub struct Seen {
    pub key: ClusterKey,
    /// The user's role in the organization that owns it.
    pub role: Option<Role>,
    /// True if the user is the operator.
    pub operator: bool,
}

/// Chooses among the clusters that have a name: private clusters of several organizations may have the same, and the operator's
/// shared clusters must not be hidden by them.
fn choose(mut seen: Vec<Seen>, name: &str) -> Result<Option<Seen>> {
    if seen.len() < 2 {
        return Ok(seen.pop());
    }
    if let Some(shared) = seen.iter().position(|one| one.operator && one.key.kind == ClusterKind::Shared) {
        return Ok(Some(seen.swap_remove(shared)));
    }
    Err(Error::field("cluster", format!("{name:?} is the name of several clusters; use an id")))
}

impl Object for NodeKey {
    const KIND: &'static str = "node";

    async fn find(db: &Db, name: &str, user: UserId) -> Result<Option<Found<Self>>> {
        let node: NodeId = name.parse().map_err(|e: InvalidId| Error::field("node_id", e.to_string()))?;
        let row = store::clusters::cluster_of_node(db, node, user).await?;
        Ok(row.map(|(kind, organization, role)| Found { object: Self { node, kind, organization }, role }))
    }

    fn organization(&self) -> Option<OrganizationId> {
        self.organization
    }
}

impl FleetObject for NodeKey {
    fn kind(&self) -> ClusterKind {
        self.kind
    }
}

impl Object for JoinTokenKey {
    const KIND: &'static str = "join token";

    async fn find(db: &Db, name: &str, user: UserId) -> Result<Option<Found<Self>>> {
        let token: JoinTokenId =
            name.parse().map_err(|e: InvalidId| Error::field("join_token_id", e.to_string()))?;
        let row = store::clusters::cluster_of_token(db, token, user).await?;
        Ok(row.map(|(kind, organization, role)| Found { object: Self { token, kind, organization }, role }))
    }

    fn organization(&self) -> Option<OrganizationId> {
        self.organization
    }
}

impl FleetObject for JoinTokenKey {
    fn kind(&self) -> ClusterKind {
        self.kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(kind: ClusterKind, operator: bool) -> Seen {
        let organization = (kind == ClusterKind::Private).then(OrganizationId::generate);
        let key = ClusterKey { id: ClusterId::generate(), kind, name: "eu".into(), organization };
        Seen { key, role: None, operator }
    }

    #[test]
    fn a_name_of_several_clusters_means_the_shared_one_for_the_operator_only() {
        assert!(choose(vec![], "eu").unwrap().is_none());
        let one = choose(vec![seen(ClusterKind::Private, false)], "eu").unwrap().unwrap();
        assert_eq!(one.key.kind, ClusterKind::Private);
        let both = |operator| vec![seen(ClusterKind::Private, operator), seen(ClusterKind::Shared, operator)];
        assert_eq!(choose(both(true), "eu").unwrap().unwrap().key.kind, ClusterKind::Shared);
        assert!(choose(both(false), "eu").unwrap_err().to_string().contains("use an id"));
        let private = vec![seen(ClusterKind::Private, true), seen(ClusterKind::Private, true)];
        assert!(choose(private, "eu").is_err());
    }
}
