//! The commands that change a project. Each starts an operation and waits for it, unless told otherwise. The last line
//! gives the project's new state and the next step.

use supalove_proto::v1::{
    CreateProjectRequest, DeleteProjectRequest, DeleteProjectResponse, Operation, Project, ProjectState,
    RestartProjectRequest, RestartProjectResponse, StartProjectRequest, StartProjectResponse,
    StopProjectRequest, StopProjectResponse, UndeleteProjectRequest, UndeleteProjectResponse,
    UpgradeProjectRequest, UpgradeProjectResponse, project_service_client::ProjectServiceClient,
};

use super::{Change, ChangeNamed, Create, Delete, Start, Upgrade, Waiting, now, show};
use crate::{
    commands::{Context, operations, required, resolve},
    confirm,
    error::Error,
    output::clean,
    progress, span, table,
};

pub async fn create(context: &Context, arguments: Create) -> Result<(), Error> {
    let request = CreateProjectRequest {
        organization: resolve::organization(context, arguments.organization.as_deref()).await?,
        name: arguments.name,
        release: arguments.release,
        cluster: arguments.cluster,
        size: arguments.size,
        request_id: arguments.request_id.get(),
    };
    let mut answer = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).create_project(request).await
        })
        .await?;
    let project_ref = required(answer.project.as_ref(), "project")?.r#ref.clone();
    answer.operation = Some(wait(context, answer.operation, &arguments.waiting).await?);
    if !arguments.waiting.no_wait {
        answer.project = Some(now(context, &project_ref).await?);
    }
    let last = last_words(answer.project.as_ref(), answer.operation.as_ref());
    context.output.answer("CreateProjectResponse", &answer, |answer| {
        let name = answer.project.as_ref().map(handle).unwrap_or_default();
        if arguments.waiting.no_wait {
            return last;
        }
        format!(
            "{last}\n  ref       {project_ref}\n  keys      supalove projects keys {name}\n  database  \
             supalove projects connection {name}"
        )
    })
}

pub async fn start(context: &Context, arguments: Start) -> Result<(), Error> {
    let Start { change: arguments, new_volumes, yes } = arguments;
    let project_ref = arguments.which.resolve(context).await?;
    if !new_volumes.is_empty() && !yes {
        let question = format!(
            "Each of these volumes that is lost is replaced with an EMPTY one: {}.",
            new_volumes.join(", ")
        );
        confirm::type_to_confirm(&question, &project_ref)?;
    }
    let request = StartProjectRequest {
        request_id: arguments.request_id.get(),
        project_ref: project_ref.clone(),
        new_volumes,
    };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).start_project(request).await
        })
        .await?;
    let operation = wait(context, answer.operation, &arguments.waiting).await?;
    let last = ended(context, &project_ref, &operation, &arguments.waiting).await?;
    let answer = StartProjectResponse { operation: Some(operation) };
    context.output.answer("StartProjectResponse", &answer, |_| last)
}

pub async fn stop(context: &Context, arguments: Change) -> Result<(), Error> {
    let project_ref = arguments.which.resolve(context).await?;
    let request =
        StopProjectRequest { request_id: arguments.request_id.get(), project_ref: project_ref.clone() };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).stop_project(request).await
        })
        .await?;
    let operation = wait(context, answer.operation, &arguments.waiting).await?;
    let last = ended(context, &project_ref, &operation, &arguments.waiting).await?;
    let answer = StopProjectResponse { operation: Some(operation) };
    context.output.answer("StopProjectResponse", &answer, |_| last)
}

pub async fn restart(context: &Context, arguments: Change) -> Result<(), Error> {
    let project_ref = arguments.which.resolve(context).await?;
    let request =
        RestartProjectRequest { request_id: arguments.request_id.get(), project_ref: project_ref.clone() };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).restart_project(request).await
        })
        .await?;
    let operation = wait(context, answer.operation, &arguments.waiting).await?;
    let last = ended(context, &project_ref, &operation, &arguments.waiting).await?;
    let answer = RestartProjectResponse { operation: Some(operation) };
    context.output.answer("RestartProjectResponse", &answer, |_| last)
}

pub async fn upgrade(context: &Context, arguments: Upgrade) -> Result<(), Error> {
    let change = arguments.change;
    let project_ref = resolve::project(context, Some(&change.project)).await?;
    let from = now(context, &project_ref).await?.release;
    let request = UpgradeProjectRequest {
        request_id: change.request_id.get(),
        project_ref: project_ref.clone(),
        release: arguments.release,
    };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).upgrade_project(request).await
        })
        .await?;
    let operation = wait(context, answer.operation, &change.waiting).await?;
    let mut last = ended(context, &project_ref, &operation, &change.waiting).await?;
    if context.output.is_text() && !change.waiting.no_wait {
        let project = now(context, &project_ref).await?;
        last = format!(
            "{} was upgraded from {} to {}\n{last}",
            handle(&project),
            clean(&from),
            clean(&project.release)
        );
    }
    let answer = UpgradeProjectResponse { operation: Some(operation) };
    context.output.answer("UpgradeProjectResponse", &answer, |_| last)
}

pub async fn delete(context: &Context, arguments: Delete) -> Result<(), Error> {
    let change = arguments.change;
    let project_ref = resolve::project(context, Some(&change.project)).await?;
    if !arguments.yes {
        let question = if arguments.undo_window.is_some_and(|window| window.is_zero()) {
            "This deletes the project and its data at once."
        } else {
            "This stops the project and deletes its data when the undo window ends."
        };
        confirm::type_to_confirm(question, &change.project)?;
    }
    let request = DeleteProjectRequest {
        request_id: change.request_id.get(),
        project_ref: project_ref.clone(),
        undo_window: arguments.undo_window.map(span::to_proto),
    };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).delete_project(request).await
        })
        .await?;
    let operation = wait(context, answer.operation, &change.waiting).await?;
    let last = ended(context, &project_ref, &operation, &change.waiting).await?;
    let answer = DeleteProjectResponse { operation: Some(operation) };
    context.output.answer("DeleteProjectResponse", &answer, |_| last)
}

pub async fn undelete(context: &Context, arguments: ChangeNamed) -> Result<(), Error> {
    let project_ref = resolve::project(context, Some(&arguments.project)).await?;
    let request =
        UndeleteProjectRequest { request_id: arguments.request_id.get(), project_ref: project_ref.clone() };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).undelete_project(request).await
        })
        .await?;
    let operation = wait(context, answer.operation, &arguments.waiting).await?;
    let last = ended(context, &project_ref, &operation, &arguments.waiting).await?;
    let answer = UndeleteProjectResponse { operation: Some(operation) };
    context.output.answer("UndeleteProjectResponse", &answer, |_| last)
}

/// Returns the ended operation, or the current one if the caller does not wait.
pub(super) async fn wait(
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

/// Prints the last line of a command on an existing project. JSON output needs no further call.
pub(super) async fn ended(
    context: &Context,
    project_ref: &str,
    operation: &Operation,
    waiting: &Waiting,
) -> Result<String, Error> {
    if !context.output.is_text() {
        return Ok(String::new());
    }
    let project = if waiting.no_wait { None } else { Some(now(context, project_ref).await?) };
    Ok(last_words(project.as_ref(), Some(operation)))
}

/// Formats the end state with the next step. Without a project, or while its state still changes: the operation.
fn last_words(project: Option<&Project>, operation: Option<&Operation>) -> String {
    let Some(project) = project else {
        return going_on(operation);
    };
    let name = handle(project);
    let words = match project.state() {
        ProjectState::ActiveHealthy => match show::api_address(project) {
            Some(address) => format!("{name} is up: {address}"),
            None => format!("{name} is up"),
        },
        ProjectState::Inactive => format!("{name} is stopped; its data is kept"),
        ProjectState::GoingDown if project.purge_time.is_some() => format!(
            "{name} is deleted; its data is kept until {}\nundo with: supalove projects undelete {name}",
            table::time(project.purge_time.as_ref())
        ),
        ProjectState::Removed => format!("{name} is deleted, with its data"),
        _ => return going_on(operation),
    };
    words.lines().map(clean).collect::<Vec<_>>().join("\n")
}

/// Formats an operation that has not ended, and how to follow it.
fn going_on(operation: Option<&Operation>) -> String {
    let shown = operations::one(operation);
    match operation {
        Some(operation) if operation.end_time.is_none() => {
            format!("{shown}\nfollow it with: supalove operations wait {}", clean(&operation.id))
        }
        _ => shown,
    }
}

/// Returns the project's name for a command line if it is one shell word, else its ref.
pub(super) fn handle(project: &Project) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let name = &project.name;
    let usable = !name.is_empty() && !name.starts_with('-') && name.chars().all(plain);
    if usable { name.clone() } else { project.r#ref.clone() }
}

#[cfg(test)]
mod tests {
    use supalove_proto::v1::{Endpoint, EndpointScheme};

    use super::*;

    fn project(state: ProjectState) -> Project {
        let gateway = Endpoint {
            service: "gateway".into(),
            scheme: EndpointScheme::Http.into(),
            host: "127.0.0.1".into(),
            port: 5500,
            ..Default::default()
        };
        Project { name: "demo".into(), state: state.into(), endpoints: vec![gateway], ..Default::default() }
    }

    #[test]
    fn the_last_words_are_the_end_state() {
        let said = |state| last_words(Some(&project(state)), None);
        assert_eq!(said(ProjectState::ActiveHealthy), "demo is up: http://127.0.0.1:5500");
        assert_eq!(said(ProjectState::Inactive), "demo is stopped; its data is kept");
        assert_eq!(said(ProjectState::Removed), "demo is deleted, with its data");
        let purge_time = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
        let deleted = Project { purge_time, ..project(ProjectState::GoingDown) };
        assert_eq!(
            last_words(Some(&deleted), None),
            "demo is deleted; its data is kept until 2023-11-14 22:13:20Z\n\
             undo with: supalove projects undelete demo"
        );
    }

    #[test]
    fn a_name_that_a_shell_would_split_is_replaced_by_the_ref() {
        let odd = Project { name: "a b".into(), r#ref: "abc".into(), ..Default::default() };
        assert_eq!(handle(&odd), "abc");
    }
}
