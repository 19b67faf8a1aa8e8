//! `operations get | list | wait | cancel`.

use std::time::Duration;

use clap::Subcommand;
use supalove_proto::v1::{
    CancelOperationRequest, GetOperationRequest, GetOperationResponse, ListOperationsRequest,
    ListOperationsResponse, Operation, WaitOperationResponse,
    operation_service_client::OperationServiceClient,
};

use super::{Context, required, resolve};
use crate::{error::Error, progress, span, table};

/// Page size.
const PAGE: i32 = 100;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Operations {
    /// Show one operation.
    #[command(visible_alias = "show")]
    Get {
        /// Its id, "opr_…"; or a project, which means its newest operation.
        operation: String,
    },
    /// List a project's operations, newest first.
    #[command(visible_alias = "ls")]
    List {
        /// The project: its name or ref; the chosen one if not given.
        project: Option<String>,
    },
    /// Wait until an operation has ended.
    Wait {
        /// Its id, "opr_…"; or a project, which means its newest operation.
        operation: String,
        /// Stop waiting after this time; the operation continues.
        #[arg(long, value_parser = span::parse_positive, allow_hyphen_values = true, value_name = "TIME")]
        wait_timeout: Option<Duration>,
    },
    /// Cancel an operation and undo it where that is safe: a create becomes a delete, a start a stop.
    Cancel {
        /// Its id, "opr_…"; or a project, which means its newest operation.
        operation: String,
    },
}

pub async fn run(context: &Context, command: Operations) -> Result<(), Error> {
    match command {
        Operations::Get { operation } => get(context, resolve::operation(context, &operation).await?).await,
        Operations::List { project } => {
            list(context, resolve::project(context, project.as_deref()).await?).await
        }
        Operations::Wait { operation, wait_timeout } => {
            wait(context, resolve::operation(context, &operation).await?, wait_timeout).await
        }
        Operations::Cancel { operation } => {
            cancel(context, resolve::operation(context, &operation).await?).await
        }
    }
}

async fn fetch(context: &Context, operation_id: String) -> Result<GetOperationResponse, Error> {
    context
        .client
        .call(GetOperationRequest { operation_id }, |channel, request| async move {
            OperationServiceClient::new(channel).get_operation(request).await
        })
        .await
}

async fn get(context: &Context, operation_id: String) -> Result<(), Error> {
    let answer = fetch(context, operation_id).await?;
    context.output.answer("GetOperationResponse", &answer, |a| one(a.operation.as_ref()))
}

async fn wait(context: &Context, operation_id: String, limit: Option<Duration>) -> Result<(), Error> {
    let operation = required(fetch(context, operation_id).await?.operation, "operation")?;
    let ended = progress::follow(&context.client, &operation, context.quiet, limit).await?;
    let answer = WaitOperationResponse { operation: Some(ended) };
    context.output.answer("WaitOperationResponse", &answer, |a| one(a.operation.as_ref()))
}

async fn cancel(context: &Context, operation_id: String) -> Result<(), Error> {
    let answer = context
        .client
        .call(CancelOperationRequest { operation_id }, |channel, request| async move {
            OperationServiceClient::new(channel).cancel_operation(request).await
        })
        .await?;
    context.output.answer("CancelOperationResponse", &answer, |a| one(a.operation.as_ref()))
}

async fn list(context: &Context, project_ref: String) -> Result<(), Error> {
    let mut all = ListOperationsResponse::default();
    let mut page_token = String::new();
    loop {
        let request = ListOperationsRequest { project_ref: project_ref.clone(), page_size: PAGE, page_token };
        let page = context
            .client
            .call(request, |channel, request| async move {
                OperationServiceClient::new(channel).list_operations(request).await
            })
            .await?;
        all.operations.extend(page.operations);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    context.output.answer("ListOperationsResponse", &all, |all| {
        let rows = all.operations.iter().map(row).collect();
        table::rows(["ID", "KIND", "STATE", "CREATED", "ENDED", "STATUS"], rows, "no operations")
    })
}

fn row(operation: &Operation) -> [String; 6] {
    [
        operation.id.clone(),
        table::operation_kind(operation).into(),
        table::operation_state(operation.state()).into(),
        table::time(operation.create_time.as_ref()),
        table::time(operation.end_time.as_ref()),
        status(operation),
    ]
}

/// Formats an operation.
pub fn one(operation: Option<&Operation>) -> String {
    let operation = operation.cloned().unwrap_or_default();
    table::pairs([
        ("operation", operation.id.clone()),
        ("kind", table::operation_kind(&operation).into()),
        ("project", operation.project_ref.clone()),
        ("state", table::operation_state(operation.state()).into()),
        ("status", status(&operation)),
        ("created", table::time(operation.create_time.as_ref())),
        ("deadline", table::time(operation.deadline.as_ref())),
        ("ended", table::time(operation.end_time.as_ref())),
    ])
}

fn status(operation: &Operation) -> String {
    match &operation.error {
        Some(error) => format!("{}: {}", error.reason, error.message),
        None => operation.status_message.clone(),
    }
}
