//! Resident memory of both programs at rest: joined, with a session, without a project.

use anyhow::Result;

use crate::{
    agent::Agent,
    arguments::Arguments,
    controller::Controller,
    process::Resident,
    stack::ENGINE,
    table::{Aim, Table, number},
};

/// Adds the rows.
pub async fn measure(arguments: &Arguments, table: &mut Table) -> Result<()> {
    let controller = Controller::start(arguments, "memory", &[]).await?;
    let token = controller.api.join_token().await?;
    let mut agent = Agent::start(arguments, "memory", &controller.node_address, &token, ENGINE).await?;
    agent.wait_ready(&controller.api).await?;
    tokio::time::sleep(arguments.effort().rest).await;
    row(table, "agent at rest: resident memory", agent.resident()?, 25.0);
    row(table, "controller at rest, one node: resident memory", controller.resident()?, 60.0);
    agent.end().await?;
    controller.end().await
}

fn row(table: &mut Table, name: &str, resident: Resident, limit: f64) {
    let mib = |kib: u64| f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) * 1024.0 / 1_000_000.0;
    table.judge(name, mib(resident.all), "MB", Aim::AtMost(limit));
    table.note(format!("{name}, without the program's own pages"), number(mib(resident.own), "MB"));
}
