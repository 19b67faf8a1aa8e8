//! Renders a letter to plain text and to HTML. One template for all mails, so that they look like one sender's.

use minijinja::{AutoEscape, Environment, UndefinedBehavior, context, syntax::SyntaxConfig};
use url::Url;

use super::Content;
use crate::error::{Error, Result};

/// Columns of the text part (RFC 5322, 2.1.1 asks for at most 78).
const COLUMNS: usize = 72;

const TEXT: &str = include_str!("letter.txt");
const HTML: &str = include_str!("letter.html");

/// Both parts of a mail.
pub(super) struct Parts {
    pub text: String,
    pub html: String,
}

/// Renders both parts; `platform` is shown as where the mail comes from.
pub(super) fn render(content: &Content, platform: Option<&Url>) -> Result<Parts> {
    let (label, url) = content.link.as_ref().map_or((None, None), |(label, url)| (Some(label), Some(url)));
    let platform = platform.and_then(Url::host_str);
    let syntax =
        SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build();
    let syntax = syntax.map_err(Error::internal)?;
    let render = |name: &str, template: &str, wrapped: bool| {
        let lines = |texts: &[String]| {
            texts.iter().map(|text| if wrapped { wrap(text) } else { text.clone() }).collect::<Vec<_>>()
        };
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|name| {
            if name == "letter.html" { AutoEscape::Html } else { AutoEscape::None }
        });
        environment.set_syntax(syntax.clone());
        let values = context! {
            subject => &content.subject,
            paragraphs => lines(&content.paragraphs),
            label,
            url,
            closing => lines(&content.closing),
            platform,
        };
        environment.render_named_str(name, template, values).map_err(Error::internal)
    };
    Ok(Parts { text: render("letter.txt", TEXT, true)?, html: render("letter.html", HTML, false)? })
}

/// Breaks a paragraph into lines at its spaces. A word that is longer than a line, an address, stays whole.
fn wrap(paragraph: &str) -> String {
    let mut wrapped = String::new();
    let mut column = 0;
    for word in paragraph.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > COLUMNS {
            wrapped.push('\n');
            column = 0;
        } else if column > 0 {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += length;
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> Content {
        Content {
            subject: "Ada invites you to \"Acme & <Sons>\"".to_owned(),
            paragraphs: vec![
                "Ada Lovelace (ada@example.com) invites you to the organization \"Acme & <Sons>\" on Supalove, as a developer."
                    .to_owned(),
            ],
            link: Some((
                "Accept the invitation".to_owned(),
                "https://dashboard.example.com/invitations#token=sbi_0197a1b2c3&x=\"1\"".to_owned(),
            )),
            closing: vec![
                "The link works once, until 7 December 2026, 12:00 UTC.".to_owned(),
                "If you did not expect this mail, ignore it: nothing happens without the link.".to_owned(),
            ],
        }
    }

    fn rendered() -> Parts {
        let platform = Url::parse("https://dashboard.example.com/").unwrap();
        render(&letter(), Some(&platform)).unwrap()
    }

    /// `UPDATE_SNAPSHOTS=1` writes them again. Look at the HTML in a browser then, in light and dark, wide and narrow.
    fn assert_snapshot(name: &str, found: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/mail/snapshots").join(name);
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            std::fs::write(&path, found).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, expected, "{} differs; see the comment of this function", path.display());
    }

    #[test]
    fn both_parts_look_as_they_were_looked_at() {
        let parts = rendered();
        assert_snapshot("invitation.txt", &parts.text);
        assert_snapshot("invitation.html", &parts.html);
    }

    #[test]
    fn no_text_becomes_markup_and_nothing_is_loaded_from_elsewhere() {
        let html = rendered().html;
        assert!(html.contains("Acme &amp; &lt;Sons&gt;") && !html.contains("<Sons>"), "{html}");
        for remote in ["<img", "<script", "src=", "url(", "@import", "<link"] {
            assert!(!html.contains(remote), "{remote}");
        }
    }

    #[test]
    fn a_letter_without_link_closing_and_platform_is_whole() {
        let content =
            Content { subject: "Hi".into(), paragraphs: vec!["One.".into()], link: None, closing: vec![] };
        let parts = render(&content, None).unwrap();
        assert_eq!(parts.text, "One.\n\n-- \nSupalove\n");
        assert!(!parts.html.contains("href"));
    }

    #[test]
    fn lines_break_at_spaces_and_addresses_stay_whole() {
        let address = format!("https://example.com/{}", "x".repeat(100));
        assert_eq!(wrap(&format!("a {address} b")), format!("a\n{address}\nb"));
        let lines = wrap(&"word ".repeat(50));
        assert!(lines.lines().all(|line| line.chars().count() <= COLUMNS), "{lines}");
        assert_eq!(wrap("short"), "short");
    }
}
