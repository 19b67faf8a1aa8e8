//! Display texts, host names, and text from a peer. Text from a peer goes into rows and onto screens: PostgreSQL
//! rejects NUL, control characters could control a terminal, and invisible characters make one name look like another.

use std::net::{IpAddr, Ipv6Addr};

use crate::limits::DISPLAY_CHARS;

/// Checks a display name: trimmed, 1 to [`DISPLAY_CHARS`] characters, all of them visible.
pub fn display(text: &str) -> Result<&str, DisplayError> {
    let text = text.trim();
    let valid = !text.is_empty() && is_plain(text, DISPLAY_CHARS);
    if valid { Ok(text) } else { Err(DisplayError) }
}

/// The text is not a valid display name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must have 1 to {DISPLAY_CHARS} characters, no control characters, and none that is invisible or turns the direction of \
     text"
)]
pub struct DisplayError;

/// True for a character that shows itself and changes nothing around it. False for control characters, line and paragraph
/// separators, format characters (Unicode's Cf: marks that turn the direction of text, zero-width characters, tags), and
/// fillers that look like nothing. Variation selectors are allowed: emoji have them.
pub fn is_visible(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}'
        | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}'..='\u{ffff}' | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// True if the text has at most `most` characters, all of them visible.
pub fn is_plain(text: &str, most: usize) -> bool {
    text.chars().count() <= most && text.chars().all(is_visible)
}

/// Removes characters that are not visible except tabs, and truncates the text to `most` characters.
pub fn printable(text: &str, most: usize) -> String {
    text.chars().filter(|c| is_visible(*c) || *c == '\t').take(most).collect()
}

/// The same, but also removes tabs, for text on one line.
pub fn single_line(text: &str, most: usize) -> String {
    text.chars().filter(|c| is_visible(*c)).take(most).collect()
}

/// Converts a host name to lower case: labels of RFC 1123 with dots between, and underscores, which some hosts have.
/// `None` if the text is not a host name.
pub fn host_name(text: &str) -> Option<String> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let valid = text.len() <= 253 && text.split('.').all(is_label);
    valid.then(|| text.to_ascii_lowercase())
}

/// True for a host name or address that may be part of a URL.
pub fn is_host(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
        || ((1..=253).contains(&text.len())
            && !text.starts_with(['-', '.'])
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')))
}

/// True for `host:port` or `[v6]:port`.
pub fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let is_host = match bracketed {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => is_host(host) && !host.contains(':'),
    };
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0) && !port.starts_with('+')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_to_show_are_trimmed_and_bounded() {
        assert_eq!(display("  My project "), Ok("My project"));
        assert_eq!(display(&"ä".repeat(80)).map(str::len), Ok(160));
        for good in ["日本語", "مشروع", "Ångström ❤\u{fe0f}", "नमस्ते"] {
            assert_eq!(display(good), Ok(good));
        }
        for bad in [
            "",
            "   ",
            "a\nb",
            "a\0",
            "\u{9b}31m",
            "rtl\u{202e}gnp.exe",
            "a\u{2028}b",
            "a\u{200b}b",
            "a\u{200d}",
            "\u{feff}a",
            "\u{2066}a",
            "a\u{ad}b",
            "\u{3164}",
            "a\u{e0041}",
            "\u{61c}a",
            "a\u{2029}b",
        ] {
            assert_eq!(display(bad), Err(DisplayError), "{bad:?}");
        }
        let said = display(&"a".repeat(81)).unwrap_err().to_string();
        assert!(said.starts_with("must have 1 to 80 characters, no control characters"), "{said}");
    }

    #[test]
    fn hosts() {
        assert_eq!(host_name("Node-1.Example_x.com").as_deref(), Some("node-1.example_x.com"));
        for bad in ["", ".", "a..b", "-a", "a.-b", "a b", "a/b", "ä", &"a".repeat(64), &"a.".repeat(128)] {
            assert_eq!(host_name(bad), None, "{bad}");
        }
        for good in ["node-1.example.com", "10.0.0.1", "::1", "localhost"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", "a b/c", "-a", ".a", "[::1]", "a:1", "a_b"] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn hosts_with_ports() {
        for good in ["node-1.example.com:8001", "10.0.0.1:1", "[::1]:65535"] {
            assert!(is_host_port(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "::1:80",
            "[a]:1",
            "http://a:1",
            "a;b:1",
            "a_b:1",
            "[::1:1",
        ] {
            assert!(!is_host_port(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_never_steers_a_terminal(text in any::<String>(), most in 0_usize..100) {
            let shown = printable(&text, most);
            prop_assert!(shown.chars().count() <= most && shown.chars().all(|c| is_visible(c) || c == '\t'));
            prop_assert!(is_plain(&single_line(&text, most), most));
            if let Ok(name) = display(&text) {
                prop_assert!(is_plain(name, DISPLAY_CHARS) && name.trim() == name && !name.is_empty());
            }
            if is_plain(&text, most) {
                prop_assert_eq!(printable(&text, most), text);
            }
        }

        #[test]
        fn a_host_name_stays_one(text in "[a-zA-Z0-9._-]{0,80}") {
            if let Some(name) = host_name(&text) {
                prop_assert_eq!(host_name(&name), Some(name.clone()));
                prop_assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()));
            }
        }
    }
}
