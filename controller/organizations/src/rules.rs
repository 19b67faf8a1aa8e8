//! Rows of the room's methods.

use supalove_core::access::{
    Object as _,
    Permission::{ReadOrganization, ReadSelf},
    Rule,
    Scope::{AnySignedIn, On},
};

use crate::OrganizationKey;

const ORGANIZATION: supalove_core::access::Scope = On(OrganizationKey::KIND);

/// Every method of the room.
pub const RULES: &[Rule] = &[
    Rule::write("/supalove.v1.OrganizationService/CreateOrganization", AnySignedIn, ReadSelf),
    Rule::read("/supalove.v1.OrganizationService/GetOrganization", ORGANIZATION, ReadOrganization),
    Rule::read("/supalove.v1.OrganizationService/ListOrganizations", AnySignedIn, ReadSelf),
];
