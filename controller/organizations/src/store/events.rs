//! Events of an organization: appended without a lock, numbered when somebody reads them.
//!
//! Events about projects and operations are appended by triggers on their tables, so that no statement forgets one; those about
//! members and invitations by the functions of this room, which know who acts; those about sizes by the room that measures them.

use chrono::{DateTime, Utc};
use supalove_core::{
    Write,
    access::Role,
    database::Db,
    error::Result,
    ids::{InvitationId, OperationId, OrganizationId, ProjectRef, UserId},
    sql_enum,
};

use super::BATCH;

/// Organizations whose events one batch numbers.
const NUMBERED: i64 = 100;

sql_enum! {
    /// Kind of an event.
    EventType {
        OrganizationRenamed = "organization.renamed",
        MemberJoined = "member.joined",
        MemberRoleChanged = "member.role_changed",
        /// By somebody else.
        MemberRemoved = "member.removed",
        /// Or deleted the account.
        MemberLeft = "member.left",
        InvitationCreated = "invitation.created",
        InvitationAccepted = "invitation.accepted",
        InvitationRevoked = "invitation.revoked",
        ProjectCreated = "project.created",
        ProjectStateChanged = "project.state_changed",
        ProjectRenamed = "project.renamed",
        ProjectRemoved = "project.removed",
        /// From another organization.
        ProjectJoined = "project.joined",
        /// To another organization.
        ProjectLeft = "project.left",
        OperationStarted = "operation.started",
        OperationSucceeded = "operation.succeeded",
        OperationFailed = "operation.failed",
        OperationCancelled = "operation.cancelled",
        /// 80 % of what its plan allows.
        ProjectSizeNear = "project.size_near",
        ProjectSizeOver = "project.size_over",
        ProjectSizeFine = "project.size_fine",
    }
}

/// An event to append, about members or the organization itself.
#[derive(Debug, Clone, Copy)]
pub struct NewEvent<'a> {
    kind: EventType,
    name: Option<&'a str>,
    user: Option<UserId>,
    role: Option<Role>,
    invitation: Option<InvitationId>,
}

impl<'a> NewEvent<'a> {
    /// The organization has another name.
    pub fn renamed(name: &'a str) -> Self {
        Self { name: Some(name), ..Self::blank(EventType::OrganizationRenamed) }
    }

    /// A member joined, with a role, or has another one.
    pub fn member(kind: EventType, user: UserId, role: Role) -> Self {
        Self { user: Some(user), role: Some(role), ..Self::blank(kind) }
    }

    /// A member is no member any more.
    pub fn gone(kind: EventType, user: UserId) -> Self {
        Self { user: Some(user), ..Self::blank(kind) }
    }

    /// Something happened to an invitation to a role.
    pub fn invitation(kind: EventType, invitation: InvitationId, role: Role) -> Self {
        Self { invitation: Some(invitation), role: Some(role), ..Self::blank(kind) }
    }

    /// Adds the member that it is about.
    #[must_use]
    pub fn by(self, user: UserId) -> Self {
        Self { user: Some(user), ..self }
    }

    fn blank(kind: EventType) -> Self {
        Self { kind, name: None, user: None, role: None, invitation: None }
    }
}

/// Appends an event. The caller publishes the organization's hint at its commit.
pub async fn append(write: &mut impl Write, organization: OrganizationId, event: NewEvent<'_>) -> Result<()> {
    sqlx::query!(
        "INSERT INTO organization_events (organization_id, type, name, user_id, role, invitation_id)
         VALUES ($1, $2, $3, $4, $5, $6)",
        organization.0,
        event.kind.as_sql(),
        event.name,
        event.user.map(|user| user.0),
        event.role.map(Role::as_sql),
        event.invitation.map(|invitation| invitation.0),
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// An event as a viewer sees it.
#[derive(Debug, Clone)]
pub struct Event {
    pub seq: i64,
    pub at: DateTime<Utc>,
    pub kind: EventType,
    pub name: Option<String>,
    pub user: Option<UserId>,
    pub email: Option<String>,
    pub display_name: Option<String>,
    pub role: Option<Role>,
    pub invitation: Option<InvitationId>,
    pub project: Option<ProjectRef>,
    /// In the words of the projects.
    pub state: Option<String>,
    pub operation: Option<OperationId>,
    /// In the words of the projects.
    pub operation_kind: Option<String>,
    /// In the words of the plans.
    pub entitlement: Option<String>,
}

/// The number of an organization's newest event, and whether events wait for their numbers.
pub async fn newest(db: &Db, organization: OrganizationId) -> Result<(i64, bool)> {
    let row = sqlx::query!(
        "SELECT coalesce((SELECT event_seq FROM organization_streams WHERE organization_id = $1), 0) AS \"seq!\",
             EXISTS (SELECT FROM organization_events WHERE organization_id = $1 AND seq IS NULL) AS \"waiting!\"",
        organization.0,
    )
    .fetch_one(db)
    .await?;
    Ok((row.seq, row.waiting))
}

/// Numbers an organization's events; returns the number of the newest one.
pub async fn number(write: &mut impl Write, organization: OrganizationId) -> Result<i64> {
    let newest = sqlx::query_scalar!("SELECT organization_number_events($1) AS \"seq!\"", organization.0);
    Ok(newest.fetch_one(write.connection().await?).await?)
}

/// Events after a number, oldest first. Only those who may list invitations see invited addresses.
pub async fn after(
    db: &Db,
    organization: OrganizationId,
    viewer: UserId,
    seq: i64,
    limit: i64,
) -> Result<Vec<Event>> {
    let found = sqlx::query_as!(
        Event,
        "SELECT e.seq AS \"seq!\", e.at, e.type AS \"kind: EventType\", e.name, e.user_id AS \"user: UserId\",
             coalesce(u.email, CASE WHEN e.type = 'invitation.created' AND m.role IN ('OWNER', 'ADMINISTRATOR') THEN i.email END) AS email,
             u.display_name AS \"display_name?\", e.role AS \"role: Role\", e.invitation_id AS \"invitation: InvitationId\",
             e.project_ref AS \"project: ProjectRef\", e.state, e.operation_id AS \"operation: OperationId\", e.operation_kind,
             e.entitlement
         FROM organization_events e
         LEFT JOIN users u ON u.id = e.user_id AND u.deleted_at IS NULL
         LEFT JOIN invitations i ON i.id = e.invitation_id
         LEFT JOIN members m ON m.organization_id = $1 AND m.user_id = $2
         WHERE e.organization_id = $1 AND e.seq > $3 ORDER BY e.seq LIMIT $4",
        organization.0,
        viewer.0,
        seq,
        limit,
    );
    Ok(found.fetch_all(db).await?)
}

/// Numbers what nobody has read; false if there may be more.
pub async fn number_waiting(write: &mut impl Write) -> Result<bool> {
    let waiting = sqlx::query_scalar!(
        "SELECT DISTINCT e.organization_id AS \"organization: OrganizationId\" FROM organization_events e
         JOIN organizations o ON o.id = e.organization_id WHERE e.seq IS NULL LIMIT $1",
        NUMBERED,
    )
    .fetch_all(write.connection().await?)
    .await?;
    for organization in &waiting {
        number(write, *organization).await?;
    }
    Ok(i64::try_from(waiting.len()).unwrap_or(NUMBERED) < NUMBERED)
}

/// Deletes events that are older than this; false if there may be more. It looks at the oldest rows only, so that it needs no
/// index on the time.
pub async fn prune(write: &mut impl Write, kept: std::time::Duration) -> Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM organization_events WHERE id IN (
             SELECT id FROM (SELECT id, at FROM organization_events ORDER BY id LIMIT $1) AS oldest
             WHERE at < now() - make_interval(secs => $2))",
        BATCH,
        kept.as_secs_f64(),
    )
    .execute(write.connection().await?)
    .await?;
    Ok(done.rows_affected() < BATCH.unsigned_abs())
}
