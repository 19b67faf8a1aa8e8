//! Puts a placement's values in the place of `${placement.…}` tokens.

use supalove_proto::node::v1::Placement;
use supalove_spec::tokens;
pub use supalove_spec::tokens::{PlacementToken, TokenError};

/// Replaces every token in `content`. Other `${…}` are left as they are.
pub fn substitute(content: &[u8], placement: &Placement) -> Result<Vec<u8>, TokenError> {
    tokens::substitute(content, |token| value(token, placement))
}

/// The same for text.
pub fn substitute_text(text: &str, placement: &Placement) -> Result<String, TokenError> {
    // Text in, text put in: the bytes are UTF-8.
    substitute(text.as_bytes(), placement).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn value(token: PlacementToken, placement: &Placement) -> String {
    match token {
        PlacementToken::ApiUrl => placement.api_url.clone(),
        PlacementToken::ApiHost => placement.api_host.clone(),
        PlacementToken::ApiPort => placement.api_port.to_string(),
        PlacementToken::DbPort => placement.db_port.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_has_its_value() {
        let placement = Placement {
            api_url: "http://h:5500".into(),
            api_host: "h".into(),
            api_port: 5500,
            db_port: 5501,
            ..Default::default()
        };
        let text = "a=${placement.api_url}/x $host ${OTHER} ${placement.api_port},${placement.db_port}${placement.api_host}";
        assert_eq!(substitute_text(text, &placement).unwrap(), "a=http://h:5500/x $host ${OTHER} 5500,5501h");
        assert_eq!(substitute(b"\xff\x00", &placement).unwrap(), b"\xff\x00");
        let unknown = substitute_text("${placement.slot}", &placement);
        assert_eq!(unknown, Err(TokenError::Unknown("slot".into())));
    }
}
