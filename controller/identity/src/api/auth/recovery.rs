//! Forgotten passwords, and changes of an account's address: each by a link in a mail.

use supalove_core::{
    access::Call,
    error::{Error, Result},
};
use supalove_proto::v1::{
    ConfirmEmailChangeResponse, RequestEmailChangeRequest, ResetPasswordRequest, ResetPasswordResponse,
};

use super::{AuthApi, Signed};
use crate::{
    NewPassword, Opaque, User,
    limits::{self, Requested},
    links::{self, For, LinkKind, Remedy},
    normalize_email, store,
};

impl AuthApi {
    /// Mails a link if there is such an account. Answers alike, and after the same time.
    pub(super) async fn request_password_reset(&self, call: &Call, email: &str) -> Result<()> {
        self.core.mail().check_enabled()?;
        let email = normalize_email(email)?;
        limits::request(&self.core.db, call.client).await?;
        let Some(found) = store::credentials(&self.core.db, &email).await? else { return Ok(()) };
        let requested = Requested::Link(LinkKind::ResetPassword);
        if !limits::mail(&self.core.db, call.client, requested, &email).await? {
            return Ok(());
        }
        let mut mutation = self.core.mutation(call);
        let whose = For { email: &email, user: Some(found.user.id), session: None };
        links::send(&self.core, &mut mutation, LinkKind::ResetPassword, &whose).await?;
        mutation.commit(&found.user.id.to_string(), []).await
    }

    /// Sets the password of a link's account, ends its sessions and tokens, and starts a session: whoever reads the account's
    /// mails gets in, however often others have guessed.
    pub(super) async fn reset_password(
        &self,
        call: &Call,
        session: store::NewSession,
        request: ResetPasswordRequest,
    ) -> Result<Signed<ResetPasswordResponse>> {
        let token = Opaque::received(request.token);
        let link = store::links::find(&self.core.db, LinkKind::ResetPassword, &token).await?;
        let Some((link, user)) = link.and_then(|link| Some((link.email, link.user?))) else {
            return Err(limits::wrong_token(&self.core.db, call.client, links::invalid()).await);
        };
        let user = store::user(&self.core.db, user).await?;
        let new = NewPassword::new("new_password", request.new_password, &[&user.email, &user.display_name])?;
        let hash = self.passwords.hash(call.client, new).await?;
        let mut mutation = self.core.mutation(call);
        mutation.act_as(user.id);
        // Whoever comes second with the same link waits here, and finds it spent.
        if !store::lock_address(&mut mutation, user.id, &link).await?
            || !store::links::spend(&mut mutation, LinkKind::ResetPassword, &token).await?
        {
            return Err(links::invalid());
        }
        store::reset_password(&mut mutation, user.id, &hash).await?;
        store::links::forget(&mut mutation, user.id).await?;
        let sessions_ended = store::end_sessions_but(&mut mutation, user.id, &[]).await?;
        let tokens_ended = store::personal_access_tokens::end_all(&mut mutation, user.id).await?;
        store::insert_session(&mut mutation, user.id, &session).await?;
        let what =
            "The password of your account was reset, and all its sessions and access tokens have ended.";
        links::tell_of_change(&self.core, &mut mutation, &user.email, what, Remedy::Reset).await?;
        mutation.commit(&user.id.to_string(), []).await?;
        let user = User { email_verified: true, ..user };
        self.signed(call, user, &session, |user, tokens| ResetPasswordResponse {
            user: Some(user),
            tokens: Some(tokens),
            sessions_ended,
            personal_access_tokens_ended: tokens_ended,
        })
    }

    /// Mails a link to the new address, or says in the mail that it has an account.
    pub(super) async fn request_email_change(
        &self,
        call: &Call,
        request: RequestEmailChangeRequest,
    ) -> Result<()> {
        self.core.mail().check_enabled()?;
        let principal = call.principal()?;
        let email = normalize_email(&request.new_email)
            .map_err(|_| Error::field("new_email", "must be an address like name@example.com"))?;
        self.check_password(call, request.current_password).await?;
        limits::request(&self.core.db, call.client).await?;
        let taken = store::credentials(&self.core.db, &email).await?.is_some();
        let requested = if taken { Requested::Notice } else { Requested::FirstLink(LinkKind::ChangeEmail) };
        if !limits::mail(&self.core.db, call.client, requested, &email).await? {
            return Ok(());
        }
        let mut mutation = self.core.mutation(call);
        let session = store::lock_account(&mut mutation, principal).await?;
        if taken {
            links::tell_of_account(&self.core, &mut mutation, &email).await?;
        } else {
            let whose = For { email: &email, user: Some(principal.user), session: Some(session) };
            links::send(&self.core, &mut mutation, LinkKind::ChangeEmail, &whose).await?;
            let user = store::user(&self.core.db, principal.user).await?;
            let what = format!(
                "Somebody who is signed in as you wants to change the address of your account to {email}."
            );
            links::tell_of_change(&self.core, &mut mutation, &user.email, &what, Remedy::Reset).await?;
        }
        mutation.commit(&principal.user.to_string(), []).await
    }

    /// Gives the caller's account the address of a link. Only the caller's own: nobody confirms the address of an account that
    /// somebody else has prepared.
    pub(super) async fn confirm_email_change(
        &self,
        call: &Call,
        token: String,
    ) -> Result<ConfirmEmailChangeResponse> {
        let principal = call.principal()?;
        let token = Opaque::received(token);
        let link = store::links::find(&self.core.db, LinkKind::ChangeEmail, &token).await?;
        let Some(link) = link.filter(|link| link.user == Some(principal.user)) else {
            return Err(limits::wrong_token(&self.core.db, call.client, links::invalid()).await);
        };
        let mut mutation = self.core.mutation(call);
        let session = store::lock_account(&mut mutation, principal).await?;
        let old = store::lock_user(&mut mutation, principal.user).await?;
        if !store::links::spend(&mut mutation, LinkKind::ChangeEmail, &token).await? {
            return Err(links::invalid());
        }
        store::set_email(&mut mutation, principal.user, &link.email).await?;
        store::links::forget(&mut mutation, principal.user).await?;
        let kept: Vec<_> = link.session.into_iter().chain([session]).collect();
        let sessions_ended = store::end_sessions_but(&mut mutation, principal.user, &kept).await?;
        let what = format!("Your account has another address now: {}.", link.email);
        links::tell_of_change(&self.core, &mut mutation, &old, &what, Remedy::Operator).await?;
        mutation.commit(&principal.user.to_string(), []).await?;
        Ok(ConfirmEmailChangeResponse { email: link.email, sessions_ended })
    }

    /// Returns an error unless it is the caller's password. Guesses count as failed sign-ins.
    pub(super) async fn check_password(&self, call: &Call, password: String) -> Result<()> {
        let user = store::user(&self.core.db, call.principal()?.user).await?;
        let counted = limits::sign_in(&self.core.db, call.client, &user.email).await?;
        let hash = store::password_hash(&self.core.db, user.id).await?;
        let verified = self.passwords.verify(call.client, password, Some(hash)).await;
        if !matches!(verified, Ok(false)) {
            counted.give_back(&self.core.db).await;
        }
        if verified? {
            return Ok(());
        }
        // Somebody at a session that is not theirs; the code is that of each wrong field.
        call.refuses_as("WRONG_PASSWORD");
        Err(Error::field("current_password", "is wrong"))
    }

    /// Deletes the caller's account.
    pub(super) async fn delete_account(&self, call: &Call, password: String) -> Result<()> {
        let principal = call.principal()?;
        self.check_password(call, password).await?;
        let user = store::user(&self.core.db, principal.user).await?;
        let mut mutation = self.core.mutation(call);
        // Organizations are locked before accounts, everywhere.
        self.accounts.deleted(&mut mutation, user.id).await?;
        store::lock_account(&mut mutation, principal).await?;
        // Nobody becomes a member any more; somebody may have, just now.
        self.accounts.check_left(&mut mutation, user.id).await?;
        if principal.operator {
            store::check_other_operator(&mut mutation, user.id).await?;
        }
        store::delete_user(&mut mutation, user.id).await?;
        let what = "Your account was deleted. Its sessions and tokens have ended, and its address is free.";
        links::tell_of_change(&self.core, &mut mutation, &user.email, what, Remedy::Operator).await?;
        mutation.commit(&user.id.to_string(), []).await
    }
}
