//! Conversions between Rust and wire types that all APIs share: times, pages.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::{Error, Result};

/// Converts a time to a protobuf timestamp.
pub fn timestamp(at: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.timestamp(),
        nanos: i32::try_from(at.timestamp_subsec_nanos()).unwrap_or(0),
    }
}

/// Converts a duration to a protobuf duration.
pub fn proto_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        // Below 10⁹.
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// Parses a duration field: not negative, at most `max`; `default` if it is unset.
pub fn duration(
    field: &str,
    value: Option<prost_types::Duration>,
    default: Duration,
    max: Duration,
) -> Result<Duration> {
    let Some(value) = value else {
        return Ok(default);
    };
    let wrong = || Error::field(field, format!("must be between 0 and {} seconds", max.as_secs()));
    let duration = Duration::try_from(value).map_err(|_| wrong())?;
    if duration > max { Err(wrong()) } else { Ok(duration) }
}

/// Parses a page size: 0 means `default`; a larger value means `max`, as AIP-158 asks.
pub fn page_size(value: i32, default: i64, max: i64) -> Result<i64> {
    match i64::from(value) {
        0 => Ok(default),
        size if size < 0 => Err(Error::field("page_size", "must not be negative")),
        size => Ok(size.min(max)),
    }
}

/// Splits rows that were read with the limit `size + 1` into a page and the token of the next page (empty on the last
/// one). `key` is the sort key of a row; the token is opaque to callers.
pub fn page<T>(mut rows: Vec<T>, size: i64, key: impl Fn(&T) -> String) -> (Vec<T>, String) {
    let size = usize::try_from(size).unwrap_or(0);
    let more = rows.len() > size;
    rows.truncate(size);
    let next = rows.last().filter(|_| more).map(|row| URL_SAFE_NO_PAD.encode(key(row)));
    (rows, next.unwrap_or_default())
}

/// Reads the sort key from a page token; `None` for the first page.
pub fn parse_page_token(token: &str) -> Result<Option<String>> {
    if token.is_empty() {
        return Ok(None);
    }
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|key| !key.contains('\0'))
        .map(Some)
        .ok_or_else(|| Error::field("page_token", "must be the next_page_token of the previous page"))
}

/// Reads a page token whose key is an id; `None` for the first page.
pub fn parse_page_id(token: &str) -> Result<Option<Uuid>> {
    parse_page_token(token)?
        .map(|key| Uuid::try_parse(&key).map_err(|_| Error::field("page_token", "must be a next_page_token")))
        .transpose()
}

/// Parses an optional `request_id`.
pub fn request_id(text: &str) -> Result<Option<Uuid>> {
    if text.is_empty() {
        return Ok(None);
    }
    Uuid::try_parse(text).map(Some).map_err(|_| Error::field("request_id", "must be a UUID, or empty"))
}

/// Which fields an update changes: those that its mask names, or all if it names none.
#[derive(Debug)]
pub struct Changes<'a>(Option<&'a prost_types::FieldMask>);

impl<'a> Changes<'a> {
    /// Reads the mask of an update of these fields; an error if it names another one.
    pub fn parse(mask: Option<&'a prost_types::FieldMask>, fields: &[&str]) -> Result<Self> {
        let mask = mask.filter(|mask| !mask.paths.is_empty());
        let unknown = mask.and_then(|mask| mask.paths.iter().find(|path| !fields.contains(&path.as_str())));
        if unknown.is_some() {
            return Err(Error::field("update_mask", format!("must be empty or of {}", fields.join(", "))));
        }
        Ok(Self(mask))
    }

    /// Whether to change the field.
    pub fn field(&self, name: &str) -> bool {
        self.0.is_none_or(|mask| mask.paths.iter().any(|path| path == name))
    }
}

/// Checks a display name: 1 to 80 visible characters after trimming. The error names the field.
pub fn display_text(field: &str, text: &str) -> Result<String> {
    let name = supalove_spec::text::display(text);
    name.map(str::to_owned).map_err(|error| Error::field(field, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_durations_are_bounded() {
        assert_eq!(page_size(0, 50, 100).unwrap(), 50);
        assert_eq!(page_size(1000, 50, 100).unwrap(), 100);
        assert!(page_size(-1, 50, 100).is_err());
        let max = Duration::from_secs(10);
        let second = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        assert_eq!(duration("d", None, max, max).unwrap(), max);
        assert_eq!(duration("d", second(0), max, max).unwrap(), Duration::ZERO);
        assert!(duration("d", second(-1), max, max).is_err());
        assert!(duration("d", second(11), max, max).is_err());
    }

    #[test]
    fn a_mask_names_the_fields_to_change_and_no_others() {
        let mask =
            |paths: &[&str]| prost_types::FieldMask { paths: paths.iter().map(|p| (*p).into()).collect() };
        let fields = ["name", "size"];
        for none in [None, Some(&mask(&[]))] {
            let changes = Changes::parse(none, &fields).unwrap();
            assert!(changes.field("name") && changes.field("size"));
        }
        let one = mask(&["size"]);
        let changes = Changes::parse(Some(&one), &fields).unwrap();
        assert!(changes.field("size") && !changes.field("name"));
        assert!(Changes::parse(Some(&mask(&["name", "slug"])), &fields).is_err());
    }

    #[test]
    fn page_tokens_round_trip_and_foreign_ones_are_refused() {
        let (rows, token) = page(vec!["a", "b", "c"], 2, ToString::to_string);
        assert_eq!((rows.len(), parse_page_token(&token).unwrap().as_deref()), (2, Some("b")));
        assert_eq!(page(vec!["a", "b"], 2, ToString::to_string).1, "", "the last page has no next one");
        assert_eq!(parse_page_token("").unwrap(), None);
        assert!(parse_page_token("%%%").is_err());
    }
}
