//! Projects as callers see them, in PostgreSQL.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, types::Json};
use uuid::Uuid;

use super::types::ProjectState;
use supalove_core::{
    error::Result,
    ids::{ClusterId, NodeId, OrganizationId, ProjectRef, UserId},
};

/// State of a service, as stored with its project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Name.
    pub name: String,
    /// PENDING, PULLING, CREATED, STARTING, HEALTHY, UNHEALTHY, EXITED, STOPPED.
    pub state: String,
    /// What is wrong, for people.
    pub message: String,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Service behind it.
    pub service: String,
    /// http, https or postgresql.
    pub scheme: String,
    /// Host.
    pub host: String,
    /// Port.
    pub port: i32,
    /// node_port or domain.
    pub kind: String,
}

impl Endpoint {
    /// Only programs on the project's node reach a loopback address.
    pub fn host_only(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// A project.
#[derive(Debug, Clone)]
pub struct Project {
    /// Ref.
    pub project: ProjectRef,
    /// Name to show.
    pub name: String,
    /// Slug of its organization.
    pub organization: String,
    /// State.
    pub state: ProjectState,
    /// Why.
    pub state_reason: String,
    /// Release.
    pub release: String,
    /// Cluster.
    pub cluster: ClusterId,
    /// Node, once placed.
    pub node: Option<NodeId>,
    /// Name of that node.
    pub node_name: Option<String>,
    /// Version of the desired state.
    pub generation: i64,
    /// Services.
    pub services: Vec<ServiceStatus>,
    /// Addresses.
    pub endpoints: Vec<Endpoint>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was deleted.
    pub deleted_at: Option<DateTime<Utc>>,
    /// When its data goes.
    pub purge_at: Option<DateTime<Utc>>,
    /// Etag.
    pub revision: i64,
    /// Number of its newest event.
    pub event_seq: i64,
}

struct Row {
    project_ref: String,
    name: String,
    organization: String,
    state: String,
    state_reason: String,
    release: String,
    cluster_id: Uuid,
    node_id: Option<Uuid>,
    node_name: Option<String>,
    generation: i64,
    services: Json<Vec<ServiceStatus>>,
    endpoints: Json<Vec<Endpoint>>,
    created_at: DateTime<Utc>,
    deleted_at: Option<DateTime<Utc>>,
    purge_at: Option<DateTime<Utc>>,
    revision: i64,
    event_seq: i64,
}

impl TryFrom<Row> for Project {
    type Error = supalove_core::error::Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            project: row.project_ref.parse().map_err(supalove_core::error::Error::internal)?,
            name: row.name,
            organization: row.organization,
            state: row.state.parse::<ProjectState>()?,
            state_reason: row.state_reason,
            release: row.release,
            cluster: ClusterId(row.cluster_id),
            node: row.node_id.map(NodeId),
            node_name: row.node_name,
            generation: row.generation,
            services: row.services.0,
            endpoints: row.endpoints.0,
            created_at: row.created_at,
            deleted_at: row.deleted_at,
            purge_at: row.purge_at,
            revision: row.revision,
            event_seq: row.event_seq,
        })
    }
}

/// One project.
pub async fn get(db: &PgPool, project: &ProjectRef) -> Result<Project> {
    sqlx::query_as!(
        Row,
        r#"SELECT p.ref AS project_ref, p.name, o.slug AS organization, p.state, p.state_reason, p.release, p.cluster_id,
               l.node_id AS "node_id?", n.name AS "node_name?", p.generation, p.services AS "services: Json<Vec<ServiceStatus>>",
               (SELECT coalesce(jsonb_agg(to_jsonb(e) - 'project_ref' ORDER BY e.service), '[]')
                FROM project_endpoints e WHERE e.project_ref = p.ref) AS "endpoints!: Json<Vec<Endpoint>>",
               p.created_at, p.deleted_at, p.purge_at, p.revision, p.event_seq
           FROM projects p JOIN organizations o ON o.id = p.organization_id
           LEFT JOIN placements l ON l.project_ref = p.ref AND l.role = 'ACTIVE'
           LEFT JOIN nodes n ON n.id = l.node_id WHERE p.ref = $1"#,
        project.as_str(),
    )
    .fetch_one(db)
    .await?
    .try_into()
}

/// The deleted project that holds a name until its undo window ends, and that time.
pub async fn deleted_holder(
    db: &PgPool,
    organization: OrganizationId,
    name: &str,
) -> Result<Option<(ProjectRef, Option<DateTime<Utc>>)>> {
    let row = sqlx::query!(
        "SELECT ref, purge_at FROM projects
         WHERE organization_id = $1 AND name = $2 AND state <> 'REMOVED' AND deleted_at IS NOT NULL",
        organization.0,
        name,
    )
    .fetch_optional(db)
    .await?;
    row.map(|row| Ok((row.r#ref.parse().map_err(crate::error::Error::internal)?, row.purge_at))).transpose()
}

/// What a list shows.
pub struct Filter {
    /// Projects of this user's organizations.
    pub member: UserId,
    /// Only of this one; then the right to see it was checked.
    pub organization: Option<OrganizationId>,
    /// Also deleted ones.
    pub show_deleted: bool,
    /// Made before this one.
    pub before: Option<(DateTime<Utc>, String)>,
    /// How many.
    pub limit: i64,
}

/// Projects, newest first.
pub async fn list(db: &PgPool, filter: &Filter) -> Result<Vec<Project>> {
    let (before_at, before_ref) = filter.before.clone().unzip();
    sqlx::query_as!(
        Row,
        r#"SELECT p.ref AS project_ref, p.name, o.slug AS organization, p.state, p.state_reason, p.release, p.cluster_id,
               l.node_id AS "node_id?", n.name AS "node_name?", p.generation, p.services AS "services: Json<Vec<ServiceStatus>>",
               (SELECT coalesce(jsonb_agg(to_jsonb(e) - 'project_ref' ORDER BY e.service), '[]')
                FROM project_endpoints e WHERE e.project_ref = p.ref) AS "endpoints!: Json<Vec<Endpoint>>",
               p.created_at, p.deleted_at, p.purge_at, p.revision, p.event_seq
           FROM projects p JOIN organizations o ON o.id = p.organization_id
           LEFT JOIN placements l ON l.project_ref = p.ref AND l.role = 'ACTIVE'
           LEFT JOIN nodes n ON n.id = l.node_id
           WHERE p.state <> 'REMOVED' AND (p.deleted_at IS NULL OR $3)
               AND (p.organization_id = $1 OR ($1::uuid IS NULL AND p.organization_id IN
                   (SELECT organization_id FROM members WHERE user_id = $2)))
               AND ($4::timestamptz IS NULL OR (p.created_at, p.ref) < ($4, $5))
           ORDER BY p.created_at DESC, p.ref DESC LIMIT $6"#,
        filter.organization.map(|o| o.0),
        filter.member.0,
        filter.show_deleted,
        before_at,
        before_ref,
        filter.limit,
    )
    .fetch_all(db)
    .await?
    .into_iter()
    .map(Project::try_from)
    .collect()
}
