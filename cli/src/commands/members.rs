//! `members list | set-role | remove`: who may do what in an organization.

use clap::{Args, Subcommand, ValueEnum};
use supalove_proto::v1::{
    ListMembersRequest, ListMembersResponse, Member, RemoveMemberRequest, Role, UpdateMemberRequest,
    organization_service_client::OrganizationServiceClient,
};

use super::{Context, resolve};
use crate::{confirm, error::Error, table};

/// Page size.
const PAGE: i32 = 100;

/// The commands about members.
#[derive(Debug, Subcommand)]
pub enum Members {
    /// List the members, ordered by e-mail address.
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        place: InOrganization,
    },
    /// Give a member another role.
    SetRole {
        /// E-mail address or id.
        member: String,
        /// The role.
        role: RoleName,
        /// Only if the member still has this etag (`members list -o json` shows it).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
        #[command(flatten)]
        place: InOrganization,
    },
    /// Remove a member.
    #[command(visible_alias = "rm")]
    Remove {
        /// E-mail address or id.
        member: String,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        place: InOrganization,
    },
}

/// Whose members.
#[derive(Debug, Args)]
pub struct InOrganization {
    /// Slug or name. Default: that of `supalove use`, or the only one.
    #[arg(long)]
    organization: Option<String>,
}

impl InOrganization {
    /// The slug.
    pub async fn resolve(&self, context: &Context) -> Result<String, Error> {
        resolve::organization(context, self.organization.as_deref()).await
    }
}

/// A role, as people write it.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum RoleName {
    /// May do everything.
    Owner,
    /// May do everything except delete the organization and act on owners.
    Administrator,
    /// May manage projects and read their secrets.
    Developer,
    /// May only read.
    ReadOnly,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Owner => Self::Owner,
            RoleName::Administrator => Self::Administrator,
            RoleName::Developer => Self::Developer,
            RoleName::ReadOnly => Self::ReadOnly,
        }
    }
}

pub async fn run(context: &Context, command: Members) -> Result<(), Error> {
    match command {
        Members::List { place } => list(context, &place.resolve(context).await?).await,
        Members::SetRole { member, role, etag, place } => {
            set_role(context, place.resolve(context).await?, &member, role, etag).await
        }
        Members::Remove { member, yes, place } => {
            let organization = place.resolve(context).await?;
            if !yes {
                confirm::type_to_confirm(&format!("{member} loses access to {organization}."), &member)?;
            }
            remove(context, organization, &member).await
        }
    }
}

/// Returns all members of an organization.
pub async fn all(context: &Context, organization: &str) -> Result<ListMembersResponse, Error> {
    let mut all = ListMembersResponse::default();
    let mut page_token = String::new();
    loop {
        let request =
            ListMembersRequest { organization: organization.to_owned(), page_size: PAGE, page_token };
        let page = context
            .client
            .call(request, |channel, request| async move {
                OrganizationServiceClient::new(channel).list_members(request).await
            })
            .await?;
        all.members.extend(page.members);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

async fn list(context: &Context, organization: &str) -> Result<(), Error> {
    let all = all(context, organization).await?;
    context.output.answer("ListMembersResponse", &all, |all| {
        let rows = all.members.iter().map(row).collect();
        table::rows(["EMAIL", "NAME", "ROLE", "SINCE", "ID"], rows, "no members")
    })
}

async fn set_role(
    context: &Context,
    organization: String,
    member: &str,
    role: RoleName,
    etag: String,
) -> Result<(), Error> {
    let user_id = resolve::member(context, &organization, member).await?;
    let request = UpdateMemberRequest { organization, user_id, role: Role::from(role).into(), etag };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            OrganizationServiceClient::new(channel).update_member(request).await
        })
        .await?;
    context.output.answer("UpdateMemberResponse", &answer, |answer| {
        let member = answer.member.clone().unwrap_or_default();
        format!("{} is {} now", member.email, role_of(&member))
    })
}

async fn remove(context: &Context, organization: String, member: &str) -> Result<(), Error> {
    let user_id = resolve::member(context, &organization, member).await?;
    let answer = context
        .client
        .call_once(RemoveMemberRequest { organization, user_id }, |channel, request| async move {
            OrganizationServiceClient::new(channel).remove_member(request).await
        })
        .await?;
    context.output.answer("RemoveMemberResponse", &answer, |_| format!("{member} is removed"))
}

fn row(member: &Member) -> [String; 5] {
    [
        member.email.clone(),
        member.display_name.clone(),
        role_of(member),
        table::time(member.create_time.as_ref()),
        member.user_id.clone(),
    ]
}

fn role_of(member: &Member) -> String {
    role_word(member.role())
}

/// A role as tables show it.
pub fn role_word(role: Role) -> String {
    table::short(role.as_str_name(), "ROLE_").to_ascii_lowercase()
}
