//! People and organizations.

use std::time::Duration;

use sqlx::{Executor as _, Postgres, Row as _, Transaction, postgres::PgRow};
use uuid::Uuid;

use super::{Audited, Rows};

impl Rows {
    /// A user with the operator's password, without the mail or the invitation that a sign-up takes.
    pub async fn add_user(&self, email: &str) {
        let insert = "INSERT INTO users (id, email, display_name, password_hash)
            SELECT $1, $2, 'x', password_hash FROM users WHERE operator";
        sqlx::query(insert).bind(Uuid::now_v7()).bind(email).execute(&self.0).await.unwrap();
    }

    /// A link of this kind to an address, of the account with an address and its newest session, that works for an hour.
    pub async fn add_link(&self, kind: &str, email: &str, user: Option<&str>, token: &str) {
        let insert = "INSERT INTO account_links (id, kind, user_id, email, token_hash, session_id, expires_at)
            VALUES ($1, $2, (SELECT id FROM users WHERE email = $3), $4, sha256($5),
                (SELECT s.id FROM user_sessions s JOIN users u ON u.id = s.user_id WHERE u.email = $3 ORDER BY s.id DESC LIMIT 1),
                now() + interval '1 hour')";
        let insert = sqlx::query(insert).bind(Uuid::now_v7()).bind(kind).bind(user).bind(email);
        insert.bind(token.as_bytes()).execute(&self.0).await.unwrap();
    }

    /// An invitation to an organization, as a developer, that works for an hour; its id.
    pub async fn add_invitation(&self, slug: &str, email: &str, by: &str, token: &str) -> Uuid {
        let insert = "INSERT INTO invitations (id, organization_id, email, role, token_hash, mailed, invited_by, expires_at)
            SELECT $1, o.id, $3, 'DEVELOPER', sha256($5), true, u.id, now() + interval '1 hour'
            FROM organizations o, users u WHERE o.slug = $2 AND u.email = $4";
        let id = Uuid::now_v7();
        let insert = sqlx::query(insert).bind(id).bind(slug).bind(email).bind(by).bind(token.as_bytes());
        assert_eq!(
            insert.execute(&self.0).await.unwrap().rows_affected(),
            1,
            "there is no {by}, or no {slug}"
        );
        id
    }

    /// Lets the links of all invitations and mails end now.
    pub async fn expire_links(&self) {
        for table in ["invitations", "account_links"] {
            let statement = format!("UPDATE {table} SET expires_at = now() - interval '1 second'");
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&self.0).await.unwrap();
        }
    }

    /// Gives a member another role, or none, when the transaction ends; as the API does it.
    pub async fn change_role(
        &self,
        slug: &str,
        email: &str,
        role: Option<&str>,
    ) -> Transaction<'static, Postgres> {
        let mut change = self.0.begin().await.unwrap();
        let lock = "SELECT id FROM organizations WHERE slug = $1 FOR NO KEY UPDATE";
        sqlx::query(lock).bind(slug).execute(&mut *change).await.unwrap();
        let statement = if role.is_some() {
            "UPDATE members SET role = $3 FROM organizations o, users u WHERE o.slug = $1 AND u.email = $2
                 AND organization_id = o.id AND user_id = u.id"
        } else {
            "DELETE FROM members USING organizations o, users u WHERE o.slug = $1 AND u.email = $2
                 AND organization_id = o.id AND user_id = u.id AND $3::text IS NULL"
        };
        let done =
            sqlx::query(statement).bind(slug).bind(email).bind(role).execute(&mut *change).await.unwrap();
        assert_eq!(done.rows_affected(), 1);
        change
    }

    /// Keeps an organization's row until the transaction ends.
    pub async fn hold_organization(&self, slug: &str) -> Transaction<'static, Postgres> {
        let mut held = self.0.begin().await.unwrap();
        let lock = "SELECT id FROM organizations WHERE slug = $1 FOR NO KEY UPDATE";
        sqlx::query(lock).bind(slug).execute(&mut *held).await.unwrap();
        held
    }

    /// How many statements wait for a lock.
    pub async fn waiting_for_locks(&self) -> i64 {
        self.one(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .await
    }

    /// How many calls wait for the row of an organization.
    pub async fn waiting_for_an_organization(&self) -> i64 {
        self.one(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                 AND wait_event_type = 'Lock' AND query LIKE 'SELECT id FROM organizations%FOR NO KEY UPDATE'",
        )
        .await
    }

    /// Makes an organization of a user, beyond the number that a user may own.
    pub async fn add_organization(&self, slug: &str, owner: &str) {
        let insert = "INSERT INTO organizations (id, slug, name) VALUES ($1, $2, $2)";
        sqlx::query(insert).bind(Uuid::now_v7()).bind(slug).execute(&self.0).await.unwrap();
        self.add_member(slug, owner, "OWNER").await;
    }

    /// Makes a user a member of an organization, in this role, without an invitation.
    pub async fn add_member(&self, slug: &str, email: &str, role: &str) {
        let insert = "INSERT INTO members (organization_id, user_id, role)
            SELECT o.id, u.id, $3 FROM organizations o, users u WHERE o.slug = $1 AND u.email = $2
            ON CONFLICT (organization_id, user_id) DO UPDATE SET role = excluded.role";
        let insert = sqlx::query(insert).bind(slug).bind(email).bind(role).execute(&self.0).await.unwrap();
        assert_eq!(insert.rows_affected(), 1, "there is no {email}, or no {slug}");
    }

    /// Gives a user the operator's password.
    pub async fn give_operators_password(&self, email: &str) {
        let update = "UPDATE users SET password_hash = (SELECT password_hash FROM users WHERE operator) WHERE email = $1";
        let done = sqlx::query(update).bind(email).execute(&self.0).await.unwrap();
        assert_eq!(done.rows_affected(), 1, "there is no {email}");
    }

    /// Changes a user's password to one that nobody knows, when the transaction ends.
    pub async fn change_password(&self, email: &str) -> Transaction<'static, Postgres> {
        let mut change = self.0.begin().await.unwrap();
        let update = "UPDATE users SET password_hash = 'nobody knows' WHERE email = $1";
        sqlx::query(update).bind(email).execute(&mut *change).await.unwrap();
        change
    }

    /// Whether a sign-in waits for such a change.
    pub async fn is_a_sign_in_waiting(&self) -> bool {
        self.one(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                 AND wait_event_type = 'Lock' AND query LIKE 'SELECT id FROM users%password_hash%FOR SHARE')",
        )
        .await
    }

    /// Whether a change of an account waits for another one.
    pub async fn is_an_account_waiting(&self) -> bool {
        self.one(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                 AND wait_event_type = 'Lock' AND query LIKE 'SELECT id FROM users%FOR NO KEY UPDATE')",
        )
        .await
    }

    /// Ends the session that began last.
    pub async fn end_newest_session(&self) {
        self.change(
            "UPDATE user_sessions SET ended_at = now() WHERE id = (SELECT id FROM user_sessions ORDER BY id DESC LIMIT 1)",
        )
        .await;
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

    /// As if each personal access token had been made so long ago.
    pub async fn age_personal_access_tokens(&self, by: Duration) {
        let update = "UPDATE personal_access_tokens SET created_at = created_at - make_interval(secs => $1),
            expires_at = expires_at - make_interval(secs => $1)";
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

    /// Makes a private cluster of an organization, or of nobody, without a call.
    pub async fn add_private_cluster(&self, name: &str, slug: Option<&str>) -> Uuid {
        let id = Uuid::now_v7();
        let insert = "INSERT INTO clusters (id, name, kind, organization_id)
            VALUES ($1, $2, 'PRIVATE', (SELECT id FROM organizations WHERE slug = $3))";
        sqlx::query(insert).bind(id).bind(name).bind(slug).execute(&self.0).await.unwrap();
        id
    }

    /// Takes a cluster without nodes away, without a call.
    pub async fn remove_cluster(&self, name: &str) {
        sqlx::query("DELETE FROM clusters WHERE name = $1").bind(name).execute(&self.0).await.unwrap();
    }

    /// How much of its quota an organization uses.
    pub async fn projects_used(&self, slug: &str) -> i32 {
        let query = "SELECT projects_used FROM organizations WHERE slug = $1";
        sqlx::query_scalar(query).bind(slug).fetch_one(&self.0).await.unwrap()
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
