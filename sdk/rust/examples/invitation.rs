//! Invites SUPALOVE_INVITED (an e-mail address) into an organization, and signs up as who was invited. For an owner or an
//! administrator; the other variables are those of the README.

use std::{env::var, error::Error};

use supalove_sdk::{
    Client,
    v1::{CreateInvitationRequest, GetInvitationRequest, ListMembersRequest, Role, SignUpRequest},
};
use uuid::Uuid;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::connect(&var("SUPALOVE_API")?)?;
    client.sign_in(&var("SUPALOVE_EMAIL")?, &var("SUPALOVE_PASSWORD")?).await?;
    let organization = var("SUPALOVE_ORGANIZATION")?;

    let request = CreateInvitationRequest {
        organization: organization.clone(),
        email: var("SUPALOVE_INVITED")?,
        role: Role::Developer.into(),
    };
    let invited = client.invitations().create_invitation(request).await?.into_inner();
    let invitation = invited.invitation.ok_or("no invitation")?;
    if invitation.mailed {
        println!("a mail with a link is on its way to {}", invitation.email);
        return Ok(());
    }

    // Without mail whoever invites passes the token on. It shows what it is for, and works once.
    let stranger = Client::connect(&var("SUPALOVE_API")?)?;
    let request = GetInvitationRequest { token: invited.token.clone() };
    let shown = stranger.invitations().get_invitation(request).await?.into_inner();
    println!("{} invites {}", shown.invited_by_name, shown.email);
    let request = SignUpRequest {
        token: invited.token,
        password: Uuid::new_v4().to_string(),
        display_name: "Grace".into(),
        ..Default::default()
    };
    let user = stranger.auth().sign_up(request).await?.into_inner().user.ok_or("no user")?;
    println!("{} has signed up", user.email);

    let request = ListMembersRequest { organization, page_size: 100, ..Default::default() };
    for member in client.organizations().list_members(request).await?.into_inner().members {
        println!("{} is {}", member.email, member.role().as_str_name());
    }
    client.sign_out().await?;
    Ok(())
}
