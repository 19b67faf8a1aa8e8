//! `entitlements get | set | clear`: what an organization may use, and how much it uses.

use clap::{Args, Subcommand, ValueEnum};
use supalove_proto::v1::{
    ClearEntitlementRequest, Entitlement, EntitlementValue, Entitlements, GetEntitlementsRequest,
    OrganizationEntitlement, ProjectSizes, SetEntitlementRequest, entitlement_value::Kind,
    plan_service_client::PlanServiceClient,
};

use super::{Context, plans, resolve};
use crate::{error::Error, table};

/// The commands about entitlements.
#[derive(Debug, Subcommand)]
pub enum EntitlementCommands {
    /// Show each limit, where it comes from, and how much is in use.
    #[command(visible_aliases = ["show", "list", "ls"])]
    Get {
        #[command(flatten)]
        place: InOrganization,
    },
    /// Override one limit of an organization. For the operator.
    Set {
        /// What is limited.
        entitlement: Name,
        /// The limit: a number, yes or no for private-clusters, names like nano,micro for project-sizes.
        value: String,
        /// Why; the organization's members see it.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        place: InOrganization,
    },
    /// Take an override back: the plan's limit counts again. For the operator.
    Clear {
        /// What is limited.
        entitlement: Name,
        /// Why; the audit log keeps it.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        place: InOrganization,
    },
}

/// Whose entitlements.
#[derive(Debug, Args)]
pub struct InOrganization {
    /// Slug or name. Default: that of `supalove use`, or the only one.
    #[arg(long)]
    organization: Option<String>,
}

/// Something that a plan limits, as people write it.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Name {
    /// Number of projects.
    Projects,
    /// Size of a project's database in MiB.
    DatabaseSize,
    /// Size of a project's files in MiB.
    StorageSize,
    /// Number of function invocations in a month.
    FunctionInvocations,
    /// Number of members.
    Members,
    /// Sizes that a project may have.
    ProjectSizes,
    /// Whether the organization may have private clusters.
    PrivateClusters,
    /// Days for which backups are kept.
    BackupDays,
    /// Days for which logs are kept.
    LogDays,
}

impl From<Name> for Entitlement {
    fn from(name: Name) -> Self {
        match name {
            Name::Projects => Self::Projects,
            Name::DatabaseSize => Self::DatabaseSize,
            Name::StorageSize => Self::StorageSize,
            Name::FunctionInvocations => Self::FunctionInvocations,
            Name::Members => Self::Members,
            Name::ProjectSizes => Self::ProjectSizes,
            Name::PrivateClusters => Self::PrivateClusters,
            Name::BackupDays => Self::BackupDays,
            Name::LogDays => Self::LogDays,
        }
    }
}

pub async fn run(context: &Context, command: EntitlementCommands) -> Result<(), Error> {
    match command {
        EntitlementCommands::Get { place } => get(context, organization(context, &place).await?).await,
        EntitlementCommands::Set { entitlement, value, reason, place } => {
            let value = Some(EntitlementValue { kind: Some(kind(entitlement, &value)?) });
            let organization = organization(context, &place).await?;
            let entitlement = Entitlement::from(entitlement).into();
            let etag = String::new();
            set(context, SetEntitlementRequest { organization, entitlement, value, reason, etag }).await
        }
        EntitlementCommands::Clear { entitlement, reason, place } => {
            let organization = organization(context, &place).await?;
            let entitlement = Entitlement::from(entitlement).into();
            let etag = String::new();
            clear(context, ClearEntitlementRequest { organization, entitlement, reason, etag }).await
        }
    }
}

async fn organization(context: &Context, place: &InOrganization) -> Result<String, Error> {
    resolve::organization(context, place.organization.as_deref()).await
}

/// Reads a limit in the form that the entitlement has.
fn kind(name: Name, text: &str) -> Result<Kind, Error> {
    match name {
        Name::PrivateClusters => match text {
            "yes" | "true" => Ok(Kind::Allowed(true)),
            "no" | "false" => Ok(Kind::Allowed(false)),
            _ => Err(Error::Usage("private-clusters is yes or no".into())),
        },
        Name::ProjectSizes => {
            let names = text.split(',').map(|size| size.trim().to_owned()).collect();
            Ok(Kind::Sizes(ProjectSizes { names }))
        }
        _ => text.parse().map(Kind::Number).map_err(|_| Error::Usage(format!("{text:?} is not a number"))),
    }
}

async fn get(context: &Context, organization: String) -> Result<(), Error> {
    let answer = context
        .client
        .call(GetEntitlementsRequest { organization }, |channel, request| async move {
            PlanServiceClient::new(channel).get_entitlements(request).await
        })
        .await?;
    context.output.answer("GetEntitlementsResponse", &answer, |answer| text(answer.entitlements.as_ref()))
}

async fn set(context: &Context, request: SetEntitlementRequest) -> Result<(), Error> {
    let answer = context
        .client
        .call(request, |channel, request| async move {
            PlanServiceClient::new(channel).set_entitlement(request).await
        })
        .await?;
    context.output.answer("SetEntitlementResponse", &answer, |answer| text(answer.entitlements.as_ref()))
}

async fn clear(context: &Context, request: ClearEntitlementRequest) -> Result<(), Error> {
    let answer = context
        .client
        .call(request, |channel, request| async move {
            PlanServiceClient::new(channel).clear_entitlement(request).await
        })
        .await?;
    context.output.answer("ClearEntitlementResponse", &answer, |answer| text(answer.entitlements.as_ref()))
}

/// Formats what an organization may use.
pub fn text(entitlements: Option<&Entitlements>) -> String {
    let held = entitlements.cloned().unwrap_or_default();
    let plan = held.plan.clone().unwrap_or_default();
    let summary = table::pairs([
        ("organization", held.organization.clone()),
        ("plan", format!("{} ({} a month)", plan.name, plans::price(&plan))),
        ("since", table::time(held.assign_time.as_ref())),
        ("because", held.plan_reason.clone()),
    ]);
    let rows = held.entitlements.iter().map(row).collect();
    let table = table::rows(["ENTITLEMENT", "LIMIT", "IN USE", "FROM"], rows, "no entitlements");
    format!("{summary}\n\n{table}")
}

fn row(one: &OrganizationEntitlement) -> [String; 4] {
    [
        table::short(one.entitlement().as_str_name(), "ENTITLEMENT_").to_ascii_lowercase().replace('_', "-"),
        limit(one),
        used(one),
        one.r#override.as_ref().map_or_else(|| "plan".to_owned(), |why| format!("override: {}", why.reason)),
    ]
}

fn used(one: &OrganizationEntitlement) -> String {
    match (one.entitlement(), one.used) {
        (_, Some(used)) => used.to_string(),
        (Entitlement::DatabaseSize | Entitlement::StorageSize, None) => "see `usage project`".to_owned(),
        _ => "not measured yet".to_owned(),
    }
}

fn limit(one: &OrganizationEntitlement) -> String {
    value(one.entitlement(), one.limit.as_ref())
}

/// Formats a limit with its unit.
pub fn value(entitlement: Entitlement, limit: Option<&EntitlementValue>) -> String {
    let unit = match entitlement {
        Entitlement::DatabaseSize | Entitlement::StorageSize => " MiB",
        Entitlement::BackupDays | Entitlement::LogDays => " days",
        Entitlement::FunctionInvocations => " a month",
        _ => "",
    };
    match limit.and_then(|limit| limit.kind.as_ref()) {
        Some(Kind::Number(number)) => format!("{number}{unit}"),
        Some(Kind::Allowed(allowed)) => table::yes_or_no(*allowed).to_owned(),
        Some(Kind::Sizes(sizes)) => sizes.names.join(","),
        None => String::new(),
    }
}
