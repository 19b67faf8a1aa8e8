//! The principals of the table, and the objects that they call methods on.

use std::sync::atomic::{AtomicUsize, Ordering};

use supalove_core::access::{Role, TokenScope};
use supalove_proto::v1::{
    Authority, AuthorityState, CreateAuthorityRequest, CreatePersonalAccessTokenRequest,
    CreateProjectRequest, DeleteProjectRequest, GetMeRequest, ListAuthoritiesRequest, ListSessionsRequest,
    OperationState, PersonalAccessTokenScope, RetireAuthorityRequest, SetRegistryCredentialsRequest,
    SignInRequest,
};
use supalove_system_tests::{Api, Controller, MailSink, Options, PASSWORD, Rows, SmallImage, restores};
use uuid::Uuid;

use super::any_call::Fields;

/// Who calls, in the order of the table's columns. `stranger` is signed in and no member of the organization.
pub const PRINCIPALS: [&str; 7] =
    ["nobody", "stranger", "read_only", "developer", "administrator", "owner", "operator"];

/// Who owns another organization, "elsewhere", and is no member of the one that requests name.
pub const FOREIGNER: &str = "foreigner";

/// What a principal is in the organization.
pub fn role(principal: &str) -> Option<Role> {
    Role::ALL.iter().copied().find(|role| role.as_sql().eq_ignore_ascii_case(principal))
}

/// Whether a field of a request with this name names an object.
pub fn is_id(field: &str) -> bool {
    (field.ends_with("_id") && field != "request_id")
        || field.ends_with("_ref")
        || ["organization", "cluster"].contains(&field)
}

fn email(principal: &str) -> String {
    format!("{principal}@example.com")
}

/// An organization with a member of each role, a project and its operation, a private cluster with a node and a join token, and a
/// retired root.
pub struct World {
    controller: Controller,
    _mails: MailSink,
    rows: Rows,
    callers: Vec<Api>,
    /// Clients with personal access tokens: whose, and their scope beside READ.
    tokens: Vec<(&'static str, TokenScope, Api)>,
    /// What requests name unless the call would change it.
    shared: Fields,
    made: AtomicUsize,
}

impl World {
    /// Makes it.
    pub async fn make() -> Self {
        let mails = MailSink::start().await;
        let arguments = [mails.arguments(), vec!["--sign-up=open".to_owned()]].concat();
        let controller = Controller::start_with(Options { arguments, ..Options::default() }).await;
        let operator = controller.operator().await;
        let rows = controller.database.rows().await;
        let mut world = Self {
            controller,
            _mails: mails,
            rows,
            callers: Vec::new(),
            tokens: Vec::new(),
            shared: Fields::new(),
            made: AtomicUsize::new(0),
        };
        for principal in PRINCIPALS.into_iter().chain([FOREIGNER]) {
            let api = match principal {
                "nobody" => world.controller.api(),
                "operator" => operator.clone(),
                _ => {
                    world.rows.add_user(&email(principal)).await;
                    world.signed_in(principal).await
                }
            };
            world.callers.push(api);
        }
        for principal in ["owner", "operator"] {
            for scope in TokenScope::ALL {
                let token = world.with_token(principal, *scope).await;
                world.tokens.push((principal, *scope, token));
            }
        }
        world.new_organization("target").await;
        world.rows.add_organization("elsewhere", &email(FOREIGNER)).await;
        world.new_organization("receiver").await;
        world.rows.add_node("roomy", 100, 100).await;
        let [node, root, token] = [1, 2, 3].map(Uuid::from_u128);
        world.rows.add_bare_node_root_and_token(node, root, token).await;
        let cluster = world.rows.add_private_cluster("own", Some("target")).await;
        world.rows.move_node("host", "own").await;
        world.rows.move_join_token(token, "own").await;
        world.shared = Fields::from([
            ("organization", "target".to_owned()),
            ("cluster", format!("clu_{}", cluster.simple())),
            ("target_organization", "receiver".to_owned()),
            ("node_id", format!("nod_{}", node.simple())),
            ("authority_id", format!("aut_{}", root.simple())),
            ("join_token_id", format!("jtk_{}", token.simple())),
            ("email", email("owner")),
            ("password", PASSWORD.to_owned()),
            ("current_password", PASSWORD.to_owned()),
            ("new_password", format!("{PASSWORD}-2")),
            ("display_name", "Ada".to_owned()),
            ("to", email("owner")),
            ("user_id", world.user_id("developer").await),
            ("plan", "premium".to_owned()),
            ("reason", "the table".to_owned()),
            ("registry", "registry.example.com".to_owned()),
            ("username", "puller".to_owned()),
        ]);
        let project = world.new_project().await;
        world.shared.extend(project);
        world
    }

    /// Makes an organization of the owner with a member of each other role.
    async fn new_organization(&self, slug: &str) {
        self.rows.add_organization(slug, &email("owner")).await;
        for role in Role::ALL.iter().filter(|role| **role != Role::Owner) {
            self.rows.add_member(slug, &email(&role.as_sql().to_lowercase()), role.as_sql()).await;
        }
    }

    /// Audit rows about something in an organization that its audit log does not have.
    pub async fn misplaced_audit_rows(&self) -> Vec<String> {
        self.rows.audit_rows_outside_of_their_organization().await
    }

    pub fn caller(&self, principal: &str) -> &Api {
        let mut known = PRINCIPALS.into_iter().chain([FOREIGNER]);
        &self.callers[known.position(|known| known == principal).unwrap()]
    }

    /// An id or name of each kind, of objects that are the owner's or their organization's.
    pub async fn ids(&self) -> Fields {
        let owner = self.caller("owner");
        let mut ids = Fields::new();
        for method in [
            "AuthService/EndSession",
            "PersonalAccessTokenService/RevokePersonalAccessToken",
            "InvitationService/RevokeInvitation",
        ] {
            ids.extend(self.own_object(method, owner).await);
        }
        self.rows.add_private_cluster("theirs", Some("target")).await;
        ids.insert("cluster", "theirs".to_owned());
        self.rows.claim_restore().await;
        let unnamed = self.caller("operator").confirm_restore("").await.unwrap_err();
        ids.insert("restore_id", restores(&unnamed).remove(0));
        ids.extend(self.shared.iter().map(|(name, value)| (*name, value.clone())));
        ids.retain(|name, _| is_id(name));
        ids
    }

    /// What the controller has logged.
    pub fn log(&self) -> String {
        self.controller.process.log()
    }

    /// Somebody's client with a personal access token of this scope.
    pub fn token_of(&self, principal: &str, scope: TokenScope) -> &Api {
        &self.tokens.iter().find(|known| (known.0, known.1) == (principal, scope)).unwrap().2
    }

    async fn with_token(&self, principal: &str, scope: TokenScope) -> Api {
        let scope = format!("PERSONAL_ACCESS_TOKEN_SCOPE_{}", scope.as_sql());
        let scopes = vec![PersonalAccessTokenScope::from_str_name(&scope).unwrap().into()];
        let request = CreatePersonalAccessTokenRequest { name: scope, scopes, ttl: None };
        let mut tokens = self.caller(principal).personal_access_tokens();
        let created = tokens.create_personal_access_token(request).await.unwrap().into_inner();
        let mut api = self.controller.api();
        api.use_token(&created.token);
        api
    }

    async fn user_id(&self, principal: &str) -> String {
        let me = self.caller(principal).auth().get_me(GetMeRequest {}).await.unwrap().into_inner();
        me.user.unwrap().id
    }

    async fn signed_in(&self, principal: &str) -> Api {
        let mut api = self.controller.api();
        api.sign_in(&email(principal)).await;
        api
    }

    /// Whoever calls a method: with a session of its own if the call ends it, as another user if it ends others.
    pub async fn caller_of(&self, method: &str, principal: &str) -> Api {
        match method {
            _ if principal == "nobody" => self.caller(principal).clone(),
            "AuthService/SignOut" => self.signed_in(principal).await,
            "AuthService/ChangePassword"
            | "AuthService/EndSession"
            | "AuthService/EndOtherSessions"
            | "AuthService/DeleteAccount"
            | "AuthService/ConfirmEmailChange"
            | "InvitationService/AcceptInvitation" => {
                // What one may do with one's own account depends on no role.
                let somebody = format!("{principal}-{}", self.made.fetch_add(1, Ordering::Relaxed));
                self.rows.add_user(&email(&somebody)).await;
                self.signed_in(&somebody).await
            }
            _ => self.caller(principal).clone(),
        }
    }

    /// What a request for the method names. If the call is `allowed`: such that it succeeds, on an object of its own if it
    /// changes one.
    pub async fn fields(&self, method: &str, caller: &Api, allowed: bool) -> Fields {
        let mut fields = self.shared.clone();
        fields.insert("name", self.new_name());
        match method {
            // The setup token works once and has. The password is looked at before it, and behind the door.
            "AuthService/SetUp" => drop(fields.insert("password", "short".to_owned())),
            // Its other fields are no text.
            "PlanService/UpdatePlan" => drop(fields.insert("update_mask", "display_name".to_owned())),
            "PlanService/UpdateProjectSize" => {
                fields.extend([("size", "micro".to_owned()), ("update_mask", "memory_mib".to_owned())]);
            }
            // A list of one's own things names no organization.
            "ProjectService/ListProjects" | "ClusterService/ListClusters" => {
                drop(fields.remove("organization"));
            }
            "ClusterService/ListAlarms" => drop(fields.remove("cluster")),
            _ if allowed => fields.extend(self.own_object(method, caller).await),
            _ => {}
        }
        fields
    }

    async fn own_object(&self, method: &str, caller: &Api) -> Fields {
        match method {
            "ClusterService/CreateCluster" => Fields::from([("name", self.new_host())]),
            "ClusterService/UpdateCluster" | "ClusterService/DeleteCluster" => {
                let name = self.new_host();
                let id = self.rows.add_private_cluster(&name, Some("target")).await;
                Fields::from([("cluster", format!("clu_{}", id.simple())), ("name", self.new_host())])
            }
            "ClusterService/RevokeNode"
            | "ClusterService/CordonNode"
            | "ClusterService/DrainNode"
            | "ClusterService/ForgetNode"
            | "ClusterService/UncordonNode"
            | "ClusterService/UpdateNode"
            | "ClusterService/RemoveNode" => {
                let id = self.rows.add_bare_node(&self.new_host(), "own").await;
                Fields::from([("node_id", format!("nod_{}", id.simple())), ("name", self.new_host())])
            }
            "LeftoverService/AdoptLeftover" => {
                // It waits: no node of the cluster has a free slot.
                let request = CreateProjectRequest {
                    organization: "target".into(),
                    cluster: self.shared["cluster"].clone(),
                    name: self.new_name(),
                    ..Default::default()
                };
                let created = self.caller("owner").projects().create_project(request).await.unwrap();
                self.left_over(&created.into_inner().project.unwrap().r#ref).await
            }
            "LeftoverService/DeleteLeftover" => self.left_over("abcdefghijklmnopqrst").await,
            "AuthService/EndSession" => {
                let sessions =
                    caller.auth().list_sessions(ListSessionsRequest {}).await.unwrap().into_inner();
                Fields::from([("session_id", sessions.sessions[0].id.clone())])
            }
            "AuthService/SignUp" => {
                Fields::from([("token", self.link("SIGN_UP", &self.new_email(), None).await)])
            }
            "AuthService/ResetPassword" => {
                let somebody = self.new_email();
                self.rows.add_user(&somebody).await;
                Fields::from([("token", self.link("RESET_PASSWORD", &somebody, Some(&somebody)).await)])
            }
            "AuthService/RequestEmailChange" => Fields::from([("new_email", self.new_email())]),
            "AuthService/ConfirmEmailChange" => {
                let me = caller.auth().get_me(GetMeRequest {}).await.unwrap().into_inner().user.unwrap();
                let somebody = me.email;
                Fields::from([("token", self.link("CHANGE_EMAIL", &self.new_email(), Some(&somebody)).await)])
            }
            "InvitationService/CreateInvitation" => Fields::from([("email", self.new_email())]),
            "InvitationService/ResendInvitation" | "InvitationService/RevokeInvitation" => {
                let (id, _) = self.invitation("target", &self.new_email()).await;
                Fields::from([("invitation_id", id)])
            }
            "InvitationService/GetInvitation" => {
                let (_, token) = self.invitation("target", &self.new_email()).await;
                Fields::from([("token", token)])
            }
            "InvitationService/AcceptInvitation" => {
                let me = caller.auth().get_me(GetMeRequest {}).await.unwrap().into_inner().user.unwrap();
                let (_, token) = self.invitation("target", &me.email).await;
                Fields::from([("token", token)])
            }
            "PersonalAccessTokenService/RevokePersonalAccessToken" => {
                let request = CreatePersonalAccessTokenRequest {
                    name: self.new_name(),
                    scopes: vec![PersonalAccessTokenScope::Read.into()],
                    ttl: None,
                };
                let mut tokens = caller.personal_access_tokens();
                let created = tokens.create_personal_access_token(request).await.unwrap().into_inner();
                let id = created.personal_access_token.unwrap().id;
                Fields::from([("personal_access_token_id", id)])
            }
            "OrganizationService/DeleteOrganization"
            | "OrganizationService/UpdateMember"
            | "OrganizationService/RemoveMember"
            | "OrganizationService/LeaveOrganization" => {
                let slug = format!("own-{}", self.made.fetch_add(1, Ordering::Relaxed));
                self.new_organization(&slug).await;
                Fields::from([("organization", slug)])
            }
            "AuthService/Refresh" => Fields::from([("refresh_token", self.refresh_token().await)]),
            "AuthorityService/CreateAuthority" => {
                self.end_rotation().await;
                Fields::new()
            }
            "AuthorityService/ActivateAuthority" => Fields::from([("authority_id", self.next_root().await)]),
            "ImageService/PushImage" => {
                let image = SmallImage::new(&self.image_name(), "amd64");
                image.upload(caller).await;
                Fields::from([("name", image.name.clone()), ("manifest", image.manifest())])
            }
            "ImageService/DeleteImage" => {
                let image = SmallImage::new(&self.image_name(), "amd64");
                image.push(caller).await.unwrap();
                Fields::from([("name", image.name.clone())])
            }
            "RegistryService/DeleteRegistryCredentials" => {
                let registry = format!("{}.example.com", self.new_host());
                let request = SetRegistryCredentialsRequest {
                    cluster: self.shared["cluster"].clone(),
                    registry: registry.clone(),
                    username: "puller".into(),
                    password: "a password".into(),
                };
                self.caller("owner").registries().set_registry_credentials(request).await.unwrap();
                Fields::from([("registry", registry)])
            }
            "ProjectService/StartProject" => self.project_in("INACTIVE").await,
            "ProjectService/UpgradeProject" => {
                let mut fields = self.project_in("ACTIVE_HEALTHY").await;
                self.rows.set_release(&fields["project_ref"], "core").await;
                fields.insert("release", "core-2".to_owned());
                fields
            }
            "ProjectService/RestartProject"
            | "ProjectService/UpdateProjectSettings"
            | "ProjectService/SetSecrets"
            | "ProjectService/DeleteSecrets"
            | "ProjectService/SetVariables"
            | "ProjectService/DeleteVariables"
            | "ProjectService/ResetDatabasePassword"
            | "ProjectService/RotateJwtSecret"
            | "ProjectService/TransferProject" => self.project_in("ACTIVE_HEALTHY").await,
            "ProjectService/StopProject"
            | "ProjectService/UpdateProject"
            | "ProjectService/DeleteProject"
            | "OperationService/CancelOperation" => self.new_project().await,
            "ProjectService/UndeleteProject" => {
                let project = self.new_project().await;
                let request = DeleteProjectRequest {
                    project_ref: project["project_ref"].clone(),
                    ..Default::default()
                };
                self.caller("owner").projects().delete_project(request).await.unwrap();
                project
            }
            _ => Fields::new(),
        }
    }

    /// A node of the organization's cluster that has what is left of a project.
    async fn left_over(&self, project_ref: &str) -> Fields {
        let node = self.rows.add_leftover(&self.new_host(), "own", project_ref, 1).await;
        Fields::from([("node_id", format!("nod_{}", node.simple())), ("project_ref", project_ref.to_owned())])
    }

    fn new_email(&self) -> String {
        email(&format!("new-{}", self.made.fetch_add(1, Ordering::Relaxed)))
    }

    async fn link(&self, kind: &str, email: &str, user: Option<&str>) -> String {
        let token = format!("link-{}", self.made.fetch_add(1, Ordering::Relaxed));
        self.rows.add_link(kind, email, user, &token).await;
        token
    }

    /// An invitation by the owner; its id and its token.
    async fn invitation(&self, slug: &str, to: &str) -> (String, String) {
        let token = format!("invitation-{}", self.made.fetch_add(1, Ordering::Relaxed));
        let id = self.rows.add_invitation(slug, to, &email("owner"), &token).await;
        (format!("inv_{}", id.simple()), token)
    }

    fn image_name(&self) -> String {
        format!("test/image:{}", self.made.fetch_add(1, Ordering::Relaxed))
    }

    /// A name that hosts and clusters may have.
    fn new_host(&self) -> String {
        format!("host-{}", self.made.fetch_add(1, Ordering::Relaxed))
    }

    fn new_name(&self) -> String {
        format!("number {}", self.made.fetch_add(1, Ordering::Relaxed))
    }

    /// A placed project of the owner's organization that comes up, and its operation.
    async fn new_project(&self) -> Fields {
        let request = CreateProjectRequest {
            organization: "target".into(),
            name: self.new_name(),
            ..Default::default()
        };
        let created = self.caller("owner").projects().create_project(request).await.unwrap().into_inner();
        let operation = created.operation.unwrap();
        assert_eq!(operation.state(), OperationState::Running, "there is room for all projects");
        Fields::from([("project_ref", created.project.unwrap().r#ref), ("operation_id", operation.id)])
    }

    async fn project_in(&self, state: &str) -> Fields {
        let project = self.new_project().await;
        self.rows.set_state(&project["project_ref"], state).await;
        project
    }

    async fn refresh_token(&self) -> String {
        let request =
            SignInRequest { email: email("owner"), password: PASSWORD.into(), ..Default::default() };
        let signed_in = self.controller.api().auth().sign_in(request).await.unwrap().into_inner();
        signed_in.tokens.unwrap().refresh_token
    }

    /// Retires the next root and the old one, so that another replacement of the CA may begin.
    async fn end_rotation(&self) {
        let mut authorities = self.caller("operator").authorities();
        let listed = authorities.list_authorities(ListAuthoritiesRequest {}).await.unwrap().into_inner();
        let ends = |root: &Authority| matches!(root.state(), AuthorityState::Next | AuthorityState::Old);
        for root in listed.authorities.into_iter().filter(ends) {
            let request = RetireAuthorityRequest { authority_id: root.id, force: true };
            authorities.retire_authority(request).await.unwrap();
        }
    }

    /// The root that the call of CreateAuthority has made, or one made now; every replica has taken it up.
    async fn next_root(&self) -> String {
        let mut authorities = self.caller("operator").authorities();
        let listed = authorities.list_authorities(ListAuthoritiesRequest {}).await.unwrap().into_inner();
        let next = listed.authorities.into_iter().find(|root| root.state() == AuthorityState::Next);
        if next.is_none() {
            self.end_rotation().await;
        }
        let id = if let Some(root) = next {
            root.id
        } else {
            let made = authorities.create_authority(CreateAuthorityRequest {}).await.unwrap();
            made.into_inner().authority.unwrap().id
        };
        self.rows.age_roots().await;
        id
    }
}
