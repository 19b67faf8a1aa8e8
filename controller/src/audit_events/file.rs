//! The rows of an exported file: JSON lines, or CSV.

use std::fmt::Write as _;

use supalove_core::{
    audit::{Shown, events::Event},
    error::{Error, Result},
};
use supalove_proto::v1::AuditExportFormat;

/// Names of the columns in CSV, and of the fields in JSON.
const NAMES: [&str; 12] = [
    "id",
    "time",
    "actor",
    "credential",
    "personal_access_token_id",
    "method",
    "target",
    "outcome",
    "client_address",
    "trace_id",
    "sequence",
    "chain_hash",
];

/// Format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    JsonLines,
    Csv,
}

impl Format {
    /// Reads it from a request.
    pub fn from_wire(format: AuditExportFormat) -> Self {
        match format {
            AuditExportFormat::Unspecified | AuditExportFormat::JsonLines => Self::JsonLines,
            AuditExportFormat::Csv => Self::Csv,
        }
    }

    /// What the file begins with.
    pub fn header(self) -> Vec<u8> {
        match self {
            Self::JsonLines => Vec::new(),
            Self::Csv => format!("{}\r\n", NAMES.join(",")).into_bytes(),
        }
    }

    /// Writes a row.
    pub fn write(self, event: &Event, file: &mut Vec<u8>) -> Result<()> {
        let values = values(event);
        match self {
            Self::JsonLines => {
                let object: serde_json::Map<_, _> = NAMES
                    .into_iter()
                    .zip(values)
                    .map(|(name, value)| (name.to_owned(), json(name, value)))
                    .collect();
                serde_json::to_writer(&mut *file, &object).map_err(Error::internal)?;
                file.push(b'\n');
            }
            Self::Csv => {
                let line = values.iter().map(|value| field(value)).collect::<Vec<_>>().join(",");
                file.extend_from_slice(line.as_bytes());
                file.extend_from_slice(b"\r\n");
            }
        }
        Ok(())
    }
}

fn json(name: &str, value: String) -> serde_json::Value {
    match name {
        "sequence" => value.parse::<i64>().map_or(serde_json::Value::Null, serde_json::Value::from),
        _ => value.into(),
    }
}

/// User, node or job of a row, and the personal access token.
pub fn actor(event: &Event) -> (String, String) {
    let (actor, token) = event.actor.split_once(' ').unwrap_or((&event.actor, ""));
    (actor.to_owned(), token.to_owned())
}

fn values(event: &Event) -> [String; NAMES.len()] {
    let (actor, token) = actor(event);
    let (sequence, hash) = event.place.as_ref().map_or((0, String::new()), |(seq, hash)| (*seq, hex(hash)));
    [
        event.id.to_string(),
        event.at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        actor,
        event.shown.map_or("", Shown::as_sql).to_owned(),
        token,
        event.method.clone(),
        event.target.clone(),
        event.outcome.clone(),
        event.client.clone(),
        event.trace_id.clone(),
        sequence.to_string(),
        hash,
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Begins what a spreadsheet takes for a formula, and runs.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '\t', '\r', '\u{ff1d}', '\u{ff0b}'];
/// Separates cells in some country or other; whoever opens the file there has cells that begin in the middle of a value.
const SEPARATORS: [char; 6] = [',', ';', '\t', '|', '\r', '\n'];

/// A value in CSV (RFC 4180), without formulas.
fn field(value: &str) -> String {
    let text = harmless(value);
    let plain = |c: char| !SEPARATORS.contains(&c) && c != '"';
    let is_plain = text.chars().all(plain) && text.trim() == text;
    if is_plain { text } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

/// Puts an apostrophe before each formula: at the beginning, and behind what separates cells. Quotes and spaces before a formula do
/// not keep a spreadsheet from it.
fn harmless(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut begins = true;
    for (at, c) in value.char_indices() {
        if begins {
            let cell = value[at..].trim_start_matches(['"', '\'', ' ', '\u{a0}']);
            if cell.starts_with(FORMULA) {
                text.push('\'');
            }
        }
        text.push(c);
        begins = SEPARATORS.contains(&c);
    }
    text
}

#[cfg(test)]
mod tests {
    use supalove_core::audit::events::Event;
    use uuid::Uuid;

    use super::*;

    fn event(target: &str) -> Event {
        Event {
            id: Uuid::nil(),
            at: chrono::DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap(),
            actor: "usr_1 pat_2".to_owned(),
            shown: Some(Shown::PersonalAccessToken),
            method: "/supalove.v1.ProjectService/CreateProject".to_owned(),
            target: target.to_owned(),
            outcome: "OK".to_owned(),
            client: "192.0.2.1".to_owned(),
            trace_id: "0af7".to_owned(),
            place: Some((7, vec![0xab, 0x01])),
        }
    }

    fn line(format: Format, target: &str) -> String {
        let mut file = Vec::new();
        format.write(&event(target), &mut file).unwrap();
        String::from_utf8(file).unwrap()
    }

    #[test]
    fn a_row_is_a_line_of_json() {
        let text = line(Format::JsonLines, "a\"b\nc");
        assert!(text.ends_with('\n') && text.matches('\n').count() == 1);
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["target"], "a\"b\nc");
        assert_eq!(read["sequence"], 7);
        assert_eq!(read["actor"], "usr_1");
        assert_eq!(read["personal_access_token_id"], "pat_2");
        assert_eq!(read["time"], "2023-11-14T22:13:20.000001Z");
        assert_eq!(read["chain_hash"], "ab01");
    }

    #[test]
    fn a_value_in_csv_is_no_formula_and_no_other_field() {
        for (value, written) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("a \"b\"", "\"a \"\"b\"\"\""),
            ("a\r\nb", "\"a\r\nb\""),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\tx", "\"'\tx\""),
            ("=HYPERLINK(\"x\",1)", "\"'=HYPERLINK(\"\"x\"\",1)\""),
            ("a;b", "\"a;b\""),
            ("a;=1+1", "\"a;'=1+1\""),
            ("a; \"=1+1", "\"a;' \"\"=1+1\""),
            ("a,-1|+2", "\"a,'-1|'+2\""),
            (" =1", "' =1"),
            ("a\n@x", "\"a\n'@x\""),
            ("\u{ff1d}1", "'\u{ff1d}1"),
            ("a=b", "a=b"),
            ("org_1/usr_2 OWNER", "org_1/usr_2 OWNER"),
        ] {
            assert_eq!(field(value), written);
        }
        let text = line(Format::Csv, "=cmd|' /C calc'!A0");
        assert_eq!(text.split(',').count(), NAMES.len());
        assert!(text.contains(",\"'=cmd|") && text.ends_with("\r\n"), "{text}");
        assert!(Format::JsonLines.header().is_empty());
        assert_eq!(Format::Csv.header(), format!("{}\r\n", NAMES.join(",")).into_bytes());
    }
}
