//! The commands that change a project. Each starts an operation and, unless told otherwise, waits for it.

use supalove_proto::v1::{
    CreateProjectRequest, DeleteProjectRequest, DeleteProjectResponse, Operation, RestartProjectRequest,
    RestartProjectResponse, StartProjectRequest, StartProjectResponse, StopProjectRequest,
    StopProjectResponse, UndeleteProjectRequest, UndeleteProjectResponse,
    project_service_client::ProjectServiceClient,
};

use super::{Change, Create, Delete, Waiting, show};
use crate::{
    commands::{Context, operations, required},
    confirm,
    error::Error,
    progress, span,
};

pub async fn create(context: &Context, arguments: Create) -> Result<(), Error> {
    let request = CreateProjectRequest {
        organization: arguments.organization,
        name: arguments.name,
        release: arguments.release,
        cluster: arguments.cluster,
        request_id: arguments.request_id.get(),
    };
    let mut answer = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).create_project(request).await
        })
        .await?;
    let project_ref = required(answer.project.as_ref(), "project")?.r#ref.clone();
    if !context.quiet {
        eprintln!("project {project_ref}");
    }
    answer.operation = Some(wait(context, answer.operation, &arguments.waiting).await?);
    if !arguments.waiting.no_wait {
        answer.project = super::fetch(context, project_ref).await?.project;
    }
    context.output.answer("CreateProjectResponse", &answer, |answer| {
        let operation = operations::one(answer.operation.as_ref());
        format!("{}\n\n{operation}", show::project(answer.project.as_ref()).trim_end())
    })
}

pub async fn start(context: &Context, arguments: Change) -> Result<(), Error> {
    let request =
        StartProjectRequest { request_id: arguments.request_id.get(), project_ref: arguments.project };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).start_project(request).await
        })
        .await?;
    let operation = Some(wait(context, answer.operation, &arguments.waiting).await?);
    let answer = StartProjectResponse { operation };
    context.output.answer("StartProjectResponse", &answer, |a| operations::one(a.operation.as_ref()))
}

pub async fn stop(context: &Context, arguments: Change) -> Result<(), Error> {
    let request =
        StopProjectRequest { request_id: arguments.request_id.get(), project_ref: arguments.project };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).stop_project(request).await
        })
        .await?;
    let operation = Some(wait(context, answer.operation, &arguments.waiting).await?);
    let answer = StopProjectResponse { operation };
    context.output.answer("StopProjectResponse", &answer, |a| operations::one(a.operation.as_ref()))
}

pub async fn restart(context: &Context, arguments: Change) -> Result<(), Error> {
    let request =
        RestartProjectRequest { request_id: arguments.request_id.get(), project_ref: arguments.project };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).restart_project(request).await
        })
        .await?;
    let operation = Some(wait(context, answer.operation, &arguments.waiting).await?);
    let answer = RestartProjectResponse { operation };
    context.output.answer("RestartProjectResponse", &answer, |a| operations::one(a.operation.as_ref()))
}

pub async fn delete(context: &Context, arguments: Delete) -> Result<(), Error> {
    let change = arguments.change;
    if !arguments.yes {
        let question = if arguments.undo_window.is_zero() {
            "This deletes the project and its data at once."
        } else {
            "This stops the project and deletes its data when the undo window ends."
        };
        confirm::type_to_confirm(question, &change.project)?;
    }
    let request = DeleteProjectRequest {
        request_id: change.request_id.get(),
        project_ref: change.project,
        undo_window: Some(span::to_proto(arguments.undo_window)),
    };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).delete_project(request).await
        })
        .await?;
    let operation = Some(wait(context, answer.operation, &change.waiting).await?);
    let answer = DeleteProjectResponse { operation };
    context.output.answer("DeleteProjectResponse", &answer, |a| operations::one(a.operation.as_ref()))
}

pub async fn undelete(context: &Context, arguments: Change) -> Result<(), Error> {
    let request =
        UndeleteProjectRequest { request_id: arguments.request_id.get(), project_ref: arguments.project };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).undelete_project(request).await
        })
        .await?;
    let operation = Some(wait(context, answer.operation, &arguments.waiting).await?);
    let answer = UndeleteProjectResponse { operation };
    context.output.answer("UndeleteProjectResponse", &answer, |a| operations::one(a.operation.as_ref()))
}

/// The operation at its end, or as it is if the caller does not wait.
async fn wait(
    context: &Context,
    operation: Option<Operation>,
    waiting: &Waiting,
) -> Result<Operation, Error> {
    let operation = required(operation, "operation")?;
    if waiting.no_wait {
        return Ok(operation);
    }
    progress::follow(&context.client, &operation, context.quiet, waiting.wait_timeout).await
}
