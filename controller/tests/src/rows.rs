//! Reads and changes of the control database behind the API. All SQL on the product's tables is here, so that a change
//! of the schema affects only this file.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Executor as _, PgPool, Postgres, Row as _, Transaction, postgres::PgRow};
use uuid::Uuid;

/// The rows of one control database.
#[derive(Clone)]
pub struct Rows(PgPool);

/// What must hold of a project's rows after each act on it; a query answers for the ref and the number of acts.
const OF_A_PROJECT: &[(&str, &str)] = &[
    (
        "each act is one operation, and none is open",
        "SELECT count(*) = $2 AND count(*) FILTER (WHERE ended_at IS NULL) = 0 FROM operations WHERE project_ref = $1",
    ),
    ("each act is one audit row", "SELECT count(*) = $2 FROM audit_log WHERE target = $1 AND outcome = 'OK'"),
    ("each act is remembered under its key", "SELECT count(*) = $2 FROM requests WHERE resource = $1"),
    (
        "each operation begins and ends with one event",
        "SELECT count(*) FILTER (WHERE type IN ('project.created', 'operation.started')) = $2
             AND count(*) FILTER (WHERE type IN ('operation.succeeded', 'operation.failed')) = $2
             AND count(DISTINCT operation_id) = $2
         FROM project_events WHERE project_ref = $1",
    ),
    (
        "events are numbered without gaps",
        "SELECT count(*) > $2 AND count(*) = max(e.seq) AND min(e.seq) = 1
             AND max(e.seq) = (SELECT event_seq FROM projects WHERE ref = $1)
         FROM project_events e WHERE project_ref = $1",
    ),
];

/// What must hold of all rows when nothing is under way.
const OF_ALL: &[(&str, &str)] = &[
    (
        "quotas are the sum of projects",
        "SELECT bool_and(o.projects_used = (SELECT count(*) FROM projects p WHERE p.organization_id = o.id
             AND p.state <> 'REMOVED')) FROM organizations o",
    ),
    (
        "nodes are the sum of placements",
        "SELECT bool_and(
             (a.cpu_used, a.memory_used, a.disk_used, a.taken_slots) = (
                 SELECT coalesce(sum(p.cpu_millis) FILTER (WHERE l.holds_compute), 0),
                     coalesce(sum(p.memory_mib) FILTER (WHERE l.holds_compute), 0), coalesce(sum(p.disk_mib), 0),
                     coalesce(range_agg(int4range(l.slot, l.slot + 1)), '{}')
                 FROM placements l JOIN projects p ON p.ref = l.project_ref WHERE l.node_id = n.id)
             AND n.unexplained = '{}')
         FROM nodes n JOIN node_capacity a ON a.node_id = n.id",
    ),
    (
        "agents have the newest generations",
        "SELECT bool_and(l.applied_generation = p.generation) IS NOT FALSE
         FROM placements l JOIN projects p ON p.ref = l.project_ref",
    ),
    ("no upgrade is left open", "SELECT NOT EXISTS (SELECT 1 FROM project_upgrades)"),
    (
        "the audit chain has no gap",
        "SELECT count(seq) = coalesce(max(seq), 0) AND count(DISTINCT seq) = count(seq) FROM audit_log",
    ),
];

/// A call on record.
#[derive(Debug)]
pub struct Audited {
    /// Who called, "usr_…" and the like.
    pub actor: String,
    /// On what; empty if the call was refused.
    pub target: String,
    /// "OK", or why it was refused.
    pub outcome: String,
}

/// Where a project is, and what it holds.
pub struct Standing {
    /// Projects ever made.
    pub projects: i64,
    /// Its state.
    pub state: String,
    /// State of its newest operation.
    pub operation: String,
    /// Its placements.
    pub placements: i64,
    /// Those of them that hold cpu and memory.
    pub with_compute: i64,
    /// Its secrets, specifications and endpoints.
    pub kept: i64,
}

impl Rows {
    /// Those of a database.
    pub fn new(pool: PgPool) -> Self {
        Self(pool)
    }

    async fn one<T>(&self, query: &'static str) -> T
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
    {
        sqlx::query_scalar(query).fetch_one(&self.0).await.unwrap()
    }

    /// Runs a statement; returns how many rows it changed.
    async fn change(&self, statement: &'static str) -> u64 {
        sqlx::query(statement).execute(&self.0).await.unwrap().rows_affected()
    }
}

/// The server's own counters.
impl Rows {
    /// Transactions in this database since it was made; the server counts those of ended connections and of idle ones.
    pub async fn transactions(&self) -> i64 {
        self.one(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()",
        )
        .await
    }
}

/// People and organizations.
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

/// Nodes and the fleet's certificates.
impl Rows {
    /// A node without an agent, seen for an hour from now, with memory for so many projects of release core.
    pub async fn add_node(&self, name: &str, projects: i32, slots: i32) {
        let insert =
            "WITH node AS (INSERT INTO nodes (id, cluster_id, name, key_sha256, advertise_address, seen_at)
                 SELECT $1, id, $2, '', '127.0.0.1', now() + interval '1 hour' FROM clusters RETURNING id)
             INSERT INTO node_capacity (node_id, port_base, network_range, slots, cpu_cap, memory_cap, disk_cap)
             SELECT id, 5500, '10.213.0.0/16', $4, 100000, 448 * $3 + 100, 1000000 FROM node";
        let insert = sqlx::query(insert).bind(Uuid::now_v7()).bind(name).bind(projects).bind(slots);
        insert.execute(&self.0).await.unwrap();
    }

    /// A node that was never seen, a retired root and an ended join token, with these ids.
    pub async fn add_bare_node_root_and_token(&self, node: Uuid, root: Uuid, token: Uuid) {
        let node_row =
            "INSERT INTO nodes (id, cluster_id, name, key_sha256) SELECT $1, id, 'host', '' FROM clusters";
        sqlx::query(node_row).bind(node).execute(&self.0).await.unwrap();
        let root_row = "INSERT INTO authorities (id, ca_sha256, certificate_pem, state, expires_at)
            VALUES ($1, sha256('x'), '', 'RETIRED', now())";
        sqlx::query(root_row).bind(root).execute(&self.0).await.unwrap();
        let token_row = "INSERT INTO join_tokens (id, cluster_id, secret_hash, max_uses, expires_at)
            SELECT $1, id, '', 1, now() FROM clusters";
        sqlx::query(token_row).bind(token).execute(&self.0).await.unwrap();
    }

    /// Memory of each node, in MiB.
    pub async fn set_memory(&self, mib: i32) {
        sqlx::query("UPDATE node_capacity SET memory_cap = $1").bind(mib).execute(&self.0).await.unwrap();
    }

    /// Leaves no memory on any node.
    pub async fn fill_memory(&self) {
        self.change("UPDATE node_capacity SET memory_cap = memory_used").await;
    }

    /// Slots that the hosts cannot give, e.g. "{[0,2),[3,4)}".
    pub async fn block_slots(&self, slots: &str) {
        let update = "UPDATE node_capacity SET blocked_slots = $1::int4multirange";
        sqlx::query(update).bind(slots).execute(&self.0).await.unwrap();
    }

    /// Nodes whose counters do not say what is placed there.
    pub async fn miscounted_nodes(&self) -> i64 {
        self.one(
            "SELECT count(*) FROM node_capacity a WHERE memory_used > memory_cap
                 OR memory_used <> 448 * (SELECT count(*) FROM placements p WHERE p.node_id = a.node_id)
                 OR (SELECT count(*) FROM placements p WHERE p.node_id = a.node_id)
                    <> (SELECT coalesce(sum(upper(r) - lower(r)), 0) FROM unnest(taken_slots) r)",
        )
        .await
    }

    /// Nodes whose counters are not the sum of what the projects on them reserve.
    pub async fn misreserved_nodes(&self) -> i64 {
        self.one(
            "SELECT count(*) FROM node_capacity a,
                 LATERAL (SELECT coalesce(sum(p.cpu_millis) FILTER (WHERE l.holds_compute), 0) AS cpu,
                     coalesce(sum(p.memory_mib) FILTER (WHERE l.holds_compute), 0) AS memory, coalesce(sum(p.disk_mib), 0) AS disk
                     FROM placements l JOIN projects p ON p.ref = l.project_ref WHERE l.node_id = a.node_id) s
             WHERE (a.cpu_used, a.memory_used, a.disk_used) IS DISTINCT FROM (s.cpu, s.memory, s.disk)",
        )
        .await
    }

    /// Epoch of the only node's newest session.
    pub async fn session_epoch(&self) -> i64 {
        self.one("SELECT session_epoch FROM nodes").await
    }

    /// The same of the newest session that was greeted.
    pub async fn greeted_epoch(&self) -> i64 {
        self.one("SELECT greeted_epoch FROM nodes").await
    }

    /// The same of one node of several.
    pub async fn greeted_epoch_of(&self, node: Uuid) -> i64 {
        let query = "SELECT greeted_epoch FROM nodes WHERE id = $1";
        sqlx::query_scalar(query).bind(node).fetch_one(&self.0).await.unwrap()
    }

    /// Epoch of the session that a controller holds now.
    pub async fn live_epoch(&self) -> Option<i64> {
        let query = "SELECT epoch FROM node_sessions";
        sqlx::query_scalar(query).fetch_optional(&self.0).await.unwrap()
    }

    /// Which run of its agent the only node was greeted by last.
    pub async fn agent_run(&self) -> String {
        self.one("SELECT agent_run_id FROM nodes").await
    }

    /// As if two agents had just fought for each node's identity.
    pub async fn mark_duplicates(&self) {
        self.change("UPDATE nodes SET duplicate_at = now()").await;
    }

    /// Ends the time of all join tokens.
    pub async fn expire_join_tokens(&self) {
        self.change("UPDATE join_tokens SET expires_at = now() - interval '1 second'").await;
    }

    /// How often each join token was used.
    pub async fn join_token_uses(&self) -> Vec<i32> {
        sqlx::query_scalar("SELECT uses FROM join_tokens").fetch_all(&self.0).await.unwrap()
    }

    /// Roots that have a key: id, certificate (PEM) and sealed key, the signing one first.
    pub async fn roots(&self) -> Vec<(Uuid, String, Vec<u8>)> {
        let query = "SELECT id, certificate_pem, sealed_key FROM authorities WHERE sealed_key IS NOT NULL
            ORDER BY state <> 'SIGNING'";
        sqlx::query_as(query).fetch_all(&self.0).await.unwrap()
    }

    /// As if the roots were made an hour earlier: every replica has taken them up since.
    pub async fn age_roots(&self) {
        self.change("UPDATE authorities SET created_at = created_at - interval '1 hour'").await;
    }

    /// As before there could be several roots: the only one is among the platform's secrets.
    pub async fn keep_root_as_secret(&self, sealed: Vec<u8>) {
        self.change("DELETE FROM authorities").await;
        self.change("UPDATE certificates SET ca_sha256 = NULL").await;
        self.change("UPDATE nodes SET trusted_ca = '{}'").await;
        let insert = "INSERT INTO platform_secrets (name, sealed) VALUES ('fleet-ca', $1)";
        sqlx::query(insert).bind(sealed).execute(&self.0).await.unwrap();
    }

    /// A secret of the platform, sealed.
    pub async fn platform_secret(&self, name: &str) -> Option<Vec<u8>> {
        let query = "SELECT sealed FROM platform_secrets WHERE name = $1";
        sqlx::query_scalar(query).bind(name).fetch_optional(&self.0).await.unwrap()
    }
}

/// Faults of the database, and what they leave.
impl Rows {
    /// The database's clock, in seconds.
    pub async fn now(&self) -> f64 {
        sqlx::query_scalar("SELECT extract(epoch FROM clock_timestamp())::float8")
            .fetch_one(&self.0)
            .await
            .unwrap()
    }

    /// What has shown no sign of life since that time: replicas, nodes, jobs that run often.
    pub async fn loops_silent_since(&self, since: f64) -> Vec<String> {
        let query = "SELECT 'replica' FROM controllers WHERE seen_at <= to_timestamp($1)
             UNION ALL SELECT name FROM nodes WHERE seen_at <= to_timestamp($1)
             UNION ALL SELECT job FROM job_results
                 WHERE job NOT LIKE '%prune' AND job <> 'core.sign_audit' AND coalesce(succeeded_at, '-infinity') <= to_timestamp($1)";
        sqlx::query_scalar(query).bind(since).fetch_all(&self.0).await.unwrap()
    }

    /// When a node was last seen, in seconds.
    pub async fn seen_at(&self, node: Uuid) -> f64 {
        let query = "SELECT extract(epoch FROM seen_at)::float8 FROM nodes WHERE id = $1";
        sqlx::query_scalar(query).bind(node).fetch_one(&self.0).await.unwrap()
    }

    /// As if a node had been silent for so long; its row stays locked until the transaction ends.
    pub async fn silence_and_lock(&self, node: Uuid, silent: Duration) -> Transaction<'static, Postgres> {
        let update = "UPDATE nodes SET seen_at = now() - make_interval(secs => $2) WHERE id = $1";
        let lock = "SELECT id FROM nodes WHERE id = $1 FOR UPDATE";
        sqlx::query(update).bind(node).bind(silent.as_secs_f64()).execute(&self.0).await.unwrap();
        let mut transaction = self.0.begin().await.unwrap();
        sqlx::query(lock).bind(node).execute(&mut *transaction).await.unwrap();
        transaction
    }

    /// Each change of a project fails with this SQLSTATE.
    pub async fn refuse_project_updates(&self, code: &str) {
        let function = format!(
            "CREATE SEQUENCE refused_updates;
             CREATE FUNCTION refuse_update() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 PERFORM nextval('refused_updates');
                 RAISE EXCEPTION USING ERRCODE = '{code}', MESSAGE = 'as a test asks';
             END $$;
             CREATE TRIGGER refuse_update BEFORE UPDATE ON projects FOR EACH ROW EXECUTE FUNCTION refuse_update()"
        );
        sqlx::raw_sql(AssertSqlSafe(function)).execute(&self.0).await.unwrap();
    }

    /// How many changes were refused.
    pub async fn refused_updates(&self) -> i64 {
        self.one("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM refused_updates").await
    }

    /// Changes of projects succeed again.
    pub async fn accept_project_updates(&self) {
        let drop = "DROP TRIGGER refuse_update ON projects; DROP FUNCTION refuse_update(); DROP SEQUENCE refused_updates";
        sqlx::raw_sql(drop).execute(&self.0).await.unwrap();
    }
}

/// Replicas of the controller and their jobs.
impl Rows {
    /// The table of the fleet's roots has another name, so whoever reads it fails.
    pub async fn take_roots_away(&self) {
        self.0.execute("ALTER TABLE authorities RENAME TO authorities_away").await.unwrap();
    }

    /// It has its name again.
    pub async fn bring_roots_back(&self) {
        self.0.execute("ALTER TABLE authorities_away RENAME TO authorities").await.unwrap();
    }

    /// As if a replica had shown no sign of life for so long.
    pub async fn let_replica_be_silent(&self, replica: Uuid, silent: Duration) {
        let seen = "UPDATE controllers SET seen_at = now() - make_interval(secs => $2) WHERE id = $1";
        let results =
            "UPDATE job_results SET succeeded_at = now() - make_interval(secs => $2), failed_at = NULL
            WHERE controller_id = $1";
        for update in [seen, results] {
            sqlx::query(update).bind(replica).bind(silent.as_secs_f64()).execute(&self.0).await.unwrap();
        }
    }

    /// Whatever replica comes next gets each lease.
    pub async fn end_leases(&self) {
        self.change("UPDATE leases SET expires_at = now()").await;
    }

    /// How many results of a replica's jobs are kept.
    pub async fn job_results_of(&self, replica: Uuid) -> i64 {
        let query = "SELECT count(*) FROM job_results WHERE controller_id = $1";
        sqlx::query_scalar(query).bind(replica).fetch_one(&self.0).await.unwrap()
    }
}

/// Projects and operations.
impl Rows {
    /// Ends the time of all operations; returns how many had some left.
    pub async fn end_times(&self) -> u64 {
        self.change("UPDATE operations SET deadline = now() WHERE ended_at IS NULL").await
    }

    /// As if a project had come into a state.
    pub async fn set_state(&self, project_ref: &str, state: &str) {
        let update = "UPDATE projects SET state = $2 WHERE ref = $1";
        sqlx::query(update).bind(project_ref).bind(state).execute(&self.0).await.unwrap();
    }

    /// As if a project had been created with another release.
    pub async fn set_release(&self, project_ref: &str, release: &str) {
        let update = "UPDATE projects SET release = $2 WHERE ref = $1";
        sqlx::query(update).bind(project_ref).bind(release).execute(&self.0).await.unwrap();
    }

    /// How many placements and projects there are.
    pub async fn placements_and_projects(&self) -> (i64, i64) {
        let query = "SELECT (SELECT count(*) FROM placements), (SELECT count(*) FROM projects)";
        sqlx::query_as(query).fetch_one(&self.0).await.unwrap()
    }

    /// How many secrets of a project are kept.
    pub async fn secrets_of(&self, project_ref: &str) -> i64 {
        let query = "SELECT count(*) FROM project_secrets WHERE project_ref = $1";
        sqlx::query_scalar(query).bind(project_ref).fetch_one(&self.0).await.unwrap()
    }

    /// What is held for all projects: quota of the only organization, placements, secrets.
    pub async fn held(&self) -> (i32, i64, i64) {
        let query =
            "SELECT projects_used, (SELECT count(*) FROM placements), (SELECT count(*) FROM project_secrets)
            FROM organizations";
        sqlx::query_as(query).fetch_one(&self.0).await.unwrap()
    }

    /// Projects that lack an operation, a specification or their newest event.
    pub async fn half_made_projects(&self) -> i64 {
        self.one(
            "SELECT count(*) FROM projects p WHERE NOT EXISTS (SELECT 1 FROM operations o WHERE o.project_ref = p.ref)
                 OR NOT EXISTS (SELECT 1 FROM project_specs s WHERE s.project_ref = p.ref)
                 OR NOT EXISTS (SELECT 1 FROM project_events e WHERE e.project_ref = p.ref AND e.seq = p.event_seq)",
        )
        .await
    }

    /// The slots that are taken: node and number.
    pub async fn taken_slots(&self) -> Vec<(String, i32)> {
        let query = "SELECT n.name, p.slot FROM placements p JOIN nodes n ON n.id = p.node_id";
        sqlx::query_as(query).fetch_all(&self.0).await.unwrap()
    }

    /// Where a project is: slot, first port, network.
    pub async fn placement(&self, project_ref: &str) -> (i32, i32, String) {
        let query = "SELECT slot, port_base, subnet::text FROM placements WHERE project_ref = $1";
        sqlx::query_as(query).bind(project_ref).fetch_one(&self.0).await.unwrap()
    }

    /// Number of a project's newest event.
    pub async fn newest_event(&self, project_ref: &str) -> i64 {
        let query = "SELECT event_seq FROM projects WHERE ref = $1";
        sqlx::query_scalar(query).bind(project_ref).fetch_one(&self.0).await.unwrap()
    }

    /// See [`Standing`].
    pub async fn standing(&self, project_ref: &str) -> Standing {
        let query = "SELECT (SELECT count(*) FROM projects) projects, p.state,
                 (SELECT o.state FROM operations o WHERE o.project_ref = p.ref ORDER BY created_at DESC LIMIT 1) operation,
                 (SELECT count(*) FROM placements l WHERE l.project_ref = p.ref) placements,
                 (SELECT count(*) FROM placements l WHERE l.project_ref = p.ref AND l.holds_compute) with_compute,
                 (SELECT count(*) FROM project_secrets s WHERE s.project_ref = p.ref)
                     + (SELECT count(*) FROM project_specs s WHERE s.project_ref = p.ref)
                     + (SELECT count(*) FROM project_endpoints e WHERE e.project_ref = p.ref) kept
             FROM projects p WHERE p.ref = $1";
        let row = sqlx::query(query).bind(project_ref).fetch_one(&self.0).await.unwrap();
        Standing {
            projects: row.get("projects"),
            state: row.get("state"),
            operation: row.get("operation"),
            placements: row.get("placements"),
            with_compute: row.get("with_compute"),
            kept: row.get("kept"),
        }
    }

    /// What does not hold of a project's rows after so many acts on it, and of all rows together, in words.
    pub async fn broken(&self, project_ref: &str, acts: i64) -> Vec<&'static str> {
        let mut broken = Vec::new();
        let mut note = |what: &'static str, holds: Option<bool>| {
            if holds != Some(true) {
                broken.push(what);
            }
        };
        for (what, query) in OF_A_PROJECT {
            let query = sqlx::query_scalar(*query).bind(project_ref).bind(acts);
            note(what, query.fetch_one(&self.0).await.unwrap());
        }
        broken.extend(self.broken_of_all().await);
        broken
    }

    /// What does not hold of all rows together, in words.
    pub async fn broken_of_all(&self) -> Vec<&'static str> {
        let mut broken = Vec::new();
        for (what, query) in OF_ALL {
            let holds: Option<bool> = sqlx::query_scalar(*query).fetch_one(&self.0).await.unwrap();
            if holds != Some(true) {
                broken.push(*what);
            }
        }
        broken
    }
}

/// The schema.
impl Rows {
    /// Brings it up to date, as a controller does at its start.
    pub async fn migrate(&self) {
        supalove_core::database::migrate(&self.0).await.unwrap();
    }

    async fn texts(&self, query: &'static str) -> Vec<(String, String)> {
        sqlx::query_as(query).fetch_all(&self.0).await.unwrap()
    }

    /// Its tables, by name.
    pub async fn tables(&self) -> Vec<String> {
        let query = "SELECT tablename::text FROM pg_tables
            WHERE schemaname = 'public' AND tablename <> '_sqlx_migrations' ORDER BY 1";
        sqlx::query_scalar(query).fetch_all(&self.0).await.unwrap()
    }

    /// Its functions: name and definition. One of several with a name has the definitions of all.
    pub async fn functions(&self) -> Vec<(String, String)> {
        self.texts(
            "SELECT proname::text, string_agg(pg_get_functiondef(oid), E'\n') FROM pg_proc
             WHERE pronamespace = 'public'::regnamespace GROUP BY 1",
        )
        .await
    }

    /// Its triggers: table and function.
    pub async fn triggers(&self) -> Vec<(String, String)> {
        self.texts(
            "SELECT c.relname::text, p.proname::text
             FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
             WHERE NOT t.tgisinternal",
        )
        .await
    }

    /// Tables with rows that go, or change, when a row of another table is deleted: the other table and this one.
    pub async fn cascades(&self) -> Vec<(String, String)> {
        self.texts(
            "SELECT confrelid::regclass::text, conrelid::regclass::text FROM pg_constraint
             WHERE contype = 'f' AND confdeltype IN ('c', 'n', 'd')",
        )
        .await
    }
}

/// What grows.
impl Rows {
    /// The rows of a table.
    pub async fn count(&self, table: &'static str) -> i64 {
        let query = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        sqlx::query_scalar(query).fetch_one(&self.0).await.unwrap()
    }

    /// Rows of a project in a table of its own rows.
    pub async fn count_of(&self, table: &'static str, project_ref: &str) -> i64 {
        let query = AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE project_ref = $1"));
        sqlx::query_scalar(query).bind(project_ref).fetch_one(&self.0).await.unwrap()
    }

    /// Whether a statement is refused. It is rolled back in any case.
    pub async fn refuses(&self, statement: &'static str) -> bool {
        let mut transaction = self.0.begin().await.unwrap();
        transaction.execute(statement).await.is_err()
    }

    /// Changes what triggers protect, as who owns the tables can.
    pub async fn falsify(&self, statements: &'static str) {
        let mut transaction = self.0.begin().await.unwrap();
        transaction.execute("SET LOCAL session_replication_role = replica").await.unwrap();
        transaction.execute(statements).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// The audit log has only so many rows, which are not chained yet and are 400 days old.
    pub async fn begin_audit_log_long_ago(&self, rows: i32) {
        let mut transaction = self.0.begin().await.unwrap();
        transaction.execute("SET LOCAL session_replication_role = replica").await.unwrap();
        transaction.execute("DELETE FROM audit_log; DELETE FROM audit_checkpoints").await.unwrap();
        let insert = "INSERT INTO audit_log (id, at, actor, method, target, outcome, client, trace_id)
            SELECT gen_random_uuid(), now() - interval '400 days' + make_interval(secs => n), 'x', 'x', '', 'OK', '', ''
            FROM generate_series(1, $1) AS n";
        sqlx::query(insert).bind(rows).execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// Places of the first and the newest chained row of the audit log, and how many rows are not chained.
    pub async fn audit_chain(&self) -> (i64, i64, i64) {
        let query = "SELECT coalesce(min(seq), 0), coalesce(max(seq), 0), count(*) FILTER (WHERE seq IS NULL) FROM audit_log";
        sqlx::query_as(query).fetch_one(&self.0).await.unwrap()
    }

    /// Everything that has an age is so old.
    pub async fn age_all(&self, by: Duration) {
        for update in [
            "UPDATE projects SET removed_at = removed_at - make_interval(secs => $1)",
            "UPDATE project_events SET at = at - make_interval(secs => $1)",
            "UPDATE operations SET ended_at = ended_at - make_interval(secs => $1)",
            "UPDATE join_tokens SET expires_at = expires_at - make_interval(secs => $1)",
            "UPDATE user_sessions SET expires_at = expires_at - make_interval(secs => $1)",
            "UPDATE requests SET created_at = created_at - make_interval(secs => $1)",
            "UPDATE refused_calls SET minute = minute - make_interval(secs => $1)",
            "UPDATE certificates SET not_after = not_after - make_interval(secs => $1)",
            "UPDATE controllers SET seen_at = seen_at - make_interval(secs => $1)",
        ] {
            sqlx::query(update).bind(by.as_secs_f64()).execute(&self.0).await.unwrap();
        }
        self.change("UPDATE job_results SET succeeded_at = now() - interval '10 days', failed_at = NULL")
            .await;
    }

    /// Two certificates of each node, and a session of it with a replica that is gone.
    pub async fn add_certificates_and_sessions(&self) {
        self.change(
            "INSERT INTO certificates (serial, node_id, key_sha256, not_before, not_after, created_at)
             SELECT n.id::text || k, n.id, '', now(), now(), now() + make_interval(secs => k)
             FROM nodes n, generate_series(1, 2) AS k",
        )
        .await;
        self.change(
            "INSERT INTO node_sessions (node_id, controller_id, epoch) SELECT id, gen_random_uuid(), 1 FROM nodes",
        )
        .await;
    }

    /// Deletes the replicas, as a job does with those that it takes for dead.
    pub async fn forget_replicas(&self) {
        self.change("DELETE FROM controllers").await;
    }
}

/// Makes an empty database on a server. In: a superuser's URL.
pub(crate) async fn create_database(server: &str, name: &str) {
    let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(server).await.unwrap();
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
}
