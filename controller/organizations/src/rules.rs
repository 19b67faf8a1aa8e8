//! Rows of the room's methods.

use supalove_core::access::{
    Object as _,
    Permission::{
        CreateOrganizations, DeleteOrganization, LeaveOrganization, ManageAccount, ManageMembers,
        ManageOrganization, Public, ReadAccount, ReadOrganization,
    },
    Rule,
    Scope::{AnySignedIn, Anyone, On},
};

use crate::OrganizationKey;

const ORGANIZATION: supalove_core::access::Scope = On(OrganizationKey::KIND);

/// Every method of the room.
pub const RULES: &[Rule] = &[
    Rule::write("/supalove.v1.OrganizationService/CreateOrganization", AnySignedIn, CreateOrganizations),
    Rule::read("/supalove.v1.OrganizationService/GetOrganization", ORGANIZATION, ReadOrganization),
    Rule::read("/supalove.v1.OrganizationService/ListOrganizations", AnySignedIn, ReadAccount),
    Rule::write("/supalove.v1.OrganizationService/UpdateOrganization", ORGANIZATION, ManageOrganization),
    Rule::write("/supalove.v1.OrganizationService/DeleteOrganization", ORGANIZATION, DeleteOrganization),
    Rule::read("/supalove.v1.OrganizationService/ListMembers", ORGANIZATION, ReadOrganization),
    Rule::write("/supalove.v1.OrganizationService/UpdateMember", ORGANIZATION, ManageMembers),
    Rule::write("/supalove.v1.OrganizationService/RemoveMember", ORGANIZATION, ManageMembers),
    Rule::write("/supalove.v1.OrganizationService/LeaveOrganization", ORGANIZATION, LeaveOrganization),
    Rule::write("/supalove.v1.InvitationService/CreateInvitation", ORGANIZATION, ManageMembers),
    Rule::read("/supalove.v1.InvitationService/ListInvitations", ORGANIZATION, ManageMembers),
    Rule::write("/supalove.v1.InvitationService/ResendInvitation", ORGANIZATION, ManageMembers),
    Rule::write("/supalove.v1.InvitationService/RevokeInvitation", ORGANIZATION, ManageMembers),
    Rule::read("/supalove.v1.InvitationService/GetInvitation", Anyone, Public),
    Rule::write("/supalove.v1.InvitationService/AcceptInvitation", AnySignedIn, ManageAccount),
];
