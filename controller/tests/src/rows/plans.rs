//! Plans, and what organizations may use.

use sqlx::{AssertSqlSafe, Postgres, Transaction};

use super::Rows;

impl Rows {
    /// Organizations that are made from now on get this plan.
    pub async fn set_default_plan(&self, name: &str) {
        let mut change = self.0.begin().await.unwrap();
        sqlx::query("UPDATE plans SET is_default = false WHERE is_default")
            .execute(&mut *change)
            .await
            .unwrap();
        let update = "UPDATE plans SET is_default = true WHERE name = $1";
        let done = sqlx::query(update).bind(name).execute(&mut *change).await.unwrap();
        assert_eq!(done.rows_affected(), 1, "there is no plan {name}");
        change.commit().await.unwrap();
    }

    /// Makes a plan the default when the transaction ends; until then it keeps all plans, as each change of one does.
    pub async fn change_default_plan(&self, name: &str) -> Transaction<'static, Postgres> {
        let mut change = self.0.begin().await.unwrap();
        for statement in [
            "SELECT name FROM plans WHERE $1 <> '' ORDER BY name FOR NO KEY UPDATE",
            "UPDATE plans SET is_default = false WHERE is_default AND name <> $1",
            "UPDATE plans SET is_default = true WHERE name = $1",
        ] {
            sqlx::query(statement).bind(name).execute(&mut *change).await.unwrap();
        }
        change
    }

    /// How many projects each organization may have from now on.
    pub async fn set_projects_limit(&self, limit: i64) {
        let insert = "INSERT INTO entitlement_overrides (organization_id, entitlement, number, reason)
            SELECT organization_id, 'PROJECTS', $1, 'a test' FROM organization_entitlements
            ON CONFLICT (organization_id, entitlement) DO UPDATE SET number = excluded.number";
        sqlx::query(insert).bind(limit).execute(&self.0).await.unwrap();
        self.change("SELECT plan_settle(NULL, organization_id) FROM organization_entitlements").await;
    }

    /// How many projects one organization may have from now on.
    pub async fn limit_projects_of(&self, slug: &str, limit: i64) {
        let insert = "INSERT INTO entitlement_overrides (organization_id, entitlement, number, reason)
            SELECT id, 'PROJECTS', $2, 'a test' FROM organizations WHERE slug = $1";
        sqlx::query(insert).bind(slug).bind(limit).execute(&self.0).await.unwrap();
        let settle = "SELECT plan_settle(NULL, id) FROM organizations WHERE slug = $1";
        sqlx::query(settle).bind(slug).execute(&self.0).await.unwrap();
    }

    /// Most projects that an organization may have, as its row says.
    pub async fn projects_limit(&self, slug: &str) -> i32 {
        let query = "SELECT projects_limit FROM organizations WHERE slug = $1";
        sqlx::query_scalar(query).bind(slug).fetch_one(&self.0).await.unwrap()
    }

    /// How many calls wait for the row of an organization to place a project in it.
    pub async fn waiting_to_place(&self) -> i64 {
        self.one(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                 AND wait_event_type = 'Lock' AND query LIKE '%plan_take_project%'",
        )
        .await
    }

    /// An organization as a controller of before the plans stored it.
    pub async fn add_organization_of_before(&self, slug: &str, limit: i32) {
        let insert = "INSERT INTO organizations (id, slug, name, projects_limit) VALUES (gen_random_uuid(), $1, $1, $2)";
        sqlx::query(insert).bind(slug).bind(limit).execute(&self.0).await.unwrap();
    }
}

/// The schema as it grew.
impl Rows {
    /// Applies the migrations whose files' names are between these, in order.
    pub async fn apply_migrations(&self, from: &str, before: &str) {
        let folder = crate::root().join("controller/migrations");
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        let name = |file: &std::path::Path| file.file_name().unwrap().to_str().unwrap().to_owned();
        for file in files.iter().filter(|file| (from..before).contains(&name(file).as_str())) {
            let statements = std::fs::read_to_string(file).unwrap();
            let mut migration = self.0.begin().await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *migration).await.unwrap();
            migration.commit().await.unwrap();
        }
    }

    /// Plan, limit of projects and limit of members of an organization.
    pub async fn allowed(&self, slug: &str) -> (String, i32, i64) {
        let query = "SELECT e.plan, o.projects_limit, plan_limit(o.id, 'MEMBERS') FROM organizations o
            JOIN organization_entitlements e ON e.organization_id = o.id WHERE o.slug = $1";
        sqlx::query_as(query).bind(slug).fetch_one(&self.0).await.unwrap()
    }

    /// Makes users, and members of an organization of them.
    pub async fn add_members(&self, slug: &str, count: i32) {
        let insert = "WITH made AS (
                INSERT INTO users (id, email, display_name, password_hash)
                SELECT gen_random_uuid(), format('%s@example.com', gen_random_uuid()), 'x', 'x' FROM generate_series(1, $2) RETURNING id)
            INSERT INTO members (organization_id, user_id, role)
            SELECT o.id, made.id, 'READ_ONLY' FROM organizations o, made WHERE o.slug = $1";
        sqlx::query(insert).bind(slug).bind(count).execute(&self.0).await.unwrap();
    }

    /// Asks for the place of one more member, as whoever adds one does, in a transaction that stays open: how many there are
    /// and may be.
    pub async fn take_member(&self, slug: &str) -> (Transaction<'static, Postgres>, i64, i64) {
        let mut open = self.0.begin().await.unwrap();
        let take =
            "SELECT used, allowed FROM plan_take_member((SELECT id FROM organizations WHERE slug = $1))";
        let (used, allowed) = sqlx::query_as(take).bind(slug).fetch_one(&mut *open).await.unwrap();
        (open, used, allowed)
    }

    /// Whether an organization may have private clusters, as whoever makes one asks.
    pub async fn take_private_cluster(&self, slug: &str) -> bool {
        let take = "SELECT plan_take_private_cluster((SELECT id FROM organizations WHERE slug = $1))";
        sqlx::query_scalar(take).bind(slug).fetch_one(&self.0).await.unwrap()
    }
}
