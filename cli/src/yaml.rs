//! Formats JSON values as YAML in block style, for `-o yaml`.

use serde_json::Value;

use crate::output::escaped;

/// Formats a document, without a final line end.
pub fn document(value: &Value) -> String {
    match value {
        Value::Object(map) if !map.is_empty() => block(value, 0),
        Value::Array(list) if !list.is_empty() => block(value, 0),
        scalar => self::scalar(scalar),
    }
}

/// Formats an object or list with each line indented; a scalar or an empty value on one line.
fn block(value: &Value, indent: usize) -> String {
    let pad = " ".repeat(indent);
    let lines: Vec<String> = match value {
        Value::Object(map) if !map.is_empty() => map
            .iter()
            .map(|(key, value)| {
                if is_filled(value) {
                    format!("{pad}{}:\n{}", text(key), block(value, indent + 2))
                } else {
                    format!("{pad}{}: {}", text(key), scalar(value))
                }
            })
            .collect(),
        // The first line of an item follows its dash.
        Value::Array(list) if !list.is_empty() => {
            list.iter().map(|item| format!("{pad}- {}", block(item, indent + 2).trim_start())).collect()
        }
        other => vec![scalar(other)],
    };
    lines.join("\n")
}

fn is_filled(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(word) => text(word),
        // Numbers, true, false, null, {} and [] are the same in YAML.
        other => other.to_string(),
    }
}

/// Formats a text: unquoted if YAML can only read it as text, else quoted as in JSON, of which YAML is a superset.
fn text(word: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let bare = word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
        && !WORDS.contains(&word.to_ascii_lowercase().as_str());
    if bare {
        return word.to_owned();
    }
    escaped(Value::from(word).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_lists_and_words_that_are_no_words() {
        let value = json!({
            "answer": "yes", "empty": {}, "name": "first", "none": [], "port": 5500,
            "services": [{"name": "postgres", "tags": ["a", "1"]}, {"name": "auth"}], "time": "2026-01-01T00:00:00Z",
        });
        let expected = r#"answer: "yes"
empty: {}
name: first
none: []
port: 5500
services:
  - name: postgres
    tags:
      - a
      - "1"
  - name: auth
time: "2026-01-01T00:00:00Z""#;
        assert_eq!(document(&value), expected);
        assert_eq!(document(&json!({})), "{}");
        assert_eq!(document(&json!(["a\n\u{7f}: b"])), "- \"a\\n\\u007f: b\"");
    }
}
