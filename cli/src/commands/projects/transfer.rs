//! `projects transfer`: another organization gets a project. Says first what that changes, and asks.

use clap::Args;
use supalove_proto::v1::{
    PreviewTransferRequest, PreviewTransferResponse, Role, TransferLimit, TransferMember,
    TransferProjectRequest, project_service_client::ProjectServiceClient,
};

use super::show;
use crate::{
    args::RequestId,
    commands::{Context, entitlements, resolve},
    confirm,
    error::Error,
    output::clean,
    table,
};

/// Arguments of `projects transfer`.
#[derive(Debug, Args)]
pub struct Transfer {
    /// The project: its name, ORGANIZATION/NAME, its ref or the beginning of it.
    project: String,
    /// The organization that gets it: its slug or name.
    #[arg(long, value_name = "ORGANIZATION")]
    to: String,
    /// Only say what would change, and what is in the way.
    #[arg(long)]
    dry_run: bool,
    /// Neither show what changes nor ask.
    #[arg(long, short, conflicts_with = "dry_run")]
    yes: bool,
    /// Only if the project still has this etag. Default: that of what is shown.
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
    #[command(flatten)]
    request_id: RequestId,
}

pub async fn transfer(context: &Context, arguments: Transfer) -> Result<(), Error> {
    let project_ref = resolve::project(context, Some(&arguments.project)).await?;
    let target_organization = resolve::organization(context, Some(&arguments.to)).await?;
    let mut etag = arguments.etag;
    if arguments.dry_run || !arguments.yes {
        let request = PreviewTransferRequest {
            project_ref: project_ref.clone(),
            target_organization: target_organization.clone(),
        };
        let preview = context
            .client
            .call(request, |channel, request| async move {
                ProjectServiceClient::new(channel).preview_transfer(request).await
            })
            .await?;
        if arguments.dry_run {
            return context.output.answer("PreviewTransferResponse", &preview, text);
        }
        eprintln!("{}", text(&preview));
        // The API refuses with the first of the obstacles.
        if preview.obstacles.is_empty() {
            let question = format!("{} gets the project.", clean(&preview.target_organization));
            confirm::type_to_confirm(&question, &arguments.project)?;
        }
        if etag.is_empty() {
            etag = preview.etag;
        }
    }
    let request = TransferProjectRequest {
        project_ref,
        target_organization,
        etag,
        request_id: arguments.request_id.get(),
    };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).transfer_project(request).await
        })
        .await?;
    context.output.answer("TransferProjectResponse", &answer, |a| show::project(a.project.as_ref()))
}

/// What a transfer changes, for people.
fn text(preview: &PreviewTransferResponse) -> String {
    let source = clean(&preview.source_organization);
    let target = clean(&preview.target_organization);
    let mut parts = vec![format!("from {source} to {target}")];
    if !preview.obstacles.is_empty() {
        let lines = preview.obstacles.iter().map(|one| one.message.as_str());
        parts.push(list("in the way", lines));
    }
    let limits = preview.limits.iter().map(limit).collect();
    parts.push(table::rows(["LIMIT", &source, &target, "IN USE THERE"], limits, "no limits"));
    let members = preview.members.iter().map(member).collect();
    parts.push(table::rows(["MEMBER", &source, &target], members, "the members of both have the same roles"));
    let shown = u32::try_from(preview.members.len()).unwrap_or(u32::MAX);
    if preview.members_total > shown {
        parts.push(format!("and {} more people", preview.members_total - shown));
    }
    parts.push(list("changes", preview.changes.iter().map(String::as_str)));
    parts.push(list("stays", preview.stays.iter().map(String::as_str)));
    parts.join("\n\n")
}

fn list<'a>(title: &str, lines: impl Iterator<Item = &'a str>) -> String {
    let lines: Vec<String> = lines.map(|line| format!("- {}", clean(line))).collect();
    format!("{title}:\n{}", lines.join("\n"))
}

fn limit(one: &TransferLimit) -> [String; 4] {
    let entitlement = one.entitlement();
    let used = match (one.used, one.over) {
        (Some(used), true) => format!("{used}, over the limit"),
        (Some(used), false) => used.to_string(),
        (None, _) => "not measured".to_owned(),
    };
    [
        table::short(entitlement.as_str_name(), "ENTITLEMENT_").to_ascii_lowercase().replace('_', "-"),
        entitlements::value(entitlement, one.source.as_ref()),
        entitlements::value(entitlement, one.target.as_ref()),
        used,
    ]
}

fn member(one: &TransferMember) -> [String; 3] {
    let role = |role: Role| match role {
        Role::Unspecified => "no access".to_owned(),
        role => table::short(role.as_str_name(), "ROLE_").to_ascii_lowercase().replace('_', "-"),
    };
    [one.email.clone(), role(one.source_role()), role(one.target_role())]
}
