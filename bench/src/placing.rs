//! Durable placements per second on the placing path itself, as CreateProject runs it after the door: secrets, rendering,
//! sealing, the scheduler's choice and the one statement with the full write set. Here without gRPC, in this process.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sqlx::PgPool;
use supalove_controller::{
    access::{Access, Call, Caller, OrganizationGrant, rule_for},
    clusters::Candidates,
    ids::{ControllerId, OrganizationId, SessionId, UserId},
    platform,
    projects::{Changes, Parts, Projects},
    stack::Releases,
    times::Times,
    vault::Vault,
};
use supalove_proto::v1::CreateProjectRequest;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    arguments::Arguments,
    database::{Database, Organization, add_hot_node, add_nodes, add_organizations, add_user},
    stats::{Samples, ms},
    table::{Aim, Table, number},
};

/// Clients that create at the same time; each has an organization of its own.
pub const CLIENTS: usize = 16;
/// Nodes to spread over.
const NODES: i32 = 1000;
/// Name of the cluster with one node.
const HOT: &str = "hot";
/// Between two looks at who waits for a lock.
const LOOK: Duration = Duration::from_millis(20);
/// Until the server has counted what a closed connection did.
const COUNTED: Duration = Duration::from_secs(1);
const METHOD: &str = "/supalove.v1.ProjectService/CreateProject";

/// What a run came to.
struct Run {
    rate: f64,
    latency: Samples,
    refused: i64,
    /// Clients that waited for a row's lock, on average.
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
    let (p50, p99) = (ms(run.latency.percentile(50)), ms(run.latency.percentile(99)));
    table.note(format!("{name}: p50, p99"), format!("{}, {}", number(p50, "ms"), number(p99, "ms")));
    let conflicts = format!("{} refused, {:.1} of 16 waiting for a row", run.refused, run.waiting);
    table.note(format!("{name}: conflicts"), conflicts);
}

/// One run on a database of its own. In: the cluster's name, empty for the default one.
async fn run(arguments: &Arguments, cluster: &str, time: Duration) -> Result<Run> {
    let database = Database::create(&arguments.database_url).await?;
    let (projects, organizations, user) = prepare(&arguments.dir, &database).await?;
    let stop = CancellationToken::new();
    // Keeps the scheduler's view fresh, as in a running controller.
    let placer = tokio::spawn({
        let (projects, stop) = (projects.clone(), stop.clone());
        async move { projects.place_pending(stop).await }
    });
    let watcher = tokio::spawn(lock_waits(database.pool().await?, stop.clone()));
    // The first creates fill caches and prepare statements.
    create_for(&projects, &organizations, user, cluster, Duration::from_millis(500)).await?;
    let before = placed(&projects.db).await?;
    let started = Instant::now();
    let latencies = create_for(&projects, &organizations, user, cluster, time).await?;
    let elapsed = started.elapsed();
    let after = placed(&projects.db).await?;
    let count = latencies.len();
    ensure!(i64::try_from(count)? == after - before, "{count} answers, but {} placements", after - before);
    stop.cancel();
    placer.await?;
    let waiting = watcher.await??;
    projects.db.close().await;
    // A server process counts its transactions when it ends, which is a moment after its connection is closed.
    tokio::time::sleep(COUNTED).await;
    let refused = database.rollbacks().await?;
    database.drop().await?;
    let rate = f64::from(u32::try_from(count)?) / elapsed.as_secs_f64();
    Ok(Run { rate, latency: Samples::new(latencies), refused, waiting })
}

async fn prepare(dir: &Path, database: &Database) -> Result<(Projects, Vec<Organization>, Uuid)> {
    let mut key = [0; 32];
    aws_lc_rs::rand::fill(&mut key)?;
    let key_file = dir.join("placing-master.key");
    std::fs::write(&key_file, STANDARD.encode(key))?;
    let vault = Vault::from_file(&key_file)?;
    let db = platform::connect(&database.url).await?;
    platform::prepare(&db, &vault, None).await?;
    let seed = database.pool().await?;
    let user = add_user(&seed).await?;
    let organizations = add_organizations(&seed, user, CLIENTS).await?;
    add_nodes(&seed, NODES).await?;
    add_hot_node(&seed, HOT).await?;
    seed.close().await;
    let times = Arc::new(Times::default());
    let candidates = Candidates::new(db.clone(), times.clone());
    candidates.refresh().await?;
    let projects = Projects::new(Parts {
        controller: ControllerId::generate(),
        vault,
        releases: Arc::new(Releases::embedded()?),
        default_release: "core".to_owned(),
        candidates,
        changes: Changes::default(),
        access: Access::new(db.clone()),
        stop: CancellationToken::new(),
        db,
        times,
    });
    Ok((projects, organizations, user))
}

/// All clients create one project after the other until the time is up. Answers how long each create took.
async fn create_for(
    projects: &Projects,
    organizations: &[Organization],
    user: Uuid,
    cluster: &str,
    time: Duration,
) -> Result<Vec<Duration>> {
    let clients = organizations.iter().map(|organization| {
        let (projects, organization, cluster) = (projects.clone(), organization.clone(), cluster.to_owned());
        tokio::spawn(async move { client(&projects, &organization, user, &cluster, time).await })
    });
    let mut all = Vec::new();
    for done in futures::future::try_join_all(clients).await? {
        all.extend(done?);
    }
    Ok(all)
}

async fn client(
    projects: &Projects,
    organization: &Organization,
    user: Uuid,
    cluster: &str,
    time: Duration,
) -> Result<Vec<Duration>> {
    let grant = OrganizationGrant { id: OrganizationId(organization.id), slug: organization.slug.clone() };
    let until = Instant::now() + time;
    let mut latencies = Vec::new();
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
        projects.create(&call, &grant, &body).await?;
        latencies.push(started.elapsed());
    }
    Ok(latencies)
}

/// What the door leaves with a call.
fn call(user: Uuid) -> Result<Call> {
    let rule = rule_for(METHOD).context("the method has no row")?;
    Ok(Call {
        method: rule.method,
        rule,
        caller: Some(Caller { user: UserId(user), session: SessionId::generate(), operator: false }),
        client: Some([127, 0, 0, 1].into()),
        trace_id: Uuid::new_v4().simple().to_string(),
        deadline: tokio::time::Instant::now() + Duration::from_secs(30),
    })
}

/// Placements that are committed.
pub async fn placed(db: &PgPool) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM placements").fetch_one(db).await?)
}

/// Looks every now and then how many sessions wait for a lock; the mean.
async fn lock_waits(db: PgPool, stop: CancellationToken) -> Result<f64> {
    let (mut seen, mut looks) = (0_i64, 0_u32);
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
