//! Mail: an act writes a [`Letter`] into the outbox in its own transaction, and a leased job sends it.
//!
//! What holds: a letter is sent if and only if its act commits. The mail server takes it once. If the process dies after the
//! server has taken a mail and before that is written down, or if the server's answer is lost, the mail is sent again, byte
//! for byte the same and with the same Message-ID, by which servers and mail clients can recognise it: in this window it is
//! "at least once". A server that is down, slow or says "later" is tried again with growing pauses, until the letter expires.

mod message;
mod sender;
mod settings;
mod smtp;
mod store;
mod template;

use chrono::{DateTime, Utc};
use lettre::Address;
use serde::{Deserialize, Serialize};
use url::{Host, Url};
use zeroize::Zeroize;

use crate::{
    Write,
    error::{Error, Result},
    hints::{Hint, wake_at_commit},
    ids::MailId,
    vault::{Scope, Vault, columns::SealedColumn},
};

pub(crate) use self::{sender::Sender, store::prune};
pub use self::{
    settings::{Mail, Options, SettingsError},
    smtp::Failure,
};

/// Longest subject, in characters: what mail clients show, and more.
const SUBJECT_CHARS: usize = 200;
/// Longest address (RFC 5321, 4.5.3.1.3, without its brackets).
const ADDRESS_BYTES: usize = 254;

/// A mail to one address: what it says, rendered to text and HTML by one template that all mails share.
#[derive(Debug)]
pub struct Letter<'a> {
    /// Address of the recipient.
    pub to: &'a str,
    /// Kind of mail, a stable word such as "invitation": for logs, metrics and the outbox row.
    pub kind: &'static str,
    /// Subject, one line.
    pub subject: String,
    /// Paragraphs of plain text before the link.
    pub paragraphs: Vec<String>,
    /// The link; it may hold a live token, so it is sealed at rest and never logged.
    pub link: Option<Link>,
    /// Paragraphs after the link (until when it is valid, what to do if it was not you).
    pub closing: Vec<String>,
    /// After this moment the letter is worth nothing and is dropped instead of sent.
    pub expires_at: DateTime<Utc>,
}

/// A link of a letter.
pub struct Link {
    /// What the button says.
    pub label: &'static str,
    /// Where it leads: an http or https URL.
    pub url: String,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("label", &self.label).finish_non_exhaustive()
    }
}

/// Writes a letter into the outbox, in the transaction of the act that causes it: it is sent if and only if the act commits,
/// once (see the module). Whether mail is set up is the caller's question: [`Mail::enabled`].
pub async fn post(write: &mut impl Write, vault: &Vault, letter: &Letter<'_>) -> Result<()> {
    address("email", letter.to)?;
    let id = MailId::generate();
    let content = Content::from_letter(letter)?;
    let sealed = content.seal(vault, id)?;
    let connection = write.connection().await?;
    store::add(connection, id, letter, &sealed).await?;
    wake_at_commit(connection, &Hint::Mails).await
}

/// Sends a mail that says that mail works, at once and without the outbox. Returns its Message-ID and what the mail server
/// said when it took the mail.
pub async fn send_test(core: &crate::Core, to: &str) -> Result<Tested> {
    let to = address("to", to)?;
    let smtp = core.mail().smtp().ok_or_else(not_set_up)?;
    let letter = Letter {
        to: "",
        kind: "test",
        subject: "Supalove can send mail".to_owned(),
        paragraphs: vec![
            "This is a test. An operator of Supalove sent it to see whether mail arrives.".to_owned(),
            "It did: invitations and links to confirm an address or to reset a password arrive the same way."
                .to_owned(),
        ],
        link: core.mail().public_url().map(|url| Link { label: "Open Supalove", url: url.to_string() }),
        closing: vec!["You do not have to do anything.".to_owned()],
        expires_at: Utc::now(),
    };
    let content = Content::from_letter(&letter)?;
    let mail = message::build(MailId::generate(), Utc::now(), &to, &smtp.from, core.mail(), &content)?;
    let limit = core.times.call / 2;
    let sending = async {
        let mut connection = smtp::Connection::open(smtp, core.times.mail_answer.min(limit)).await?;
        let said = connection.send(&mail).await?;
        connection.quit().await;
        Ok(said)
    };
    let sent = tokio::time::timeout(limit, sending).await.unwrap_or_else(|_| Err(Failure::too_slow(limit)));
    let said = sent.map_err(|failure| Error::FailedPrecondition {
        reason: supalove_proto::v1::ErrorReason::MailNotSent,
        message: format!("the mail was not sent: {}", failure.said()),
    })?;
    Ok(Tested { message_id: mail.id, said })
}

fn not_set_up() -> Error {
    Error::FailedPrecondition {
        reason: supalove_proto::v1::ErrorReason::MailNotSetUp,
        message: "the platform sends no mail; its operator has to start the controller with --smtp-url, --mail-from and \
                  --public-url"
            .to_owned(),
    }
}

/// See [`send_test`].
#[derive(Debug)]
pub struct Tested {
    /// Message-ID without brackets.
    pub message_id: String,
    /// What the mail server said.
    pub said: String,
}

/// True if mail can be sent to this address.
pub fn is_address(text: &str) -> bool {
    address("email", text).is_ok()
}

/// Parses the address of a recipient. Its domain becomes ASCII, which every mail server takes.
fn address(field: &str, text: &str) -> Result<Address> {
    let wrong = || Error::field(field, "must be an address that mail can be sent to, like ada@example.com");
    // A quoted local part may hold what ends the argument of a command; nobody has such an address.
    let ends_argument = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>');
    if text.len() > ADDRESS_BYTES || text.contains(ends_argument) {
        return Err(wrong());
    }
    let (user, domain) = text.rsplit_once('@').ok_or_else(wrong)?;
    let domain = if domain.is_ascii() {
        domain.to_owned()
    } else {
        Host::parse(domain).map_err(|_| wrong())?.to_string()
    };
    Address::new(user, domain).map_err(|_| wrong())
}

/// What a letter says, as it is sealed.
#[derive(Serialize, Deserialize)]
struct Content {
    subject: String,
    paragraphs: Vec<String>,
    link: Option<(String, String)>,
    closing: Vec<String>,
}

impl Drop for Content {
    fn drop(&mut self) {
        if let Some((_, url)) = &mut self.link {
            url.zeroize();
        }
    }
}

impl Content {
    fn from_letter(letter: &Letter<'_>) -> Result<Self> {
        let tidy_all = |texts: &[String]| texts.iter().map(|text| tidy(text)).collect();
        let link = letter.link.as_ref().map(|link| {
            let url = Url::parse(&link.url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            url.map(|url| (link.label.to_owned(), String::from(url))).ok_or_else(|| {
                Error::internal(format!("the link of a mail \"{}\" is no http URL", letter.kind))
            })
        });
        Ok(Self {
            subject: tidy(&letter.subject).chars().take(SUBJECT_CHARS).collect(),
            paragraphs: tidy_all(&letter.paragraphs),
            link: link.transpose()?,
            closing: tidy_all(&letter.closing),
        })
    }

    fn seal(&self, vault: &Vault, id: MailId) -> Result<Vec<u8>> {
        let text = zeroize::Zeroizing::new(serde_json::to_vec(self).map_err(Error::internal)?);
        vault.seal(scope(&id.to_string()), &text).map_err(Error::internal)
    }

    fn open(vault: &Vault, id: MailId, sealed: &[u8]) -> Result<Self> {
        let text = vault.open(scope(&id.to_string()), sealed).map_err(Error::internal)?;
        serde_json::from_slice(&text).map_err(Error::internal)
    }
}

/// Sealed values of mails.
pub const SEALED: &[SealedColumn] = &[SealedColumn {
    table: "mails",
    column: "sealed",
    kind: "mail",
    id: "'mal_' || replace(id::text, '-', '')",
    name: "'content'",
    version: "1",
}];

fn scope(id: &str) -> Scope<'_> {
    Scope { kind: "mail", id, name: "content", version: 1 }
}

/// One line without what a name could bring in to look like something else: control characters (line breaks would begin a
/// new header or paragraph) and characters that turn the direction of the text.
fn tidy(text: &str) -> String {
    let plain =
        text.chars().map(|c| if c.is_control() || turns_text(c) { ' ' } else { c }).collect::<String>();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Unicode's embeddings, overrides and isolates, and the marks of direction.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    use super::*;

    fn letter<'a>() -> Letter<'a> {
        Letter {
            to: "ada@example.com",
            kind: "invitation",
            subject: "You are invited to a\r\nBcc: eve@example.com".to_owned(),
            paragraphs: vec!["a\u{202e}b\nc".to_owned()],
            link: Some(Link {
                label: "Join",
                url: "https://example.com/invitations#token=canary".to_owned(),
            }),
            closing: Vec::new(),
            expires_at: Utc::now(),
        }
    }

    #[test]
    fn a_name_adds_no_line_and_does_not_turn_the_text() {
        let content = Content::from_letter(&letter()).unwrap();
        assert_eq!(content.subject, "You are invited to a Bcc: eve@example.com");
        assert_eq!(content.paragraphs, ["a b c"]);
        let long = Letter { subject: "é".repeat(5000), ..letter() };
        assert_eq!(Content::from_letter(&long).unwrap().subject.chars().count(), SUBJECT_CHARS);
    }

    #[test]
    fn content_opens_only_for_its_mail_and_is_never_shown() {
        let vault = Vault::from_base64(&STANDARD.encode([1; 32])).unwrap();
        let (id, other) = (MailId::generate(), MailId::generate());
        let sealed = Content::from_letter(&letter()).unwrap().seal(&vault, id).unwrap();
        let opened = Content::open(&vault, id, &sealed).unwrap();
        assert_eq!(opened.link.as_ref().unwrap().1, "https://example.com/invitations#token=canary");
        assert!(Content::open(&vault, other, &sealed).is_err());
        assert!(!format!("{:?}", letter()).contains("canary"));
        assert!(!sealed.windows(6).any(|bytes| bytes == b"canary"));
    }

    #[test]
    fn a_link_is_an_address_of_the_web() {
        for url in ["javascript:alert(1)", "/invitations", "ftp://example.com"] {
            let link = Some(Link { label: "Join", url: url.to_owned() });
            assert!(Content::from_letter(&Letter { link, ..letter() }).is_err(), "{url}");
        }
    }

    #[test]
    fn only_addresses_get_mail() {
        assert_eq!(address("to", "ada@example.com").unwrap().to_string(), "ada@example.com");
        assert_eq!(address("to", "ada@münchen.example").unwrap().to_string(), "ada@xn--mnchen-3ya.example");
        let long = format!("{}@example.com", "a".repeat(250));
        for wrong in [
            "",
            "ada",
            "ada@",
            "a@b@c",
            "ada@example.com\r\nRCPT TO:<eve@example.com>",
            "a b@example.com",
            &long,
        ] {
            assert!(address("to", wrong).is_err(), "{wrong}");
        }
    }
}
