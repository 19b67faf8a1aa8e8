//! `nodes leftovers|adopt|delete-leftover`: what nodes have of projects that no placement puts there.

use supalove_proto::v1::{
    AdoptLeftoverRequest, DeleteLeftoverRequest, Leftover, ListLeftoversRequest, ListLeftoversResponse,
    ProjectState, leftover_service_client::LeftoverServiceClient,
};

use super::{Context, resolve};
use crate::{confirm, error::Error, table};

/// Page size.
const PAGE: i32 = 100;

pub async fn list(context: &Context, node: &str) -> Result<(), Error> {
    let node_id = resolve::node(context, node).await?;
    let mut all = ListLeftoversResponse::default();
    let mut page_token = String::new();
    loop {
        let request = ListLeftoversRequest { node_id: node_id.clone(), page_size: PAGE, page_token };
        let page = context
            .client
            .call(request, |channel, request| async move {
                LeftoverServiceClient::new(channel).list_leftovers(request).await
            })
            .await?;
        all.leftovers.extend(page.leftovers);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    context.output.answer("ListLeftoversResponse", &all, |all| {
        let rows = all.leftovers.iter().map(row).collect();
        let header = ["PROJECT", "STATE", "GENERATION", "CONTAINERS", "VOLUMES", "FOUND", "WHAT HELPS"];
        table::rows(header, rows, "no leftovers")
    })
}

fn row(one: &Leftover) -> [String; 7] {
    [
        one.project_ref.clone(),
        state(one),
        one.generation.to_string(),
        one.containers.len().to_string(),
        one.volumes.len().to_string(),
        table::time(one.find_time.as_ref()),
        what_helps(one),
    ]
}

/// The project's state, as far as the node's cluster has the project.
fn state(one: &Leftover) -> String {
    match one.project_state() {
        ProjectState::Unspecified => "unknown".to_owned(),
        state => table::project_state(state).to_owned(),
    }
}

fn what_helps(one: &Leftover) -> String {
    if one.delete_request_time.is_some() {
        return match one.delete_error.as_str() {
            "" => format!("is being deleted since {}", table::time(one.delete_request_time.as_ref())),
            error => format!("is to be deleted, but the agent says: {error}"),
        };
    }
    match (one.adoptable, one.deletable) {
        (true, true) => "adopt or delete it".to_owned(),
        (true, false) => "adopt it, or delete the project first".to_owned(),
        (false, true) => format!("delete it; {}", one.not_adoptable_reason),
        (false, false) => one.not_deletable_reason.clone(),
    }
}

pub async fn adopt(context: &Context, node: &str, project_ref: String) -> Result<(), Error> {
    let request = AdoptLeftoverRequest { node_id: resolve::node(context, node).await?, project_ref };
    let answer = context
        .client
        .call_once(request, |channel, request| async move {
            LeftoverServiceClient::new(channel).adopt_leftover(request).await
        })
        .await?;
    context.output.answer("AdoptLeftoverResponse", &answer, |answer| {
        let project = answer.project.clone().unwrap_or_default();
        format!("{} ({}) stands on {} now", project.r#ref, project.name, project.node_name)
    })
}

pub async fn delete(context: &Context, node: &str, project_ref: String, yes: bool) -> Result<(), Error> {
    if !yes {
        let question = "The project's containers, files and volumes on this node are deleted for good, with the data in them.";
        confirm::type_to_confirm(question, &project_ref)?;
    }
    let request = DeleteLeftoverRequest { node_id: resolve::node(context, node).await?, project_ref };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            LeftoverServiceClient::new(channel).delete_leftover(request).await
        })
        .await?;
    context.output.answer("DeleteLeftoverResponse", &answer, |answer| {
        let leftover = answer.leftover.clone().unwrap_or_default();
        format!(
            "the deletion of {} is requested; it is done when `supalove nodes leftovers` no longer lists it",
            leftover.project_ref
        )
    })
}
