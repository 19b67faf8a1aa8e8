//! Durable placements per second: CreateProject after authorization, that is secrets, rendering,
//! sealing, the scheduler's choice and the one statement with the full write set, in this process, without gRPC.

use std::{
    collections::HashMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::future::BoxFuture;
use sqlx::PgPool;
use supalove_core::{
    Core,
    access::{Authenticator, Call, Credential, Principal, unauthenticated},
    database as control_database,
    error::Result as CoreResult,
    ids::{OrganizationId, SessionId, UserId},
    limits::Limits,
    mail::Mail,
    times::Times,
    vault::Vault,
};
use supalove_organizations::OrganizationKey;
use supalove_projects::Projects;
use supalove_proto::v1::CreateProjectRequest;
use supalove_stack::Releases;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    arguments::Arguments,
    database::{Database, Organization, add_hot_node, add_nodes, add_organizations, add_user, rollbacks},
    stats::{Samples, ms},
    table::{Aim, Table, number},
};

/// Number of concurrent clients; each has its own organization.
pub const CLIENTS: usize = 16;
/// Nodes to spread over.
const NODES: i32 = 1000;
/// Name of the cluster with one node.
const HOT: &str = "hot";
/// Sample interval of the number of sessions that wait for a lock.
const LOOK: Duration = Duration::from_millis(20);
/// For the placer to end.
const GRACE: Duration = Duration::from_secs(5);
const METHOD: &str = "/supalove.v1.ProjectService/CreateProject";

/// Result of a run.
struct Run {
    rate: f64,
    latency: Samples,
    refused: i64,
    /// Projects that became pending, because no node had capacity.
    pending: usize,
    /// Mean number of clients that waited for a row's lock.
    waiting: f64,
}

/// Adds the rows.
pub async fn measure(arguments: &Arguments, table: &mut Table) -> Result<()> {
    let time = arguments.effort().full_speed;
    let spread = run(arguments, "", time).await.context("placing over all nodes")?;
    let name = "durable placements, 16 clients, 1,000 nodes";
    table.judge(name, spread.rate, "/s", Aim::AtLeast(1000.0));
    notes(table, name, &spread);
    let hot = run(arguments, HOT, time).await.context("placing on one node")?;
    let name = "durable placements, 16 clients, all on one node";
    table.note(name, number(hot.rate, "/s"));
    notes(table, name, &hot);
    Ok(())
}

fn notes(table: &mut Table, name: &str, run: &Run) {
    let p50 = ms(run.latency.percentile(50));
    let p99 = ms(run.latency.percentile(99));
    table.note(format!("{name}: p50, p99"), format!("{}, {}", number(p50, "ms"), number(p99, "ms")));
    let Run { refused, pending, waiting, .. } = run;
    let conflicts = format!("{refused} refused, {pending} pending, {waiting:.1} of 16 waiting for a row");
    table.note(format!("{name}: conflicts"), conflicts);
}

/// One run on a database of its own. In: the cluster's name, empty for the default one.
async fn run(arguments: &Arguments, cluster: &str, time: Duration) -> Result<Run> {
    let database = Database::create(&arguments.database_url).await?;
    let (core, projects, organizations, user) = prepare(&arguments.dir, &database).await?;
    let stop = CancellationToken::new();
    // Stop the watcher even on an error, so that it does not disturb the next run.
    let _stopped = stop.clone().drop_guard();
    // Keeps the scheduler's view fresh, as in a running controller.
    projects.placer().job().start(&core);
    let watcher = tokio::spawn(lock_waits(database.pool().await?, stop.clone()));
    // The first creates fill caches and prepare statements.
    create_for(&projects, &organizations, user, cluster, Duration::from_millis(500)).await?;
    let pool = database.pool().await?;
    let before = rollbacks(&pool).await?;
    let started = Instant::now();
    let created = create_for(&projects, &organizations, user, cluster, time).await?;
    let elapsed = started.elapsed();
    let refused = rollbacks(&pool).await? - before;
    let latencies = placed_at_once(&pool, &created).await?;
    let pending = created.len() - latencies.len();
    ensure!(!latencies.is_empty(), "nothing was placed");
    stop.cancel();
    core.tasks.stop(GRACE).await;
    let waiting = watcher.await??;
    pool.close().await;
    database.drop().await?;
    let rate = f64::from(u32::try_from(latencies.len())?) / elapsed.as_secs_f64();
    Ok(Run { rate, latency: Samples::new(latencies), refused, pending, waiting })
}

async fn prepare(dir: &Path, database: &Database) -> Result<(Core, Projects, Vec<Organization>, Uuid)> {
    let mut key = [0; 32];
    aws_lc_rs::rand::fill(&mut key)?;
    let key_file = dir.join("placing-master.key");
    std::fs::write(&key_file, STANDARD.encode(key))?;
    let vault = Vault::from_file(&key_file)?;
    let db = control_database::Pools::connect(&database.url).await?;
    db.calls.prepare().await?;
    let core = Core::open(
        db,
        vault,
        Times::default(),
        Limits::default(),
        Mail::default(),
        "127.0.0.1:0".into(),
        None,
    )
    .await?;
    // Makes the default cluster.
    supalove_fleet::open(&core, supalove_fleet::downloads::Settings::default()).await?;
    let seed = database.pool().await?;
    let user = add_user(&seed).await?;
    let organizations = add_organizations(&seed, user, CLIENTS).await?;
    add_nodes(&seed, NODES).await?;
    add_hot_node(&seed, HOT).await?;
    seed.close().await;
    let projects = supalove_projects::open(&core, Releases::embedded()?, "core-3");
    Ok((core, projects, organizations, user))
}

/// Lets all clients create one project after the other until the time is up. Returns each project's ref and the duration
/// of its create.
async fn create_for(
    projects: &Projects,
    organizations: &[Organization],
    user: Uuid,
    cluster: &str,
    time: Duration,
) -> Result<Vec<(String, Duration)>> {
    let clients = organizations.iter().map(|organization| {
        let projects = projects.clone();
        let organization = organization.clone();
        let cluster = cluster.to_owned();
        tokio::spawn(async move { client(&projects, &organization, user, &cluster, time).await })
    });
    let mut all = Vec::new();
    // Wait for all of them, even if one fails, so that none disturbs the next measurement.
    for done in futures::future::join_all(clients).await {
        all.extend(done??);
    }
    Ok(all)
}

async fn client(
    projects: &Projects,
    organization: &Organization,
    user: Uuid,
    cluster: &str,
    time: Duration,
) -> Result<Vec<(String, Duration)>> {
    let grant = OrganizationKey { id: OrganizationId(organization.id), slug: organization.slug.clone() };
    let until = Instant::now() + time;
    let mut all = Vec::new();
    while Instant::now() < until {
        let body = CreateProjectRequest {
            organization: organization.slug.clone(),
            name: format!("project {}", Uuid::now_v7()),
            cluster: cluster.to_owned(),
            request_id: Uuid::new_v4().to_string(),
            ..Default::default()
        };
        let call = call(user)?;
        let started = Instant::now();
        let created = projects.acts().create(&call, &grant, &body).await?;
        let took = started.elapsed();
        all.push((created.project.project.to_string(), took));
    }
    Ok(all)
}

/// Builds the call that the call layer would add to the request.
fn call(user: Uuid) -> Result<Call> {
    let rule = supalove_projects::RULES.iter().find(|rule| rule.method == METHOD);
    let rule = rule.context("the method has no row")?;
    Ok(Call {
        method: rule.method,
        rule,
        principal: Some(Principal {
            user: UserId(user),
            credential: Credential::Session(SessionId::generate()),
            operator: false,
        }),
        client: Some([127, 0, 0, 1].into()),
        trace_id: Uuid::new_v4().simple().to_string(),
        deadline: tokio::time::Instant::now() + Duration::from_secs(30),
        authenticator: Arc::new(NoDoor),
        named: Arc::default(),
        organization: Arc::default(),
        refused_as: Arc::default(),
    })
}

/// Unused, because there is no call layer here.
struct NoDoor;

impl Authenticator for NoDoor {
    fn authenticate<'a>(&'a self, _: &'a str) -> BoxFuture<'a, CoreResult<Principal>> {
        Box::pin(async { Err(unauthenticated()) })
    }

    fn confirm<'a>(&'a self, principal: &'a Principal) -> BoxFuture<'a, CoreResult<Principal>> {
        Box::pin(async { Ok(principal.clone()) })
    }
}

/// Returns the durations of the creates whose project was placed at once, and checks that the placements exist.
/// The other projects must be pending according to their second event.
async fn placed_at_once(db: &PgPool, created: &[(String, Duration)]) -> Result<Vec<Duration>> {
    let refs: Vec<&str> = created.iter().map(|(project, _)| project.as_str()).collect();
    let written: HashMap<String, bool> = sqlx::query_as(
        "SELECT e.project_ref, e.type = 'project.placed'
         FROM project_events e LEFT JOIN placements p ON p.project_ref = e.project_ref
         WHERE e.project_ref = ANY($1) AND e.seq = 2
             AND (e.type = 'project.pending' OR e.type = 'project.placed' AND p.project_ref IS NOT NULL)",
    )
    .bind(refs)
    .fetch_all(db)
    .await?
    .into_iter()
    .collect();
    ensure!(
        written.len() == created.len(),
        "{} answers, but {} projects placed or pending",
        created.len(),
        written.len()
    );
    Ok(created.iter().filter(|(project, _)| written[project]).map(|(_, took)| *took).collect())
}

/// Samples how many sessions wait for a lock; returns the mean.
async fn lock_waits(db: PgPool, stop: CancellationToken) -> Result<f64> {
    let mut seen = 0_i64;
    let mut looks = 0_u32;
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        seen += sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&db)
        .await?;
        looks += 1;
    }
    db.close().await;
    Ok(f64::from(i32::try_from(seen)?) / f64::from(looks.max(1)))
}
