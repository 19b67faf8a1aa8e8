//! `projects update | resize`: a project's name and its size.

use clap::Args;
use prost_types::FieldMask;
use supalove_proto::v1::{UpdateProjectRequest, project_service_client::ProjectServiceClient};

use super::{ChangeNamed, finish, now, show};
use crate::{
    commands::{Context, resolve},
    error::Error,
    output::clean,
};

/// Arguments of `projects update`: what is not given stays.
#[derive(Debug, Args)]
pub struct Update {
    #[command(flatten)]
    change: ChangeNamed,
    /// Its new name. Nothing restarts.
    #[arg(long)]
    name: Option<String>,
    /// Its new size, e.g. small; `sizes list` shows what each gives.
    #[arg(long)]
    size: Option<String>,
    /// Only if the project still has this etag.
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
}

/// Arguments of `projects resize`.
#[derive(Debug, Args)]
pub struct Resize {
    #[command(flatten)]
    change: ChangeNamed,
    /// Its new size, e.g. small; `sizes list` shows what each gives.
    #[arg(long)]
    size: String,
    /// Only if the project still has this etag.
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
}

pub async fn resize(context: &Context, arguments: Resize) -> Result<(), Error> {
    let Resize { change, size, etag } = arguments;
    update(context, Update { change, name: None, size: Some(size), etag }).await
}

pub async fn update(context: &Context, arguments: Update) -> Result<(), Error> {
    let given = [("name", arguments.name.is_some()), ("size", arguments.size.is_some())];
    let paths: Vec<String> =
        given.iter().filter(|(_, given)| *given).map(|(path, _)| (*path).to_owned()).collect();
    if paths.is_empty() {
        return Err(Error::Usage("what should change? Name it, e.g. --size small".into()));
    }
    let change = arguments.change;
    let project_ref = resolve::project(context, Some(&change.project)).await?;
    let request = UpdateProjectRequest {
        project_ref: project_ref.clone(),
        name: arguments.name.unwrap_or_default(),
        size: arguments.size.unwrap_or_default(),
        update_mask: Some(FieldMask { paths }),
        etag: arguments.etag,
        request_id: change.request_id.get(),
    };
    let mut answer = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).update_project(request).await
        })
        .await?;
    if answer.operation.is_none() {
        return context
            .output
            .answer("UpdateProjectResponse", &answer, |a| show::project(a.project.as_ref()));
    }
    let (operation, words) = finish(context, &project_ref, answer.operation.take(), &change.waiting).await?;
    answer.operation = Some(operation);
    if !change.waiting.no_wait {
        answer.project = Some(now(context, &project_ref).await?);
    }
    let size = answer.project.as_ref().map(|project| project.size.clone()).unwrap_or_default();
    let restarted = match answer.restarted_services.as_slice() {
        [] => "no service restarted".to_owned(),
        names => format!("restarted: {}", names.join(", ")),
    };
    let last = format!("size: {}\n{}\n{words}", clean(&size), clean(&restarted));
    context.output.answer("UpdateProjectResponse", &answer, |_| last)
}
