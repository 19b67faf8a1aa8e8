//! Container logs, line by line, each with its time.

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt as _};

use super::{Engine, EngineError};

/// Longest line that is passed on, in bytes.
pub const LONGEST_LINE: usize = 16 * 1024;

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When the container wrote it, if the engine knows.
    pub time: Option<DateTime<Utc>>,
    /// True for standard error, false for standard output.
    pub stderr: bool,
    /// Without the line end.
    pub text: String,
}

impl Engine {
    /// The last lines, and with `follow` what comes after them.
    pub fn log_lines(
        &self,
        id: &str,
        lines: u32,
        follow: bool,
    ) -> impl Stream<Item = Result<LogLine, EngineError>> + Send + use<> {
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .follow(follow)
            .tail(&lines.to_string())
            .build();
        self.docker.logs(id, Some(options)).map(|output| Ok(log_line(output?)))
    }

    /// The last lines of a container as text, for a failure report; empty if the engine returns none.
    pub async fn log_tail(&self, id: &str, lines: u32) -> Vec<String> {
        let collect = self
            .log_lines(id, lines, false)
            .filter_map(|line| async { line.ok().map(|line| line.text) })
            .collect::<Vec<_>>();
        tokio::time::timeout(self.times.engine_call, collect).await.unwrap_or_default()
    }
}

pub(super) fn log_line(output: LogOutput) -> LogLine {
    let stderr = matches!(output, LogOutput::StdErr { .. });
    let bytes = output.into_bytes();
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_end_matches(['\r', '\n']);
    let stamped = text
        .split_once(' ')
        .and_then(|(stamp, rest)| DateTime::parse_from_rfc3339(stamp).ok().map(|time| (time.to_utc(), rest)));
    let (time, rest) = stamped.map_or((None, text), |(time, rest)| (Some(time), rest));
    // Again: the cut may be just after a carriage return.
    let text = cut(rest).trim_end_matches(['\r', '\n']).to_owned();
    LogLine { time, stderr, text }
}

/// Cuts at the limit without splitting a character.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(LONGEST_LINE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_loses_its_stamp_and_end() {
        let message = "2026-01-02T03:04:05.000000006Z hello world\r\n".into();
        let line = log_line(LogOutput::StdErr { message });
        assert_eq!((line.text.as_str(), line.stderr), ("hello world", true));
        assert_eq!(line.time.unwrap().timestamp(), 1_767_323_045);
        let plain = log_line(LogOutput::StdOut { message: "no stamp here".into() });
        assert_eq!((plain.text.as_str(), plain.time), ("no stamp here", None));
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let long = "é".repeat(LONGEST_LINE);
        assert_eq!(cut(&long).len(), LONGEST_LINE);
        let shifted = format!("a{long}");
        assert_eq!(cut(&shifted).len(), LONGEST_LINE - 1);
        let message = format!("{}\r{long}", "a".repeat(LONGEST_LINE - 1)).into();
        assert_eq!(log_line(LogOutput::StdOut { message }).text, "a".repeat(LONGEST_LINE - 1));
    }
}
