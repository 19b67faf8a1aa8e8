//! `sizes list | update`: what each size gives a project's database, as data that the operator edits.

use clap::{Args, Subcommand};
use prost_types::FieldMask;
use supalove_proto::v1::{
    ListProjectSizesRequest, ListProjectSizesResponse, ProjectSize, UpdateProjectSizeRequest,
    plan_service_client::PlanServiceClient,
};

use super::Context;
use crate::{error::Error, table};

/// Page size.
const PAGE: i32 = 100;
const HEADER: [&str; 6] = ["SIZE", "CPU", "MEMORY", "DISK", "CONNECTIONS", "PLANS"];

/// The commands about sizes.
#[derive(Debug, Subcommand)]
pub enum Sizes {
    /// List the sizes, smallest first: what each reserves for a project's database, and the plans that allow it.
    #[command(visible_alias = "ls")]
    List,
    /// Change what a size gives; projects keep what they have until they are resized. For the operator.
    Update(Update),
}

/// Arguments of `sizes update`: what is not given stays.
#[derive(Debug, Args)]
pub struct Update {
    /// Name of the size, e.g. small.
    size: String,
    /// Thousandths of a core that are reserved.
    #[arg(long, value_name = "MILLIS")]
    cpu_millis: Option<u32>,
    /// MiB of memory that are reserved.
    #[arg(long, value_name = "MIB")]
    memory_mib: Option<u32>,
    /// MiB of the database's volumes.
    #[arg(long, value_name = "MIB")]
    disk_mib: Option<u32>,
    /// Connections that the project's own roles may have together.
    #[arg(long, value_name = "NUMBER")]
    connections: Option<u32>,
    /// Why; the audit log keeps it.
    #[arg(long)]
    reason: String,
    /// Only if the size still has this etag.
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
}

pub async fn run(context: &Context, command: Sizes) -> Result<(), Error> {
    match command {
        Sizes::List => {
            let all = all(context).await?;
            context.output.answer("ListProjectSizesResponse", &all, |all| {
                table::rows(HEADER, all.sizes.iter().map(row).collect(), "no sizes")
            })
        }
        Sizes::Update(update) => change(context, update).await,
    }
}

async fn all(context: &Context) -> Result<ListProjectSizesResponse, Error> {
    let mut all = ListProjectSizesResponse::default();
    let mut page_token = String::new();
    loop {
        let page = context
            .client
            .call(ListProjectSizesRequest { page_size: PAGE, page_token }, |channel, request| async move {
                PlanServiceClient::new(channel).list_project_sizes(request).await
            })
            .await?;
        all.sizes.extend(page.sizes);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

async fn change(context: &Context, update: Update) -> Result<(), Error> {
    let given = [
        ("cpu_millis", update.cpu_millis.is_some()),
        ("memory_mib", update.memory_mib.is_some()),
        ("disk_mib", update.disk_mib.is_some()),
        ("connections", update.connections.is_some()),
    ];
    let paths: Vec<String> =
        given.iter().filter(|(_, given)| *given).map(|(path, _)| (*path).to_owned()).collect();
    if paths.is_empty() {
        return Err(Error::Usage("what should change? Name it, e.g. --memory-mib 2048".into()));
    }
    let request = UpdateProjectSizeRequest {
        size: update.size,
        cpu_millis: update.cpu_millis.unwrap_or_default(),
        memory_mib: update.memory_mib.unwrap_or_default(),
        disk_mib: update.disk_mib.unwrap_or_default(),
        connections: update.connections.unwrap_or_default(),
        reason: update.reason,
        etag: update.etag,
        update_mask: Some(FieldMask { paths }),
    };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            PlanServiceClient::new(channel).update_project_size(request).await
        })
        .await?;
    context.output.answer("UpdateProjectSizeResponse", &answer, |answer| {
        table::rows(HEADER, answer.size.iter().map(row).collect(), "no size")
    })
}

fn row(size: &ProjectSize) -> [String; 6] {
    [
        size.name.clone(),
        format!("{} millis", size.cpu_millis),
        format!("{} MiB", size.memory_mib),
        format!("{} MiB", size.disk_mib),
        size.connections.to_string(),
        size.plans.join(","),
    ]
}
