//! How much the tables and the controller's memory have grown after many acts.

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use sqlx::PgPool;
use supalove_proto::v1::CreateProjectRequest;

use crate::{
    api::Api,
    arguments::Arguments,
    controller::Controller,
    database::{add_nodes, add_organizations},
    table::{Aim, Table, number},
};

/// Projects on which is acted at once.
const PROJECTS: usize = 16;
/// Nodes, rows without agents.
const NODES: i32 = 1;
/// Tables whose size is printed.
const TABLES: [&str; 6] =
    ["audit_log", "project_events", "operations", "requests", "user_sessions", "refused_calls"];

/// Adds the rows.
pub async fn measure(arguments: &Arguments, table: &mut Table) -> Result<()> {
    let acts = arguments.effort().acts;
    let controller = Controller::start(arguments, "growth", &[]).await?;
    let db = controller.pool().await?;
    let organizations = add_organizations(&db, controller.user, 1).await?;
    add_nodes(&db, NODES).await?;
    let mut projects = Vec::new();
    for number in 0..PROJECTS {
        let request = CreateProjectRequest {
            organization: organizations[0].slug.clone(),
            name: format!("growth-{number}"),
            ..Default::default()
        };
        projects.push(controller.api.create(request).await?.project.context("no project")?.r#ref);
    }
    let before = controller.resident()?.own;
    try_join_all(projects.iter().map(|project| act(controller.api.clone(), project, acts / PROJECTS)))
        .await?;
    let after = controller.resident()?.own;

    let mib = |bytes: i64| f64::from(i32::try_from(bytes / 1024).unwrap_or(i32::MAX)) / 1024.0;
    for name in TABLES {
        let (rows, bytes) = size(&db, name).await?;
        let what = format!("after {acts} acts on {PROJECTS} projects: {name}");
        table.note(what, format!("{rows} rows, {}", number(mib(bytes), "MiB")));
    }
    let most = |name| most(&db, name);
    table.judge("events of one project, at most", most("project_events").await?, "rows", Aim::AtMost(1100.0));
    table.judge("operations of one project, at most", most("operations").await?, "rows", Aim::AtMost(500.0));
    let grown = i64::try_from(after.saturating_sub(before))? * 1024;
    table.judge(
        format!("controller's memory after {acts} acts: growth"),
        mib(grown),
        "MiB",
        Aim::AtMost(64.0),
    );
    controller.end().await
}

/// Deletes and undeletes a project again and again.
async fn act(api: Api, project_ref: &str, acts: usize) -> Result<()> {
    for number in 0..acts {
        if number % 2 == 0 {
            api.delete_for_an_hour(project_ref).await?;
        } else {
            api.undelete(project_ref).await?;
        }
    }
    Ok(())
}

/// Rows and bytes of a table, with its indexes.
async fn size(db: &PgPool, table: &str) -> Result<(i64, i64)> {
    let query = format!("SELECT (SELECT count(*) FROM {table}), pg_total_relation_size('{table}')");
    Ok(sqlx::query_as(sqlx::AssertSqlSafe(query)).fetch_one(db).await?)
}

/// The most rows that a project has in a table.
async fn most(db: &PgPool, table: &str) -> Result<f64> {
    let query = format!(
        "SELECT max(n)::float8 FROM (SELECT count(*) AS n FROM {table} GROUP BY project_ref) AS counts"
    );
    Ok(sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(db).await?)
}
