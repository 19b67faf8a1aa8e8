//! `${placement.…}` tokens: placeholders for values that only the placement determines. The agent replaces them.

/// Prefix of every token; a token ends with `}`.
pub const OPEN: &str = "${placement.";
/// Maximum bytes of a name; a longer token counts as one without a closing brace.
const LONGEST_NAME: usize = 64;

/// The known tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlacementToken {
    /// URL of the gateway, e.g. "http://node-1:5500".
    ApiUrl,
    /// Host of that URL.
    ApiHost,
    /// Port of that URL.
    ApiPort,
    /// Published port of the database.
    DbPort,
}

/// An invalid token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The name is unknown.
    #[error("unknown token ${{placement.{0}}}: api_url, api_host, api_port and db_port are known")]
    Unknown(String),
    /// The closing brace is missing.
    #[error("a ${{placement. token has no closing brace")]
    Open,
}

impl PlacementToken {
    /// All tokens.
    pub const ALL: [Self; 4] = [Self::ApiUrl, Self::ApiHost, Self::ApiPort, Self::DbPort];

    /// Name inside the braces.
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiUrl => "api_url",
            Self::ApiHost => "api_host",
            Self::ApiPort => "api_port",
            Self::DbPort => "db_port",
        }
    }

    /// Returns the token with a name.
    pub fn from_name(name: &[u8]) -> Result<Self, TokenError> {
        let known = Self::ALL.into_iter().find(|token| token.name().as_bytes() == name);
        known.ok_or_else(|| TokenError::Unknown(String::from_utf8_lossy(name).into_owned()))
    }
}

/// Replaces every token in `content`. Leaves other `${…}` unchanged.
pub fn substitute(
    content: &[u8],
    mut value: impl FnMut(PlacementToken) -> String,
) -> Result<Vec<u8>, TokenError> {
    let mut out = Vec::with_capacity(content.len());
    let mut rest = content;
    while let Some(found) = next(rest)? {
        out.extend_from_slice(found.before);
        out.extend_from_slice(value(PlacementToken::from_name(found.name)?).as_bytes());
        rest = found.after;
    }
    out.extend_from_slice(rest);
    Ok(out)
}

/// Returns the tokens of `content`, in order; stops with an error at the first invalid one.
pub fn find_all(content: &[u8]) -> Result<Vec<PlacementToken>, TokenError> {
    let mut found = Vec::new();
    substitute(content, |token| {
        found.push(token);
        String::new()
    })?;
    Ok(found)
}

struct Found<'a> {
    before: &'a [u8],
    name: &'a [u8],
    after: &'a [u8],
}

fn next(content: &[u8]) -> Result<Option<Found<'_>>, TokenError> {
    let open = OPEN.as_bytes();
    let Some(start) = content.windows(open.len()).position(|window| window == open) else { return Ok(None) };
    let name_on = &content[start + open.len()..];
    let end = name_on.iter().take(LONGEST_NAME).position(|byte| *byte == b'}').ok_or(TokenError::Open)?;
    Ok(Some(Found { before: &content[..start], name: &name_on[..end], after: &name_on[end + 1..] }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::PlacementToken::{ApiHost, ApiPort, ApiUrl, DbPort};
    use super::*;

    fn named(content: &[u8]) -> Result<Vec<u8>, TokenError> {
        substitute(content, |token| token.name().to_uppercase())
    }

    #[test]
    fn known_tokens_are_replaced_and_nothing_else() {
        let text = "a=${placement.api_url}/x $host ${OTHER} ${placement.api_port},${placement.db_port}${placement.api_host}";
        assert_eq!(named(text.as_bytes()).unwrap(), b"a=API_URL/x $host ${OTHER} API_PORT,DB_PORTAPI_HOST");
        assert_eq!(named(b"\xff\x00").unwrap(), b"\xff\x00");
        assert_eq!(find_all(text.as_bytes()), Ok(vec![ApiUrl, ApiPort, DbPort, ApiHost]));
    }

    #[test]
    fn unknown_and_open_tokens_are_refused() {
        assert_eq!(named(b"${placement.slot}"), Err(TokenError::Unknown("slot".into())));
        assert_eq!(named(b"${placement.api_url"), Err(TokenError::Open));
        assert_eq!(find_all(b"${placement.}"), Err(TokenError::Unknown(String::new())));
        let known = TokenError::Unknown("x".into()).to_string();
        assert!(PlacementToken::ALL.iter().all(|token| known.contains(token.name())));
    }

    proptest! {
        #[test]
        fn content_without_tokens_is_untouched(content in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assume!(next(&content).is_ok_and(|found| found.is_none()));
            prop_assert_eq!(named(&content).unwrap(), content);
        }
    }
}
