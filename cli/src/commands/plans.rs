//! `plans list | update | assign`: what organizations may use, as data that the operator edits.

use clap::{Args, Subcommand, ValueEnum};
use prost_types::FieldMask;
use supalove_proto::v1::{
    AssignPlanRequest, ListPlansRequest, ListPlansResponse, Plan, PlanLimits, SizeAction, UpdatePlanRequest,
    plan_service_client::PlanServiceClient,
};

use super::{Context, entitlements, resolve};
use crate::{error::Error, table};

/// Page size.
const PAGE: i32 = 100;

/// The commands about plans.
#[derive(Debug, Subcommand)]
pub enum Plans {
    /// List the plans, ordered by price.
    #[command(visible_alias = "ls")]
    List,
    /// Change a plan; its organizations have the new limits at once. For the operator.
    Update(Box<Update>),
    /// Give an organization a plan. For the operator.
    Assign {
        /// Name of the plan, e.g. pro.
        plan: String,
        /// Why; the organization's members see it.
        #[arg(long)]
        reason: String,
        /// Slug or name. Default: that of `supalove use`, or the only one.
        #[arg(long)]
        organization: Option<String>,
    },
}

/// Arguments of `plans update`: what is not given stays.
#[derive(Debug, Args)]
pub struct Update {
    /// Name of the plan, e.g. pro.
    plan: String,
    /// New display name.
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// Price of a month, e.g. 25 or 9.90.
    #[arg(long, value_parser = cents, value_name = "PRICE")]
    price: Option<u64>,
    /// Maximum number of projects of an organization.
    #[arg(long, value_name = "NUMBER")]
    projects: Option<u64>,
    /// Maximum size of a project's database in MiB.
    #[arg(long, value_name = "MIB")]
    database_mib: Option<u64>,
    /// Maximum size of a project's files in MiB.
    #[arg(long, value_name = "MIB")]
    storage_mib: Option<u64>,
    /// Maximum number of function invocations of an organization in a month.
    #[arg(long, value_name = "NUMBER")]
    function_invocations: Option<u64>,
    /// Maximum number of members of an organization.
    #[arg(long, value_name = "NUMBER")]
    members: Option<u64>,
    /// Sizes that a project may have, e.g. nano,micro.
    #[arg(long, value_delimiter = ',', value_name = "SIZES")]
    project_sizes: Option<Vec<String>>,
    /// Whether an organization may have private clusters.
    #[arg(long, value_name = "true|false")]
    private_clusters: Option<bool>,
    /// Days for which backups are kept.
    #[arg(long, value_name = "DAYS")]
    backup_days: Option<u64>,
    /// Days for which logs are kept.
    #[arg(long, value_name = "DAYS")]
    log_days: Option<u64>,
    /// What happens to a project whose database is as large as the plan allows: its organization is told, and the database may become
    /// read-only.
    #[arg(long, value_name = "ACTION")]
    at_size_limit: Option<AtSizeLimit>,
    /// New organizations get this plan.
    #[arg(long)]
    default: bool,
}

/// See [`SizeAction`].
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum AtSizeLimit {
    /// Tell the organization.
    Notify,
    /// Make the database read-only, too.
    ReadOnly,
}

impl From<AtSizeLimit> for SizeAction {
    fn from(choice: AtSizeLimit) -> Self {
        match choice {
            AtSizeLimit::Notify => Self::Notify,
            AtSizeLimit::ReadOnly => Self::ReadOnly,
        }
    }
}

/// Reads a price: at most two digits behind the point.
fn cents(text: &str) -> Result<u64, String> {
    let wrong = || "must be a price like 25 or 9.90".to_owned();
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 2 {
        return Err(wrong());
    }
    let hundreds = whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(100));
    let part = format!("{part:0<2}").parse::<u64>().map_err(|_| wrong())?;
    hundreds.and_then(|hundreds| hundreds.checked_add(part)).ok_or_else(wrong)
}

pub async fn run(context: &Context, command: Plans) -> Result<(), Error> {
    match command {
        Plans::List => {
            let all = all(context).await?;
            context.output.answer("ListPlansResponse", &all, |all| {
                let rows = all.plans.iter().map(row).collect();
                table::rows(
                    [
                        "PLAN",
                        "PRICE",
                        "PROJECTS",
                        "MEMBERS",
                        "DATABASE",
                        "STORAGE",
                        "INVOCATIONS",
                        "SIZES",
                        "PRIVATE CLUSTERS",
                        "BACKUPS",
                        "LOGS",
                        "AT SIZE LIMIT",
                    ],
                    rows,
                    "no plans",
                )
            })
        }
        Plans::Update(update) => change(context, request(*update)?).await,
        Plans::Assign { plan, reason, organization } => {
            let organization = resolve::organization(context, organization.as_deref()).await?;
            assign(context, organization, plan, reason).await
        }
    }
}

async fn all(context: &Context) -> Result<ListPlansResponse, Error> {
    let mut all = ListPlansResponse::default();
    let mut page_token = String::new();
    loop {
        let page = context
            .client
            .call(ListPlansRequest { page_size: PAGE, page_token }, |channel, request| async move {
                PlanServiceClient::new(channel).list_plans(request).await
            })
            .await?;
        all.plans.extend(page.plans);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

/// The request that changes what is given.
fn request(update: Update) -> Result<UpdatePlanRequest, Error> {
    let given = [
        ("display_name", update.display_name.is_some()),
        ("price_cents", update.price.is_some()),
        ("default_for_new_organizations", update.default),
        ("at_size_limit", update.at_size_limit.is_some()),
        ("limits.projects", update.projects.is_some()),
        ("limits.database_mib", update.database_mib.is_some()),
        ("limits.storage_mib", update.storage_mib.is_some()),
        ("limits.function_invocations", update.function_invocations.is_some()),
        ("limits.members", update.members.is_some()),
        ("limits.project_sizes", update.project_sizes.is_some()),
        ("limits.private_clusters", update.private_clusters.is_some()),
        ("limits.backup_days", update.backup_days.is_some()),
        ("limits.log_days", update.log_days.is_some()),
    ];
    let paths: Vec<String> =
        given.iter().filter(|(_, given)| *given).map(|(path, _)| (*path).to_owned()).collect();
    if paths.is_empty() {
        return Err(Error::Usage("what should change? Name it, e.g. --projects 30".into()));
    }
    let limits = PlanLimits {
        projects: update.projects.unwrap_or_default(),
        database_mib: update.database_mib.unwrap_or_default(),
        storage_mib: update.storage_mib.unwrap_or_default(),
        function_invocations: update.function_invocations.unwrap_or_default(),
        members: update.members.unwrap_or_default(),
        project_sizes: update.project_sizes.unwrap_or_default(),
        private_clusters: update.private_clusters.unwrap_or_default(),
        backup_days: update.backup_days.unwrap_or_default(),
        log_days: update.log_days.unwrap_or_default(),
    };
    Ok(UpdatePlanRequest {
        plan: update.plan,
        display_name: update.display_name.unwrap_or_default(),
        price_cents: update.price.unwrap_or_default(),
        limits: Some(limits),
        default_for_new_organizations: update.default,
        at_size_limit: update.at_size_limit.map_or(SizeAction::Unspecified, SizeAction::from).into(),
        etag: String::new(),
        update_mask: Some(FieldMask { paths }),
    })
}

async fn change(context: &Context, request: UpdatePlanRequest) -> Result<(), Error> {
    let answer = context
        .client
        .call(request, |channel, request| async move {
            PlanServiceClient::new(channel).update_plan(request).await
        })
        .await?;
    context.output.answer("UpdatePlanResponse", &answer, |answer| one(answer.plan.as_ref()))
}

async fn assign(context: &Context, organization: String, plan: String, reason: String) -> Result<(), Error> {
    let request = AssignPlanRequest { organization, plan, reason, etag: String::new() };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            PlanServiceClient::new(channel).assign_plan(request).await
        })
        .await?;
    context
        .output
        .answer("AssignPlanResponse", &answer, |answer| entitlements::text(answer.entitlements.as_ref()))
}

/// A price as people write it.
pub fn price(plan: &Plan) -> String {
    format!("{}.{:02}", plan.price_cents / 100, plan.price_cents % 100)
}

fn name(plan: &Plan) -> String {
    if plan.default_for_new_organizations { format!("{} (default)", plan.name) } else { plan.name.clone() }
}

fn row(plan: &Plan) -> [String; 12] {
    let limits = plan.limits.clone().unwrap_or_default();
    [
        name(plan),
        price(plan),
        limits.projects.to_string(),
        limits.members.to_string(),
        format!("{} MiB", limits.database_mib),
        format!("{} MiB", limits.storage_mib),
        limits.function_invocations.to_string(),
        limits.project_sizes.join(","),
        table::yes_or_no(limits.private_clusters).to_owned(),
        format!("{} days", limits.backup_days),
        format!("{} days", limits.log_days),
        at_size_limit(plan),
    ]
}

fn at_size_limit(plan: &Plan) -> String {
    table::short(plan.at_size_limit().as_str_name(), "SIZE_ACTION_").to_ascii_lowercase().replace('_', "-")
}

fn one(plan: Option<&Plan>) -> String {
    let plan = plan.cloned().unwrap_or_default();
    let [
        name,
        price,
        projects,
        members,
        database,
        storage,
        invocations,
        sizes,
        private,
        backups,
        logs,
        at_limit,
    ] = row(&plan);
    table::pairs([
        ("plan", name),
        ("name", plan.display_name),
        ("price", price),
        ("projects", projects),
        ("members", members),
        ("database", database),
        ("storage", storage),
        ("invocations", invocations),
        ("sizes", sizes),
        ("private clusters", private),
        ("backups", backups),
        ("logs", logs),
        ("at size limit", at_limit),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_has_at_most_two_digits_behind_the_point() {
        for (text, expected) in [("25", 2500), ("0", 0), ("9.9", 990), ("9.90", 990), ("0.05", 5)] {
            assert_eq!(cents(text), Ok(expected), "{text}");
        }
        for wrong in ["", "-1", "1.", ".5", "1.234", "1,5", "a", "99999999999999999999"] {
            assert!(cents(wrong).is_err(), "{wrong}");
        }
    }
}
