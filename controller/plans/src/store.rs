//! Plans and entitlements in PostgreSQL.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use supalove_core::{
    Write,
    database::Db,
    error::{Error, Result},
    ids::{OrganizationId, UserId},
};

use crate::{
    entitlement::{Entitlement, Limits, Over, SizeAction, Used, Value},
    object::Holder,
};
use supalove_core::access::Object as _;

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub name: String,
    pub display_name: String,
    pub price_cents: i64,
    pub limits: Limits,
    pub at_size_limit: SizeAction,
    /// Whether new organizations get it.
    pub is_default: bool,
    pub revision: i64,
    pub updated_at: DateTime<Utc>,
}

/// A limit that counts instead of the plan's.
#[derive(Debug, Clone)]
pub struct Override {
    pub entitlement: Entitlement,
    pub value: Value,
    pub reason: String,
    pub set_by: Option<UserId>,
    pub set_at: DateTime<Utc>,
}

/// What an organization may use, and uses.
#[derive(Debug, Clone)]
pub struct Entitlements {
    /// Slug.
    pub organization: String,
    pub plan: Plan,
    pub reason: String,
    pub assigned_by: Option<UserId>,
    pub assigned_at: DateTime<Utc>,
    pub revision: i64,
    pub overrides: Vec<Override>,
    pub used: Used,
}

impl Entitlements {
    /// The override of an entitlement, if there is one.
    pub fn overridden(&self, entitlement: Entitlement) -> Option<&Override> {
        self.overrides.iter().find(|one| one.entitlement == entitlement)
    }

    /// The limits that count.
    pub fn limits(&self) -> Result<Limits> {
        let mut limits = self.plan.limits.clone();
        for one in &self.overrides {
            limits
                .set(one.entitlement, one.value.clone(), one.entitlement.as_sql())
                .map_err(Error::internal)?;
        }
        Ok(limits)
    }
}

/// A row of `plans`.
struct PlanRow {
    name: String,
    display_name: String,
    price_cents: i64,
    projects: i64,
    database_mib: i64,
    storage_mib: i64,
    function_invocations: i64,
    members: i64,
    project_sizes: Vec<String>,
    private_clusters: bool,
    backup_days: i64,
    log_days: i64,
    at_size_limit: SizeAction,
    is_default: bool,
    revision: i64,
    updated_at: DateTime<Utc>,
}

impl From<PlanRow> for Plan {
    fn from(row: PlanRow) -> Self {
        Self {
            name: row.name,
            display_name: row.display_name,
            price_cents: row.price_cents,
            limits: Limits {
                projects: row.projects,
                database_mib: row.database_mib,
                storage_mib: row.storage_mib,
                function_invocations: row.function_invocations,
                members: row.members,
                project_sizes: row.project_sizes,
                private_clusters: row.private_clusters,
                backup_days: row.backup_days,
                log_days: row.log_days,
            },
            at_size_limit: row.at_size_limit,
            is_default: row.is_default,
            revision: row.revision,
            updated_at: row.updated_at,
        }
    }
}

/// The key by which plans are listed: price, then name.
pub fn list_key(plan: &Plan) -> String {
    format!("{:019} {}", plan.price_cents, plan.name)
}

/// Lists plans, ordered by price.
pub async fn list(db: &Db, after: Option<&str>, limit: i64) -> Result<Vec<Plan>> {
    let found = sqlx::query_as!(
        PlanRow,
        "SELECT name, display_name, price_cents, projects, database_mib, storage_mib, function_invocations, members,
             project_sizes, private_clusters, backup_days, log_days, at_size_limit AS \"at_size_limit: SizeAction\", is_default,
             revision, updated_at
         FROM plans WHERE $1::text IS NULL OR (lpad(price_cents::text, 19, '0') || ' ' || name) COLLATE \"C\" > $1
         ORDER BY (lpad(price_cents::text, 19, '0') || ' ' || name) COLLATE \"C\" LIMIT $2",
        after,
        limit,
    );
    Ok(found.fetch_all(db).await?.into_iter().map(Plan::from).collect())
}

/// Locks all plans and returns them. Every change of plans or entitlements begins with it.
pub async fn lock_plans(write: &mut impl Write) -> Result<Vec<Plan>> {
    let found = sqlx::query_as!(
        PlanRow,
        "SELECT name, display_name, price_cents, projects, database_mib, storage_mib, function_invocations, members,
             project_sizes, private_clusters, backup_days, log_days, at_size_limit AS \"at_size_limit: SizeAction\", is_default,
             revision, updated_at
         FROM plans ORDER BY name FOR NO KEY UPDATE",
    );
    Ok(found.fetch_all(write.connection().await?).await?.into_iter().map(Plan::from).collect())
}

/// Takes the mark of the default from the plan that has it.
pub async fn clear_default(write: &mut impl Write) -> Result<()> {
    sqlx::query!(
        "UPDATE plans SET is_default = false, revision = revision + 1, updated_at = now() WHERE is_default"
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Stores the new values of a plan.
pub async fn update(write: &mut impl Write, plan: &Plan) -> Result<()> {
    let limits = &plan.limits;
    sqlx::query!(
        "UPDATE plans SET display_name = $2, price_cents = $3, projects = $4, database_mib = $5, storage_mib = $6,
             function_invocations = $7, members = $8, project_sizes = $9, private_clusters = $10, backup_days = $11,
             log_days = $12, is_default = $13, at_size_limit = $14, revision = revision + 1, updated_at = now() WHERE name = $1",
        plan.name,
        plan.display_name,
        plan.price_cents,
        limits.projects,
        limits.database_mib,
        limits.storage_mib,
        limits.function_invocations,
        limits.members,
        &limits.project_sizes,
        limits.private_clusters,
        limits.backup_days,
        limits.log_days,
        plan.is_default,
        plan.at_size_limit.as_sql(),
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Returns a plan.
pub async fn get(db: &Db, name: &str) -> Result<Option<Plan>> {
    let found = sqlx::query_as!(
        PlanRow,
        "SELECT name, display_name, price_cents, projects, database_mib, storage_mib, function_invocations, members,
             project_sizes, private_clusters, backup_days, log_days, at_size_limit AS \"at_size_limit: SizeAction\", is_default,
             revision, updated_at
         FROM plans WHERE name = $1",
        name,
    );
    Ok(found.fetch_optional(db).await?.map(Plan::from))
}

/// Locks the organizations of a plan, in the order of their ids, and returns them. Call [`lock_plans`] first.
pub async fn lock_organizations_of(write: &mut impl Write, plan: &str) -> Result<Vec<OrganizationId>> {
    let ids = sqlx::query_scalar!(
        "SELECT o.id AS \"id: OrganizationId\" FROM organizations o
         JOIN organization_entitlements e ON e.organization_id = o.id
         WHERE e.plan = $1 AND o.deleted_at IS NULL ORDER BY o.id FOR NO KEY UPDATE OF o",
        plan,
    );
    Ok(ids.fetch_all(write.connection().await?).await?)
}

/// Locks one organization. Call [`lock_plans`] first.
pub async fn lock_organization(write: &mut impl Write, organization: OrganizationId) -> Result<()> {
    let found = sqlx::query!(
        "SELECT id FROM organizations WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE",
        organization.0
    )
    .fetch_optional(write.connection().await?)
    .await?;
    found.map(|_| ()).ok_or_else(|| gone(organization))
}

fn gone(organization: OrganizationId) -> Error {
    Error::NotFound { kind: Holder::KIND, name: organization.to_string() }
}

/// What the organizations of a plan use beyond these numbers, and how many projects they have of these sizes, where the plan's
/// limit counts for them.
pub async fn over(
    write: &mut impl Write,
    plan: &str,
    projects: i64,
    members: i64,
    private_clusters: i64,
    sizes: &[String],
) -> Result<Vec<Over>> {
    let found = sqlx::query!(
        "WITH held AS (
             SELECT o.slug, u.entitlement, u.used, u.allowed
             FROM organization_entitlements e JOIN organizations o ON o.id = e.organization_id,
             LATERAL (VALUES
                 ('PROJECTS', o.projects_used::bigint, $2::bigint),
                 ('MEMBERS', (SELECT count(*) FROM members m WHERE m.organization_id = o.id), $3::bigint),
                 ('PRIVATE_CLUSTERS', (SELECT count(*) FROM clusters c WHERE c.organization_id = o.id), $4::bigint),
                 ('PROJECT_SIZES', (SELECT count(*) FROM projects p WHERE p.organization_id = o.id AND p.state <> 'REMOVED'
                     AND (p.size = ANY ($5) OR EXISTS (
                         SELECT FROM project_upgrades g WHERE g.project_ref = p.ref AND g.size_before = ANY ($5)))), 0::bigint)
             ) AS u (entitlement, used, allowed)
             WHERE e.plan = $1 AND o.deleted_at IS NULL AND NOT EXISTS (
                 SELECT FROM entitlement_overrides x WHERE x.organization_id = o.id AND x.entitlement = u.entitlement)
         )
         SELECT slug AS \"slug!\", entitlement AS \"entitlement!: Entitlement\", used AS \"used!\", allowed AS \"allowed!\"
         FROM held WHERE used > allowed ORDER BY slug, entitlement",
        plan,
        projects,
        members,
        private_clusters,
        sizes,
    )
    .fetch_all(write.connection().await?)
    .await?;
    let over = found.into_iter().map(|row| Over {
        organization: row.slug,
        entitlement: row.entitlement,
        used: row.used,
        limit: row.allowed,
    });
    Ok(over.collect())
}

/// Brings the limits in the rows of a plan's organizations up to date. Lock them first.
pub async fn settle_plan(write: &mut impl Write, plan: &str) -> Result<()> {
    sqlx::query!("SELECT plan_settle($1, NULL)", plan).fetch_one(write.connection().await?).await?;
    Ok(())
}

/// Brings the limits in the row of one organization up to date. Lock it first.
pub async fn settle(write: &mut impl Write, organization: OrganizationId) -> Result<()> {
    sqlx::query!("SELECT plan_settle(NULL, $1)", organization.0).fetch_one(write.connection().await?).await?;
    Ok(())
}

/// Returns the entitlements of an organization, all of one moment.
pub async fn entitlements(
    executor: impl PgExecutor<'_>,
    organization: OrganizationId,
) -> Result<Entitlements> {
    find_entitlements(executor, organization).await?.ok_or_else(|| gone(organization))
}

/// The same; `None` if the organization was deleted.
pub async fn find_entitlements(
    executor: impl PgExecutor<'_>,
    organization: OrganizationId,
) -> Result<Option<Entitlements>> {
    // A row for each override, or one without.
    let rows = sqlx::query!(
        "SELECT o.slug, e.reason, e.assigned_by AS \"assigned_by?: UserId\", e.assigned_at, e.revision,
             o.projects_used::bigint AS \"used_projects!\",
             (SELECT count(*) FROM members m WHERE m.organization_id = o.id) AS \"used_members!\",
             (SELECT count(*) FROM clusters c WHERE c.organization_id = o.id AND c.deleted_at IS NULL) AS \"used_clusters!\",
             ARRAY(SELECT (SELECT count(*) FROM projects p WHERE p.organization_id = o.id AND p.state <> 'REMOVED' AND (p.size = s.name
                       OR EXISTS (SELECT FROM project_upgrades g WHERE g.project_ref = p.ref AND g.size_before = s.name)))
                   FROM project_sizes s ORDER BY s.rank) AS \"used_sizes!\",
             p.name, p.display_name, p.price_cents, p.projects, p.database_mib, p.storage_mib, p.function_invocations,
             p.members, p.project_sizes, p.private_clusters, p.backup_days, p.log_days,
             p.at_size_limit AS \"at_size_limit: SizeAction\", p.is_default,
             p.revision AS plan_revision, p.updated_at,
             x.entitlement AS \"entitlement?: Entitlement\", x.number AS \"number?\", x.sizes AS \"sizes?\",
             x.reason AS \"override_reason?\", x.set_by AS \"set_by?: UserId\", x.set_at AS \"set_at?\"
         FROM organizations o JOIN organization_entitlements e ON e.organization_id = o.id JOIN plans p ON p.name = e.plan
         LEFT JOIN entitlement_overrides x ON x.organization_id = o.id
         WHERE o.id = $1 AND o.deleted_at IS NULL",
        organization.0
    )
    .fetch_all(executor)
    .await?;
    let mut overrides = Vec::new();
    let mut held = None;
    for row in rows {
        if let (Some(entitlement), Some(reason), Some(set_at)) =
            (row.entitlement, row.override_reason, row.set_at)
        {
            let value = stored(entitlement, row.number, row.sizes)?;
            overrides.push(Override { entitlement, value, reason, set_by: row.set_by, set_at });
        }
        held.get_or_insert_with(|| Entitlements {
            organization: row.slug,
            plan: Plan::from(PlanRow {
                name: row.name,
                display_name: row.display_name,
                price_cents: row.price_cents,
                projects: row.projects,
                database_mib: row.database_mib,
                storage_mib: row.storage_mib,
                function_invocations: row.function_invocations,
                members: row.members,
                project_sizes: row.project_sizes,
                private_clusters: row.private_clusters,
                backup_days: row.backup_days,
                log_days: row.log_days,
                at_size_limit: row.at_size_limit,
                is_default: row.is_default,
                revision: row.plan_revision,
                updated_at: row.updated_at,
            }),
            reason: row.reason,
            assigned_by: row.assigned_by,
            assigned_at: row.assigned_at,
            revision: row.revision,
            overrides: Vec::new(),
            used: Used {
                projects: row.used_projects,
                members: row.used_members,
                private_clusters: row.used_clusters,
                sizes: std::array::from_fn(|rank| row.used_sizes.get(rank).copied().unwrap_or_default()),
            },
        });
    }
    Ok(held.map(|held| Entitlements { overrides, ..held }))
}

fn stored(entitlement: Entitlement, number: Option<i64>, sizes: Option<Vec<String>>) -> Result<Value> {
    match (entitlement, number, sizes) {
        (Entitlement::ProjectSizes, None, Some(sizes)) => Ok(Value::Sizes(sizes)),
        (Entitlement::PrivateClusters, Some(number), None) => Ok(Value::Allowed(number > 0)),
        (_, Some(number), None) => Ok(Value::Number(number)),
        _ => Err(Error::internal(format!("an override of {} without a value", entitlement.as_sql()))),
    }
}

/// Gives an organization a plan.
pub async fn assign(
    write: &mut impl Write,
    organization: OrganizationId,
    plan: &str,
    reason: &str,
    by: UserId,
) -> Result<()> {
    sqlx::query!(
        "UPDATE organization_entitlements SET plan = $2, reason = $3, assigned_by = $4, assigned_at = now(),
             revision = revision + 1 WHERE organization_id = $1",
        organization.0,
        plan,
        reason,
        by.0,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Stores an override, or replaces the present one.
pub async fn set(
    write: &mut impl Write,
    organization: OrganizationId,
    entitlement: Entitlement,
    value: &Value,
    reason: &str,
    by: UserId,
) -> Result<()> {
    let (number, sizes) = match value {
        Value::Number(number) => (Some(*number), None),
        Value::Allowed(allowed) => (Some(i64::from(*allowed)), None),
        Value::Sizes(sizes) => (None, Some(sizes.as_slice())),
    };
    sqlx::query!(
        "INSERT INTO entitlement_overrides (organization_id, entitlement, number, sizes, reason, set_by)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (organization_id, entitlement) DO UPDATE SET number = excluded.number, sizes = excluded.sizes,
             reason = excluded.reason, set_by = excluded.set_by, set_at = now()",
        organization.0,
        entitlement.as_sql(),
        number,
        sizes,
        reason,
        by.0,
    )
    .execute(write.connection().await?)
    .await?;
    touch(write, organization).await
}

/// Deletes an override.
pub async fn clear(
    write: &mut impl Write,
    organization: OrganizationId,
    entitlement: Entitlement,
) -> Result<()> {
    sqlx::query!(
        "DELETE FROM entitlement_overrides WHERE organization_id = $1 AND entitlement = $2",
        organization.0,
        entitlement.as_sql(),
    )
    .execute(write.connection().await?)
    .await?;
    touch(write, organization).await
}

/// The etag of an organization's entitlements changes.
async fn touch(write: &mut impl Write, organization: OrganizationId) -> Result<()> {
    sqlx::query!(
        "UPDATE organization_entitlements SET revision = revision + 1 WHERE organization_id = $1",
        organization.0
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}
