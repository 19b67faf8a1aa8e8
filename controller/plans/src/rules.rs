//! Rows of the room's methods.

use supalove_core::access::{
    Object as _,
    Permission::{ManagePlans, ReadAccount, ReadOrganization},
    Rule,
    Scope::{AnySignedIn, On, OperatorOnly},
};

use crate::object::Holder;

/// Every method of the room.
pub const RULES: &[Rule] = &[
    Rule::read("/supalove.v1.PlanService/ListPlans", AnySignedIn, ReadAccount),
    Rule::write("/supalove.v1.PlanService/UpdatePlan", OperatorOnly, ManagePlans),
    Rule::read("/supalove.v1.PlanService/GetEntitlements", On(Holder::KIND), ReadOrganization),
    Rule::write("/supalove.v1.PlanService/AssignPlan", OperatorOnly, ManagePlans),
    Rule::write("/supalove.v1.PlanService/SetEntitlement", OperatorOnly, ManagePlans),
    Rule::write("/supalove.v1.PlanService/ClearEntitlement", OperatorOnly, ManagePlans),
    Rule::read("/supalove.v1.PlanService/ListProjectSizes", AnySignedIn, ReadAccount),
    Rule::write("/supalove.v1.PlanService/UpdateProjectSize", OperatorOnly, ManagePlans),
];
