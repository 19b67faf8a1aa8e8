//! Parses durations as people write them: `45s`, `1h30m`, `7d`, `0`.

use std::time::Duration;

/// Parses a duration. Units are s, m, h, d and w; rejects a number without a unit, except 0.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text.starts_with('-') && text[1..].starts_with(|c: char| c.is_ascii_digit()) {
        return Err("a time cannot be negative".into());
    }
    if ["ms", "us", "ns", "µs"].iter().any(|unit| text.ends_with(unit)) {
        return Err("the shortest time is 1s; units are s, m, h, d and w".into());
    }
    if text.bytes().all(|b| b.is_ascii_digit()) && text.bytes().any(|b| b != b'0') {
        return Err(format!("{text} of what? Write {text}s, {text}m, {text}h, {text}d or {text}w"));
    }
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(usage());
    }
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(usage)?;
        let number: u64 = rest[..digits].parse().map_err(|_| usage())?;
        let unit = rest[digits..].chars().next().ok_or_else(usage)?;
        seconds = seconds_in(unit)
            .and_then(|factor| number.checked_mul(factor))
            .and_then(|part| seconds.checked_add(part))
            .ok_or_else(usage)?;
        rest = &rest[digits + unit.len_utf8()..];
    }
    Ok(Duration::from_secs(seconds))
}

/// Parses a duration that must not be 0.
pub fn parse_positive(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err("must be longer than 0".into()),
        span => Ok(span),
    }
}

/// Converts a duration to protobuf.
pub fn to_proto(span: Duration) -> prost_types::Duration {
    prost_types::Duration {
        // Parsed durations fit; a longer one exceeds every limit of the API anyway.
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: 0,
    }
}

fn seconds_in(unit: char) -> Option<u64> {
    match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3_600),
        'd' => Some(86_400),
        'w' => Some(604_800),
        _ => None,
    }
}

fn usage() -> String {
    "expected a time such as 45s, 10m, 1h30m, 7d or 0".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!(parse("0"), Ok(Duration::ZERO));
        assert_eq!(parse("45s"), Ok(Duration::from_secs(45)));
        assert_eq!(parse("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(parse("7d"), Ok(Duration::from_hours(7 * 24)));
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["", "7", "d", "-1s", "1.5h", "1y", "99999999999999999999s", "9999999999999999w"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse_positive("0").is_err());
    }

    #[test]
    fn the_refusal_says_what_is_wrong_with_this_time() {
        assert_eq!(parse("-1s"), Err("a time cannot be negative".into()));
        assert!(parse("1ms").unwrap_err().contains("shortest time is 1s"));
        assert!(parse("7").unwrap_err().contains("7s"));
        assert!(parse("--quiet").unwrap_err().contains("expected a time"));
    }
}
