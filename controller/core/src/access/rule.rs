//! Rules of the authorization table: on which object a method acts, and which permission it needs. Each room has the
//! rules of its own methods; a test walks all of them.

use std::collections::HashMap;

use super::Role;

/// The object on which a method acts. It determines who checks the permission, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// No object; callers need not be signed in.
    Anyone,
    /// No single object; any signed-in user may call it, and the handler filters the result by membership.
    AnySignedIn,
    /// The object of this kind ([`Object::KIND`](super::Object::KIND)) that the request names.
    On(&'static str),
    /// The platform; only the operator may call it.
    OperatorOnly,
}

/// A permission. Roles have several; a method needs one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Call methods that everybody may call: sign-in, health, reflection.
    Public,
    /// Read the caller's own profile, and list what the caller may see.
    ReadAccount,
    /// Change the caller's own account: name, password, sessions, tokens.
    ManageAccount,
    /// Create organizations.
    CreateOrganizations,
    /// Read an organization and its members.
    ReadOrganization,
    /// Change an organization.
    ManageOrganization,
    /// Change who is a member, and in which role.
    ManageMembers,
    /// Read the audit log of an organization.
    ReadAuditLog,
    /// Delete an organization.
    DeleteOrganization,
    /// End the caller's own membership.
    LeaveOrganization,
    /// Read projects, their events and operations.
    ReadProjects,
    /// Create, start, stop, delete projects.
    OperateProjects,
    /// Read keys and passwords.
    ReadProjectSecrets,
    /// Set secrets of projects, and replace their keys and passwords.
    ChangeProjectSecrets,
    /// Read what the services of projects print: personal data and secrets may be in it.
    ReadProjectLogs,
    /// Manage shared clusters with their nodes and join tokens, and the fleet's roots.
    ManageFleet,
    /// See clusters, and the nodes of an organization's private ones.
    ReadClusters,
    /// Manage an organization's private clusters with their nodes and join tokens.
    ManageClusters,
    /// Read the jobs of the control plane and their results.
    OperatePlatform,
    /// Edit plans, assign them to organizations, and override their limits.
    ManagePlans,
    /// Give projects of an organization to another one, whose members can then read their secrets.
    TransferProjects,
    /// Take projects that another organization gives: as for a new one.
    ReceiveProjects,
}

impl Permission {
    /// Returns the roles of an organization that have the permission, strongest first.
    pub fn roles(self) -> &'static [Role] {
        match self {
            Self::Public
            | Self::ReadAccount
            | Self::ManageAccount
            | Self::CreateOrganizations
            | Self::ManageFleet
            | Self::OperatePlatform
            | Self::ManagePlans => &[],
            Self::ReadOrganization | Self::LeaveOrganization | Self::ReadProjects | Self::ReadClusters => {
                Role::ALL
            }
            Self::ManageOrganization
            | Self::ManageMembers
            | Self::ReadAuditLog
            | Self::TransferProjects
            | Self::ManageClusters => &[Role::Owner, Role::Administrator],
            Self::DeleteOrganization => &[Role::Owner],
            Self::OperateProjects
            | Self::ReadProjectSecrets
            | Self::ChangeProjectSecrets
            | Self::ReadProjectLogs
            | Self::ReceiveProjects => &[Role::Owner, Role::Administrator, Role::Developer],
        }
    }

    /// True if the operator has the permission on all objects. The operator may not read or replace tenants' secrets, nor read
    /// their logs, and so neither become a member of their organizations nor take their projects.
    pub fn operator(self) -> bool {
        !matches!(
            self,
            Self::ReadProjectSecrets
                | Self::ChangeProjectSecrets
                | Self::ReadProjectLogs
                | Self::ManageMembers
                | Self::TransferProjects
        )
    }
}

/// Upper bound of a call's duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// [`Times::call`](crate::times::Times::call), as for most unary calls.
    Call,
    /// [`Times::wait_operation`](crate::times::Times::wait_operation).
    Wait,
    /// A stream, which the caller ends.
    Stream,
}

/// Authorization rule of one method.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// `/package.Service/Method`.
    pub method: &'static str,
    /// The object on which it acts.
    pub scope: Scope,
    /// The permission that it needs.
    pub permission: Permission,
    /// True if it changes something or reveals a secret; the call layer then audits refusals too.
    pub changes: bool,
    /// Upper bound of its duration.
    pub lasts: Lasts,
    /// True if it reads or sets a cookie: browsers of foreign sites are refused.
    pub cookies: bool,
}

impl Rule {
    /// Creates the rule of a method that only reads.
    pub const fn read(method: &'static str, scope: Scope, permission: Permission) -> Self {
        Self { method, scope, permission, changes: false, lasts: Lasts::Call, cookies: false }
    }

    /// Creates the rule of a method that changes something or reveals a secret.
    pub const fn write(method: &'static str, scope: Scope, permission: Permission) -> Self {
        Self { method, scope, permission, changes: true, lasts: Lasts::Call, cookies: false }
    }

    /// Says that the method reads or sets a cookie.
    #[must_use]
    pub const fn with_cookies(self) -> Self {
        Self { cookies: true, ..self }
    }

    /// Sets another upper bound of the duration.
    #[must_use]
    pub const fn lasting(self, lasts: Lasts) -> Self {
        Self { lasts, ..self }
    }
}

/// The rules of all rooms.
#[derive(Debug)]
pub struct Rules(HashMap<&'static str, &'static Rule>);

impl Rules {
    /// Joins the rules of the rooms. Panics if a method has two rules.
    pub fn new(rooms: impl IntoIterator<Item = &'static [Rule]>) -> Self {
        let mut rules = HashMap::new();
        for rule in rooms.into_iter().flatten() {
            let twice = rules.insert(rule.method, rule);
            assert!(twice.is_none(), "{} has two rows", rule.method);
        }
        Self(rules)
    }

    /// Returns the rule of a method, if it has one.
    pub fn find(&self, method: &str) -> Option<&'static Rule> {
        self.0.get(method).copied()
    }

    /// Iterates over all rules, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &'static Rule> + '_ {
        self.0.values().copied()
    }
}
