//! CreateProject from a caller's view: through gRPC, with the real controller and PostgreSQL, on nodes that are only rows.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use sqlx::PgPool;
use supalove_proto::v1::{CreateProjectRequest, OperationState};
use uuid::Uuid;

use crate::{
    api::Api,
    arguments::Arguments,
    controller::Controller,
    database::{Organization, add_nodes, add_organizations},
    placing::CLIENTS,
    stats::{Samples, ms},
    table::{Aim, Table, number},
};

/// Calls per second.
const RATE: u32 = 100;
/// Nodes, rows without agents.
const NODES: i32 = 1000;
/// Callers' organizations.
const ORGANIZATIONS: usize = 100;
/// Calls before the measurement: connections, caches, prepared statements.
const WARM_UP: u32 = 2 * RATE;

/// Adds the rows.
pub async fn measure(arguments: &Arguments, table: &mut Table) -> Result<()> {
    let effort = arguments.effort();
    let controller = Controller::start(arguments, "requests", &[]).await?;
    let db = controller.pool().await?;
    let organizations = add_organizations(&db, controller.user, ORGANIZATIONS).await?;
    add_nodes(&db, NODES).await?;
    wait_until_placed(&controller.api, &organizations[0]).await?;

    let calls = u32::try_from(effort.constant_rate.as_secs())? * RATE;
    constant_rate(&controller.api, &organizations, WARM_UP).await?;
    let before = placed(&db).await?;
    let (latency, pending) = split(constant_rate(&controller.api, &organizations, calls).await?)?;
    // Pending ones may have followed.
    let made = placed(&db).await? - before;
    ensure!(made >= i64::try_from(latency.count())?, "of {} placed projects {made} were", latency.count());
    let name = format!("CreateProject → durably placed, {RATE}/s, 1,000 nodes ({calls} calls)");
    table.note(format!("{name}: p50"), number(ms(latency.percentile(50)), "ms"));
    table.judge(format!("{name}: p99"), ms(latency.percentile(99)), "ms", Aim::AtMost(50.0));
    table.note(format!("{name}: pending answers"), pending.to_string());

    let started = Instant::now();
    let answers = full_speed(&controller.api, &organizations, effort.full_speed).await?;
    let elapsed = started.elapsed();
    let (latency, pending) = split(answers)?;
    let rate = f64::from(u32::try_from(latency.count())?) / elapsed.as_secs_f64();
    let name = "CreateProject through gRPC, 16 clients, 1,000 nodes";
    table.note(name, number(rate, "/s"));
    let p50 = ms(latency.percentile(50));
    let p99 = ms(latency.percentile(99));
    table.note(format!("{name}: p50, p99"), format!("{}, {}", number(p50, "ms"), number(p99, "ms")));
    table.note(format!("{name}: pending answers"), pending.to_string());
    db.close().await;
    controller.end().await
}

/// A response: whether the project was placed, and the duration of the call.
type Answer = (bool, Duration);

/// Durations of placed creates, and the number of pending ones.
fn split(answers: Vec<Answer>) -> Result<(Samples, usize)> {
    let all = answers.len();
    let placed: Vec<Duration> =
        answers.into_iter().filter(|(placed, _)| *placed).map(|(_, took)| took).collect();
    ensure!(!placed.is_empty(), "nothing was placed");
    let pending = all - placed.len();
    Ok((Samples::new(placed), pending))
}

/// Placements that are committed.
async fn placed(db: &PgPool) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM placements").fetch_one(db).await?)
}

/// Creates a project. False if it is pending: there was no room that the controller knew of.
async fn create(api: &Api, organization: &Organization) -> Result<bool> {
    let request = CreateProjectRequest {
        organization: organization.slug.clone(),
        name: format!("project {}", Uuid::now_v7()),
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let answer = api.create(request).await?;
    let operation = answer.operation.context("CreateProject answered without an operation")?;
    match operation.state() {
        OperationState::Running => Ok(true),
        OperationState::Pending => Ok(false),
        other => bail!("a new project's operation is {other:?}: {}", operation.status_message),
    }
}

/// The controller's view of the nodes is a second old at most.
async fn wait_until_placed(api: &Api, organization: &Organization) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(10);
    while !create(api, organization).await? {
        ensure!(Instant::now() < until, "nothing is placed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Sends calls at a constant rate, independent of the responses (open loop). A call's time counts from its scheduled
/// start.
async fn constant_rate(api: &Api, organizations: &[Organization], calls: u32) -> Result<Vec<Answer>> {
    let start = Instant::now();
    let mut running = Vec::new();
    for number in 0..calls {
        let intended = start + Duration::from_secs(1) * number / RATE;
        tokio::time::sleep_until(intended.into()).await;
        let api = api.clone();
        let organization = organizations[number as usize % organizations.len()].clone();
        running.push(tokio::spawn(async move {
            let placed = create(&api, &organization).await?;
            anyhow::Ok((placed, intended.elapsed()))
        }));
    }
    let mut answers = Vec::new();
    for call in running {
        answers.push(call.await??);
    }
    Ok(answers)
}

/// Runs clients that each send the next call after the response to the last.
async fn full_speed(api: &Api, organizations: &[Organization], time: Duration) -> Result<Vec<Answer>> {
    let started = Instant::now();
    let clients = organizations.iter().take(CLIENTS).map(|organization| {
        let api = api.clone();
        let organization = organization.clone();
        tokio::spawn(async move {
            let mut answers = Vec::new();
            while started.elapsed() < time {
                let sent = Instant::now();
                let placed = create(&api, &organization).await?;
                answers.push((placed, sent.elapsed()));
            }
            anyhow::Ok(answers)
        })
    });
    let mut answers = Vec::new();
    for client in futures::future::try_join_all(clients).await? {
        answers.extend(client?);
    }
    Ok(answers)
}
