//! Plans, what each organization may use, and the quotas that the other rooms take.
//!
//! A plan is a row that the operator edits. An organization has a plan and overrides of single limits. Only SQL functions of
//! this room write the counters and limits in the rows of organizations (`plan_take_project`, `plan_give_back_project`,
//! `plan_settle`, the trigger `plan_begin`); the placing statement of the projects room calls the first one, too.
//!
//! Lock order: the plans, then organizations. Every change of a plan or an entitlement locks all plans first: there are few of
//! both, and so no two of them meet halfway.

#![allow(missing_docs, reason = "a room's crate: a comment is written where it says something")]

pub mod api;
mod changes;
mod consistency;
mod entitlement;
#[cfg(test)]
mod fuzz;
mod object;
mod quotas;
mod retention;
mod rules;
mod sizes;
mod store;
mod transfers;

pub use api::PlanApi;
pub use consistency::ROW_CHECKS;
pub use entitlement::{Entitlement, Limits, PROJECT_SIZES, SizeAction, Value};
pub use object::Holder;
pub use quotas::{
    Held, ORGANIZATIONS_LIMIT, give_back_project, held, organizations_exceeded, projects_exceeded,
    take_member, take_private_cluster,
};
pub use rules::RULES;
pub use sizes::{ProjectSize, find_size, size_refused, take_size};
pub use transfers::{Compared, compare_for_transfer, refused_by_plan};

use std::sync::Arc;

use supalove_core::{Core, Room};
use supalove_proto::v1::plan_service_server::PlanServiceServer;

/// What the server mounts.
pub fn room(core: &Core) -> Room {
    let log_days = retention::LogDays { db: core.for_work().db, otherwise: core.times.audit_kept };
    core.set_audit_retention(Arc::new(log_days));
    Room::new("plans", RULES).service(PlanServiceServer::new(PlanApi::new(core.clone())))
}
