//! People and organizations.

use std::time::Duration;

use sqlx::{Executor as _, Postgres, Row as _, Transaction, postgres::PgRow};
use uuid::Uuid;

use super::{Audited, Rows};

impl Rows {
    /// A signed-up user with the operator's password: there is no sign-up RPC yet.
    pub async fn add_user(&self, email: &str) {
        let insert = "INSERT INTO users (id, email, display_name, password_hash)
            SELECT $1, $2, 'x', password_hash FROM users WHERE operator";
        sqlx::query(insert).bind(Uuid::now_v7()).bind(email).execute(&self.0).await.unwrap();
    }

    /// Makes a user a member of an organization: there is no RPC for it yet.
    pub async fn add_member(&self, slug: &str, email: &str, role: &str) {
        let insert = "INSERT INTO members (organization_id, user_id, role)
            SELECT o.id, u.id, $3 FROM organizations o, users u WHERE o.slug = $1 AND u.email = $2";
        let insert = sqlx::query(insert).bind(slug).bind(email).bind(role).execute(&self.0).await.unwrap();
        assert_eq!(insert.rows_affected(), 1, "there is no {email}, or no {slug}");
    }

    /// Keeps every refresh from ending until the transaction does.
    pub async fn lock_user_sessions(&self) -> Transaction<'static, Postgres> {
        let mut lock = self.0.begin().await.unwrap();
        lock.execute("LOCK TABLE user_sessions IN ACCESS EXCLUSIVE MODE").await.unwrap();
        lock
    }

    /// Whether a refresh waits for such a lock.
    pub async fn is_a_refresh_waiting(&self) -> bool {
        self.one(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                 AND wait_event_type = 'Lock' AND query LIKE 'SELECT%refresh_number%user_sessions%FOR UPDATE')",
        )
        .await
    }

    /// As if each refresh token had been issued so long ago.
    pub async fn age_refresh_tokens(&self, by: Duration) {
        let update = "UPDATE user_sessions SET refreshed_at = refreshed_at - make_interval(secs => $1)";
        sqlx::query(update).bind(by.as_secs_f64()).execute(&self.0).await.unwrap();
    }

    /// As if each session had begun so long ago.
    pub async fn age_sessions(&self, by: Duration) {
        let update = "UPDATE user_sessions SET created_at = created_at - make_interval(secs => $1)";
        sqlx::query(update).bind(by.as_secs_f64()).execute(&self.0).await.unwrap();
    }

    /// How long the newest session lasts from now on.
    pub async fn session_left(&self) -> Duration {
        let seconds: f64 = self
            .one("SELECT extract(epoch FROM expires_at - now())::float8 FROM user_sessions ORDER BY id DESC LIMIT 1")
            .await;
        Duration::from_secs_f64(seconds)
    }

    /// Makes a session as a controller did before refresh tokens had numbers.
    pub async fn add_unnumbered_session(&self, refresh_token: &str) {
        let insert = "INSERT INTO user_sessions (id, user_id, refresh_hash, in_cookie, expires_at)
            SELECT $1, id, sha256($2::bytea), false, now() + interval '1 day' FROM users WHERE operator";
        sqlx::query(insert)
            .bind(Uuid::now_v7())
            .bind(refresh_token.as_bytes())
            .execute(&self.0)
            .await
            .unwrap();
    }

    /// Refused calls of strangers: method, reason, network and number.
    pub async fn refused_calls(&self) -> Vec<(String, String, String, i64)> {
        let query = "SELECT method, reason, client, sum(calls)::bigint FROM refused_calls GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";
        sqlx::query_as(query).fetch_all(&self.0).await.unwrap()
    }

    /// Makes a private cluster of an organization, or of nobody: there is no RPC for it yet.
    pub async fn add_private_cluster(&self, name: &str, slug: Option<&str>) -> Uuid {
        let id = Uuid::now_v7();
        let insert = "INSERT INTO clusters (id, name, kind, organization_id)
            VALUES ($1, $2, 'PRIVATE', (SELECT id FROM organizations WHERE slug = $3))";
        sqlx::query(insert).bind(id).bind(name).bind(slug).execute(&self.0).await.unwrap();
        id
    }

    /// How many projects each organization may have from now on.
    pub async fn set_projects_limit(&self, limit: i32) {
        let update = "UPDATE organizations SET projects_limit = $1";
        sqlx::query(update).bind(limit).execute(&self.0).await.unwrap();
    }

    /// How much of its quota an organization uses.
    pub async fn projects_used(&self, slug: &str) -> i32 {
        let query = "SELECT projects_used FROM organizations WHERE slug = $1";
        sqlx::query_scalar(query).bind(slug).fetch_one(&self.0).await.unwrap()
    }

    /// Takes a member out of all organizations: there is no RPC for it yet.
    pub async fn remove_member(&self, email: &str) {
        let delete = "DELETE FROM members USING users WHERE users.id = user_id AND email = $1";
        sqlx::query(delete).bind(email).execute(&self.0).await.unwrap();
    }

    /// Calls of an RPC on record, e.g. of "Renew".
    pub async fn audited(&self, rpc: &str) -> Vec<Audited> {
        let query =
            "SELECT actor, target, outcome FROM audit_log WHERE method LIKE '%/' || $1 ORDER BY at, id";
        let rows = sqlx::query(query).bind(rpc).fetch_all(&self.0).await.unwrap();
        let audited = |row: &PgRow| Audited {
            actor: row.get("actor"),
            target: row.get("target"),
            outcome: row.get("outcome"),
        };
        rows.iter().map(audited).collect()
    }

    /// How many calls of an RPC are on record as done.
    pub async fn done(&self, rpc: &str) -> usize {
        self.audited(rpc).await.iter().filter(|call| call.outcome == "OK").count()
    }
}
