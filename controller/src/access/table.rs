//! The authorization table. A new method needs a row here, and a case in the authorization test.

use Permission::{
    ManageFleet, OperateProjects, ReadOrganization, ReadProjectSecrets, ReadProjects, ReadSelf, UseDoor,
};
use Scope::{AnySignedIn, Anyone, OnOperation, OnOrganization, OnProject, OperatorOnly};

/// What a method works on, and so how it is decided who may call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Nobody needs to be signed in.
    Anyone,
    /// Any signed-in user; what they see is filtered by membership.
    AnySignedIn,
    /// The organization the request names.
    OnOrganization,
    /// The project the request names.
    OnProject,
    /// The project of the operation the request names.
    OnOperation,
    /// The platform's operator.
    OperatorOnly,
}

/// What a caller may do. Roles have permissions; methods need one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Signing in and the like, health and reflection.
    UseDoor,
    /// The caller's own account.
    ReadSelf,
    /// See an organization.
    ReadOrganization,
    /// See projects, their events and operations.
    ReadProjects,
    /// Create, start, stop, delete projects.
    OperateProjects,
    /// See the secrets: the service_role key and the database's password.
    ReadProjectSecrets,
    /// Clusters, nodes, join tokens.
    ManageFleet,
}

impl Permission {
    /// Roles of an organization that have it, strongest first.
    pub fn roles(self) -> &'static [&'static str] {
        match self {
            UseDoor | ReadSelf | ManageFleet => &[],
            ReadOrganization | ReadProjects => &["OWNER", "ADMINISTRATOR", "DEVELOPER", "READ_ONLY"],
            OperateProjects | ReadProjectSecrets => &["OWNER", "ADMINISTRATOR", "DEVELOPER"],
        }
    }

    /// The operator has it on everybody's objects. The operator runs the platform but does not read tenants' secrets.
    pub fn operator(self) -> bool {
        !matches!(self, ReadProjectSecrets)
    }
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
}

const fn read(method: &'static str, scope: Scope, permission: Permission) -> Rule {
    Rule { method, scope, permission, changes: false }
}

const fn write(method: &'static str, scope: Scope, permission: Permission) -> Rule {
    Rule { method, scope, permission, changes: true }
}

/// Every method of the public listener.
pub const METHODS: &[Rule] = &[
    write("/supalove.v1.AuthService/SetUp", Anyone, UseDoor),
    write("/supalove.v1.AuthService/SignIn", Anyone, UseDoor),
    write("/supalove.v1.AuthService/Refresh", Anyone, UseDoor),
    write("/supalove.v1.AuthService/SignOut", AnySignedIn, ReadSelf),
    read("/supalove.v1.AuthService/GetMe", AnySignedIn, ReadSelf),
    write("/supalove.v1.OrganizationService/CreateOrganization", AnySignedIn, ReadSelf),
    read("/supalove.v1.OrganizationService/GetOrganization", OnOrganization, ReadOrganization),
    read("/supalove.v1.OrganizationService/ListOrganizations", AnySignedIn, ReadSelf),
    write("/supalove.v1.ProjectService/CreateProject", OnOrganization, OperateProjects),
    read("/supalove.v1.ProjectService/GetProject", OnProject, ReadProjects),
    read("/supalove.v1.ProjectService/ListProjects", AnySignedIn, ReadSelf),
    write("/supalove.v1.ProjectService/StartProject", OnProject, OperateProjects),
    write("/supalove.v1.ProjectService/StopProject", OnProject, OperateProjects),
    write("/supalove.v1.ProjectService/RestartProject", OnProject, OperateProjects),
    write("/supalove.v1.ProjectService/DeleteProject", OnProject, OperateProjects),
    write("/supalove.v1.ProjectService/UndeleteProject", OnProject, OperateProjects),
    read("/supalove.v1.ProjectService/WatchProject", OnProject, ReadProjects),
    read("/supalove.v1.ProjectService/ListProjectEvents", OnProject, ReadProjects),
    read("/supalove.v1.ProjectService/GetProjectApiKeys", OnProject, ReadProjects),
    read("/supalove.v1.ProjectService/GetProjectConnection", OnProject, ReadProjects),
    // It changes nothing; as a write, a refused try is audited too.
    write("/supalove.v1.ProjectService/RevealProjectSecrets", OnProject, ReadProjectSecrets),
    read("/supalove.v1.OperationService/GetOperation", OnOperation, ReadProjects),
    read("/supalove.v1.OperationService/ListOperations", OnProject, ReadProjects),
    read("/supalove.v1.OperationService/WaitOperation", OnOperation, ReadProjects),
    write("/supalove.v1.OperationService/CancelOperation", OnOperation, OperateProjects),
    read("/supalove.v1.ClusterService/GetCluster", OperatorOnly, ManageFleet),
    read("/supalove.v1.ClusterService/ListNodes", OperatorOnly, ManageFleet),
    read("/supalove.v1.ClusterService/GetNode", OperatorOnly, ManageFleet),
    write("/supalove.v1.ClusterService/RevokeNode", OperatorOnly, ManageFleet),
    write("/supalove.v1.ClusterService/CreateJoinToken", OperatorOnly, ManageFleet),
    read("/supalove.v1.ClusterService/ListJoinTokens", OperatorOnly, ManageFleet),
    write("/supalove.v1.ClusterService/RevokeJoinToken", OperatorOnly, ManageFleet),
    read("/supalove.v1.AuthorityService/ListAuthorities", OperatorOnly, ManageFleet),
    write("/supalove.v1.AuthorityService/CreateAuthority", OperatorOnly, ManageFleet),
    write("/supalove.v1.AuthorityService/ActivateAuthority", OperatorOnly, ManageFleet),
    write("/supalove.v1.AuthorityService/RetireAuthority", OperatorOnly, ManageFleet),
    read("/grpc.health.v1.Health/Check", Anyone, UseDoor),
    read("/grpc.health.v1.Health/List", Anyone, UseDoor),
    read("/grpc.health.v1.Health/Watch", Anyone, UseDoor),
    read("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Anyone, UseDoor),
    read("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Anyone, UseDoor),
];

/// The row of a method, if it has one.
pub fn rule_for(method: &str) -> Option<&'static Rule> {
    METHODS.iter().find(|rule| rule.method == method)
}
