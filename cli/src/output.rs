//! What goes to stdout: text, or the answer as canonical protobuf JSON through the descriptors.

use std::{
    io::{self, Write as _},
    sync::LazyLock,
};

use prost::Message;
use prost_reflect::{DescriptorError, DescriptorPool, DynamicMessage, SerializeOptions};

use crate::{args::Format, error::Error};

/// Where a command's answer goes.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    format: Format,
}

impl Output {
    /// Output in a form.
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Shows an answer. `name` is its message's name in `supalove.v1`; `text` is asked only if text is wanted.
    pub fn answer<M: Message>(
        self,
        name: &str,
        message: &M,
        text: impl FnOnce(&M) -> String,
    ) -> Result<(), Error> {
        match self.format {
            Format::Text => line(text(message).trim_end()),
            Format::Json => print_json(name, message, true),
        }
    }

    /// Shows one message of a stream: a line.
    pub fn item<M: Message>(
        self,
        name: &str,
        message: &M,
        text: impl FnOnce(&M) -> Option<String>,
    ) -> Result<(), Error> {
        match self.format {
            Format::Text => text(message).map_or(Ok(()), |text| line(&text)),
            Format::Json => print_json(name, message, false),
        }
    }

    /// Says something that has no JSON form.
    pub fn say(self, text: &str) -> Result<(), Error> {
        match self.format {
            Format::Text => line(text),
            Format::Json => Ok(()),
        }
    }
}

fn print_json<M: Message>(name: &str, message: &M, pretty: bool) -> Result<(), Error> {
    line(&to_json(name, message, pretty)?)
}

/// The descriptors of all messages, read once.
static POOL: LazyLock<Result<DescriptorPool, DescriptorError>> =
    LazyLock::new(|| DescriptorPool::decode(supalove_proto::DESCRIPTORS));

/// A message as canonical protobuf JSON.
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

/// JSON may hold DEL and the C1 controls as they are; a terminal must not see them. Line ends are the pretty form's own.
fn escaped(json: String) -> String {
    let steers = |one: char| one.is_control() && one != '\n';
    if !json.contains(steers) {
        return json;
    }
    let piece = |one| if steers(one) { format!("\\u{:04x}", u32::from(one)) } else { one.to_string() };
    json.chars().map(piece).collect()
}

/// One line on stdout; a reader that went away is an error like another, not a panic.
pub fn line(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    Ok(stdout.flush()?)
}

/// Text from elsewhere (log lines, messages of the engine) without the characters that steer a terminal.
pub fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

#[cfg(test)]
mod tests {
    use supalove_proto::v1;

    use super::*;

    #[test]
    fn json_steers_no_terminal() {
        let project = v1::Project { name: "a\u{7f}\u{9b}31m\n".into(), ..Default::default() };
        let answer = v1::GetProjectResponse { project: Some(project) };
        let json = to_json("GetProjectResponse", &answer, false).unwrap();
        assert_eq!(json, r#"{"project":{"name":"a\u007f\u009b31m\n"}}"#);
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
    }
}
