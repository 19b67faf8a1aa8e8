//! What a tenant that takes all it can get costs its neighbour on the same host: p99 of a query of the neighbour, alone and
//! during each attack, and what the attacker's own project shows. For the table only; nothing here is an aim.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::future::{BoxFuture, FutureExt as _};
use sqlx::{Connection as _, Executor as _, PgConnection};
use supalove_proto::v1::{CreateProjectRequest, Project, ProjectState};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    agent::Agent,
    api::{Api, Reached},
    arguments::Arguments,
    controller::Controller,
    database::add_organizations,
    stack::ENGINE,
    stats::{Samples, ms},
    table::{Table, number},
};

/// The release of both projects.
const RELEASE: &str = "core-3";
/// How long the attacker's project may take to be healthy again.
const RECOVERY: Duration = Duration::from_mins(3);
/// Pause of an attacker whose connection was ended.
const AGAIN: Duration = Duration::from_millis(200);

/// An attack: its name, how many do it at once, and what each does until it is aborted.
struct Attack {
    name: &'static str,
    at_once: usize,
    run: fn(Reached) -> BoxFuture<'static, Result<()>>,
}

const ATTACKS: [Attack; 6] = [
    Attack { name: "fills its disk", at_once: 2, run: |tenant| sql(tenant, FILL, WRITE).boxed() },
    Attack {
        name: "holds all its connections",
        at_once: 80,
        run: |tenant| sql(tenant, "", "SELECT pg_sleep(60)").boxed(),
    },
    Attack {
        name: "takes memory",
        at_once: 4,
        run: |tenant| sql(tenant, "SET work_mem = '1GB'", MEMORY).boxed(),
    },
    Attack { name: "writes WAL", at_once: 2, run: |tenant| sql(tenant, UPDATED, UPDATE).boxed() },
    Attack {
        name: "sorts in temporary files",
        at_once: 4,
        run: |tenant| sql(tenant, "SET work_mem = '64kB'", SORT).boxed(),
    },
    Attack { name: "calls its functions in a loop", at_once: 64, run: |tenant| calls(tenant).boxed() },
];

const FILL: &str = "CREATE TABLE IF NOT EXISTS fill (x text); ALTER TABLE fill ALTER x SET STORAGE EXTERNAL";
const WRITE: &str = "INSERT INTO fill SELECT repeat(md5(random()::text), 300) FROM generate_series(1, 2000)";
const MEMORY: &str =
    "SELECT count(*) FROM (SELECT array_agg(n::text) FROM generate_series(1, 20000000) AS n) AS all_of_it";
const UPDATED: &str =
    "CREATE TABLE IF NOT EXISTS churn AS SELECT n, md5(n::text) AS x FROM generate_series(1, 20000) AS n";
const UPDATE: &str = "UPDATE churn SET x = md5(random()::text) WHERE n % 2 = (random() * 2)::int";
const SORT: &str = "SELECT count(*) FROM (SELECT md5(n::text) AS x FROM generate_series(1, 30000000) AS n ORDER BY 1) AS sorted";
/// What the attacks have left.
const CLEAN: &str = "DROP TABLE IF EXISTS fill, churn";
/// What the neighbour asks.
const QUERY: &str = "SELECT count(*) FROM generate_series(1, 1000) AS n WHERE n % 7 = 0";

/// Adds the rows.
pub async fn measure(arguments: &Arguments, table: &mut Table) -> Result<()> {
    let lasts = arguments.effort().attack;
    let controller = Controller::start(arguments, "tenants", &[]).await?;
    let db = controller.pool().await?;
    let organization = add_organizations(&db, controller.user, 1).await?.remove(0);
    db.close().await;
    let token = controller.api.join_token().await?;
    let mut agent = Agent::start(arguments, "tenants", &controller.node_address, &token, ENGINE).await?;
    agent.wait_ready(&controller.api).await?;
    let mut projects = Vec::new();
    for name in ["neighbour", "attacker"] {
        let request = CreateProjectRequest {
            organization: organization.slug.clone(),
            name: name.into(),
            release: RELEASE.into(),
            ..Default::default()
        };
        let created = controller.api.create(request).await?;
        controller.api.wait(&created.operation.context("no operation")?.id).await?;
        projects.push(created.project.context("CreateProject answered without a project")?.r#ref);
    }
    let neighbour = controller.api.reached(&projects[0]).await?;
    let attacker = controller.api.reached(&projects[1]).await?;

    let before = queries(&neighbour, lasts).await?;
    table.note("a tenant's query, its neighbour at rest: p99", number(ms(before.percentile(99)), "ms"));
    for attack in &ATTACKS {
        eprintln!("  the neighbour {}", attack.name);
        let mut attackers = JoinSet::new();
        for _ in 0..attack.at_once {
            attackers.spawn((attack.run)(attacker.clone()));
        }
        let during = queries(&neighbour, lasts).await?;
        let shown = controller.api.project(&projects[1]).await?;
        attackers.shutdown().await;
        let what = format!("a tenant's query while its neighbour {}: p99, longest", attack.name);
        let longest = number(ms(during.percentile(100)), "ms");
        table.note(what, format!("{}, {longest}", number(ms(during.percentile(99)), "ms")));
        table.note(format!("the project that {}: shown, healthy again", attack.name), {
            let recovered = recovered(&controller.api, &projects[1], &attacker).await?;
            format!("{}, {}", state(&shown), number(recovered.as_secs_f64(), "s"))
        });
    }
    for project in &projects {
        let operation = controller.api.delete(project).await?;
        controller.api.wait(&operation.id).await?;
    }
    agent.end().await?;
    controller.end().await
}

/// Times of the neighbour's query, one after the other.
async fn queries(neighbour: &Reached, lasts: Duration) -> Result<Samples> {
    let mut connection = PgConnection::connect(&neighbour.db_url).await?;
    let until = Instant::now() + lasts;
    let mut all = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        connection.execute(QUERY).await.context("the neighbour's query failed")?;
        all.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    connection.close().await?;
    Ok(Samples::new(all))
}

/// Runs a statement again and again. Whatever the server refuses is the attacker's own matter.
async fn sql(tenant: Reached, first: &'static str, then: &'static str) -> Result<()> {
    loop {
        if let Ok(mut connection) = PgConnection::connect(&tenant.db_url).await
            && connection.execute(first).await.is_ok()
        {
            while connection.execute(then).await.is_ok() {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn calls(tenant: Reached) -> Result<()> {
    let address = tenant.api_url.trim_start_matches("http://").to_owned();
    let request = format!("GET /functions/v1/hello HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    loop {
        if let Ok(mut stream) = TcpStream::connect(&address).await {
            let _ = stream.write_all(request.as_bytes()).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        } else {
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Removes what an attack has left, and waits until the project is healthy. A database that was stopped for what its disk
/// holds needs an owner's restart first. Returns how long that took.
async fn recovered(api: &Api, project: &str, attacker: &Reached) -> Result<Duration> {
    let began = Instant::now();
    let mut is_restarted = false;
    loop {
        let shown = api.project(project).await?;
        // The host measures the disk every few seconds: it may stop the database after the attack has ended.
        if !is_restarted && shown.state_reason.contains("what writes there is stopped") {
            api.restart(project).await?;
            is_restarted = true;
        }
        let cleaned = async {
            let mut connection = PgConnection::connect(&attacker.db_url).await?;
            connection.execute("SET default_transaction_read_only = off").await?;
            connection.execute(CLEAN).await
        };
        let cleaned = cleaned.await;
        let shown = api.project(project).await?;
        if cleaned.is_ok() && shown.state() == ProjectState::ActiveHealthy {
            return Ok(began.elapsed());
        }
        anyhow::ensure!(
            began.elapsed() < RECOVERY,
            "the project that attacked is not healthy after {RECOVERY:?}: {}, {cleaned:?}",
            state(&shown)
        );
        tokio::time::sleep(AGAIN).await;
    }
}

fn state(project: &Project) -> String {
    let name = project.state().as_str_name().trim_start_matches("PROJECT_STATE_");
    let reason = project.state_reason.replace('|', "\\|");
    if reason.is_empty() { name.to_owned() } else { format!("{name} ({reason})") }
}
