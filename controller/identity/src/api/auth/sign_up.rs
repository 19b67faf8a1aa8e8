//! New accounts: the mail to a stranger, and the account itself.

use chrono::Utc;
use supalove_core::{
    access::Call,
    accounts::{Invited, NewAccount},
    error::{Error, Result},
    ids::UserId,
};
use supalove_proto::v1::{SignUpRequest, SignUpResponse};

use super::{AuthApi, Signed, display_name};
use crate::{
    NewPassword, Opaque, User,
    limits::{self, Requested},
    links::{self, For, LinkKind},
    normalize_email, store,
};

/// With what somebody signs up.
enum Ticket {
    /// A link to an address.
    Link(String),
    /// An invitation.
    Invitation(Invited),
}

impl Ticket {
    fn email(&self) -> &str {
        match self {
            Self::Link(email) | Self::Invitation(Invited { email, .. }) => email,
        }
    }

    /// Whoever has it has read a mail to the address.
    fn proves_address(&self) -> bool {
        match self {
            Self::Link(_) => true,
            Self::Invitation(invited) => invited.mailed,
        }
    }
}

impl AuthApi {
    /// Mails a link, or says in the mail that there is an account. Answers alike, and after the same time.
    pub(super) async fn start_sign_up(&self, call: &Call, email: &str) -> Result<()> {
        self.policy.check_open()?;
        self.core.mail().check_enabled()?;
        let email = normalize_email(email)?;
        limits::request(&self.core.db, call.client).await?;
        let taken = store::credentials(&self.core.db, &email).await?.is_some();
        let requested = if taken { Requested::Notice } else { Requested::FirstLink(LinkKind::SignUp) };
        if !limits::mail(&self.core.db, call.client, requested, &email).await? {
            return Ok(());
        }
        let mut mutation = self.core.mutation(call);
        if taken {
            links::tell_of_account(&self.core, &mut mutation, &email).await?;
        } else {
            let whose = For { email: &email, user: None, session: None };
            links::send(&self.core, &mut mutation, LinkKind::SignUp, &whose).await?;
        }
        mutation.commit("", []).await
    }

    /// Makes the account of a link or an invitation, with its first session.
    pub(super) async fn sign_up(
        &self,
        call: &Call,
        session: store::NewSession,
        request: SignUpRequest,
    ) -> Result<Signed<SignUpResponse>> {
        let token = Opaque::received(request.token);
        let Some(ticket) = self.ticket(&token).await? else {
            return Err(limits::wrong_token(&self.core.db, call.client, links::invalid()).await);
        };
        match &ticket {
            Ticket::Link(_) => self.policy.check_open()?,
            Ticket::Invitation(_) => self.policy.check_invited()?,
        }
        let email = ticket.email().to_owned();
        let display_name = display_name(&request.display_name, &email)?;
        let password = NewPassword::new("password", request.password, &[&email, &display_name])?;
        let hash = self.passwords.hash(call.client, password).await?;
        let user = User {
            id: UserId::generate(),
            email,
            display_name,
            operator: false,
            email_verified: ticket.proves_address(),
            created_at: Utc::now(),
        };
        let mut mutation = self.core.mutation(call);
        mutation.act_as(user.id);
        store::insert_user(&mut mutation, &user, &hash).await?;
        let token_hash = token.hash();
        let invitation = match &ticket {
            Ticket::Invitation(_) => Some(token_hash.as_slice()),
            Ticket::Link(_) if store::links::spend(&mut mutation, LinkKind::SignUp, &token).await? => None,
            Ticket::Link(_) => return Err(links::invalid()),
        };
        let account = NewAccount { user: user.id, display_name: &user.display_name, invitation };
        self.accounts.created(&mut mutation, account).await?;
        store::insert_session(&mut mutation, user.id, &session).await?;
        mutation.commit(&user.id.to_string(), []).await?;
        self.signed(call, user, &session, |user, tokens| SignUpResponse {
            user: Some(user),
            tokens: Some(tokens),
        })
    }

    async fn ticket(&self, token: &Opaque) -> Result<Option<Ticket>> {
        let link = store::links::find(&self.core.db, LinkKind::SignUp, token).await?;
        if let Some(link) = link {
            return Ok(Some(Ticket::Link(link.email)));
        }
        let invited = self.accounts.invited(&self.core.db, &token.hash()).await?;
        Ok(invited.map(Ticket::Invitation))
    }
}

/// The error for an address that has an account. Only who can read its mails, or was invited there, sees it.
pub fn has_account(email: &str) -> Error {
    Error::AlreadyExists { kind: "account", name: email.to_owned() }
}
