//! Links in mails: what each kind does, how long it works, and what its mail says.

use std::time::Duration;

use chrono::Utc;
use supalove_core::{
    Core, Write,
    error::{Error, Result},
    ids::{SessionId, UserId},
    mail::is_address,
    sql_enum,
};
use supalove_proto::v1::ErrorReason;

use crate::{
    Opaque,
    letter::{letter, page},
    store,
};

sql_enum! {
    /// What a link does.
    LinkKind {
        /// Creates an account.
        SignUp = "SIGN_UP",
        /// Sets a new password.
        ResetPassword = "RESET_PASSWORD",
        /// Changes the address of an account.
        ChangeEmail = "CHANGE_EMAIL",
    }
}

/// Begins every token of a link, so that scanners for leaked secrets find it.
const PREFIX: &str = "sbl_";

impl LinkKind {
    /// How long it works.
    pub fn life(self) -> Duration {
        match self {
            Self::SignUp | Self::ChangeEmail => Duration::from_hours(24),
            Self::ResetPassword => Duration::from_hours(1),
        }
    }

    /// The page of the dashboard that it leads to.
    fn page(self) -> &'static str {
        match self {
            Self::SignUp => "sign-up",
            Self::ResetPassword => "reset-password",
            Self::ChangeEmail => "confirm-email",
        }
    }
}

/// Whose link it is.
pub struct For<'a> {
    /// Where the mail goes.
    pub email: &'a str,
    /// Whose account; `None` before there is one.
    pub user: Option<UserId>,
    /// The session that requested it.
    pub session: Option<SessionId>,
}

/// Stores a link and posts its mail.
pub async fn send(core: &Core, write: &mut impl Write, kind: LinkKind, whose: &For<'_>) -> Result<()> {
    let token = Opaque::with_prefix(PREFIX)?;
    let expires_at = Utc::now() + kind.life();
    store::links::insert(write, kind, whose, &token, expires_at).await?;
    let url = page(core, kind.page(), &token)?;
    let letter = match kind {
        LinkKind::SignUp => letter(whose.email, "sign-up", "Finish your sign-up", expires_at)
            .says("Somebody, probably you, wants to sign up to Supalove with this address.")
            .links("Choose a password", url)
            .closes("If it was not you, ignore this mail: without the link nothing happens."),
        LinkKind::ResetPassword => letter(whose.email, "password-reset", "Reset your password", expires_at)
            .says("Somebody, probably you, has forgotten the password of your account.")
            .links("Choose a new password", url)
            .closes("All sessions of the account end when you do.")
            .closes("If it was not you, ignore this mail: your password stays as it is."),
        LinkKind::ChangeEmail => letter(whose.email, "email-change", "Confirm your new address", expires_at)
            .says("Somebody, probably you, wants to use this address for an account of Supalove.")
            .links("Confirm the address", url)
            .closes("If it was not you, ignore this mail: the account keeps its old address."),
    };
    letter.post(core, write).await
}

/// Tells the owner of an address that it has an account already: only the mail says so.
pub async fn tell_of_account(core: &Core, write: &mut impl Write, email: &str) -> Result<()> {
    let until = Utc::now() + Duration::from_hours(24);
    letter(email, "has-account", "You have an account already", until)
        .says("Somebody, probably you, wanted to use this address for an account of Supalove.")
        .says("It has one already: sign in with it, or reset its password.")
        .closes("If it was not you, you need not do anything.")
        .post(core, write)
        .await
}

/// What helps a user who did not make a change.
#[derive(Debug, Clone, Copy)]
pub enum Remedy {
    /// A new password, by mail.
    Reset,
    /// The account is gone, or has another address.
    Operator,
}

impl Remedy {
    fn text(self) -> &'static str {
        match self {
            Self::Reset => {
                "If it was not you, reset your password at once: that ends all sessions and access tokens of the account."
            }
            Self::Operator => "If it was not you, tell the operator of this platform at once.",
        }
    }
}

/// Tells a user of a change that an intruder would make, if the platform sends mail. A change does not fail because the account
/// has an address from before addresses were checked.
pub async fn tell_of_change(
    core: &Core,
    write: &mut impl Write,
    email: &str,
    what: &str,
    remedy: Remedy,
) -> Result<()> {
    if !core.mail().enabled() || !is_address(email) {
        return Ok(());
    }
    let until = Utc::now() + Duration::from_hours(72);
    letter(email, "account-changed", "Your account has changed", until)
        .says(what)
        .closes(remedy.text())
        .post(core, write)
        .await
}

/// The error for a token that leads nowhere.
pub fn invalid() -> Error {
    Error::Unauthenticated {
        reason: ErrorReason::LinkInvalid,
        message: "the link is wrong, has expired or was used; request another one".to_owned(),
    }
}
