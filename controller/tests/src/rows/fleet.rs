//! Nodes and the fleet's certificates.

use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::Rows;

impl Rows {
    /// A node without an agent, seen for an hour from now, with memory for so many projects of release core.
    pub async fn add_node(&self, name: &str, projects: i32, slots: i32) {
        let insert =
            "WITH node AS (INSERT INTO nodes (id, cluster_id, name, key_sha256, advertise_address, seen_at)
                 SELECT $1, id, $2, '', '127.0.0.1', now() + interval '1 hour' FROM clusters WHERE name = 'default'
                 RETURNING id)
             INSERT INTO node_capacity (node_id, port_base, network_range, slots, cpu_cap, memory_cap, disk_cap, host_cpu,
                 host_memory, host_disk)
             SELECT id, 5500, '10.213.0.0/16', $4, 100000, 448 * $3 + 100, 1000000, 12500, (448 * $3 + 100) / 1.5, 1000000
             FROM node";
        let insert = sqlx::query(insert).bind(Uuid::now_v7()).bind(name).bind(projects).bind(slots);
        insert.execute(&self.0).await.unwrap();
    }

    /// A connected node of a cluster that has what is left of a project, in this generation and in its only slot; the node's id.
    pub async fn add_leftover(&self, name: &str, cluster: &str, project_ref: &str, generation: i64) -> Uuid {
        let id = Uuid::now_v7();
        let insert =
            "WITH node AS (INSERT INTO nodes (id, cluster_id, name, key_sha256, advertise_address, seen_at, unexplained)
                 SELECT $1, id, $2, '', '127.0.0.1', now() + interval '1 hour', ARRAY[$4] FROM clusters WHERE name = $3 RETURNING id),
             room AS (INSERT INTO node_capacity (node_id, port_base, network_range, slots, cpu_cap, memory_cap, disk_cap, host_cpu,
                     host_memory, host_disk, blocked_slots, blocked_reasons)
                 SELECT id, 5500, '10.213.0.0/16', 1, 100000, 100000, 1000000, 100000, 100000, 1000000, '{[0,1)}', ARRAY['slot 0: ' || $4]
                 FROM node)
             INSERT INTO node_leftovers (node_id, project_ref, generation, slot, containers, networks, volumes)
             SELECT id, $4, $5, 0, '{}', '{}', '{data}' FROM node";
        let insert = sqlx::query(insert).bind(id).bind(name).bind(cluster).bind(project_ref).bind(generation);
        insert.execute(&self.0).await.unwrap();
        id
    }

    /// How many leftovers a node has on record, and slots that it cannot give.
    pub async fn leftovers_and_blocked(&self, node: Uuid) -> (i64, i64) {
        let query = "SELECT (SELECT count(*) FROM node_leftovers WHERE node_id = $1),
            (SELECT coalesce(sum(upper(r) - lower(r)), 0) FROM node_capacity, unnest(blocked_slots) r WHERE node_id = $1)";
        sqlx::query_as(query).bind(node).fetch_one(&self.0).await.unwrap()
    }

    /// Moves a node, on which nothing stands, to another cluster.
    pub async fn move_node(&self, node: &str, cluster: &str) {
        let update =
            "UPDATE nodes SET cluster_id = (SELECT id FROM clusters WHERE name = $2) WHERE name = $1";
        let moved = sqlx::query(update).bind(node).bind(cluster).execute(&self.0).await.unwrap();
        assert_eq!(moved.rows_affected(), 1, "there is no node {node}");
    }

    /// Moves a join token to another cluster.
    pub async fn move_join_token(&self, token: Uuid, cluster: &str) {
        let update =
            "UPDATE join_tokens SET cluster_id = (SELECT id FROM clusters WHERE name = $2) WHERE id = $1";
        sqlx::query(update).bind(token).bind(cluster).execute(&self.0).await.unwrap();
    }

    /// A node of a cluster that was never seen; its id.
    pub async fn add_bare_node(&self, name: &str, cluster: &str) -> Uuid {
        let id = Uuid::now_v7();
        let insert = "INSERT INTO nodes (id, cluster_id, name, key_sha256) SELECT $1, id, $2, '' FROM clusters WHERE name = $3";
        sqlx::query(insert).bind(id).bind(name).bind(cluster).execute(&self.0).await.unwrap();
        id
    }

    /// Id of a node.
    pub async fn node_id(&self, name: &str) -> Uuid {
        sqlx::query_scalar("SELECT id FROM nodes WHERE name = $1")
            .bind(name)
            .fetch_one(&self.0)
            .await
            .unwrap()
    }

    /// Sets the columns of a node on which its placement depends, as the SQL of an update of node_capacity and of nodes.
    pub async fn set_node(&self, node: Uuid, capacity: &str, rest: &str) {
        for update in [
            format!("UPDATE node_capacity SET {capacity} WHERE node_id = $1"),
            format!("UPDATE nodes SET {rest} WHERE id = $1"),
        ] {
            sqlx::query(sqlx::AssertSqlSafe(update)).bind(node).execute(&self.0).await.unwrap();
        }
    }

    /// Whether a node has a blocking condition.
    pub async fn set_condition(&self, node: Uuid, blocking: bool) {
        let clear = "DELETE FROM node_conditions WHERE node_id = $1";
        sqlx::query(clear).bind(node).execute(&self.0).await.unwrap();
        let insert = "INSERT INTO node_conditions (node_id, reason, message, since, blocking)
            SELECT $1, 'SICK', '', now(), true WHERE $2";
        sqlx::query(insert).bind(node).bind(blocking).execute(&self.0).await.unwrap();
    }

    /// Whether `node_reserve` takes room for this much on a node. Changes nothing.
    pub async fn would_reserve(&self, node: Uuid, cpu: i32, memory: i32, disk: i64) -> bool {
        let mut transaction = self.0.begin().await.unwrap();
        let query = "SELECT count(*) FROM node_reserve($1, $2, $3, $4, 20)";
        let query = sqlx::query_scalar::<_, i64>(query).bind(node).bind(cpu).bind(memory).bind(disk);
        let rows = query.fetch_one(&mut *transaction).await.unwrap();
        transaction.rollback().await.unwrap();
        rows == 1
    }

    /// The fleet's newest root.
    pub async fn newest_root(&self) -> String {
        self.one("SELECT certificate_pem FROM authorities ORDER BY created_at DESC LIMIT 1").await
    }

    /// Nodes that were never seen.
    pub async fn add_bare_nodes(&self, count: i32) {
        let insert = "INSERT INTO nodes (id, cluster_id, name, key_sha256)
             SELECT gen_random_uuid(), c.id, gen_random_uuid()::text, '' FROM clusters c, generate_series(1, $1)";
        sqlx::query(insert).bind(count).execute(&self.0).await.unwrap();
    }

    /// First port of a node.
    pub async fn port_base(&self, node: Uuid) -> i32 {
        let query = "SELECT port_base FROM node_capacity WHERE node_id = $1";
        sqlx::query_scalar(query).bind(node).fetch_one(&self.0).await.unwrap()
    }

    /// Nobody places anything on a node, and its settings do not change, until the transaction ends.
    pub async fn lock_capacity(&self, node: Uuid) -> Transaction<'static, Postgres> {
        let mut transaction = self.0.begin().await.unwrap();
        let lock = "SELECT node_id FROM node_capacity WHERE node_id = $1 FOR UPDATE";
        sqlx::query(lock).bind(node).execute(&mut *transaction).await.unwrap();
        transaction
    }

    /// How many sessions of the database wait for a lock.
    pub async fn waiting(&self) -> i64 {
        self.one(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .await
    }

    /// A node that was never seen, a retired root and an ended join token, with these ids.
    pub async fn add_bare_node_root_and_token(&self, node: Uuid, root: Uuid, token: Uuid) {
        let node_row = "INSERT INTO nodes (id, cluster_id, name, key_sha256) SELECT $1, id, 'host', '' FROM clusters WHERE name = 'default'";
        sqlx::query(node_row).bind(node).execute(&self.0).await.unwrap();
        let root_row = "INSERT INTO authorities (id, ca_sha256, certificate_pem, state, expires_at)
            VALUES ($1, sha256('x'), '', 'RETIRED', now())";
        sqlx::query(root_row).bind(root).execute(&self.0).await.unwrap();
        let token_row = "INSERT INTO join_tokens (id, cluster_id, secret_hash, max_uses, expires_at)
            SELECT $1, id, '', 1, now() FROM clusters WHERE name = 'default'";
        sqlx::query(token_row).bind(token).execute(&self.0).await.unwrap();
    }

    /// More certificates of a node on record, as old as can be.
    pub async fn add_certificates(&self, node: Uuid, count: i32) {
        let insert = "INSERT INTO certificates (serial, node_id, key_sha256, not_before, not_after, ca_sha256, created_at)
            SELECT 'added-' || n, c.node_id, c.key_sha256, c.not_before, c.not_after, c.ca_sha256,
                c.created_at - make_interval(secs => n)
            FROM certificates c, generate_series(1, $2) n WHERE c.node_id = $1";
        sqlx::query(insert).bind(node).bind(count).execute(&self.0).await.unwrap();
    }

    /// Serials of a node's certificates on record, newest first.
    pub async fn certificates(&self, node: Uuid) -> Vec<String> {
        let query = "SELECT serial FROM certificates WHERE node_id = $1 ORDER BY created_at DESC";
        sqlx::query_scalar(query).bind(node).fetch_all(&self.0).await.unwrap()
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

    /// Nodes that reserve more than they have.
    pub async fn overcommitted_nodes(&self) -> i64 {
        self.one(
            "SELECT count(*) FROM node_capacity WHERE cpu_used > cpu_cap OR memory_used > memory_cap OR disk_used > disk_cap",
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

    /// Passwords of registries as they are stored.
    pub async fn registry_passwords(&self) -> Vec<Vec<u8>> {
        let query = "SELECT sealed FROM registry_credentials ORDER BY registry";
        sqlx::query_scalar(query).fetch_all(&self.0).await.unwrap()
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
