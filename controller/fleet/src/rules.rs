//! Rows of the room's methods.

use supalove_core::access::{
    Object as _,
    Permission::{ManageClusters, ManageFleet, ReadClusters},
    Rule, Scope,
    Scope::{AnySignedIn, On, OperatorOnly},
};
use supalove_organizations::OrganizationKey;

use crate::clusters::access::{ClusterKey, JoinTokenKey, NodeKey};

const ORGANIZATION: Scope = On(OrganizationKey::KIND);
const CLUSTER: Scope = On(ClusterKey::KIND);
const NODE: Scope = On(NodeKey::KIND);
const JOIN_TOKEN: Scope = On(JoinTokenKey::KIND);

/// Every method of the room. The permissions on clusters, nodes and join tokens are those for private clusters: what belongs to a
/// shared one takes `ManageFleet`, but for the sight of the cluster itself.
pub const RULES: &[Rule] = &[
    Rule::write("/supalove.v1.ClusterService/CreateCluster", ORGANIZATION, ManageClusters),
    Rule::read("/supalove.v1.ClusterService/GetCluster", CLUSTER, ReadClusters),
    Rule::read("/supalove.v1.ClusterService/ListClusters", AnySignedIn, ReadClusters),
    Rule::write("/supalove.v1.ClusterService/UpdateCluster", CLUSTER, ManageClusters),
    Rule::write("/supalove.v1.ClusterService/DeleteCluster", CLUSTER, ManageClusters),
    Rule::read("/supalove.v1.ClusterService/ListNodes", CLUSTER, ReadClusters),
    Rule::read("/supalove.v1.ClusterService/GetNode", NODE, ReadClusters),
    Rule::write("/supalove.v1.ClusterService/RevokeNode", NODE, ManageClusters),
    Rule::write("/supalove.v1.ClusterService/CordonNode", NODE, ManageClusters),
    Rule::write("/supalove.v1.ClusterService/DrainNode", NODE, ManageClusters),
    Rule::write("/supalove.v1.ClusterService/UncordonNode", NODE, ManageClusters),
    Rule::write("/supalove.v1.ClusterService/UpdateNode", NODE, ManageClusters),
    Rule::write("/supalove.v1.ClusterService/RemoveNode", NODE, ManageClusters),
    // It ends projects of whoever has them there, without an undo window.
    Rule::write("/supalove.v1.ClusterService/ForgetNode", NODE, ManageFleet),
    Rule::read("/supalove.v1.ClusterService/ListAlarms", AnySignedIn, ReadClusters),
    Rule::write("/supalove.v1.ClusterService/CreateJoinToken", CLUSTER, ManageClusters),
    Rule::read("/supalove.v1.ClusterService/ListJoinTokens", CLUSTER, ManageClusters),
    Rule::write("/supalove.v1.ClusterService/RevokeJoinToken", JOIN_TOKEN, ManageClusters),
    Rule::write("/supalove.v1.RegistryService/SetRegistryCredentials", CLUSTER, ManageClusters),
    Rule::read("/supalove.v1.RegistryService/ListRegistryCredentials", CLUSTER, ManageClusters),
    Rule::write("/supalove.v1.RegistryService/DeleteRegistryCredentials", CLUSTER, ManageClusters),
    Rule::read("/supalove.v1.AuthorityService/ListAuthorities", OperatorOnly, ManageFleet),
    Rule::write("/supalove.v1.AuthorityService/CreateAuthority", OperatorOnly, ManageFleet),
    Rule::write("/supalove.v1.AuthorityService/ActivateAuthority", OperatorOnly, ManageFleet),
    Rule::write("/supalove.v1.AuthorityService/RetireAuthority", OperatorOnly, ManageFleet),
];
