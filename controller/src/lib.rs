//! The control plane of Supalove: users, organizations and projects over gRPC and gRPC-web, a scheduler that places
//! projects on nodes, and a reconciler that applies the desired state through the nodes' agents.
//!
//! This crate is the program: arguments, configuration, the list of rooms and two listeners. The rooms are crates of
//! their own beside it.

pub mod audit;
mod audit_events;
pub mod check;
pub mod config;
mod descriptors;
mod health;
mod metrics;
pub mod migrate;
mod pages;
mod platform;
mod public;
mod reflection;
pub mod server;

use supalove_core::{access::Rules, consistency::RowCheck, vault::columns::SealedColumn};

/// Returns the authorization rules of all methods of the public listener, for tests that walk them.
pub fn rules() -> Rules {
    Rules::new([
        supalove_identity::RULES,
        supalove_plans::RULES,
        supalove_organizations::RULES,
        supalove_fleet::RULES,
        supalove_projects::RULES,
        supalove_images::RULES,
        supalove_usage::RULES,
        platform::RULES,
        audit_events::RULES,
        supalove_core::watch::RULES,
        health::RULES,
        reflection::RULES,
    ])
}

/// Returns the columns in which the rooms keep sealed values.
pub fn sealed_columns() -> Vec<SealedColumn> {
    [
        supalove_core::platform::SEALED,
        supalove_core::mail::SEALED,
        supalove_identity::SEALED,
        supalove_fleet::SEALED,
        supalove_projects::SEALED,
    ]
    .concat()
}

/// Returns the rules that the rows of all rooms keep.
pub fn row_checks() -> Vec<RowCheck> {
    let rooms = [
        supalove_core::housekeeping::ROW_CHECKS,
        supalove_plans::ROW_CHECKS,
        supalove_organizations::ROW_CHECKS,
        supalove_fleet::ROW_CHECKS,
        supalove_projects::ROW_CHECKS,
    ];
    rooms.concat()
}
