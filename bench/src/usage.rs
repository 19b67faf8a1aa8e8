//! What usage costs: charts over 90 days of 500 projects and the sizes of its tables, and the sampling of 50 containers.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use bollard::{
    Docker,
    models::ContainerCreateBody,
    query_parameters::{CreateContainerOptions, RemoveContainerOptionsBuilder, StartContainerOptions},
};
use sqlx::PgPool;

use crate::{
    agent::Agent,
    arguments::Arguments,
    controller::Controller,
    database::add_organizations,
    stack::ENGINE,
    stats::{Samples, ms},
    table::{Aim, Table, number},
};

/// Interval of samples in production, and while their cost is measured.
const USUAL: Duration = Duration::from_secs(15);
const FAST: Duration = Duration::from_millis(500);
/// The agent without samples.
const NEVER: Duration = Duration::from_mins(1);
/// An image that can sleep.
const IMAGE: &str = "supalove/postgres:15-2";
const DAYS: i32 = 90;
const CALLS: usize = 100;

/// Adds the rows.
pub async fn measure(arguments: &Arguments, table: &mut Table) -> Result<()> {
    let projects = if arguments.quick { 20 } else { 500 };
    let controller = Controller::start(arguments, "usage", &[]).await?;
    let db = controller.pool().await?;
    let organization = add_organizations(&db, controller.user, 1).await?.remove(0);
    add_usage(&db, &organization.slug, projects).await?;
    for (step, rows, bytes) in sizes(&db).await? {
        let mib = f64::from(i32::try_from(bytes / 1024).unwrap_or(i32::MAX)) / 1024.0;
        table.note(
            format!("usage of {projects} projects, 90 days: {step}"),
            format!(
                "{rows} rows{}",
                if bytes > 0 { format!(", {}", number(mib, "MiB")) } else { String::new() }
            ),
        );
    }
    let mut took = Vec::new();
    for number in 0..CALLS {
        // Another project each time: nobody looks at the same one again and again.
        let project = i32::try_from(number).unwrap_or(0) % projects + 1;
        let began = Instant::now();
        let points = controller.api.month_of(&project_ref(project)).await?;
        took.push(began.elapsed());
        anyhow::ensure!(points > 700, "{points} hours of a month");
    }
    let took = Samples::new(took);
    table.judge(
        format!("a month's chart of one of {projects} projects, in hours: p99"),
        ms(took.percentile(99)),
        "ms",
        Aim::AtMost(50.0),
    );
    db.close().await;
    sampling(arguments, &controller, table).await?;
    controller.end().await
}

fn project_ref(number: i32) -> String {
    format!("{number:020}").bytes().map(|digit| char::from(digit - b'0' + b'a')).collect()
}

/// Samples of made-up projects, as 90 days have left them.
async fn add_usage(db: &PgPool, slug: &str, projects: i32) -> Result<()> {
    for (step, unit, days) in [("MINUTE", "1 minute", 2), ("HOUR", "1 hour", DAYS), ("DAY", "1 day", DAYS)] {
        sqlx::query(
            "INSERT INTO project_usage (project_ref, step, at, organization_id, covered_ms, cpu_us, memory_kib_seconds,
                 memory_max_kib, received_bytes, sent_bytes, read_bytes, written_bytes, database_bytes, storage_bytes, other_bytes)
             SELECT translate(lpad(n::text, 20, '0'), '0123456789', 'abcdefghij'), $1, at, o.id, 60000, 1000000, 61440, 2048,
                 100, 200, 300, 400, 500, 600, 700
             FROM organizations o,
                 generate_series(date_trunc(lower($1), now(), 'UTC') - make_interval(days => $4) + $5::interval,
                     date_trunc(lower($1), now(), 'UTC'), $5::interval) AS at,
                 generate_series(1, $3) AS n
             WHERE o.slug = $2",
        )
        .bind(step)
        .bind(slug)
        .bind(projects)
        .bind(days)
        .bind(unit)
        .execute(db)
        .await?;
    }
    sqlx::query(
        "INSERT INTO projects (ref, organization_id, cluster_id, name, release, state, desired, generation, event_seq, cpu_millis,
             memory_mib, disk_mib)
         SELECT translate(lpad(n::text, 20, '0'), '0123456789', 'abcdefghij'), o.id, c.id, 'p' || n, 'core-3', 'INACTIVE', 'STOPPED',
             1, 0, 0, 0, 0
         FROM organizations o, clusters c, generate_series(1, $2) AS n WHERE o.slug = $1",
    )
    .bind(slug)
    .bind(projects)
    .execute(db)
    .await?;
    sqlx::query("VACUUM ANALYZE project_usage").execute(db).await?;
    Ok(())
}

/// Rows of each step, and the size of the table with its indexes.
async fn sizes(db: &PgPool) -> Result<Vec<(String, i64, i64)>> {
    let query = "SELECT step, count(*), 0::bigint FROM project_usage GROUP BY step
        UNION ALL SELECT 'all', count(*), pg_total_relation_size('project_usage') FROM project_usage ORDER BY 2";
    Ok(sqlx::query_as(query).fetch_all(db).await?)
}

/// What the samples of 50 containers cost the agent.
async fn sampling(arguments: &Arguments, controller: &Controller, table: &mut Table) -> Result<()> {
    let lasts = if arguments.quick { Duration::from_secs(5) } else { Duration::from_secs(30) };
    let docker = Docker::connect_with_unix_defaults()?;
    let count = if arguments.quick { 10 } else { 50 };
    let containers = start_containers(&docker, &controller.fleet, count).await?;
    let measured = cost(arguments, controller, lasts).await;
    for id in &containers {
        let options = RemoveContainerOptionsBuilder::default().force(true).build();
        docker.remove_container(id, Some(options)).await?;
    }
    let each = measured?;
    table.note(
        format!("one sample of {count} containers: the agent's processor time"),
        number(each * 1000.0, "ms"),
    );
    table.judge(
        format!("sampling of {count} containers each 15 s: of a core"),
        each / USUAL.as_secs_f64() * 100.0,
        "%",
        Aim::AtMost(1.0),
    );
    Ok(())
}

/// Seconds of processor time of one sample: what an agent that samples often uses more than one that does not.
async fn cost(arguments: &Arguments, controller: &Controller, lasts: Duration) -> Result<f64> {
    let mut used = Vec::new();
    for (name, interval) in [("usage-rest", NEVER), ("usage-fast", FAST)] {
        let token = controller.api.join_token().await?;
        let millis = interval.as_millis().to_string();
        let more = ["--usage-sample", millis.as_str()];
        let agent =
            Agent::start_with(arguments, name, &controller.node_address, &token, ENGINE, &more).await?;
        // What a start costs is not what sampling costs.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let before = agent.cpu()?;
        tokio::time::sleep(lasts).await;
        used.push(agent.cpu()?.saturating_sub(before).as_secs_f64());
        agent.end().await?;
    }
    let samples = lasts.as_secs_f64() / FAST.as_secs_f64();
    Ok((used[1] - used[0]).max(0.0) / samples)
}

async fn start_containers(docker: &Docker, fleet: &str, count: usize) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for number in 0..count {
        // Seven to a project, as in the official release.
        let project = project_ref(i32::try_from(number / 7).context("so many")?);
        let labels =
            [("supalove.fleet", fleet), ("supalove.project", &project), ("supalove.service", "bench")];
        let body = ContainerCreateBody {
            image: Some(IMAGE.to_owned()),
            entrypoint: Some(vec!["sleep".to_owned()]),
            cmd: Some(vec!["3600".to_owned()]),
            labels: Some(
                labels
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into_iter()
                    .collect::<HashMap<_, _>>(),
            ),
            ..ContainerCreateBody::default()
        };
        let id = docker.create_container(None::<CreateContainerOptions>, body).await?.id;
        docker.start_container(&id, None::<StartContainerOptions>).await?;
        ids.push(id);
    }
    Ok(ids)
}
