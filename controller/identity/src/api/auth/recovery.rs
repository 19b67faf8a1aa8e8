//! Forgotten passwords, and changes of an account's address: each by a link in a mail.

use supalove_core::{
    access::Call,
    error::{Error, Result},
};
use supalove_proto::v1::{
    ConfirmEmailChangeResponse, RequestEmailChangeRequest, ResetPasswordRequest, ResetPasswordResponse,
};

use super::AuthApi;
use crate::{
    NewPassword, Opaque, limits,
    links::{self, For, LinkKind},
    normalize_email, store,
};

impl AuthApi {
    /// Mails a link if there is such an account. Answers alike, and after the same time.
    pub(super) async fn request_password_reset(&self, call: &Call, email: &str) -> Result<()> {
        self.core.mail().check_enabled()?;
        let email = normalize_email(email)?;
        if !limits::mail(&self.core.db, call.client, &email).await? {
            return Ok(());
        }
        let Some(found) = store::credentials(&self.core.db, &email).await? else { return Ok(()) };
        let mut mutation = self.core.mutation(call);
        mutation.act_as(found.user.id);
        let whose = For { email: &email, user: Some(found.user.id), session: None };
        links::send(&self.core, &mut mutation, LinkKind::ResetPassword, &whose).await?;
        mutation.commit(&found.user.id.to_string(), []).await
    }

    /// Sets the password of a link's account and ends its sessions.
    pub(super) async fn reset_password(
        &self,
        call: &Call,
        request: ResetPasswordRequest,
    ) -> Result<ResetPasswordResponse> {
        let counted = limits::token(&self.core.db, call.client).await?;
        let token = Opaque::received(request.token);
        let link = store::links::find(&self.core.db, LinkKind::ResetPassword, &token).await?;
        let (link, user) = link.and_then(|link| Some((link.email, link.user?))).ok_or_else(links::invalid)?;
        counted.give_back(&self.core.db).await;
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
        let sessions_ended = store::end_sessions_but(&mut mutation, user.id, None).await?;
        let left = store::personal_access_tokens::count(&mut mutation, user.id).await?;
        let what = "The password of your account was reset, and all its sessions have ended.";
        links::tell_of_change(&self.core, &mut mutation, &user.email, what).await?;
        mutation.commit(&user.id.to_string(), []).await?;
        Ok(ResetPasswordResponse { sessions_ended, personal_access_tokens_left: left })
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
        if !limits::mail(&self.core.db, call.client, &email).await? {
            return Ok(());
        }
        let taken = store::credentials(&self.core.db, &email).await?.is_some();
        let mut mutation = self.core.mutation(call);
        let session = store::lock_account(&mut mutation, principal).await?;
        if taken {
            links::tell_of_account(&self.core, &mut mutation, &email).await?;
        } else {
            let whose = For { email: &email, user: Some(principal.user), session: Some(session) };
            links::send(&self.core, &mut mutation, LinkKind::ChangeEmail, &whose).await?;
        }
        mutation.commit(&principal.user.to_string(), []).await
    }

    /// Gives a link's account its new address and ends its sessions, but the one that requested the link.
    pub(super) async fn confirm_email_change(
        &self,
        call: &Call,
        token: String,
    ) -> Result<ConfirmEmailChangeResponse> {
        let counted = limits::token(&self.core.db, call.client).await?;
        let token = Opaque::received(token);
        let link = store::links::find(&self.core.db, LinkKind::ChangeEmail, &token).await?;
        let (link, user) = link
            .and_then(|link| Some((link.user?, link)))
            .map(|(user, link)| (link, user))
            .ok_or_else(links::invalid)?;
        counted.give_back(&self.core.db).await;
        let mut mutation = self.core.mutation(call);
        mutation.act_as(user);
        let old = store::lock_user(&mut mutation, user).await?;
        if !store::links::spend(&mut mutation, LinkKind::ChangeEmail, &token).await? {
            return Err(links::invalid());
        }
        store::set_email(&mut mutation, user, &link.email).await?;
        store::links::forget(&mut mutation, user).await?;
        let sessions_ended = store::end_sessions_but(&mut mutation, user, link.session).await?;
        let what = format!("Your account has another address now: {}.", link.email);
        links::tell_of_change(&self.core, &mut mutation, &old, &what).await?;
        mutation.commit(&user.to_string(), []).await?;
        Ok(ConfirmEmailChangeResponse { email: link.email, sessions_ended })
    }

    /// Returns an error unless it is the caller's password. Guesses count as failed sign-ins.
    pub(super) async fn check_password(&self, call: &Call, password: String) -> Result<()> {
        let user = store::user(&self.core.db, call.principal()?.user).await?;
        let counted = limits::sign_in(&self.core.db, call.client, &user.email).await?;
        let hash = store::password_hash(&self.core.db, user.id).await?;
        if !self.passwords.verify(call.client, password, Some(hash)).await? {
            return Err(Error::field("current_password", "is wrong"));
        }
        counted.give_back(&self.core.db).await;
        Ok(())
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
        if principal.operator {
            store::check_other_operator(&mut mutation, user.id).await?;
        }
        store::delete_user(&mut mutation, user.id).await?;
        let what = "Your account was deleted. Its sessions and tokens have ended, and its address is free.";
        links::tell_of_change(&self.core, &mut mutation, &user.email, what).await?;
        mutation.commit(&user.id.to_string(), []).await
    }
}
