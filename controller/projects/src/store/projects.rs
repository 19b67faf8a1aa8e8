//! Projects with their addresses, in PostgreSQL, for reads of callers.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;

use crate::{
    restriction::{Restriction, Rule},
    types::ProjectState,
};
use supalove_core::{
    Write,
    database::{Db, violates},
    error::{Error, Result},
    ids::{ClusterId, NodeId, OrganizationId, ProjectRef, UserId},
};
use supalove_plans::ProjectSize;
use supalove_proto::v1::ErrorReason;

/// State of a service, as stored with its project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    pub name: String,
    /// PENDING, PULLING, CREATED, STARTING, HEALTHY, UNHEALTHY, EXITED, STOPPED.
    pub state: String,
    /// What is wrong, for people.
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub service: String,
    /// http, https or postgresql.
    pub scheme: String,
    pub host: String,
    pub port: i32,
    pub kind: String,
}

impl Endpoint {
    /// True if only programs on the project's node reach it: a loopback address.
    pub fn host_only(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

#[allow(clippy::struct_field_names, reason = "`project` is the ref, as everywhere")]
#[derive(Debug, Clone)]
pub struct Project {
    pub project: ProjectRef,
    pub name: String,
    /// Slug of its organization.
    pub organization: String,
    pub state: ProjectState,
    /// Why it is in that state, for people.
    pub state_reason: String,
    pub release: String,
    pub cluster: ClusterId,
    pub node: Option<NodeId>,
    /// Name of that node.
    pub node_name: Option<String>,
    /// Version of the desired state.
    pub generation: i64,
    pub services: Vec<ServiceStatus>,
    pub endpoints: Vec<Endpoint>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was deleted.
    pub deleted_at: Option<DateTime<Utc>>,
    /// When its data is deleted.
    pub purge_at: Option<DateTime<Utc>>,
    pub revision: i64,
    /// Number of its newest event.
    pub event_seq: i64,
    /// Its size, and what that gave it.
    pub size: ProjectSize,
    /// The rule that bounds it, and since when.
    pub restriction: Option<(Restriction, DateTime<Utc>)>,
}

/// A row as the query gives it.
struct Row {
    project: ProjectRef,
    name: String,
    organization: String,
    state: ProjectState,
    state_reason: String,
    release: String,
    cluster: ClusterId,
    node: Option<NodeId>,
    node_name: Option<String>,
    generation: i64,
    services: Json<Vec<ServiceStatus>>,
    endpoints: Json<Vec<Endpoint>>,
    created_at: DateTime<Utc>,
    deleted_at: Option<DateTime<Utc>>,
    purge_at: Option<DateTime<Utc>>,
    revision: i64,
    event_seq: i64,
    size: String,
    size_cpu_millis: i32,
    size_memory_mib: i32,
    size_disk_mib: i32,
    size_connections: i32,
    restriction: Option<Rule>,
    restriction_message: String,
    restricted_at: Option<DateTime<Utc>>,
}

impl From<Row> for Project {
    fn from(row: Row) -> Self {
        Self {
            project: row.project,
            name: row.name,
            organization: row.organization,
            state: row.state,
            state_reason: row.state_reason,
            release: row.release,
            cluster: row.cluster,
            node: row.node,
            node_name: row.node_name,
            generation: row.generation,
            services: row.services.0,
            endpoints: row.endpoints.0,
            created_at: row.created_at,
            deleted_at: row.deleted_at,
            purge_at: row.purge_at,
            revision: row.revision,
            event_seq: row.event_seq,
            size: ProjectSize {
                name: row.size,
                cpu_millis: row.size_cpu_millis,
                memory_mib: row.size_memory_mib,
                disk_mib: row.size_disk_mib,
                connections: row.size_connections,
            },
            restriction: row
                .restriction
                .zip(row.restricted_at)
                .map(|(rule, since)| (Restriction { rule, message: row.restriction_message }, since)),
        }
    }
}

pub async fn get(db: &Db, project: &ProjectRef) -> Result<Project> {
    let found = query(db, Wanted { project: Some(project), limit: 1, ..Wanted::default() }).await?;
    found.into_iter().next().ok_or_else(|| Error::NotFound { kind: "project", name: project.to_string() })
}

/// Returns the deleted project that holds a name, and the end of its undo window.
pub async fn deleted_holder(
    db: &Db,
    organization: OrganizationId,
    name: &str,
) -> Result<Option<(ProjectRef, Option<DateTime<Utc>>)>> {
    let row = sqlx::query!(
        "SELECT ref AS \"project: ProjectRef\", purge_at FROM projects
         WHERE organization_id = $1 AND name = $2 AND state <> 'REMOVED' AND deleted_at IS NOT NULL",
        organization.0,
        name,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.project, row.purge_at)))
}

/// Renames a project; an error if `etag` is not empty and not the present one, or if the name is taken. Returns its
/// organization.
pub async fn rename(
    write: &mut impl Write,
    project: &ProjectRef,
    name: &str,
    etag: &str,
) -> Result<OrganizationId> {
    let row = sqlx::query!(
        "SELECT organization_id AS \"organization: OrganizationId\", revision, state AS \"state: ProjectState\"
         FROM projects WHERE ref = $1 FOR NO KEY UPDATE",
        project.as_str(),
    )
    .fetch_one(write.connection().await?)
    .await?;
    if row.state == ProjectState::Removed {
        return Err(removed());
    }
    if !etag.is_empty() && etag != row.revision.to_string() {
        return Err(Error::Changed("project"));
    }
    sqlx::query!(
        "UPDATE projects SET name = $2, revision = revision + 1 WHERE ref = $1",
        project.as_str(),
        name
    )
    .execute(write.connection().await?)
    .await
    .map_err(|error| name_taken(error, name))?;
    Ok(row.organization)
}

/// The error of a statement that gives a project a name.
pub fn name_taken(error: sqlx::Error, name: &str) -> Error {
    if violates(&error, "projects_name") {
        return Error::AlreadyExists { kind: "project", name: name.to_owned() };
    }
    error.into()
}

/// The error for a project of which nothing is left.
pub fn removed() -> Error {
    Error::FailedPrecondition {
        reason: ErrorReason::ProjectRemoved,
        message: "the project has been removed".to_owned(),
    }
}

/// Filter and page of a list.
pub struct Filter {
    /// Only projects of this user's organizations.
    pub member: UserId,
    /// Only projects of this organization; the caller must have checked the permission.
    pub organization: Option<OrganizationId>,
    pub show_deleted: bool,
    /// Only projects created before this one.
    pub before: Option<(DateTime<Utc>, String)>,
    /// Maximum number of rows.
    pub limit: i64,
}

pub async fn list(db: &Db, filter: &Filter) -> Result<Vec<Project>> {
    let wanted = Wanted {
        project: None,
        member: filter.organization.is_none().then_some(filter.member),
        organization: filter.organization,
        hide_deleted: !filter.show_deleted,
        before: filter.before.clone(),
        limit: filter.limit,
    };
    query(db, wanted).await
}

/// A project whose release is one of those asked for.
pub struct Outdated {
    pub project: ProjectRef,
    pub name: String,
    /// Slug of its organization.
    pub organization: String,
    pub state: ProjectState,
    pub release: String,
}

/// Projects of these releases, in the order of their refs, after one of them.
pub async fn of_releases(db: &Db, releases: &[String], after: &str, limit: i64) -> Result<Vec<Outdated>> {
    let found = sqlx::query_as!(
        Outdated,
        "SELECT p.ref AS \"project: ProjectRef\", p.name, o.slug AS organization, p.state AS \"state: ProjectState\", p.release
         FROM projects p JOIN organizations o ON o.id = p.organization_id
         WHERE p.release = ANY($1) AND p.state <> 'REMOVED' AND p.ref > $2 ORDER BY p.ref LIMIT $3",
        releases,
        after,
        limit,
    );
    Ok(found.fetch_all(db).await?)
}

/// Conditions of the query; all that are set apply.
#[derive(Default)]
struct Wanted<'a> {
    project: Option<&'a ProjectRef>,
    member: Option<UserId>,
    organization: Option<OrganizationId>,
    hide_deleted: bool,
    before: Option<(DateTime<Utc>, String)>,
    limit: i64,
}

/// Returns a named project even if it is removed; lists exclude removed projects.
async fn query(db: &Db, wanted: Wanted<'_>) -> Result<Vec<Project>> {
    let (before_at, before_ref) = wanted.before.unzip();
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT p.ref AS "project: ProjectRef", p.name, o.slug AS organization, p.state AS "state: ProjectState",
               p.state_reason, p.release, p.cluster_id AS "cluster: ClusterId", l.node_id AS "node?: NodeId",
               (SELECT n.name FROM nodes n WHERE n.id = l.node_id) AS node_name, p.generation,
               p.services AS "services: Json<Vec<ServiceStatus>>",
               (SELECT coalesce(jsonb_agg(to_jsonb(e) - 'project_ref' ORDER BY e.service), '[]')
                FROM project_endpoints e WHERE e.project_ref = p.ref) AS "endpoints!: Json<Vec<Endpoint>>",
               p.created_at, p.deleted_at, p.purge_at, p.revision, p.event_seq, p.size, p.size_cpu_millis, p.size_memory_mib,
               p.size_disk_mib, p.size_connections, p.restriction AS "restriction: Rule", p.restriction_message, p.restricted_at
           FROM projects p JOIN organizations o ON o.id = p.organization_id
           LEFT JOIN placements l ON l.project_ref = p.ref AND l.role = 'ACTIVE'
           WHERE (p.ref = $1 OR ($1::text IS NULL AND p.state <> 'REMOVED'))
               AND (p.deleted_at IS NULL OR NOT $2)
               AND ($3::uuid IS NULL OR p.organization_id = $3)
               AND ($4::uuid IS NULL OR p.organization_id IN (SELECT organization_id FROM members WHERE user_id = $4))
               AND ($5::timestamptz IS NULL OR (p.created_at, p.ref) < ($5, $6))
           ORDER BY p.created_at DESC, p.ref DESC LIMIT $7"#,
        wanted.project.map(ProjectRef::as_str),
        wanted.hide_deleted,
        wanted.organization.map(|o| o.0),
        wanted.member.map(|u| u.0),
        before_at,
        before_ref,
        wanted.limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(Project::from).collect())
}
