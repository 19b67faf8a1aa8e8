//! A database for one item, and rows that simulate a large platform: organizations, and nodes without agents.

use anyhow::{Context as _, Result};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool, postgres::PgPoolOptions};
use uuid::Uuid;

/// An empty database.
#[derive(Debug)]
pub struct Database {
    /// Its URL.
    pub url: String,
    name: String,
    server: String,
}

/// An organization with room for any number of projects.
#[derive(Debug, Clone)]
pub struct Organization {
    /// Id.
    pub id: Uuid,
    /// Slug.
    pub slug: String,
}

impl Database {
    /// Makes one on the server.
    pub async fn create(server: &str) -> Result<Self> {
        let name = format!("bench_{}", Uuid::new_v4().simple());
        let mut connection = PgConnection::connect(server).await?;
        connection.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
        connection.close().await?;
        let (base, _) = server.rsplit_once('/').context("the server's URL names no database")?;
        Ok(Self { url: format!("{base}/{name}"), name, server: server.to_owned() })
    }

    /// A few connections for looking and for making rows.
    pub async fn pool(&self) -> Result<PgPool> {
        Ok(PgPoolOptions::new().max_connections(2).connect(&self.url).await?)
    }

    /// Drops it, whoever is connected.
    pub async fn drop(self) -> Result<()> {
        let mut connection = PgConnection::connect(&self.server).await?;
        connection.execute(sqlx::AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name))).await?;
        connection.close().await?;
        Ok(())
    }
}

/// Returns the number of statements that were rolled back in this database. The placing statement raises on a conflict,
/// so the difference over a run is the number of its conflicts.
pub async fn rollbacks(db: &PgPool) -> Result<i64> {
    // A server process may report its counters seconds late, so flush those of each connection of the pool.
    let mut connections = Vec::new();
    for _ in 0..db.size() {
        let mut connection = db.acquire().await?;
        sqlx::query("SELECT pg_stat_force_next_flush()").execute(&mut *connection).await?;
        connections.push(connection);
    }
    drop(connections);
    Ok(sqlx::query_scalar("SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()")
        .fetch_one(db)
        .await?)
}

/// Makes organizations that `user` owns.
pub async fn add_organizations(db: &PgPool, user: Uuid, count: usize) -> Result<Vec<Organization>> {
    let all: Vec<_> =
        (0..count).map(|i| Organization { id: Uuid::now_v7(), slug: format!("bench-{i}") }).collect();
    for organization in &all {
        sqlx::query("INSERT INTO organizations (id, slug, name) VALUES ($1, $2, $2)")
            .bind(organization.id)
            .bind(&organization.slug)
            .execute(db)
            .await?;
        sqlx::query(
            "WITH allowed AS (
                 INSERT INTO entitlement_overrides (organization_id, entitlement, number, reason)
                 VALUES ($1, 'PROJECTS', 100000000, 'the bench'), ($1, 'MEMBERS', 1000000, 'the bench'))
             UPDATE organizations SET projects_limit = 100000000 WHERE id = $1",
        )
        .bind(organization.id)
        .execute(db)
        .await?;
        sqlx::query("INSERT INTO members (organization_id, user_id, role) VALUES ($1, $2, 'OWNER')")
            .bind(organization.id)
            .bind(user)
            .execute(db)
            .await?;
    }
    Ok(all)
}

/// Makes a member who only reads, with the password of `user`. Returns the e-mail address.
pub async fn add_reader(db: &PgPool, organization: Uuid, user: Uuid) -> Result<&'static str> {
    let (id, email) = (Uuid::now_v7(), "reader@example.com");
    sqlx::query(
        "INSERT INTO users (id, email, display_name, password_hash)
         SELECT $1, $2, '', password_hash FROM users WHERE id = $3",
    )
    .bind(id)
    .bind(email)
    .bind(user)
    .execute(db)
    .await?;
    sqlx::query("INSERT INTO members (organization_id, user_id, role) VALUES ($1, $2, 'READ_ONLY')")
        .bind(organization)
        .bind(id)
        .execute(db)
        .await?;
    Ok(email)
}

/// Makes nodes of 16 cores, 32 GiB and 2 TiB, with the default overcommit, seen for as long as the bench runs.
pub async fn add_nodes(db: &PgPool, count: i32) -> Result<()> {
    sqlx::query(
        "WITH added AS (
             INSERT INTO nodes (id, cluster_id, name, key_sha256, advertise_address, seen_at)
             SELECT gen_random_uuid(), c.id, 'node-' || i, '', '10.0.0.1', now() + interval '1 day'
             FROM clusters c, generate_series(1, $1) i WHERE c.name = 'default'
             RETURNING id, cluster_id
         )
         INSERT INTO node_capacity (node_id, port_base, network_range, slots, cpu_cap, memory_cap, disk_cap)
         SELECT added.id, 5500, '10.213.0.0/16', 256, 16000 * c.cpu_overcommit, 32768 * c.memory_overcommit, 2097152
         FROM added JOIN clusters c ON c.id = added.cluster_id",
    )
    .bind(count)
    .execute(db)
    .await?;
    sqlx::query("ANALYZE nodes").execute(db).await?;
    sqlx::query("ANALYZE node_capacity").execute(db).await?;
    Ok(())
}

/// Creates a cluster of one node with unlimited capacity, to measure contention on one row.
pub async fn add_hot_node(db: &PgPool, cluster: &str) -> Result<()> {
    sqlx::query(
        "WITH hot AS (
             INSERT INTO clusters (id, name, kind) VALUES (gen_random_uuid(), $1, 'SHARED') RETURNING id
         ), node AS (
             INSERT INTO nodes (id, cluster_id, name, key_sha256, advertise_address, seen_at)
             SELECT gen_random_uuid(), id, 'hot', '', '10.0.0.1', now() + interval '1 day' FROM hot
             RETURNING id
         )
         INSERT INTO node_capacity (node_id, port_base, network_range, slots, cpu_cap, memory_cap, disk_cap)
         SELECT id, 0, '10.0.0.0/8', 500000, 2000000000, 2000000000, 2000000000000 FROM node",
    )
    .bind(cluster)
    .execute(db)
    .await?;
    Ok(())
}

/// Makes a user who cannot sign in, for calls that do not pass the call layer.
pub async fn add_user(db: &PgPool) -> Result<Uuid> {
    let id = Uuid::now_v7();
    sqlx::query(
        "INSERT INTO users (id, email, display_name, password_hash) VALUES ($1, 'bench@example.com', '', '')",
    )
    .bind(id)
    .execute(db)
    .await?;
    Ok(id)
}
