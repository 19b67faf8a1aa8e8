//! Rows of the room's methods.

use supalove_core::access::{
    Object as _,
    Permission::{ReadClusters, ReadOrganization, ReadProjects},
    Rule,
    Scope::On,
};
use supalove_fleet::clusters::access::ClusterKey;
use supalove_plans::Holder;
use supalove_projects::ProjectKey;

/// Every method of the room.
pub const RULES: &[Rule] = &[
    Rule::read("/supalove.v1.UsageService/GetProjectUsage", On(ProjectKey::KIND), ReadProjects),
    Rule::read("/supalove.v1.UsageService/GetProjectUsageSeries", On(ProjectKey::KIND), ReadProjects),
    Rule::read("/supalove.v1.UsageService/GetOrganizationUsage", On(Holder::KIND), ReadOrganization),
    Rule::read("/supalove.v1.UsageService/GetOrganizationUsageSeries", On(Holder::KIND), ReadOrganization),
    // What belongs to a shared cluster takes `ManageFleet`, as in the fleet.
    Rule::read("/supalove.v1.UsageService/GetClusterUsage", On(ClusterKey::KIND), ReadClusters),
    Rule::read("/supalove.v1.UsageService/GetClusterUsageSeries", On(ClusterKey::KIND), ReadClusters),
];
