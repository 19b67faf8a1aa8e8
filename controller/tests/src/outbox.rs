//! Writes mails into the outbox of a running controller, as an act of its own would.

use chrono::{DateTime, Utc};
use supalove_core::{
    Core, SystemWrite,
    database::Pools,
    limits::Limits,
    mail::{self, Letter, Link, Mail},
    times::Times,
    vault::Vault,
};

use super::Controller;

/// The parts of the controller that an act needs: its database and its vault.
pub struct Outbox(Core);

impl Outbox {
    /// Opens that of a controller. Starts no jobs.
    pub async fn open(controller: &Controller) -> Self {
        let pools = Pools::connect(&controller.database.url).await.unwrap();
        let vault = Vault::from_file(&controller.dir.path().join("master.key")).unwrap();
        let at = "127.0.0.1:1".to_owned();
        let core = Core::open(pools, vault, Times::default(), Limits::default(), Mail::default(), at, None);
        Self(core.await.unwrap())
    }

    /// Begins an act.
    pub fn act(&self) -> SystemWrite {
        self.0.system_write("test")
    }

    /// Writes a mail in an act.
    pub async fn write(
        &self,
        act: &mut SystemWrite,
        letter: &Letter<'_>,
    ) -> supalove_core::error::Result<()> {
        mail::post(act, &self.0.vault, letter).await
    }

    /// An act that causes one mail, and commits.
    pub async fn post(&self, letter: &Letter<'_>) {
        let mut act = self.act();
        self.write(&mut act, letter).await.unwrap();
        act.commit([]).await.unwrap();
    }
}

/// An invitation, with this token in its link.
pub fn invitation<'a>(to: &'a str, token: &str, expires_at: DateTime<Utc>) -> Letter<'a> {
    Letter {
        to,
        kind: "invitation",
        subject: "Ada invites you to \"Acme & <Söhne>\"".to_owned(),
        paragraphs: vec!["Ada invites you to the organization \"Acme & <Söhne>\".".to_owned()],
        link: Some(Link {
            label: "Accept the invitation",
            url: format!("https://dashboard.example.com/invitations#token={token}"),
        }),
        closing: vec!["The link works once.".to_owned()],
        expires_at,
    }
}
