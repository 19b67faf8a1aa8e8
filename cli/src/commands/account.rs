//! `setup`, `login`, `logout`, `whoami`, `token`, `account`: who the caller is.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use supalove_proto::v1::{
    ChangePasswordRequest, ConfirmEmailChangeRequest, DeleteAccountRequest, GetMeRequest, GetMeResponse,
    RefreshTokenDelivery, RequestEmailChangeRequest, RequestPasswordResetRequest, ResetPasswordRequest,
    SessionTokens, SetUpRequest, SignInRequest, SignOutRequest, UpdateMeRequest, User,
    auth_service_client::AuthServiceClient,
};

use super::{Context, required, sessions, sign_up::LinkToken};
use crate::{confirm, credentials::Stored, error::Error, output, table};

/// Arguments of `setup`.
#[derive(Debug, Args)]
pub struct Setup {
    /// E-mail address of the first user.
    #[arg(long)]
    email: String,
    /// Display name. Default: the part of the address before "@".
    #[arg(long, default_value = "")]
    display_name: String,
    /// File with the one-time token that the controller wrote at its first start; - is stdin.
    #[arg(long = "setup-token-file", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Read the password from stdin.
    #[arg(long)]
    password_stdin: bool,
}

/// Arguments of `login`.
#[derive(Debug, Args)]
pub struct Login {
    /// E-mail address.
    #[arg(long)]
    email: String,
    /// Read the password from stdin.
    #[arg(long)]
    password_stdin: bool,
}

/// Arguments of `token`.
#[derive(Debug, Args)]
pub struct Token {
    /// Get a new access token, even if the stored one is still valid.
    #[arg(long)]
    fresh: bool,
}

/// The commands about the caller's account.
#[derive(Debug, Subcommand)]
pub enum Account {
    /// Change your display name.
    Rename {
        /// The name.
        name: String,
    },
    /// Set a new password. Your other sessions end.
    Password {
        /// Read both passwords from stdin, a line each: the current one, then the new one.
        #[arg(long)]
        passwords_stdin: bool,
    },
    /// Have a link mailed to you with which you set a new password.
    ForgotPassword {
        /// E-mail address.
        #[arg(long)]
        email: String,
    },
    /// Set a new password with a mailed link. All your sessions and access tokens end, and you are signed in.
    ResetPassword {
        #[command(flatten)]
        link: LinkToken,
        /// Read the new password from stdin.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Use another e-mail address. It changes when you confirm the link that is mailed there.
    ChangeEmail {
        /// The new address.
        email: String,
        /// Read your password from stdin.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Confirm a new e-mail address with a mailed link, while the session lives that asked for it.
    ConfirmEmail {
        #[command(flatten)]
        link: LinkToken,
    },
    /// Delete your account.
    Delete {
        /// Read your password from stdin.
        #[arg(long)]
        password_stdin: bool,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
}

pub async fn run(context: &Context, command: Account) -> Result<(), Error> {
    match command {
        Account::Rename { name } => rename(context, name).await,
        Account::Password { passwords_stdin } => change_password(context, passwords_stdin).await,
        Account::ForgotPassword { email } => forgot_password(context, email).await,
        Account::ResetPassword { link, password_stdin } => {
            if password_stdin && link.is_stdin() {
                return Err(Error::Usage("stdin cannot give both the token and the password".into()));
            }
            reset_password(context, link.read()?, confirm::password(password_stdin, true)?).await
        }
        Account::ChangeEmail { email, password_stdin } => {
            change_email(context, email, confirm::password(password_stdin, false)?).await
        }
        Account::ConfirmEmail { link } => confirm_email(context, link.read()?).await,
        Account::Delete { password_stdin, yes } => {
            if !yes {
                confirm::type_to_confirm("Your account, its sessions and its tokens are deleted.", "delete")?;
            }
            delete(context, confirm::password(password_stdin, false)?).await
        }
    }
}

async fn forgot_password(context: &Context, email: String) -> Result<(), Error> {
    let answer = context
        .client
        .call_anonymously(
            RequestPasswordResetRequest { email: email.clone() },
            |channel, request| async move {
                AuthServiceClient::new(channel).request_password_reset(request).await
            },
        )
        .await?;
    context.output.answer("RequestPasswordResetResponse", &answer, |_| {
        format!("if {email} has an account, a mail is on its way; go on with its link: supalove account reset-password")
    })
}

async fn reset_password(context: &Context, token: String, new_password: String) -> Result<(), Error> {
    let request = ResetPasswordRequest {
        token,
        new_password,
        refresh_token_delivery: RefreshTokenDelivery::Body.into(),
    };
    let answer = context
        .client
        .call_anonymously(request, |channel, request| async move {
            AuthServiceClient::new(channel).reset_password(request).await
        })
        .await?;
    let (sessions, tokens) = (answer.sessions_ended, answer.personal_access_tokens_ended);
    context.output.say(&format!(
        "the password is changed; {sessions} sessions and {tokens} access tokens have ended, and you are signed in"
    ))?;
    store(context, answer.user, answer.tokens).await
}

async fn change_email(context: &Context, new_email: String, current_password: String) -> Result<(), Error> {
    let request = RequestEmailChangeRequest { new_email: new_email.clone(), current_password };
    let answer = context
        .client
        .call_once(request, |channel, request| async move {
            AuthServiceClient::new(channel).request_email_change(request).await
        })
        .await?;
    context.output.answer("RequestEmailChangeResponse", &answer, |_| {
        format!("a mail is on its way to {new_email}; confirm with its link: supalove account confirm-email")
    })
}

async fn confirm_email(context: &Context, token: String) -> Result<(), Error> {
    let answer = context
        .client
        .call_once(ConfirmEmailChangeRequest { token }, |channel, request| async move {
            AuthServiceClient::new(channel).confirm_email_change(request).await
        })
        .await?;
    context.output.answer("ConfirmEmailChangeResponse", &answer, |answer| {
        format!("the account's address is {} now; {}", answer.email, sessions::ended(answer.sessions_ended))
    })
}

async fn delete(context: &Context, current_password: String) -> Result<(), Error> {
    let client = &context.client;
    let answer = client
        .call_once(DeleteAccountRequest { current_password }, |channel, request| async move {
            AuthServiceClient::new(channel).delete_account(request).await
        })
        .await?;
    if !client.has_given_token() {
        let lock = client.store().lock(client.timeout()).await?;
        client.store().forget(&lock, client.api())?;
    }
    context.output.answer("DeleteAccountResponse", &answer, |_| "your account is deleted".to_owned())
}

fn changed(sessions_ended: u32, tokens_left: u32) -> String {
    let changed = format!("the password is changed; {}", sessions::ended(sessions_ended));
    match tokens_left {
        0 => changed,
        left => format!("{changed}; {left} access tokens still work: supalove access-tokens list"),
    }
}

async fn rename(context: &Context, display_name: String) -> Result<(), Error> {
    let answer = context
        .client
        .call(UpdateMeRequest { display_name, update_mask: None }, |channel, request| async move {
            AuthServiceClient::new(channel).update_me(request).await
        })
        .await?;
    context.output.answer("UpdateMeResponse", &answer, |answer| shown(answer.user.as_ref()))
}

async fn change_password(context: &Context, from_stdin: bool) -> Result<(), Error> {
    let (current_password, new_password) = confirm::passwords(from_stdin)?;
    // Repeated after a lost answer, it would call the current password wrong.
    let answer = context
        .client
        .call_once(ChangePasswordRequest { current_password, new_password }, |channel, request| async move {
            AuthServiceClient::new(channel).change_password(request).await
        })
        .await?;
    context.output.answer("ChangePasswordResponse", &answer, |answer| {
        changed(answer.sessions_ended, answer.personal_access_tokens_left)
    })
}

pub async fn set_up(context: &Context, arguments: Setup) -> Result<(), Error> {
    let token_file = arguments.token_file.as_deref();
    if arguments.password_stdin && token_file.is_some_and(|path| path.as_os_str() == "-") {
        return Err(Error::Usage("stdin cannot give both the token and the password".into()));
    }
    let request = SetUpRequest {
        setup_token: confirm::secret(token_file, "Setup token: ")?,
        email: arguments.email,
        password: confirm::password(arguments.password_stdin, true)?,
        display_name: arguments.display_name,
    };
    let answer = context
        .client
        .call_anonymously(request, |channel, request| async move {
            AuthServiceClient::new(channel).set_up(request).await
        })
        .await?;
    store(context, answer.user, answer.tokens).await
}

pub async fn login(context: &Context, arguments: Login) -> Result<(), Error> {
    let request = SignInRequest {
        email: arguments.email,
        password: confirm::password(arguments.password_stdin, false)?,
        refresh_token_delivery: RefreshTokenDelivery::Body.into(),
    };
    let answer = context
        .client
        .call_anonymously(request, |channel, request| async move {
            AuthServiceClient::new(channel).sign_in(request).await
        })
        .await?;
    store(context, answer.user, answer.tokens).await
}

/// Ends the session on the server and deletes it here, even if the server has already ended it.
pub async fn logout(context: &Context) -> Result<(), Error> {
    let client = &context.client;
    if client.has_given_token() {
        return Err(Error::Usage(
            "SUPALOVE_ACCESS_TOKEN is set, so this would not end the stored session; unset it first".into(),
        ));
    }
    let ended = client
        .call(SignOutRequest {}, |channel, request| async move {
            AuthServiceClient::new(channel).sign_out(request).await
        })
        .await;
    match ended {
        Ok(_) | Err(Error::NotSignedIn { .. } | Error::SessionEnded { .. }) => {}
        Err(error) if error.is_unauthenticated() => {}
        Err(error) => return Err(error),
    }
    let lock = client.store().lock(client.timeout()).await?;
    client.store().forget(&lock, client.api())?;
    context.output.say("signed out")
}

pub async fn whoami(context: &Context) -> Result<(), Error> {
    let answer = context
        .client
        .call(GetMeRequest {}, |channel, request| async move {
            AuthServiceClient::new(channel).get_me(request).await
        })
        .await?;
    show(context, &answer)
}

pub async fn token(context: &Context, arguments: &Token) -> Result<(), Error> {
    let client = &context.client;
    let token = client.access_token().await?;
    let token = if arguments.fresh { client.refresh(&token).await? } else { token };
    output::line(&token)
}

/// Stores the session. The printed response has no tokens, because output often ends up in logs.
pub async fn store(
    context: &Context,
    user: Option<User>,
    tokens: Option<SessionTokens>,
) -> Result<(), Error> {
    let client = &context.client;
    let user = required(user, "user")?;
    let session = Stored::new(user.email.clone(), required(tokens, "tokens")?);
    let lock = client.store().lock(client.timeout()).await?;
    client.store().save(&lock, client.api(), session)?;
    show(context, &GetMeResponse { user: Some(user) })
}

fn show(context: &Context, answer: &GetMeResponse) -> Result<(), Error> {
    context.output.answer("GetMeResponse", answer, |answer| shown(answer.user.as_ref()))
}

fn shown(user: Option<&User>) -> String {
    let user = user.cloned().unwrap_or_default();
    table::pairs([
        ("email", user.email),
        ("name", user.display_name),
        ("id", user.id),
        ("operator", if user.operator { "yes" } else { "no" }.into()),
        ("created", table::time(user.create_time.as_ref())),
    ])
}
