//! `organizations create | get | list`.

use clap::{Args, Subcommand};
use supalove_proto::v1::{
    CreateOrganizationRequest, GetOrganizationRequest, ListOrganizationsRequest, ListOrganizationsResponse,
    Organization, organization_service_client::OrganizationServiceClient,
};

use super::{Context, resolve};
use crate::{args::RequestId, error::Error, table};

/// Page size.
const PAGE: i32 = 100;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Organizations {
    /// Create an organization; you become its owner.
    Create(Create),
    /// Show one organization.
    #[command(visible_alias = "show")]
    Get {
        /// Its slug or name. Default: that of `supalove use`, or the only one.
        organization: Option<String>,
    },
    /// List the caller's organizations.
    #[command(visible_alias = "ls")]
    List,
}

/// Arguments of `organizations create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Display name.
    name: String,
    /// Its readable id. Default: derived from the name.
    #[arg(long, default_value = "")]
    slug: String,
    #[command(flatten)]
    request_id: RequestId,
}

pub async fn run(context: &Context, command: Organizations) -> Result<(), Error> {
    match command {
        Organizations::Create(arguments) => create(context, arguments).await,
        Organizations::Get { organization } => {
            get(context, resolve::organization(context, organization.as_deref()).await?).await
        }
        Organizations::List => list(context).await,
    }
}

async fn create(context: &Context, arguments: Create) -> Result<(), Error> {
    let request = CreateOrganizationRequest {
        name: arguments.name,
        slug: arguments.slug,
        request_id: arguments.request_id.get(),
    };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            OrganizationServiceClient::new(channel).create_organization(request).await
        })
        .await?;
    context.output.answer("CreateOrganizationResponse", &answer, |a| one(a.organization.as_ref()))
}

async fn get(context: &Context, organization: String) -> Result<(), Error> {
    let answer = context
        .client
        .call(GetOrganizationRequest { organization }, |channel, request| async move {
            OrganizationServiceClient::new(channel).get_organization(request).await
        })
        .await?;
    context.output.answer("GetOrganizationResponse", &answer, |a| one(a.organization.as_ref()))
}

/// Returns all organizations of the caller.
pub async fn all(context: &Context) -> Result<ListOrganizationsResponse, Error> {
    let mut all = ListOrganizationsResponse::default();
    let mut page_token = String::new();
    loop {
        let request = ListOrganizationsRequest { page_size: PAGE, page_token };
        let page = context
            .client
            .call(request, |channel, request| async move {
                OrganizationServiceClient::new(channel).list_organizations(request).await
            })
            .await?;
        all.organizations.extend(page.organizations);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

async fn list(context: &Context) -> Result<(), Error> {
    let all = all(context).await?;
    context.output.answer("ListOrganizationsResponse", &all, |all| {
        let rows = all.organizations.iter().map(row).collect();
        table::rows(["SLUG", "NAME", "ROLE", "PROJECTS", "CREATED"], rows, "no organizations")
    })
}

fn row(organization: &Organization) -> [String; 5] {
    [
        organization.slug.clone(),
        organization.name.clone(),
        role(organization),
        projects(organization),
        table::time(organization.create_time.as_ref()),
    ]
}

fn one(organization: Option<&Organization>) -> String {
    let organization = organization.cloned().unwrap_or_default();
    table::pairs([
        ("slug", organization.slug.clone()),
        ("name", organization.name.clone()),
        ("id", organization.id.clone()),
        ("role", role(&organization)),
        ("projects", projects(&organization)),
        ("created", table::time(organization.create_time.as_ref())),
    ])
}

fn role(organization: &Organization) -> String {
    match table::short(organization.role().as_str_name(), "ROLE_") {
        "UNSPECIFIED" => "-".into(),
        role => role.to_ascii_lowercase(),
    }
}

fn projects(organization: &Organization) -> String {
    format!("{} of {}", organization.projects_used, organization.projects_limit)
}
