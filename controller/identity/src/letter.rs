//! Letters of accounts and invitations, sentence by sentence.

use chrono::{DateTime, Utc};
use supalove_core::{
    Core, Write,
    error::{Error, Result},
    mail::{self, Letter, Link},
};

use crate::Opaque;

/// The address of a page with a token. Behind "#", so that neither servers nor their logs see it.
pub fn page(core: &Core, page: &str, token: &Opaque) -> Result<String> {
    let base = core.mail().public_url().ok_or_else(|| Error::internal("mail has no public URL"))?;
    Ok(format!("{}/{page}#token={}", base.as_str().trim_end_matches('/'), token.reveal()))
}

/// A letter in the making.
#[derive(Debug)]
pub struct Draft<'a>(Letter<'a>);

/// Begins a letter, which is worth nothing after `expires_at`.
pub fn letter<'a>(to: &'a str, kind: &'static str, subject: &str, expires_at: DateTime<Utc>) -> Draft<'a> {
    Draft(Letter {
        to,
        kind,
        subject: subject.to_owned(),
        paragraphs: Vec::new(),
        link: None,
        closing: Vec::new(),
        expires_at,
    })
}

impl Draft<'_> {
    /// Adds a paragraph before the link.
    #[must_use]
    pub fn says(mut self, text: &str) -> Self {
        self.0.paragraphs.push(text.to_owned());
        self
    }

    /// Adds the link, and until when it works.
    #[must_use]
    pub fn links(mut self, label: &'static str, url: String) -> Self {
        self.0.link = Some(Link { label, url });
        let until = self.0.expires_at.format("%Y-%m-%d %H:%M UTC");
        self.closes(&format!("The link works once, until {until}."))
    }

    /// Adds a paragraph after the link.
    #[must_use]
    pub fn closes(mut self, text: &str) -> Self {
        self.0.closing.push(text.to_owned());
        self
    }

    /// Posts it, in the transaction of its cause.
    pub async fn post(self, core: &Core, write: &mut impl Write) -> Result<()> {
        mail::post(write, &core.vault, &self.0).await
    }
}
