//! Projects and operations that requests name.

use supalove_core::{
    access::{Found, Object, Role},
    database::Db,
    error::{Error, Result},
    ids::{OperationId, OrganizationId, ProjectRef, UserId},
};

/// A project on which the caller has the permission.
#[derive(Debug, Clone)]
pub struct ProjectKey {
    pub project: ProjectRef,
    pub organization: OrganizationId,
}

impl Object for ProjectKey {
    const KIND: &'static str = "project";

    async fn find(db: &Db, name: &str, user: UserId) -> Result<Option<Found<Self>>> {
        let project: ProjectRef = name
            .parse()
            .map_err(|e: supalove_core::ids::InvalidId| Error::field("project_ref", e.to_string()))?;
        let row = sqlx::query!(
            "SELECT p.organization_id AS \"organization: OrganizationId\", m.role AS \"role?: Role\" FROM projects p
             LEFT JOIN members m ON m.organization_id = p.organization_id AND m.user_id = $2 WHERE p.ref = $1",
            project.as_str(),
            user.0,
        )
        .fetch_optional(db)
        .await?;
        let found = |organization, role| Found { object: Self { project, organization }, role };
        Ok(row.map(|row| found(row.organization, row.role)))
    }

    fn organization(&self) -> Option<OrganizationId> {
        Some(self.organization)
    }
}

/// An operation on which the caller has the permission.
#[derive(Debug, Clone)]
pub struct OperationKey {
    pub operation: OperationId,
    pub project: ProjectRef,
    pub organization: OrganizationId,
}

impl Object for OperationKey {
    const KIND: &'static str = "operation";

    async fn find(db: &Db, name: &str, user: UserId) -> Result<Option<Found<Self>>> {
        let operation: OperationId = name
            .parse()
            .map_err(|e: supalove_core::ids::InvalidId| Error::field("operation_id", e.to_string()))?;
        let row = sqlx::query!(
            "SELECT p.ref AS \"project: ProjectRef\", p.organization_id AS \"organization: OrganizationId\", m.role AS \"role?: Role\"
             FROM operations o JOIN projects p ON p.ref = o.project_ref
             LEFT JOIN members m ON m.organization_id = p.organization_id AND m.user_id = $2 WHERE o.id = $1",
            operation.0,
            user.0,
        )
        .fetch_optional(db)
        .await?;
        Ok(row.map(|row| Found {
            object: Self { operation, project: row.project, organization: row.organization },
            role: row.role,
        }))
    }

    fn organization(&self) -> Option<OrganizationId> {
        Some(self.organization)
    }
}
