//! `sign-up request | finish`: an account by a link in a mail, or by an invitation.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use supalove_proto::v1::{
    RefreshTokenDelivery, SignUpRequest, StartSignUpRequest, auth_service_client::AuthServiceClient,
};

use super::{Context, account};
use crate::{confirm, error::Error};

/// The commands about a new account.
#[derive(Debug, Subcommand)]
pub enum SignUp {
    /// Have a link mailed to you, if the platform is open to everybody.
    Request {
        /// E-mail address.
        #[arg(long)]
        email: String,
    },
    /// Choose a password, with the link or its token, or with an invitation. Starts a session and stores it.
    Finish {
        /// Display name. Default: the part of the address before "@".
        #[arg(long, default_value = "")]
        display_name: String,
        #[command(flatten)]
        link: LinkToken,
        /// Read the password from stdin.
        #[arg(long)]
        password_stdin: bool,
    },
}

/// The token of a link. Without an option it is asked for.
#[derive(Debug, Args)]
pub struct LinkToken {
    /// File with the link, or its token; - is stdin.
    #[arg(long = "token-file", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl LinkToken {
    /// Reads it. A whole link is taken, too.
    pub fn read(&self) -> Result<String, Error> {
        let text = confirm::secret(self.file.as_deref(), "Link, or its token: ")?;
        Ok(token_of(text.trim()).to_owned())
    }

    /// True if it comes from stdin.
    pub fn is_stdin(&self) -> bool {
        self.file.as_ref().is_some_and(|path| path.as_os_str() == "-")
    }
}

fn token_of(text: &str) -> &str {
    text.split_once("#token=").map_or(text, |(_, token)| token)
}

pub async fn run(context: &Context, command: SignUp) -> Result<(), Error> {
    match command {
        SignUp::Request { email } => request(context, email).await,
        SignUp::Finish { display_name, link, password_stdin } => {
            if password_stdin && link.is_stdin() {
                return Err(Error::Usage("stdin cannot give both the token and the password".into()));
            }
            finish(context, display_name, link.read()?, confirm::password(password_stdin, true)?).await
        }
    }
}

async fn request(context: &Context, email: String) -> Result<(), Error> {
    let answer = context
        .client
        .call_anonymously(StartSignUpRequest { email: email.clone() }, |channel, request| async move {
            AuthServiceClient::new(channel).start_sign_up(request).await
        })
        .await?;
    context.output.answer("StartSignUpResponse", &answer, |_| {
        format!("a mail is on its way to {email}; finish with its link: supalove sign-up finish")
    })
}

async fn finish(
    context: &Context,
    display_name: String,
    token: String,
    password: String,
) -> Result<(), Error> {
    let request = SignUpRequest {
        token,
        password,
        display_name,
        refresh_token_delivery: RefreshTokenDelivery::Body.into(),
    };
    let answer = context
        .client
        .call_anonymously(request, |channel, request| async move {
            AuthServiceClient::new(channel).sign_up(request).await
        })
        .await?;
    account::store(context, answer.user, answer.tokens).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_as_good_as_its_token() {
        assert_eq!(token_of("sbl_abc"), "sbl_abc");
        assert_eq!(token_of("https://example.com/sign-up#token=sbl_abc"), "sbl_abc");
    }
}
