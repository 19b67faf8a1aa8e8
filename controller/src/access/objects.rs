//! From the name in a request to the object the caller may work on. The only way a handler gets an object.

use std::str::FromStr;

use sqlx::PgPool;
use uuid::Uuid;

use super::{Call, Permission, Rule, Scope};
use crate::{
    error::{Error, Result},
    identity,
    ids::{OperationId, OrganizationId, ProjectRef},
};

/// Leave to work on an organization.
#[derive(Debug, Clone)]
pub struct OrganizationGrant {
    /// The organization.
    pub id: OrganizationId,
    /// Its slug.
    pub slug: String,
}

/// Leave to work on a project.
#[derive(Debug, Clone)]
pub struct ProjectGrant {
    /// The project.
    pub project: ProjectRef,
}

/// Leave to work on an operation.
#[derive(Debug, Clone)]
pub struct OperationGrant {
    /// The operation.
    pub operation: OperationId,
    /// Its project.
    pub project: ProjectRef,
}

/// Decides on objects.
#[derive(Debug, Clone)]
pub struct Access {
    db: PgPool,
}

impl Access {
    /// On the control database.
    pub fn new(db: PgPool) -> Self {
        Self { db }
    }

    /// The organization with this slug.
    pub async fn organization(&self, call: &Call, slug: &str) -> Result<OrganizationGrant> {
        expect_scope(call.rule, Scope::OnOrganization)?;
        self.member_of(call, slug, call.rule.permission).await
    }

    /// The same for a list that may be narrowed to one organization.
    pub async fn member_of(&self, call: &Call, slug: &str, needs: Permission) -> Result<OrganizationGrant> {
        let caller = call.caller()?;
        if slug.contains('\0') {
            return Err(not_found("organization", "?"));
        }
        let row = sqlx::query!(
            "SELECT o.id, m.role AS \"role?\" FROM organizations o
             LEFT JOIN members m ON m.organization_id = o.id AND m.user_id = $2 WHERE o.slug = $1",
            slug,
            caller.user.0,
        )
        .fetch_optional(&self.db)
        .await?;
        let row = row.ok_or_else(|| not_found("organization", slug))?;
        decide(call, needs, row.role.as_deref(), || not_found("organization", slug))?;
        Ok(OrganizationGrant { id: OrganizationId(row.id), slug: slug.to_owned() })
    }

    /// The project with this ref.
    pub async fn project(&self, call: &Call, project_ref: &str) -> Result<ProjectGrant> {
        expect_scope(call.rule, Scope::OnProject)?;
        let caller = call.caller()?;
        let project =
            ProjectRef::from_str(project_ref).map_err(|e| Error::field("project_ref", e.to_string()))?;
        let role = sqlx::query_scalar!(
            "SELECT m.role AS \"role?\" FROM projects p
             LEFT JOIN members m ON m.organization_id = p.organization_id AND m.user_id = $2 WHERE p.ref = $1",
            project.as_str(),
            caller.user.0,
        )
        .fetch_optional(&self.db)
        .await?;
        let role = role.ok_or_else(|| not_found("project", project_ref))?;
        decide(call, call.rule.permission, role.as_deref(), || not_found("project", project_ref))?;
        Ok(ProjectGrant { project })
    }

    /// Whether a call that lasts may go on: its session has not ended and it still has the right to the project.
    pub async fn still_allowed(&self, call: &Call, project: &ProjectRef) -> Result<()> {
        let session = call.caller()?.session;
        identity::store::caller(&self.db, session).await?.ok_or_else(identity::session_ended)?;
        self.project(call, project.as_str()).await.map(|_| ())
    }

    /// The operation with this id.
    pub async fn operation(&self, call: &Call, operation_id: &str) -> Result<OperationGrant> {
        expect_scope(call.rule, Scope::OnOperation)?;
        let caller = call.caller()?;
        let operation =
            OperationId::from_str(operation_id).map_err(|e| Error::field("operation_id", e.to_string()))?;
        let row = sqlx::query!(
            "SELECT p.ref, m.role AS \"role?\" FROM operations o JOIN projects p ON p.ref = o.project_ref
             LEFT JOIN members m ON m.organization_id = p.organization_id AND m.user_id = $2 WHERE o.id = $1",
            operation.0 as Uuid,
            caller.user.0,
        )
        .fetch_optional(&self.db)
        .await?;
        let row = row.ok_or_else(|| not_found("operation", operation_id))?;
        decide(call, call.rule.permission, row.role.as_deref(), || not_found("operation", operation_id))?;
        let project = row.r#ref.parse().map_err(Error::internal)?;
        Ok(OperationGrant { operation, project })
    }
}

fn not_found(kind: &'static str, name: &str) -> Error {
    Error::NotFound { kind, name: name.to_owned() }
}

/// A handler that asks for another kind of object than its row says is our mistake, not the caller's.
fn expect_scope(rule: &Rule, scope: Scope) -> Result<()> {
    if rule.scope == scope {
        return Ok(());
    }
    Err(Error::internal(format!("{} asked for {scope:?}, its row says {:?}", rule.method, rule.scope)))
}

fn decide(call: &Call, needs: Permission, role: Option<&str>, stranger: impl Fn() -> Error) -> Result<()> {
    let by_role = role.is_some_and(|role| needs.roles().contains(&role));
    let operator = call.caller()?.operator;
    if by_role || (operator && needs.operator()) {
        return Ok(());
    }
    if role.is_none() && !operator {
        return Err(stranger());
    }
    Err(Error::PermissionDenied {
        action: call.method.rsplit('/').next().unwrap_or(call.method).to_owned(),
        needs: format!("one of the roles {} in the organization", needs.roles().join(", ").to_lowercase()),
    })
}
