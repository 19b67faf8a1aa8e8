//! `organizations create | get | list | watch | rename | delete | leave`.

mod watch;

use clap::{Args, Subcommand};
use supalove_proto::v1::{
    CreateOrganizationRequest, DeleteOrganizationRequest, GetOrganizationRequest, LeaveOrganizationRequest,
    ListOrganizationsRequest, ListOrganizationsResponse, Organization, UpdateOrganizationRequest,
    organization_service_client::OrganizationServiceClient,
};

use super::{Context, resolve};
use crate::{args::RequestId, chosen::Chosen, confirm, error::Error, table};

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
    /// Show an organization, and its events as they happen, until Ctrl-C: members, and the states of its projects.
    Watch(watch::Watch),
    /// Change the display name; the slug stays.
    Rename {
        /// Slug or name.
        organization: String,
        /// New display name.
        name: String,
    },
    /// Delete an organization that has no projects.
    #[command(visible_alias = "rm")]
    Delete {
        /// Slug or name.
        organization: String,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
    /// End your own membership.
    Leave {
        /// Slug or name.
        organization: String,
    },
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
        Organizations::Watch(arguments) => watch::run(context, &arguments).await,
        Organizations::Rename { organization, name } => {
            rename(context, resolve::organization(context, Some(&organization)).await?, name).await
        }
        Organizations::Delete { organization, yes } => {
            let slug = resolve::organization(context, Some(&organization)).await?;
            if !yes {
                confirm::type_to_confirm("The organization and its memberships are deleted.", &slug)?;
            }
            delete(context, slug).await
        }
        Organizations::Leave { organization } => {
            leave(context, resolve::organization(context, Some(&organization)).await?).await
        }
    }
}

async fn rename(context: &Context, organization: String, name: String) -> Result<(), Error> {
    let request = UpdateOrganizationRequest { organization, name, ..UpdateOrganizationRequest::default() };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            OrganizationServiceClient::new(channel).update_organization(request).await
        })
        .await?;
    context.output.answer("UpdateOrganizationResponse", &answer, |a| one(a.organization.as_ref()))
}

async fn delete(context: &Context, organization: String) -> Result<(), Error> {
    let slug = organization.clone();
    let answer = context
        .client
        .call_once(DeleteOrganizationRequest { organization }, |channel, request| async move {
            OrganizationServiceClient::new(channel).delete_organization(request).await
        })
        .await?;
    forget(context, &slug)?;
    context.output.answer("DeleteOrganizationResponse", &answer, |_| format!("{slug} is deleted"))
}

async fn leave(context: &Context, organization: String) -> Result<(), Error> {
    let slug = organization.clone();
    let answer = context
        .client
        .call_once(LeaveOrganizationRequest { organization }, |channel, request| async move {
            OrganizationServiceClient::new(channel).leave_organization(request).await
        })
        .await?;
    forget(context, &slug)?;
    context.output.answer("LeaveOrganizationResponse", &answer, |_| format!("you have left {slug}"))
}

/// Clears the choice of `supalove use` if it is this organization.
fn forget(context: &Context, slug: &str) -> Result<(), Error> {
    let (store, api) = (context.client.store(), context.client.api());
    if Chosen::stored(store, api)?.organization.as_deref() == Some(slug) {
        Chosen::default().keep(store, api)?;
    }
    Ok(())
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
        ("plan", organization.plan.clone()),
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
