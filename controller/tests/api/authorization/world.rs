//! The principals of the table, and the objects that they call methods on.

use std::sync::atomic::{AtomicUsize, Ordering};

use supalove_core::access::Role;
use supalove_proto::v1::{
    AuthorityState, CreateAuthorityRequest, CreateProjectRequest, DeleteProjectRequest,
    ListAuthoritiesRequest, OperationState, SignInRequest,
};
use supalove_system_tests::{Api, Controller, PASSWORD, Rows};
use uuid::Uuid;

use super::any_call::Fields;

/// Who calls, in the order of the table's columns. `stranger` is signed in and no member of the organization.
pub const PRINCIPALS: [&str; 7] =
    ["nobody", "stranger", "read_only", "developer", "administrator", "owner", "operator"];

/// What a principal is in the organization.
pub fn role(principal: &str) -> Option<Role> {
    Role::ALL.iter().copied().find(|role| role.as_sql().eq_ignore_ascii_case(principal))
}

fn email(principal: &str) -> String {
    format!("{principal}@example.com")
}

/// An organization with a member of each role, a project and its operation, a node, a retired root and a join token.
pub struct World {
    controller: Controller,
    rows: Rows,
    callers: Vec<Api>,
    /// What requests name unless the call would change it.
    shared: Fields,
    made: AtomicUsize,
}

impl World {
    /// Makes it.
    pub async fn make() -> Self {
        let controller = Controller::start().await;
        let operator = controller.operator().await;
        let rows = controller.database.rows().await;
        let mut world =
            Self { controller, rows, callers: Vec::new(), shared: Fields::new(), made: AtomicUsize::new(0) };
        for principal in PRINCIPALS {
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
        world.caller("owner").create_organization("target").await;
        for role in Role::ALL.iter().filter(|role| **role != Role::Owner) {
            world.rows.add_member("target", &email(&role.as_sql().to_lowercase()), role.as_sql()).await;
        }
        world.rows.add_node("roomy", 100, 100).await;
        let [node, root, token] = [1, 2, 3].map(Uuid::from_u128);
        world.rows.add_bare_node_root_and_token(node, root, token).await;
        world.shared = Fields::from([
            ("organization", "target".to_owned()),
            ("node_id", format!("nod_{}", node.simple())),
            ("authority_id", format!("aut_{}", root.simple())),
            ("join_token_id", format!("jtk_{}", token.simple())),
            ("email", email("owner")),
            ("password", PASSWORD.to_owned()),
        ]);
        let project = world.new_project().await;
        world.shared.extend(project);
        world
    }

    fn caller(&self, principal: &str) -> &Api {
        let position = PRINCIPALS.iter().position(|known| *known == principal).unwrap();
        &self.callers[position]
    }

    async fn signed_in(&self, principal: &str) -> Api {
        let mut api = self.controller.api();
        api.sign_in(&email(principal)).await;
        api
    }

    /// Whoever calls a method: with a session of its own if the call ends it.
    pub async fn caller_of(&self, method: &str, principal: &str) -> Api {
        match method {
            "AuthService/SignOut" if principal != "nobody" => self.signed_in(principal).await,
            _ => self.caller(principal).clone(),
        }
    }

    /// What a request for the method names. If the call is `allowed`: such that it succeeds, on an object of its own if it
    /// changes one.
    pub async fn fields(&self, method: &str, allowed: bool) -> Fields {
        let mut fields = self.shared.clone();
        fields.insert("name", self.new_name());
        match method {
            // The setup token works once and has. The password is looked at before it, and behind the door.
            "AuthService/SetUp" => drop(fields.insert("password", "short".to_owned())),
            // A list of one's own things names no organization.
            "ProjectService/ListProjects" => drop(fields.remove("organization")),
            _ if allowed => fields.extend(self.own_object(method).await),
            _ => {}
        }
        fields
    }

    async fn own_object(&self, method: &str) -> Fields {
        match method {
            "AuthService/Refresh" => Fields::from([("refresh_token", self.refresh_token().await)]),
            "AuthorityService/ActivateAuthority" => Fields::from([("authority_id", self.next_root().await)]),
            "ProjectService/StartProject" => self.project_in("INACTIVE").await,
            "ProjectService/UpgradeProject" => {
                let mut fields = self.project_in("ACTIVE_HEALTHY").await;
                self.rows.set_release(&fields["project_ref"], "core").await;
                fields.insert("release", "core-2".to_owned());
                fields
            }
            "ProjectService/RestartProject" => self.project_in("ACTIVE_HEALTHY").await,
            "ProjectService/StopProject"
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

    /// The root that the call of CreateAuthority has made, or one made now; every replica has taken it up.
    async fn next_root(&self) -> String {
        let mut authorities = self.caller("operator").authorities();
        let listed = authorities.list_authorities(ListAuthoritiesRequest {}).await.unwrap().into_inner();
        let next = listed.authorities.into_iter().find(|root| root.state() == AuthorityState::Next);
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
