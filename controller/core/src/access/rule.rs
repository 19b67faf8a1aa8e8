//! Rows of the authorization table: what a method works on, and which permission it takes. Each room holds the rows of its
//! own methods; a test walks all of them.

use std::collections::HashMap;

use super::Role;

/// What a method works on, and so how it is decided who may call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Nobody needs to be signed in.
    Anyone,
    /// Any signed-in user; what they see is filtered by membership.
    AnySignedIn,
    /// The object of this kind ([`Object::KIND`](super::Object::KIND)) that the request names.
    On(&'static str),
    /// The platform's operator.
    OperatorOnly,
}

/// What a caller may do. Roles have permissions; a method takes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Signing in and the like, health and reflection.
    Public,
    /// The caller's own account.
    ReadSelf,
    /// See an organization.
    ReadOrganization,
    /// See projects, their events and operations.
    ReadProjects,
    /// Create, start, stop, delete projects.
    OperateProjects,
    /// See keys and passwords.
    ReadProjectSecrets,
    /// Clusters, nodes, join tokens, the fleet's roots.
    ManageFleet,
    /// The jobs of the control plane and their results.
    OperatePlatform,
}

impl Permission {
    /// Roles of an organization that have it, strongest first.
    pub fn roles(self) -> &'static [Role] {
        match self {
            Self::Public | Self::ReadSelf | Self::ManageFleet | Self::OperatePlatform => &[],
            Self::ReadOrganization | Self::ReadProjects => Role::ALL,
            Self::OperateProjects | Self::ReadProjectSecrets => {
                &[Role::Owner, Role::Administrator, Role::Developer]
            }
        }
    }

    /// The operator has it on everybody's objects. The operator runs the platform but does not read tenants' secrets.
    pub fn operator(self) -> bool {
        !matches!(self, Self::ReadProjectSecrets)
    }
}

/// How long a call may take at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// As long as any unary call.
    Call,
    /// As long as the longest wait.
    Wait,
    /// A stream: as long as the caller likes.
    Stream,
}

/// One row.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// `/package.Service/Method`.
    pub method: &'static str,
    /// What it works on.
    pub scope: Scope,
    /// What it takes.
    pub permission: Permission,
    /// It changes something, so that a refusal is audited too.
    pub changes: bool,
    /// How long it may take.
    pub lasts: Lasts,
}

impl Rule {
    /// A method that only reads.
    pub const fn read(method: &'static str, scope: Scope, permission: Permission) -> Self {
        Self { method, scope, permission, changes: false, lasts: Lasts::Call }
    }

    /// A method that changes something, or shows a secret.
    pub const fn write(method: &'static str, scope: Scope, permission: Permission) -> Self {
        Self { method, scope, permission, changes: true, lasts: Lasts::Call }
    }

    /// The same with another longest time.
    #[must_use]
    pub const fn lasting(self, lasts: Lasts) -> Self {
        Self { lasts, ..self }
    }
}

/// The rows of all rooms.
#[derive(Debug)]
pub struct Rules(HashMap<&'static str, &'static Rule>);

impl Rules {
    /// From the rows of the rooms. A method belongs to one room.
    pub fn new(rooms: impl IntoIterator<Item = &'static [Rule]>) -> Self {
        let mut rules = HashMap::new();
        for rule in rooms.into_iter().flatten() {
            let twice = rules.insert(rule.method, rule);
            assert!(twice.is_none(), "{} has two rows", rule.method);
        }
        Self(rules)
    }

    /// The row of a method, if it has one.
    pub fn find(&self, method: &str) -> Option<&'static Rule> {
        self.0.get(method).copied()
    }

    /// All rows, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &'static Rule> + '_ {
        self.0.values().copied()
    }
}
