//! What an operator of a large platform waits for: lists of nodes and projects, a cluster's capacity, an explanation and the alarms,
//! over rows of 1,000 nodes and 10,000 projects.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use sqlx::PgPool;
use supalove_proto::v1::CreateProjectRequest;
use uuid::Uuid;

use crate::{
    arguments::Arguments,
    controller::Controller,
    database::{add_nodes, add_organizations},
    stats::{Samples, ms},
    table::{Aim, Table, number},
};

/// Nodes, rows without agents.
const NODES: i32 = 1000;
/// Projects, rows: copies of one.
const PROJECTS: i32 = 10_000;
/// Organizations that have them.
const ORGANIZATIONS: usize = 100;
/// Every so manieth node has a condition, so that there are alarms.
const SICK: i32 = 20;

/// Adds the rows.
pub async fn measure(arguments: &Arguments, table: &mut Table) -> Result<()> {
    let controller = Controller::start(arguments, "fleet", &[]).await?;
    let db = controller.pool().await?;
    let organizations = add_organizations(&db, controller.user, ORGANIZATIONS).await?;
    add_nodes(&db, NODES).await?;
    let first = CreateProjectRequest {
        organization: organizations[0].slug.clone(),
        name: "first".into(),
        ..Default::default()
    };
    let first = controller.api.create(first).await?.project.context("no project")?.r#ref;
    let ids: Vec<Uuid> = organizations.iter().map(|one| one.id).collect();
    add_projects(&db, &first, &ids).await?;

    let api = &controller.api;
    let rounds = arguments.effort().rounds;
    let what = "1,000 nodes, 10,000 projects";
    let nodes = pages(rounds, async |token| api.nodes_page(token).await, 10).await?;
    judge(table, &format!("{what}: ListNodes, a page of 100"), &nodes);
    let projects = pages(rounds, async |token| api.projects_page(token).await, 10).await?;
    judge(table, &format!("{what}: ListProjects, a page of 100"), &projects);
    let capacity = repeated(rounds * 10, async || api.cluster().await).await?;
    judge(table, &format!("{what}: GetCluster with capacity, used and free"), &capacity);
    let explained = repeated(rounds * 10, async || api.explain(&organizations[0].slug).await).await?;
    judge(table, &format!("{what}: ExplainPlacement"), &explained);
    let alarms = pages(rounds, async |token| api.alarms_page(token).await, 1).await?;
    judge(table, &format!("{what}: ListAlarms, a page"), &alarms);
    db.close().await;
    controller.end().await
}

fn judge(table: &mut Table, name: &str, samples: &Samples) {
    table.note(format!("{name}: p50"), number(ms(samples.percentile(50)), "ms"));
    table.judge(format!("{name}: p99"), ms(samples.percentile(99)), "ms", Aim::AtMost(50.0));
}

/// Durations of the pages of a list, read several times. A list has at least so many pages.
async fn pages(rounds: usize, page: impl AsyncFn(String) -> Result<String>, least: usize) -> Result<Samples> {
    let mut all = Vec::new();
    for _ in 0..rounds {
        let mut token = String::new();
        let before = all.len();
        loop {
            let began = Instant::now();
            token = page(token).await?;
            all.push(began.elapsed());
            // The first thousand entries tell enough.
            if token.is_empty() || all.len() - before == 10 {
                break;
            }
        }
        ensure!(all.len() - before >= least, "the list has {} pages", all.len() - before);
    }
    Ok(Samples::new(all))
}

async fn repeated(calls: usize, call: impl AsyncFn() -> Result<()>) -> Result<Samples> {
    let mut all: Vec<Duration> = Vec::new();
    for _ in 0..calls {
        let began = Instant::now();
        call().await?;
        all.push(began.elapsed());
    }
    Ok(Samples::new(all))
}

/// Copies a project, round the organizations and the nodes, and makes some nodes sick.
async fn add_projects(db: &PgPool, of: &str, organizations: &[Uuid]) -> Result<()> {
    let mut transaction = db.begin().await?;
    sqlx::query(
        "INSERT INTO projects SELECT (jsonb_populate_record(p, jsonb_build_object('ref', r.ref, 'name', 'copy-' || i,
             'organization_id', $2::uuid[][1 + i % cardinality($2)], 'created_at', now() - make_interval(secs => i)))).*
         FROM projects p, generate_series(1, $3) i,
             LATERAL (SELECT translate(left(md5(i::text), 20), '0123456789', 'ghijklmnop') AS ref) r
         WHERE p.ref = $1",
    )
    .bind(of)
    .bind(organizations)
    .bind(PROJECTS)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO placements (project_ref, node_id, role, slot, port_base, subnet, host)
         SELECT p.ref, n.id, 'ACTIVE', 100 + p.number / $2, 5500, '10.213.0.0/27', '10.0.0.1'
         FROM (SELECT ref, (row_number() OVER (ORDER BY ref) - 1)::int AS number FROM projects WHERE ref <> $1) p
         JOIN (SELECT id, (row_number() OVER (ORDER BY name) - 1)::int AS number FROM nodes) n ON n.number = p.number % $2",
    )
    .bind(of)
    .bind(NODES)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO node_conditions (node_id, reason, message, since, blocking)
         SELECT id, 'DISK_FILLING', 'the bench', now(), false
         FROM (SELECT id, row_number() OVER (ORDER BY name) AS number FROM nodes) n WHERE number % $1 = 0",
    )
    .bind(SICK)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    for table in ["projects", "placements", "node_conditions"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("ANALYZE {table}"))).execute(db).await?;
    }
    Ok(())
}
