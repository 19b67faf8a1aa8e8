//! `${placement.…}` tokens: values that only the placement knows, put in where a spec asks for it. Pure.

use supalove_proto::node::v1::Placement;

const OPEN: &[u8] = b"${placement.";

/// A token that cannot be replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not one of the known names.
    #[error("unknown token ${{placement.{0}}}: api_url, api_host, api_port and db_port are known")]
    Unknown(String),
    /// No closing brace.
    #[error("a ${{placement. token has no closing brace")]
    Open,
}

/// Replaces every token in `content`. Other `${…}` are left as they are.
pub fn substitute(content: &[u8], placement: &Placement) -> Result<Vec<u8>, TokenError> {
    let mut out = Vec::with_capacity(content.len());
    let mut rest = content;
    while let Some(start) = find(rest, OPEN) {
        out.extend_from_slice(&rest[..start]);
        let name_on = &rest[start + OPEN.len()..];
        let end = name_on.iter().take(64).position(|byte| *byte == b'}').ok_or(TokenError::Open)?;
        out.extend_from_slice(value(&name_on[..end], placement)?.as_bytes());
        rest = &name_on[end + 1..];
    }
    out.extend_from_slice(rest);
    Ok(out)
}

/// The same for text.
pub fn substitute_text(text: &str, placement: &Placement) -> Result<String, TokenError> {
    // Text in, text put in: the bytes are UTF-8.
    substitute(text.as_bytes(), placement).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn value(name: &[u8], placement: &Placement) -> Result<String, TokenError> {
    match name {
        b"api_url" => Ok(placement.api_url.clone()),
        b"api_host" => Ok(placement.api_host.clone()),
        b"api_port" => Ok(placement.api_port.to_string()),
        b"db_port" => Ok(placement.db_port.to_string()),
        other => Err(TokenError::Unknown(String::from_utf8_lossy(other).into_owned())),
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn placement() -> Placement {
        Placement {
            api_url: "http://h:5500".into(),
            api_host: "h".into(),
            api_port: 5500,
            db_port: 5501,
            ..Default::default()
        }
    }

    #[test]
    fn known_tokens_are_replaced_and_nothing_else() {
        let text = "a=${placement.api_url}/x $host ${OTHER} ${placement.api_port},${placement.db_port}${placement.api_host}";
        assert_eq!(
            substitute_text(text, &placement()).unwrap(),
            "a=http://h:5500/x $host ${OTHER} 5500,5501h"
        );
        assert_eq!(substitute(b"\xff\x00", &placement()).unwrap(), b"\xff\x00");
    }

    #[test]
    fn unknown_and_open_tokens_are_refused() {
        assert_eq!(
            substitute_text("${placement.slot}", &placement()),
            Err(TokenError::Unknown("slot".into()))
        );
        assert_eq!(substitute_text("${placement.api_url", &placement()), Err(TokenError::Open));
    }

    proptest! {
        #[test]
        fn content_without_tokens_is_untouched(content in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assume!(find(&content, OPEN).is_none());
            prop_assert_eq!(substitute(&content, &placement()).unwrap(), content);
        }
    }
}
