//! `invitations create | list | resend | revoke | show | accept`: how people become members.

use clap::Subcommand;
use supalove_proto::v1::{
    AcceptInvitationRequest, CreateInvitationRequest, GetInvitationRequest, Invitation,
    ListInvitationsRequest, ListInvitationsResponse, ResendInvitationRequest, RevokeInvitationRequest, Role,
    invitation_service_client::InvitationServiceClient,
};

use super::{
    Context,
    members::{InOrganization, RoleName, role_word},
    required, resolve,
    sign_up::LinkToken,
};
use crate::{error::Error, output, table};

/// Page size.
const PAGE: i32 = 100;

/// The commands about invitations.
#[derive(Debug, Subcommand)]
pub enum Invitations {
    /// Invite somebody by e-mail address.
    Create {
        /// Address.
        email: String,
        /// Role of the new member.
        #[arg(long, value_enum, default_value_t = RoleName::Developer)]
        role: RoleName,
        #[command(flatten)]
        place: InOrganization,
    },
    /// List the open invitations.
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        place: InOrganization,
    },
    /// Issue a new link; the old one stops working.
    Resend {
        /// Address, id, or the beginning of one.
        invitation: String,
        #[command(flatten)]
        place: InOrganization,
    },
    /// Revoke an invitation.
    #[command(visible_alias = "rm")]
    Revoke {
        /// Address, id, or the beginning of one.
        invitation: String,
        #[command(flatten)]
        place: InOrganization,
    },
    /// Show what an invitation is for.
    Show {
        #[command(flatten)]
        link: LinkToken,
    },
    /// Become a member. Without an account: supalove sign-up finish.
    Accept {
        #[command(flatten)]
        link: LinkToken,
    },
}

pub async fn run(context: &Context, command: Invitations) -> Result<(), Error> {
    match command {
        Invitations::Create { email, role, place } => {
            create(context, place.resolve(context).await?, email, role.into()).await
        }
        Invitations::List { place } => list(context, &place.resolve(context).await?).await,
        Invitations::Resend { invitation, place } => {
            let organization = place.resolve(context).await?;
            let id = resolve::invitation(context, &organization, &invitation).await?;
            resend(context, organization, id).await
        }
        Invitations::Revoke { invitation, place } => {
            let organization = place.resolve(context).await?;
            let id = resolve::invitation(context, &organization, &invitation).await?;
            revoke(context, organization, id).await
        }
        Invitations::Show { link } => show(context, link.read()?).await,
        Invitations::Accept { link } => accept(context, link.read()?).await,
    }
}

/// Returns all open invitations of an organization.
pub async fn all(context: &Context, organization: &str) -> Result<ListInvitationsResponse, Error> {
    let mut all = ListInvitationsResponse::default();
    let mut page_token = String::new();
    loop {
        let request =
            ListInvitationsRequest { organization: organization.to_owned(), page_size: PAGE, page_token };
        let page = context
            .client
            .call(request, |channel, request| async move {
                InvitationServiceClient::new(channel).list_invitations(request).await
            })
            .await?;
        all.invitations.extend(page.invitations);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

async fn create(context: &Context, organization: String, email: String, role: Role) -> Result<(), Error> {
    // A second one would make the first one's link stop working.
    let answer = context
        .client
        .call_once(
            CreateInvitationRequest { organization, email, role: role.into() },
            |channel, request| async move {
                InvitationServiceClient::new(channel).create_invitation(request).await
            },
        )
        .await?;
    let invitation = required(answer.invitation.clone(), "invitation")?;
    context.output.answer("CreateInvitationResponse", &answer, |answer| sent(&invitation, &answer.token))
}

async fn resend(context: &Context, organization: String, invitation_id: String) -> Result<(), Error> {
    let answer = context
        .client
        .call_once(ResendInvitationRequest { organization, invitation_id }, |channel, request| async move {
            InvitationServiceClient::new(channel).resend_invitation(request).await
        })
        .await?;
    let invitation = required(answer.invitation.clone(), "invitation")?;
    context.output.answer("ResendInvitationResponse", &answer, |answer| sent(&invitation, &answer.token))
}

fn sent(invitation: &Invitation, token: &str) -> String {
    let until = table::time(invitation.expire_time.as_ref());
    if token.is_empty() {
        return format!("an invitation is on its way to {}; it works once, until {until}", invitation.email);
    }
    format!(
        "the platform sends no mail: give {} this token, which works once, until {until}, and is not shown again\n{token}",
        invitation.email
    )
}

async fn revoke(context: &Context, organization: String, invitation_id: String) -> Result<(), Error> {
    let shown = invitation_id.clone();
    let answer = context
        .client
        .call_once(RevokeInvitationRequest { organization, invitation_id }, |channel, request| async move {
            InvitationServiceClient::new(channel).revoke_invitation(request).await
        })
        .await?;
    context.output.answer("RevokeInvitationResponse", &answer, |_| format!("{shown} is revoked"))
}

async fn list(context: &Context, organization: &str) -> Result<(), Error> {
    let all = all(context, organization).await?;
    context.output.answer("ListInvitationsResponse", &all, |all| {
        let rows = all.invitations.iter().map(row).collect();
        table::rows(["EMAIL", "ROLE", "INVITED BY", "MAILED", "UNTIL", "ID"], rows, "no open invitations")
    })
}

async fn show(context: &Context, token: String) -> Result<(), Error> {
    let answer = context
        .client
        .call_anonymously(GetInvitationRequest { token }, |channel, request| async move {
            InvitationServiceClient::new(channel).get_invitation(request).await
        })
        .await?;
    context.output.answer("GetInvitationResponse", &answer, |answer| {
        table::pairs([
            // Names are texts of others.
            ("organization", output::clean(&answer.organization_name)),
            ("for", answer.email.clone()),
            ("role", role_word(answer.role())),
            ("invited by", output::clean(&answer.invited_by_name)),
            ("until", table::time(answer.expire_time.as_ref())),
        ])
    })
}

async fn accept(context: &Context, token: String) -> Result<(), Error> {
    // Repeated after a lost answer, it would call the token used.
    let answer = context
        .client
        .call_once(AcceptInvitationRequest { token }, |channel, request| async move {
            InvitationServiceClient::new(channel).accept_invitation(request).await
        })
        .await?;
    let organization = required(answer.organization.clone(), "organization")?;
    context.output.answer("AcceptInvitationResponse", &answer, |_| {
        format!("you are {} of {} now", role_word(organization.role()), organization.slug)
    })
}

fn row(invitation: &Invitation) -> [String; 6] {
    [
        invitation.email.clone(),
        role_word(invitation.role()),
        invitation.invited_by.clone(),
        if invitation.mailed { "yes" } else { "no" }.to_owned(),
        table::time(invitation.expire_time.as_ref()),
        invitation.id.clone(),
    ]
}
