//! Rows of the room's methods.

use supalove_core::access::{
    Lasts::{Stream, Wait},
    Object as _,
    Permission::{
        ChangeProjectSecrets, ManageClusters, OperatePlatform, OperateProjects, ReadClusters,
        ReadProjectLogs, ReadProjectSecrets, ReadProjects, TransferProjects,
    },
    Rule, Scope,
    Scope::{AnySignedIn, On, OperatorOnly},
};
use supalove_fleet::clusters::access::NodeKey;
use supalove_organizations::OrganizationKey;

use crate::objects::{OperationKey, ProjectKey};

const ORGANIZATION: Scope = On(OrganizationKey::KIND);
const NODE: Scope = On(NodeKey::KIND);
const PROJECT: Scope = On(ProjectKey::KIND);
const OPERATION: Scope = On(OperationKey::KIND);

/// Every method of the room.
pub const RULES: &[Rule] = &[
    Rule::write("/supalove.v1.ProjectService/CreateProject", ORGANIZATION, OperateProjects),
    Rule::read("/supalove.v1.ProjectService/ExplainPlacement", ORGANIZATION, OperateProjects),
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
    // A variable can say where functions send their secrets.
    Rule::write("/supalove.v1.ProjectService/SetVariables", PROJECT, ChangeProjectSecrets),
    Rule::read("/supalove.v1.ProjectService/ListVariables", PROJECT, ReadProjects),
    Rule::write("/supalove.v1.ProjectService/DeleteVariables", PROJECT, ChangeProjectSecrets),
    Rule::write("/supalove.v1.ProjectService/ResetDatabasePassword", PROJECT, ChangeProjectSecrets),
    Rule::write("/supalove.v1.ProjectService/RotateJwtSecret", PROJECT, ChangeProjectSecrets),
    // On the other organization they need ReceiveProjects.
    Rule::read("/supalove.v1.ProjectService/PreviewTransfer", PROJECT, TransferProjects),
    Rule::write("/supalove.v1.ProjectService/TransferProject", PROJECT, TransferProjects),
    // Not because it changes anything: services print what they like, and so each reading and each refusal is audited.
    Rule::write("/supalove.v1.ProjectService/TailLogs", PROJECT, ReadProjectLogs).lasting(Stream),
    Rule::read("/supalove.v1.OperationService/GetOperation", OPERATION, ReadProjects),
    Rule::read("/supalove.v1.OperationService/ListOperations", PROJECT, ReadProjects),
    Rule::read("/supalove.v1.OperationService/WaitOperation", OPERATION, ReadProjects).lasting(Wait),
    Rule::write("/supalove.v1.OperationService/CancelOperation", OPERATION, OperateProjects),
    // On nodes of shared clusters they need ManageFleet, as the fleet's methods on nodes do.
    Rule::read("/supalove.v1.LeftoverService/ListLeftovers", NODE, ReadClusters),
    Rule::write("/supalove.v1.LeftoverService/AdoptLeftover", NODE, ManageClusters),
    Rule::write("/supalove.v1.LeftoverService/DeleteLeftover", NODE, ManageClusters),
];
