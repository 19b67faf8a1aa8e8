//! Rows of the room's methods.

use supalove_core::access::{
    Lasts::{Stream, Wait},
    Object as _,
    Permission::{ChangeProjectSecrets, OperatePlatform, OperateProjects, ReadProjectSecrets, ReadProjects},
    Rule, Scope,
    Scope::{AnySignedIn, On, OperatorOnly},
};
use supalove_organizations::OrganizationKey;

use crate::objects::{OperationKey, ProjectKey};

const ORGANIZATION: Scope = On(OrganizationKey::KIND);
const PROJECT: Scope = On(ProjectKey::KIND);
const OPERATION: Scope = On(OperationKey::KIND);

/// Every method of the room.
pub const RULES: &[Rule] = &[
    Rule::write("/supalove.v1.ProjectService/CreateProject", ORGANIZATION, OperateProjects),
    Rule::read("/supalove.v1.ProjectService/GetProject", PROJECT, ReadProjects),
    Rule::read("/supalove.v1.ProjectService/ListProjects", AnySignedIn, ReadProjects),
    Rule::write("/supalove.v1.ProjectService/StartProject", PROJECT, OperateProjects),
    Rule::write("/supalove.v1.ProjectService/StopProject", PROJECT, OperateProjects),
    Rule::write("/supalove.v1.ProjectService/RestartProject", PROJECT, OperateProjects),
    Rule::write("/supalove.v1.ProjectService/UpgradeProject", PROJECT, OperateProjects),
    Rule::read("/supalove.v1.ProjectService/ListOutdatedProjects", OperatorOnly, OperatePlatform),
    Rule::write("/supalove.v1.ProjectService/DeleteProject", PROJECT, OperateProjects),
    Rule::write("/supalove.v1.ProjectService/UndeleteProject", PROJECT, OperateProjects),
    Rule::read("/supalove.v1.ProjectService/WatchProject", PROJECT, ReadProjects).lasting(Stream),
    Rule::read("/supalove.v1.ProjectService/ListProjectEvents", PROJECT, ReadProjects),
    Rule::read("/supalove.v1.ProjectService/GetProjectApiKeys", PROJECT, ReadProjects),
    Rule::read("/supalove.v1.ProjectService/GetProjectConnection", PROJECT, ReadProjects),
    Rule::write("/supalove.v1.ProjectService/RevealProjectSecrets", PROJECT, ReadProjectSecrets),
    Rule::write("/supalove.v1.ProjectService/UpdateProject", PROJECT, OperateProjects),
    Rule::read("/supalove.v1.ProjectService/GetProjectSettings", PROJECT, ReadProjects),
    // They say where the project's mail password, its providers' secrets and its users' links go.
    Rule::write("/supalove.v1.ProjectService/UpdateProjectSettings", PROJECT, ChangeProjectSecrets),
    Rule::write("/supalove.v1.ProjectService/SetSecrets", PROJECT, ChangeProjectSecrets),
    // A digest tells a short secret to who tries all of them.
    Rule::read("/supalove.v1.ProjectService/ListSecrets", PROJECT, ReadProjectSecrets),
    Rule::write("/supalove.v1.ProjectService/DeleteSecrets", PROJECT, ChangeProjectSecrets),
    Rule::write("/supalove.v1.ProjectService/ResetDatabasePassword", PROJECT, ChangeProjectSecrets),
    Rule::write("/supalove.v1.ProjectService/RotateJwtSecret", PROJECT, ChangeProjectSecrets),
    Rule::read("/supalove.v1.OperationService/GetOperation", OPERATION, ReadProjects),
    Rule::read("/supalove.v1.OperationService/ListOperations", PROJECT, ReadProjects),
    Rule::read("/supalove.v1.OperationService/WaitOperation", OPERATION, ReadProjects).lasting(Wait),
    Rule::write("/supalove.v1.OperationService/CancelOperation", OPERATION, OperateProjects),
];
