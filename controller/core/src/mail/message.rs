//! A mail as it goes over the line: headers, and the text and HTML parts. The same mail is always the same bytes.

use chrono::{DateTime, Utc};
use lettre::{
    Address, Message,
    message::{
        Mailbox, MultiPart, SinglePart,
        header::{Header, HeaderName, HeaderValue},
    },
};

use super::{Content, Mail, template};
use crate::{
    error::{Error, Result},
    ids::MailId,
};

/// A mail, ready to be sent.
pub(super) struct Rendered {
    /// Message-ID without brackets.
    pub id: String,
    pub from: Address,
    pub to: Address,
    pub bytes: Vec<u8>,
}

/// Builds the message. Its Message-ID and its boundary are made from its id, its date is when it was written.
pub(super) fn build(
    id: MailId,
    written: DateTime<Utc>,
    to: &Address,
    from: &Mailbox,
    mail: &Mail,
    content: &Content,
) -> Result<Rendered> {
    let message_id = format!("{id}@{}", from.email.domain());
    let parts = template::render(content, mail.public_url())?;
    let body = MultiPart::alternative()
        .boundary(format!("part-{id}"))
        .singlepart(SinglePart::plain(parts.text))
        .singlepart(SinglePart::html(parts.html));
    let message = Message::builder()
        .message_id(Some(format!("<{message_id}>")))
        .date(written.into())
        .from(from.clone())
        .to(Mailbox::new(None, to.clone()))
        .subject(content.subject.clone())
        .header(AutoSubmitted)
        .multipart(body)
        .map_err(Error::internal)?;
    Ok(Rendered { id: message_id, from: from.email.clone(), to: to.clone(), bytes: message.formatted() })
}

/// RFC 3834: nobody's "I am on holiday" answers it.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(subject: &str) -> Content {
        Content {
            subject: subject.to_owned(),
            paragraphs: vec!["Grüße".repeat(300)],
            link: Some(("Join".to_owned(), format!("https://example.com/#token={}", "x".repeat(1200)))),
            closing: Vec::new(),
        }
    }

    fn built(id: MailId, subject: &str) -> String {
        let from = "Supalove <no-reply@example.com>".parse().unwrap();
        let to = "ada@example.org".parse().unwrap();
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let mail = build(id, at, &to, &from, &Mail::default(), &content(subject)).unwrap();
        String::from_utf8(mail.bytes).unwrap()
    }

    #[test]
    fn a_mail_that_is_sent_again_is_the_same_bytes() {
        let id = MailId::generate();
        let once = built(id, "Hello");
        assert_eq!(once, built(id, "Hello"));
        assert!(once.contains(&format!("Message-ID: <{id}@example.com>\r\n")), "{once}");
        assert!(once.contains("Date: Fri, 15 Jan 2027 08:00:00 +0000\r\n"), "{once}");
        assert!(once.contains("Auto-Submitted: auto-generated\r\n"), "{once}");
        assert_ne!(once, built(MailId::generate(), "Hello"));
    }

    #[test]
    fn every_server_takes_it() {
        let mail = built(MailId::generate(), "Grüße aus Köln");
        assert!(mail.is_ascii(), "no 8BITMIME is needed");
        assert!(
            mail.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\n', '\r'])),
            "RFC 5322, 2.1.1"
        );
        assert!(mail.contains("Subject: =?utf-8?"), "{mail}");
    }

    #[test]
    fn a_subject_adds_no_header() {
        // `Content::from_letter` takes line breaks away before; this is the second wall.
        let mail = built(MailId::generate(), "Hello\r\nBcc: eve@example.com\r\n\r\nbody");
        let (headers, _) = mail.split_once("\r\n\r\n").unwrap();
        assert!(!headers.to_lowercase().contains("bcc:"), "{headers}");
    }
}
