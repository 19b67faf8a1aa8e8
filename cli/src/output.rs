//! Output on stdout: text, or the response as canonical protobuf JSON through the descriptors.

use std::{
    io::{self, Write as _},
    sync::LazyLock,
};

use prost::Message;
use prost_reflect::{DescriptorError, DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;
use supalove_spec::text::is_visible;

use crate::{args::Format, error::Error, yaml};

/// Output of a command's response.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    format: Format,
}

impl Output {
    /// Creates an output in a format.
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Prints a response. `name` is its message's name in `supalove.v1`; `text` runs only for text formats.
    pub fn answer<M: Message>(
        self,
        name: &str,
        message: &M,
        text: impl FnOnce(&M) -> String,
    ) -> Result<(), Error> {
        line(&self.render(name, message, text)?)
    }

    /// Formats a response.
    pub fn render<M: Message>(
        self,
        name: &str,
        message: &M,
        text: impl FnOnce(&M) -> String,
    ) -> Result<String, Error> {
        match self.format {
            Format::Table | Format::Wide => Ok(text(message).trim_end().to_owned()),
            Format::Json => to_json(name, message, true),
            Format::Yaml => Ok(yaml::document(&value(name, message)?)),
        }
    }

    /// Prints a value that is not a message of the API.
    pub fn value(self, value: &Value, text: impl FnOnce() -> String) -> Result<(), Error> {
        line(&self.render_value(value, text)?)
    }

    /// Formats such a value.
    pub fn render_value(self, value: &Value, text: impl FnOnce() -> String) -> Result<String, Error> {
        match self.format {
            Format::Table | Format::Wide => Ok(text().trim_end().to_owned()),
            Format::Json => {
                serde_json::to_string_pretty(value).map(escaped).map_err(|e| Error::Answer(e.to_string()))
            }
            Format::Yaml => Ok(yaml::document(value)),
        }
    }

    /// True for wide tables.
    pub fn is_wide(self) -> bool {
        self.format == Format::Wide
    }

    /// True for text formats.
    pub fn is_text(self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    /// Prints one message of a stream as a line.
    pub fn item<M: Message>(
        self,
        name: &str,
        message: &M,
        text: impl FnOnce(&M) -> Option<String>,
    ) -> Result<(), Error> {
        match self.format {
            Format::Table | Format::Wide => text(message).map_or(Ok(()), |text| line(&text)),
            Format::Json => line(&to_json(name, message, false)?),
            Format::Yaml => line(&format!("---\n{}", yaml::document(&value(name, message)?))),
        }
    }

    /// Prints a text that has no JSON form.
    pub fn say(self, text: &str) -> Result<(), Error> {
        if self.is_text() { line(text) } else { Ok(()) }
    }
}

/// Converts a message to its canonical protobuf JSON, as a value.
pub fn value<M: Message>(name: &str, message: &M) -> Result<Value, Error> {
    serde_json::from_str(&to_json(name, message, false)?).map_err(|e| Error::Answer(e.to_string()))
}

/// Descriptors of all messages, parsed once.
static POOL: LazyLock<Result<DescriptorPool, DescriptorError>> =
    LazyLock::new(|| DescriptorPool::decode(supalove_proto::DESCRIPTORS));

/// Converts canonical protobuf JSON to a message.
pub fn from_value<M: Message + Default>(name: &str, value: &Value) -> Result<M, Error> {
    let wrong = |why: String| Error::Answer(why);
    let descriptor = POOL
        .as_ref()
        .map_err(|e| wrong(e.to_string()))?
        .get_message_by_name(&format!("supalove.v1.{name}"))
        .ok_or_else(|| wrong(format!("no message {name}")))?;
    let dynamic = DynamicMessage::deserialize(descriptor, value).map_err(|e| wrong(e.to_string()))?;
    M::decode(dynamic.encode_to_vec().as_slice()).map_err(|e| wrong(e.to_string()))
}

/// Converts a message to canonical protobuf JSON.
pub fn to_json<M: Message>(name: &str, message: &M, pretty: bool) -> Result<String, Error> {
    let wrong = |why: String| Error::Answer(why);
    let descriptor = POOL
        .as_ref()
        .map_err(|e| wrong(e.to_string()))?
        .get_message_by_name(&format!("supalove.v1.{name}"))
        .ok_or_else(|| wrong(format!("no message {name}")))?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .map_err(|e| wrong(e.to_string()))?;
    let mut buffer = Vec::new();
    let options = SerializeOptions::new();
    if pretty {
        let mut serializer = serde_json::Serializer::pretty(&mut buffer);
        dynamic.serialize_with_options(&mut serializer, &options)
    } else {
        let mut serializer = serde_json::Serializer::new(&mut buffer);
        dynamic.serialize_with_options(&mut serializer, &options)
    }
    .map_err(|e| wrong(e.to_string()))?;
    String::from_utf8(buffer).map(escaped).map_err(|e| wrong(e.to_string()))
}

/// Escapes what JSON allows but a terminal or a reader must not get: DEL, the C1 controls, and characters that are invisible
/// or turn the direction of text. Keeps the line ends of the pretty form.
pub fn escaped(json: String) -> String {
    let steers = |one: char| !is_visible(one) && one != '\n';
    if !json.contains(steers) {
        return json;
    }
    let mut units = [0; 2];
    let mut out = String::with_capacity(json.len());
    for one in json.chars() {
        if steers(one) {
            let units = one.encode_utf16(&mut units).iter();
            out.extend(units.map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(one);
        }
    }
    out
}

/// Prints one line; a closed pipe is an ordinary error, not a panic.
pub fn line(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    Ok(stdout.flush()?)
}

/// Makes foreign text (names, log lines, messages of the engine) safe to print: removes control characters, which could
/// control a terminal, and escapes characters that are invisible or turn the direction of text.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for one in text.chars().filter(|one| !one.is_control() || *one == '\t') {
        if is_visible(one) || one == '\t' {
            out.push(one);
        } else {
            out.extend(one.escape_unicode());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use supalove_proto::v1;

    use super::*;

    #[test]
    fn json_steers_no_terminal() {
        let name = "a\u{7f}\u{9b}31m\n\u{202e}\u{e0041}";
        let project = v1::Project { name: name.into(), ..Default::default() };
        let answer = v1::GetProjectResponse { project: Some(project) };
        let json = to_json("GetProjectResponse", &answer, false).unwrap();
        assert_eq!(json, r#"{"project":{"name":"a\u007f\u009b31m\n\u202e\udb40\udc41"}}"#);
    }

    #[test]
    fn json_is_canonical() {
        let answer = v1::GetProjectResponse {
            project: Some(v1::Project {
                r#ref: "abc".into(),
                state: v1::ProjectState::ActiveHealthy.into(),
                generation: 3,
                ..Default::default()
            }),
        };
        let json = to_json("GetProjectResponse", &answer, false).unwrap();
        assert_eq!(
            json,
            r#"{"project":{"ref":"abc","state":"PROJECT_STATE_ACTIVE_HEALTHY","generation":"3"}}"#
        );
    }

    #[test]
    fn log_lines_cannot_steer_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\rc\td"), "a[2Jbc\td");
        assert_eq!(clean("rtl\u{202e}gnp\u{2028}ä"), "rtl\\u{202e}gnp\\u{2028}ä");
    }
}
