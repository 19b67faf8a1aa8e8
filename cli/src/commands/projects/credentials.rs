//! `projects reset-database-password | rotate-jwt-secret`.

use clap::Args;
use supalove_proto::v1::{
    ResetDatabasePasswordRequest, RotateJwtSecretRequest, RotateJwtSecretResponse,
    project_service_client::ProjectServiceClient,
};

use super::{ChangeNamed, change::handle, finish, now};
use crate::{
    commands::{Context, resolve},
    confirm,
    error::Error,
    output::clean,
};

/// Arguments of `projects reset-database-password`.
#[derive(Debug, Args)]
pub struct Reset {
    #[command(flatten)]
    change: ChangeNamed,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

/// Arguments of `projects rotate-jwt-secret`.
#[derive(Debug, Args)]
pub struct Rotate {
    #[command(flatten)]
    change: ChangeNamed,
    /// Only say what would stop working.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long, short, conflicts_with = "dry_run")]
    yes: bool,
}

pub async fn reset(context: &Context, arguments: Reset) -> Result<(), Error> {
    let change = arguments.change;
    let project_ref = resolve::project(context, Some(&change.project)).await?;
    if !arguments.yes {
        let question = "The database restarts, and nobody can sign in to it with the old password.";
        confirm::type_to_confirm(question, &change.project)?;
    }
    let request = ResetDatabasePasswordRequest {
        project_ref: project_ref.clone(),
        request_id: change.request_id.get(),
    };
    let mut answer = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).reset_database_password(request).await
        })
        .await?;
    let (operation, words) = finish(context, &project_ref, answer.operation.take(), &change.waiting).await?;
    answer.operation = Some(operation);
    let last = if change.waiting.no_wait || !context.output.is_text() {
        words
    } else {
        let name = handle(&now(context, &project_ref).await?);
        format!("{words}\nshow the password with: supalove projects connection {name} --reveal")
    };
    context.output.answer("ResetDatabasePasswordResponse", &answer, |_| last)
}

pub async fn rotate(context: &Context, arguments: Rotate) -> Result<(), Error> {
    let change = arguments.change;
    let project_ref = resolve::project(context, Some(&change.project)).await?;
    if arguments.dry_run || !arguments.yes {
        let preview = call(context, &project_ref, "", String::new()).await?;
        if arguments.dry_run {
            return context.output.answer("RotateJwtSecretResponse", &preview, consequences);
        }
        eprintln!("{}", consequences(&preview));
        confirm::type_to_confirm("This cannot be undone.", &change.project)?;
    }
    let mut answer = call(context, &project_ref, &project_ref, change.request_id.get()).await?;
    let (operation, words) = finish(context, &project_ref, answer.operation.take(), &change.waiting).await?;
    answer.operation = Some(operation);
    let last = if change.waiting.no_wait || !context.output.is_text() {
        words
    } else {
        let name = handle(&now(context, &project_ref).await?);
        format!("{words}\nshow the new keys with: supalove projects keys {name} --reveal")
    };
    context.output.answer("RotateJwtSecretResponse", &answer, |_| last)
}

async fn call(
    context: &Context,
    project_ref: &str,
    confirm: &str,
    request_id: String,
) -> Result<RotateJwtSecretResponse, Error> {
    let request = RotateJwtSecretRequest {
        project_ref: project_ref.to_owned(),
        confirm: confirm.to_owned(),
        request_id,
    };
    context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).rotate_jwt_secret(request).await
        })
        .await
}

fn consequences(answer: &RotateJwtSecretResponse) -> String {
    let mut lines: Vec<String> =
        answer.stops_working.iter().map(|line| format!("- {}", clean(line))).collect();
    lines.push(format!("- These services restart: {}.", clean(&answer.restarted_services.join(", "))));
    lines.join("\n")
}
