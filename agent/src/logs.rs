//! A container's log as the protocol sends it. In: the engine's lines. Out: a stream that ends when the reader leaves.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use supalove_proto::node::v1::TailLogsResponse;
use tonic::Status;

use crate::docker::{Engine, LogLine};

/// Most past lines that one call may ask for.
pub const MOST_LINES: u32 = 10_000;

/// What a reader gets.
pub type LogStream = Pin<Box<dyn Stream<Item = Result<TailLogsResponse, Status>> + Send>>;

/// The last lines, and with `follow` what comes after them.
pub fn tail(engine: &Engine, container: &str, lines: u32, follow: bool) -> LogStream {
    let lines = engine.log_lines(container, lines, follow);
    Box::pin(lines.map(|line| line.map(response).map_err(Status::from)))
}

fn response(line: LogLine) -> TailLogsResponse {
    TailLogsResponse {
        time: line.time.map(|time| std::time::SystemTime::from(time).into()),
        stderr: line.stderr,
        line: line.text,
    }
}
