//! Rows of the room's methods.

use supalove_core::access::{Permission::ManageFleet, Rule, Scope::OperatorOnly};

/// Every method of the room.
pub const RULES: &[Rule] = &[
    Rule::read("/supalove.v1.ClusterService/GetCluster", OperatorOnly, ManageFleet),
    Rule::read("/supalove.v1.ClusterService/ListNodes", OperatorOnly, ManageFleet),
    Rule::read("/supalove.v1.ClusterService/GetNode", OperatorOnly, ManageFleet),
    Rule::write("/supalove.v1.ClusterService/RevokeNode", OperatorOnly, ManageFleet),
    Rule::write("/supalove.v1.ClusterService/CreateJoinToken", OperatorOnly, ManageFleet),
    Rule::read("/supalove.v1.ClusterService/ListJoinTokens", OperatorOnly, ManageFleet),
    Rule::write("/supalove.v1.ClusterService/RevokeJoinToken", OperatorOnly, ManageFleet),
    Rule::read("/supalove.v1.AuthorityService/ListAuthorities", OperatorOnly, ManageFleet),
    Rule::write("/supalove.v1.AuthorityService/CreateAuthority", OperatorOnly, ManageFleet),
    Rule::write("/supalove.v1.AuthorityService/ActivateAuthority", OperatorOnly, ManageFleet),
    Rule::write("/supalove.v1.AuthorityService/RetireAuthority", OperatorOnly, ManageFleet),
];
