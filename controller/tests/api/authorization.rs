//! Every RPC of the descriptor set is called as each principal and must answer with the code that the table says. A method
//! that is missing in the table, among the rooms' rules or in the descriptor set fails by its name.

mod any_call;
mod strangers;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::MethodDescriptor;
use supalove_core::access::{Rule, Scope, TokenScope};
use supalove_system_tests::Controller;
use tonic::{Code, Request};

use self::{
    any_call::{BytesCodec, call, methods, name},
    world::{FOREIGNER, PRINCIPALS, World, role},
};

/// Method × principal → code, and the scope that a personal access token needs beside its user's right: `session` is none that
/// a token can have, `any` is for methods without sign-in. All calls name objects of the owner's organization. `unauth`: UNAUTHENTICATED, `denied`:
/// PERMISSION_DENIED, `hidden`: NOT_FOUND.
///
/// The owner of another organization is a stranger here, and gets the same codes. The clusters, nodes and join tokens that calls
/// name are those of a private cluster; `clusters.rs` has the shared ones.
///
/// An allowed call succeeds, but for SetUp, Watch, LeaveOrganization and TailLogs. SetUp works once, before there is a user, so here it
/// is refused for the password. Watch is called without subscriptions: each of them has its own right, see `watch.rs`. The
/// only owner cannot leave, and the operator is no member. TailLogs is `away`: the project's node has no agent.
const TABLE: &str = "
                                                     nobody  stranger read_only developer administrator owner        operator     token
AuthService/SetUp                                    invalid invalid  invalid   invalid   invalid       invalid      invalid      any
AuthService/SignIn                                   ok      ok       ok        ok        ok            ok           ok           any
AuthService/GetSignUpPolicy                          ok      ok       ok        ok        ok            ok           ok           any
AuthService/StartSignUp                              ok      ok       ok        ok        ok            ok           ok           any
AuthService/SignUp                                   ok      ok       ok        ok        ok            ok           ok           any
AuthService/RequestPasswordReset                     ok      ok       ok        ok        ok            ok           ok           any
AuthService/ResetPassword                            ok      ok       ok        ok        ok            ok           ok           any
AuthService/Refresh                                  ok      ok       ok        ok        ok            ok           ok           any
AuthService/SignOut                                  unauth  ok       ok        ok        ok            ok           ok           session
AuthService/GetMe                                    unauth  ok       ok        ok        ok            ok           ok           read
AuthService/UpdateMe                                 unauth  ok       ok        ok        ok            ok           ok           session
AuthService/ChangePassword                           unauth  ok       ok        ok        ok            ok           ok           session
AuthService/RequestEmailChange                       unauth  ok       ok        ok        ok            ok           ok           session
AuthService/ConfirmEmailChange                       unauth  ok       ok        ok        ok            ok           ok           session
AuthService/DeleteAccount                            unauth  ok       ok        ok        ok            ok           ok           session
AuthService/RotateSigningKey                         unauth  denied   denied    denied    denied        denied       ok           platform
AuthService/ListSessions                             unauth  ok       ok        ok        ok            ok           ok           session
AuthService/EndSession                               unauth  ok       ok        ok        ok            ok           ok           session
AuthService/EndOtherSessions                         unauth  ok       ok        ok        ok            ok           ok           session
PersonalAccessTokenService/CreatePersonalAccessToken unauth  ok       ok        ok        ok            ok           ok           session
PersonalAccessTokenService/ListPersonalAccessTokens  unauth  ok       ok        ok        ok            ok           ok           session
PersonalAccessTokenService/RevokePersonalAccessToken unauth  ok       ok        ok        ok            ok           ok           session
OrganizationService/CreateOrganization               unauth  ok       ok        ok        ok            ok           ok           organizations
OrganizationService/GetOrganization                  unauth  hidden   ok        ok        ok            ok           ok           read
OrganizationService/ListOrganizations                unauth  ok       ok        ok        ok            ok           ok           read
OrganizationService/UpdateOrganization               unauth  hidden   denied    denied    ok            ok           ok           organizations
OrganizationService/DeleteOrganization               unauth  hidden   denied    denied    denied        ok           ok           organizations
OrganizationService/ListMembers                      unauth  hidden   ok        ok        ok            ok           ok           read
OrganizationService/UpdateMember                     unauth  hidden   denied    denied    ok            ok           denied       organizations
OrganizationService/RemoveMember                     unauth  hidden   denied    denied    ok            ok           denied       organizations
OrganizationService/LeaveOrganization                unauth  hidden   ok        ok        ok            precondition precondition organizations
InvitationService/CreateInvitation                   unauth  hidden   denied    denied    ok            ok           denied       organizations
InvitationService/ListInvitations                    unauth  hidden   denied    denied    ok            ok           denied       organizations
InvitationService/ResendInvitation                   unauth  hidden   denied    denied    ok            ok           denied       organizations
InvitationService/RevokeInvitation                   unauth  hidden   denied    denied    ok            ok           denied       organizations
InvitationService/GetInvitation                      ok      ok       ok        ok        ok            ok           ok           any
InvitationService/AcceptInvitation                   unauth  ok       ok        ok        ok            ok           ok           session
PlanService/ListPlans                                unauth  ok       ok        ok        ok            ok           ok           read
PlanService/UpdatePlan                               unauth  denied   denied    denied    denied        denied       ok           platform
PlanService/GetEntitlements                          unauth  hidden   ok        ok        ok            ok           ok           read
PlanService/AssignPlan                               unauth  denied   denied    denied    denied        denied       ok           platform
PlanService/SetEntitlement                           unauth  denied   denied    denied    denied        denied       ok           platform
PlanService/ClearEntitlement                         unauth  denied   denied    denied    denied        denied       ok           platform
PlanService/ListProjectSizes                         unauth  ok       ok        ok        ok            ok           ok           read
PlanService/UpdateProjectSize                        unauth  denied   denied    denied    denied        denied       ok           platform
ProjectService/CreateProject                         unauth  hidden   denied    ok        ok            ok           ok           projects
ProjectService/ExplainPlacement                      unauth  hidden   denied    ok        ok            ok           ok           projects
ProjectService/GetProject                            unauth  hidden   ok        ok        ok            ok           ok           read
ProjectService/ListProjects                          unauth  ok       ok        ok        ok            ok           ok           read
ProjectService/StartProject                          unauth  hidden   denied    ok        ok            ok           ok           projects
ProjectService/StopProject                           unauth  hidden   denied    ok        ok            ok           ok           projects
ProjectService/RestartProject                        unauth  hidden   denied    ok        ok            ok           ok           projects
ProjectService/UpgradeProject                        unauth  hidden   denied    ok        ok            ok           ok           projects
ProjectService/ListOutdatedProjects                  unauth  denied   denied    denied    denied        denied       ok           platform
ProjectService/DeleteProject                         unauth  hidden   denied    ok        ok            ok           ok           projects
ProjectService/UndeleteProject                       unauth  hidden   denied    ok        ok            ok           ok           projects
ProjectService/WatchProject                          unauth  hidden   ok        ok        ok            ok           ok           read
ProjectService/ListProjectEvents                     unauth  hidden   ok        ok        ok            ok           ok           read
ProjectService/GetProjectApiKeys                     unauth  hidden   ok        ok        ok            ok           ok           read
ProjectService/GetProjectConnection                  unauth  hidden   ok        ok        ok            ok           ok           read
ProjectService/RevealProjectSecrets                  unauth  hidden   denied    ok        ok            ok           denied       secrets
ProjectService/UpdateProject                         unauth  hidden   denied    ok        ok            ok           ok           projects
ProjectService/GetProjectSettings                    unauth  hidden   ok        ok        ok            ok           ok           read
ProjectService/UpdateProjectSettings                 unauth  hidden   denied    ok        ok            ok           denied       secrets
ProjectService/SetSecrets                            unauth  hidden   denied    ok        ok            ok           denied       secrets
ProjectService/ListSecrets                           unauth  hidden   denied    ok        ok            ok           denied       secrets
ProjectService/DeleteSecrets                         unauth  hidden   denied    ok        ok            ok           denied       secrets
ProjectService/SetVariables                          unauth  hidden   denied    ok        ok            ok           denied       secrets
ProjectService/ListVariables                         unauth  hidden   ok        ok        ok            ok           ok           read
ProjectService/DeleteVariables                       unauth  hidden   denied    ok        ok            ok           denied       secrets
ProjectService/ResetDatabasePassword                 unauth  hidden   denied    ok        ok            ok           denied       secrets
ProjectService/RotateJwtSecret                       unauth  hidden   denied    ok        ok            ok           denied       secrets
ProjectService/PreviewTransfer                       unauth  hidden   denied    denied    ok            ok           denied       organizations
ProjectService/TransferProject                       unauth  hidden   denied    denied    ok            ok           denied       organizations
ProjectService/TailLogs                              unauth  hidden   denied    away      away          away         denied       secrets
OperationService/GetOperation                        unauth  hidden   ok        ok        ok            ok           ok           read
OperationService/ListOperations                      unauth  hidden   ok        ok        ok            ok           ok           read
OperationService/WaitOperation                       unauth  hidden   ok        ok        ok            ok           ok           read
OperationService/CancelOperation                     unauth  hidden   denied    ok        ok            ok           ok           projects
UsageService/GetProjectUsage                         unauth  hidden   ok        ok        ok            ok           ok           read
UsageService/GetProjectUsageSeries                   unauth  hidden   ok        ok        ok            ok           ok           read
UsageService/GetOrganizationUsage                    unauth  hidden   ok        ok        ok            ok           ok           read
UsageService/GetOrganizationUsageSeries              unauth  hidden   ok        ok        ok            ok           ok           read
UsageService/GetClusterUsage                         unauth  hidden   ok        ok        ok            ok           ok           read
UsageService/GetClusterUsageSeries                   unauth  hidden   ok        ok        ok            ok           ok           read
ClusterService/CreateCluster                         unauth  hidden   denied    denied    ok            ok           ok           organizations
ClusterService/GetCluster                            unauth  hidden   ok        ok        ok            ok           ok           read
ClusterService/ListClusters                          unauth  ok       ok        ok        ok            ok           ok           read
ClusterService/UpdateCluster                         unauth  hidden   denied    denied    ok            ok           ok           organizations
ClusterService/DeleteCluster                         unauth  hidden   denied    denied    ok            ok           ok           organizations
ClusterService/ListNodes                             unauth  hidden   ok        ok        ok            ok           ok           read
ClusterService/GetNode                               unauth  hidden   ok        ok        ok            ok           ok           read
ClusterService/RevokeNode                            unauth  hidden   denied    denied    ok            ok           ok           organizations
ClusterService/CordonNode                            unauth  hidden   denied    denied    ok            ok           ok           organizations
ClusterService/DrainNode                             unauth  hidden   denied    denied    ok            ok           ok           organizations
ClusterService/UncordonNode                          unauth  hidden   denied    denied    ok            ok           ok           organizations
ClusterService/UpdateNode                            unauth  hidden   denied    denied    ok            ok           ok           organizations
ClusterService/RemoveNode                            unauth  hidden   denied    denied    ok            ok           ok           organizations
ClusterService/ForgetNode                            unauth  hidden   denied    denied    denied        denied       ok           platform
ClusterService/ListAlarms                            unauth  ok       ok        ok        ok            ok           ok           read
ClusterService/CreateJoinToken                       unauth  hidden   denied    denied    ok            ok           ok           organizations
ClusterService/ListJoinTokens                        unauth  hidden   denied    denied    ok            ok           ok           organizations
ClusterService/RevokeJoinToken                       unauth  hidden   denied    denied    ok            ok           ok           organizations
LeftoverService/ListLeftovers                        unauth  hidden   ok        ok        ok            ok           ok           read
LeftoverService/AdoptLeftover                        unauth  hidden   denied    denied    ok            ok           ok           organizations
LeftoverService/DeleteLeftover                       unauth  hidden   denied    denied    ok            ok           ok           organizations
ImageService/FindMissingContent                      unauth  denied   denied    denied    denied        denied       ok           platform
ImageService/UploadContent                           unauth  denied   denied    denied    denied        denied       ok           platform
ImageService/PushImage                               unauth  denied   denied    denied    denied        denied       ok           platform
ImageService/ListImages                              unauth  denied   denied    denied    denied        denied       ok           platform
ImageService/DeleteImage                             unauth  denied   denied    denied    denied        denied       ok           platform
ImageService/CollectImageGarbage                     unauth  denied   denied    denied    denied        denied       ok           platform
RegistryService/SetRegistryCredentials               unauth  hidden   denied    denied    ok            ok           ok           organizations
RegistryService/ListRegistryCredentials              unauth  hidden   denied    denied    ok            ok           ok           organizations
RegistryService/DeleteRegistryCredentials            unauth  hidden   denied    denied    ok            ok           ok           organizations
AuthorityService/ListAuthorities                     unauth  denied   denied    denied    denied        denied       ok           platform
AuthorityService/CreateAuthority                     unauth  denied   denied    denied    denied        denied       ok           platform
AuthorityService/ActivateAuthority                   unauth  denied   denied    denied    denied        denied       ok           platform
AuthorityService/RetireAuthority                     unauth  denied   denied    denied    denied        denied       ok           platform
AuditService/ListAuditEvents                         unauth  hidden   denied    denied    ok            ok           ok           organizations
AuditService/ExportAuditEvents                       unauth  hidden   denied    denied    ok            ok           ok           organizations
AuditService/ListPlatformAuditEvents                 unauth  denied   denied    denied    denied        denied       ok           platform
AuditService/ExportPlatformAuditEvents               unauth  denied   denied    denied    denied        denied       ok           platform
PlatformService/ListJobs                             unauth  denied   denied    denied    denied        denied       ok           platform
PlatformService/ConfirmRestore                       unauth  denied   denied    denied    denied        denied       ok           platform
PlatformService/CheckConsistency                     unauth  denied   denied    denied    denied        denied       ok           platform
PlatformService/SendTestMail                         unauth  denied   denied    denied    denied        denied       ok           platform
PlatformService/GetVaultStatus                       unauth  denied   denied    denied    denied        denied       ok           platform
WatchService/Watch                                   unauth  invalid  invalid   invalid   invalid       invalid      invalid      read
";

/// The codes of a method's row, in the order of [`PRINCIPALS`].
type Codes = [Code; PRINCIPALS.len()];

struct Row {
    codes: Codes,
    token: &'static str,
}

impl Row {
    fn code_of(&self, principal: &str) -> Code {
        self.codes[PRINCIPALS.iter().position(|known| *known == principal).unwrap()]
    }
}

fn table() -> BTreeMap<&'static str, Row> {
    let mut lines = TABLE.lines().filter(|line| !line.is_empty()).map(str::split_whitespace);
    let head = PRINCIPALS.into_iter().chain(["token"]);
    assert!(lines.next().unwrap().eq(head), "the head of the table names the principals");
    let mut table = BTreeMap::new();
    for mut line in lines {
        let method = line.next().unwrap();
        let token = line.next_back().unwrap();
        let codes: Vec<Code> = line.map(code).collect();
        let codes = codes.try_into().unwrap_or_else(|_| panic!("{method} has no cell for each principal"));
        assert!(table.insert(method, Row { codes, token }).is_none(), "{method} has two lines");
    }
    table
}

fn code(word: &str) -> Code {
    match word {
        "ok" => Code::Ok,
        "unauth" => Code::Unauthenticated,
        "denied" => Code::PermissionDenied,
        "hidden" => Code::NotFound,
        "invalid" => Code::InvalidArgument,
        "precondition" => Code::FailedPrecondition,
        "away" => Code::Unavailable,
        _ => panic!("{word} stands for no code"),
    }
}

/// Whether a call with this code has passed the door.
fn passed(code: Code) -> bool {
    !matches!(code, Code::Unauthenticated | Code::PermissionDenied | Code::NotFound)
}

/// What the room's rule says, for objects of the owner's organization.
fn allowed(rule: &Rule, principal: &str) -> bool {
    match rule.scope {
        Scope::Anyone => true,
        Scope::AnySignedIn => principal != "nobody",
        Scope::OperatorOnly => principal == "operator",
        Scope::On(_) => {
            role(principal).is_some_and(|role| rule.permission.roles().contains(&role))
                || (principal == "operator" && rule.permission.operator())
        }
    }
}

/// What is in one of two lists of methods only.
fn only_in<'a>(one: &'a BTreeSet<String>, other: &'a BTreeSet<String>) -> Vec<&'a String> {
    one.difference(other).collect()
}

/// Calls a method as a principal; what is wrong, if anything.
async fn cell(
    world: &World,
    method: &MethodDescriptor,
    rule: &Rule,
    principal: &str,
    expected: Code,
) -> Option<String> {
    let name = name(method);
    if passed(expected) != allowed(rule, principal) {
        return Some(format!("{name} as {principal}: the table says {expected:?}, but the rule is {rule:?}"));
    }
    let caller = world.caller_of(&name, principal).await;
    let fields = world.fields(&name, &caller, expected == Code::Ok).await;
    let answered = call(&caller, method, &fields).await;
    (answered != expected)
        .then(|| format!("{name} as {principal}: {answered:?}, but the table says {expected:?}"))
}

/// Calls a method with a personal access token of somebody who may; what is wrong, if anything.
async fn token_cell(
    world: &World,
    method: &MethodDescriptor,
    row: &Row,
    scope: TokenScope,
) -> Option<String> {
    let name = name(method);
    let principal = if row.token == "platform" { "operator" } else { "owner" };
    let in_scope = row.token == "read" || row.token.eq_ignore_ascii_case(scope.as_sql());
    let expected = if in_scope { row.code_of(principal) } else { Code::PermissionDenied };
    let caller = world.token_of(principal, scope);
    let fields = world.fields(&name, caller, expected == Code::Ok).await;
    let answered = call(caller, method, &fields).await;
    (answered != expected).then(|| {
        format!("{name} with a token of the {principal} for {scope:?}: {answered:?} instead of {expected:?}")
    })
}

#[tokio::test]
async fn authorization_covers_every_rpc_for_every_principal() {
    let table = table();
    let rules = supalove_controller::rules();
    let methods = methods();
    let described: BTreeSet<String> = methods.iter().map(name).collect();
    let with_rule: BTreeSet<String> = rules
        .iter()
        .filter_map(|rule| rule.method.strip_prefix("/supalove.v1."))
        .map(str::to_owned)
        .collect();
    let listed: BTreeSet<String> = table.keys().map(|method| (*method).to_owned()).collect();
    println!(
        "{} RPCs × {} principals and {} scopes of tokens, {} uncovered",
        described.len(),
        PRINCIPALS.len() + 1,
        TokenScope::ALL.len(),
        only_in(&described, &listed).len()
    );
    assert!(
        described == with_rule,
        "without a rule: {:?}; no such RPC, but a rule: {:?}",
        only_in(&described, &with_rule),
        only_in(&with_rule, &described)
    );
    assert!(
        described == listed,
        "not in the table: {:?}; no such RPC, but in the table: {:?}",
        only_in(&described, &listed),
        only_in(&listed, &described)
    );

    let world = World::make().await;
    let mut wrong = Vec::new();
    for method in &methods {
        let name = name(method);
        let rule = rules.find(&format!("/supalove.v1.{name}")).unwrap();
        let row = &table[name.as_str()];
        let foreigner = (FOREIGNER, row.code_of("stranger"));
        let cells = PRINCIPALS.into_iter().zip(row.codes).chain([foreigner]);
        let walked = cells.map(|(principal, expected)| cell(&world, method, rule, principal, expected));
        wrong.extend(futures::future::join_all(walked).await.into_iter().flatten());
        if row.token != "any" {
            let walked = TokenScope::ALL.iter().map(|scope| token_cell(&world, method, row, *scope));
            wrong.extend(futures::future::join_all(walked).await.into_iter().flatten());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let misplaced = world.misplaced_audit_rows().await;
    assert!(misplaced.is_empty(), "not in the audit log of their organization: {misplaced:#?}");
}

#[tokio::test]
async fn authorization_refuses_what_has_no_row() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let mut client = tonic::client::Grpc::new(operator.channel.clone());
    client.ready().await.unwrap();
    let path = "/supalove.v1.ProjectService/DropEverything".parse().unwrap();
    let answer = client.unary(Request::new(Vec::new()), path, BytesCodec).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
}
