//! CreateProject as callers see it: through gRPC, the real controller and the real PostgreSQL, over nodes that are rows.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use supalove_proto::v1::{CreateProjectRequest, OperationState};
use uuid::Uuid;

use crate::{
    api::Api,
    arguments::Arguments,
    controller::Controller,
    database::{Organization, add_nodes, add_organizations},
    placing::{CLIENTS, placed},
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
    let latency = constant_rate(&controller.api, &organizations, calls).await?;
    ensure!(placed(&db).await? - before == i64::from(calls), "not every project was placed");
    let name = format!("CreateProject → durably placed, {RATE}/s, 1,000 nodes ({} calls)", latency.count());
    table.note(format!("{name}: p50"), number(ms(latency.percentile(50)), "ms"));
    table.judge(format!("{name}: p99"), ms(latency.percentile(99)), "ms", Aim::AtMost(50.0));

    let (rate, latency) = full_speed(&controller.api, &organizations, effort.full_speed).await?;
    let name = "CreateProject through gRPC, 16 clients, 1,000 nodes";
    table.note(name, number(rate, "/s"));
    let (p50, p99) = (ms(latency.percentile(50)), ms(latency.percentile(99)));
    table.note(format!("{name}: p50, p99"), format!("{}, {}", number(p50, "ms"), number(p99, "ms")));
    db.close().await;
    controller.end().await
}

/// Creates a project; errs unless it was placed at once.
async fn create(api: &Api, organization: &Organization) -> Result<()> {
    let request = CreateProjectRequest {
        organization: organization.slug.clone(),
        name: format!("project {}", Uuid::now_v7()),
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let answer = api.create(request).await?;
    let operation = answer.operation.context("CreateProject answered without an operation")?;
    ensure!(operation.state() == OperationState::Running, "not placed: {}", operation.status_message);
    Ok(())
}

/// The controller's view of the nodes is a second old at most.
async fn wait_until_placed(api: &Api, organization: &Organization) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(10);
    while let Err(error) = create(api, organization).await {
        ensure!(Instant::now() < until, "nothing is placed: {error:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// So many calls at the constant rate, whatever the answers take ("open loop"). Each call's time counts from when it was
/// meant to be sent.
async fn constant_rate(api: &Api, organizations: &[Organization], calls: u32) -> Result<Samples> {
    let start = Instant::now();
    let mut running = Vec::new();
    for number in 0..calls {
        let intended = start + Duration::from_secs(1) * number / RATE;
        tokio::time::sleep_until(intended.into()).await;
        let (api, organization) = (api.clone(), organizations[number as usize % organizations.len()].clone());
        running.push(tokio::spawn(async move {
            create(&api, &organization).await?;
            anyhow::Ok(intended.elapsed())
        }));
    }
    let mut latencies = Vec::new();
    for call in running {
        latencies.push(call.await??);
    }
    Ok(Samples::new(latencies))
}

/// Clients that each send the next call when the last is answered.
async fn full_speed(api: &Api, organizations: &[Organization], time: Duration) -> Result<(f64, Samples)> {
    let started = Instant::now();
    let clients = organizations.iter().take(CLIENTS).map(|organization| {
        let (api, organization) = (api.clone(), organization.clone());
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            while started.elapsed() < time {
                let sent = Instant::now();
                create(&api, &organization).await?;
                latencies.push(sent.elapsed());
            }
            anyhow::Ok(latencies)
        })
    });
    let mut latencies = Vec::new();
    for client in futures::future::try_join_all(clients).await? {
        latencies.extend(client?);
    }
    let rate = f64::from(u32::try_from(latencies.len())?) / started.elapsed().as_secs_f64();
    Ok((rate, Samples::new(latencies)))
}
