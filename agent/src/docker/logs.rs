//! Container logs, line by line, each with its time.

use std::collections::VecDeque;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt as _, stream};

use super::{Engine, EngineError};

/// Longest line that is passed on, in bytes.
pub const LONGEST_LINE: usize = 16 * 1024;

/// A line of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogLine {
    /// When the container wrote it, if the engine knows.
    pub time: Option<DateTime<Utc>>,
    /// True for standard error, false for standard output.
    pub stderr: bool,
    /// Without the line end.
    pub text: String,
    /// The line was longer.
    pub cut: bool,
}

/// Which lines of a log.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogRange {
    /// The last ones; `None` = all.
    pub lines: Option<u32>,
    /// Those written in this second or later, Unix time; 0 = all.
    pub since: i32,
    /// And what comes after them, until the container ends.
    pub follow: bool,
}

impl Engine {
    /// The lines of a container in the order of its log.
    pub fn log_lines(
        &self,
        id: &str,
        range: LogRange,
    ) -> impl Stream<Item = Result<LogLine, EngineError>> + Send + use<> {
        let tail = range.lines.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .follow(range.follow)
            .since(range.since)
            .tail(&tail)
            .build();
        assembled(self.docker.logs(id, Some(options)).map(|output| output.map_err(EngineError::from)))
    }

    /// The last lines of a container as text, for a failure report; empty if the engine returns none.
    pub async fn log_tail(&self, id: &str, lines: u32) -> Vec<String> {
        let collect = self
            .log_lines(id, LogRange { lines: Some(lines), ..LogRange::default() })
            .filter_map(|line| async { line.ok().map(|line| line.text) })
            .collect::<Vec<_>>();
        tokio::time::timeout(self.times.engine_call, collect).await.unwrap_or_default()
    }
}

/// Lines of the engine's frames, those that it has not completed last.
fn assembled(
    frames: impl Stream<Item = Result<LogOutput, EngineError>> + Send,
) -> impl Stream<Item = Result<LogLine, EngineError>> + Send {
    stream::unfold(
        (Box::pin(frames), Assembler::default(), VecDeque::new()),
        |(mut frames, mut open, mut rest)| async move {
            loop {
                if let Some(line) = rest.pop_front() {
                    return Some((Ok(line), (frames, open, rest)));
                }
                match frames.next().await {
                    Some(Ok(frame)) => rest.extend(open.frame(frame)),
                    Some(Err(error)) => return Some((Err(error), (frames, open, rest))),
                    None => rest.extend(open.rest()),
                }
                if rest.is_empty() && open.ended {
                    return None;
                }
            }
        },
    )
}

/// Joins the parts of lines: the engine splits a line at 16 KiB, and only its last part has a line end.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// What each output has not ended.
    open: [Option<LogLine>; 2],
    ended: bool,
}

impl Assembler {
    /// The line that a frame completes.
    pub fn frame(&mut self, output: LogOutput) -> Option<LogLine> {
        let stderr = matches!(output, LogOutput::StdErr { .. });
        let bytes = output.into_bytes();
        let ends = bytes.ends_with(b"\n");
        let text = String::from_utf8_lossy(&bytes);
        let (time, text) = stamped(text.trim_end_matches(['\r', '\n']));
        let open = &mut self.open[usize::from(stderr)];
        let line = open.get_or_insert_with(|| LogLine { time, stderr, text: String::new(), cut: false });
        // Nothing follows a cut, even if there is room for a letter.
        let room = if line.cut { 0 } else { LONGEST_LINE.saturating_sub(line.text.len()) };
        let part = cut(text, room);
        line.cut |= part.len() < text.len();
        line.text.push_str(part);
        if line.cut {
            // The cut may be just after a carriage return.
            line.text.truncate(line.text.trim_end_matches(['\r', '\n']).len());
        }
        if ends { open.take() } else { None }
    }

    /// What the engine will not complete any more.
    fn rest(&mut self) -> Vec<LogLine> {
        self.ended = true;
        self.open.iter_mut().filter_map(Option::take).collect()
    }
}

/// A frame as one line.
pub(super) fn log_line(output: LogOutput) -> LogLine {
    let mut lines = Assembler::default();
    lines.frame(output).or_else(|| lines.rest().pop()).unwrap_or_default()
}

/// The time at the beginning of a frame, and what follows.
fn stamped(text: &str) -> (Option<DateTime<Utc>>, &str) {
    let stamped = text
        .split_once(' ')
        .and_then(|(stamp, rest)| DateTime::parse_from_rfc3339(stamp).ok().map(|time| (time.to_utc(), rest)));
    stamped.map_or((None, text), |(time, rest)| (Some(time), rest))
}

/// Cuts at the limit without splitting a character.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(text: &str) -> LogOutput {
        LogOutput::StdOut { message: text.to_owned().into() }
    }

    fn err(text: &str) -> LogOutput {
        LogOutput::StdErr { message: text.to_owned().into() }
    }

    #[test]
    fn a_line_loses_its_stamp_and_end() {
        let mut lines = Assembler::default();
        let line = lines.frame(err("2026-01-02T03:04:05.000000006Z hello world\r\n")).unwrap();
        assert_eq!((line.text.as_str(), line.stderr, line.cut), ("hello world", true, false));
        assert_eq!(line.time.unwrap().timestamp(), 1_767_323_045);
        let plain = lines.frame(out("no stamp here\n")).unwrap();
        assert_eq!((plain.text.as_str(), plain.time), ("no stamp here", None));
        let empty = lines.frame(out("2026-01-02T03:04:05Z \n")).unwrap();
        assert_eq!((empty.text.as_str(), empty.time.is_some()), ("", true));
    }

    #[test]
    fn parts_of_a_line_are_joined_each_output_by_itself() {
        let mut lines = Assembler::default();
        assert_eq!(lines.frame(out("2026-01-02T03:04:05Z one ")), None);
        assert_eq!(lines.frame(err("2026-01-02T03:04:06Z other\n")).unwrap().text, "other");
        let line = lines.frame(out("2026-01-02T03:04:07Z line\n")).unwrap();
        assert_eq!((line.text.as_str(), line.time.unwrap().timestamp()), ("one line", 1_767_323_045));
        assert_eq!(lines.frame(out("2026-01-02T03:04:08Z unended")), None);
        assert_eq!(lines.rest().iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["unended"]);
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let long = "é".repeat(LONGEST_LINE);
        let mut lines = Assembler::default();
        let line = lines.frame(out(&format!("a{long}\n"))).unwrap();
        assert!(line.cut && line.text.len() == LONGEST_LINE - 1);
        let line = lines.frame(out(&format!("{}\r{long}\n", "a".repeat(LONGEST_LINE - 1)))).unwrap();
        assert_eq!(line.text, "a".repeat(LONGEST_LINE - 1));
        let full = "a".repeat(LONGEST_LINE);
        assert_eq!(lines.frame(out(&full)), None);
        let line = lines.frame(out("rest\n")).unwrap();
        assert!(line.cut && line.text == full);
    }

    #[tokio::test]
    async fn a_log_ends_with_what_was_not_ended() {
        let frames = [out("a\n"), out("b")].map(Ok::<_, EngineError>);
        let lines: Vec<_> = assembled(stream::iter(frames)).map(|line| line.unwrap().text).collect().await;
        assert_eq!(lines, ["a", "b"]);
    }
}
