//! `projects logs`: what the services of a project print, and what they go on to print.

use std::{collections::HashMap, time::Duration};

use clap::Args;
use prost_types::Timestamp;
use supalove_proto::v1::{
    LogLine, LogNote, LogPosition, TailLogsRequest, TailLogsResponse,
    project_service_client::ProjectServiceClient, tail_logs_response::Item,
};
use supalove_spec::limits::LOG_LINES;
use tonic::Streaming;

use super::Which;
use crate::{
    commands::{Context, audit::moment},
    error::Error,
    output::clean,
    watch::{Received, receive},
};

/// Pause before a broken tail is opened again.
const PAUSE: Duration = Duration::from_secs(1);

/// Arguments of `projects logs`.
#[derive(Debug, Args)]
pub struct Logs {
    #[command(flatten)]
    which: Which,
    /// Only these services, e.g. auth,postgres. Default: all.
    #[arg(long, short, value_name = "SERVICE", value_delimiter = ',', visible_alias = "service")]
    services: Vec<String>,
    /// Only lines from then on: so long ago (`10m`), or a time (`2026-11-30T08:00:00Z`).
    #[arg(long, value_parser = moment, value_name = "TIME")]
    since: Option<Timestamp>,
    /// How many of the last lines of each service, at most 10000. Default: 100; with --since all from then on.
    #[arg(long, short = 'n', visible_alias = "lines", value_name = "NUMBER",
        value_parser = clap::value_parser!(u32).range(0..=i64::from(LOG_LINES)))]
    tail: Option<u32>,
    /// Go on with new lines, across restarts and broken connections, until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
}

pub async fn run(context: &Context, arguments: &Logs) -> Result<(), Error> {
    let project_ref = arguments.which.resolve(context).await?;
    let request = TailLogsRequest {
        project_ref,
        services: arguments.services.clone(),
        since: arguments.since,
        tail: arguments.tail.or(arguments.since.map(|_| LOG_LINES)),
        follow: arguments.follow,
        after: Vec::new(),
    };
    let mut tail = Tail { context, request, seen: HashMap::new() };
    tokio::select! {
        ended = tail.run() => ended,
        signal = tokio::signal::ctrl_c() => Ok(signal?),
    }
}

/// A tail that survives a broken stream: it opens another one after the last lines that it has printed.
struct Tail<'a> {
    context: &'a Context,
    request: TailLogsRequest,
    /// By service and output: the time of the last line, and how many lines had it.
    seen: HashMap<(String, i32), (Timestamp, u32)>,
}

impl Tail<'_> {
    async fn run(&mut self) -> Result<(), Error> {
        // The first call fails at once; later ones may find a node that is away for a moment.
        let mut stream = self.open().await?;
        loop {
            match receive(&mut stream).await {
                Ok(Received::Message(TailLogsResponse { item: Some(item) })) => self.show(item)?,
                Ok(Received::Message(TailLogsResponse { item: None })) => {}
                Ok(Received::End) if !self.request.follow => return Ok(()),
                Ok(Received::End | Received::Broken) if self.request.follow => stream = self.again().await?,
                Ok(Received::End | Received::Broken) => {
                    return Err(Error::Answer("the logs broke off; what is printed is not complete".into()));
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn open(&self) -> Result<Streaming<TailLogsResponse>, Error> {
        self.context
            .client
            .open(self.request.clone(), |channel, request| async move {
                ProjectServiceClient::new(channel).tail_logs(request).await
            })
            .await
    }

    /// Opens the stream again, as often as it takes.
    async fn again(&mut self) -> Result<Streaming<TailLogsResponse>, Error> {
        let positions = self.seen.iter().map(|((service, output), (time, lines))| LogPosition {
            service: service.clone(),
            output: *output,
            time: Some(*time),
            lines: *lines,
        });
        self.request.after = positions.collect();
        if !self.request.after.is_empty() {
            self.request.tail = Some(LOG_LINES);
        }
        let mut told = false;
        loop {
            tokio::time::sleep(PAUSE).await;
            match self.open().await {
                Ok(stream) => return Ok(stream),
                Err(error) if error.is_interruption() => {
                    if !told {
                        eprintln!("{}", clean(&format!("the logs broke off, trying again: {error}")));
                        told = true;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn show(&mut self, item: Item) -> Result<(), Error> {
        match &item {
            Item::Line(line) => self.count(line),
            Item::Note(note) if self.context.output.is_text() => eprintln!("{}", note_text(note)),
            Item::Note(_) => {}
            Item::KeepAlive(_) => return Ok(()),
        }
        self.context.output.item("TailLogsResponse", &TailLogsResponse { item: Some(item) }, |answer| {
            match answer.item.as_ref()? {
                Item::Line(line) => Some(text(line)),
                Item::Note(_) | Item::KeepAlive(_) => None,
            }
        })
    }

    fn count(&mut self, line: &LogLine) {
        let Some(time) = line.time else { return };
        let seen = self.seen.entry((line.service.clone(), line.output)).or_insert((time, 0));
        *seen = if seen.0 == time { (time, seen.1 + 1) } else { (time, 1) };
    }
}

fn text(line: &LogLine) -> String {
    let time = line.time.and_then(|time| {
        let nanos = u32::try_from(time.nanos).ok()?;
        chrono::DateTime::from_timestamp(time.seconds, nanos)
    });
    let time = time.map(|time| time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()).unwrap_or_default();
    let cut = if line.cut { " [cut]" } else { "" };
    clean(&format!("{time} {}: {}{cut}", line.service, line.text))
}

fn note_text(note: &LogNote) -> String {
    clean(&format!("({}: {})", note.service, note.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_time_and_service_and_steers_no_terminal() {
        let line = LogLine {
            time: Some(Timestamp { seconds: 1_767_323_045, nanos: 6_000_000 }),
            service: "auth".into(),
            text: "a\u{1b}[31mb".into(),
            cut: true,
            ..LogLine::default()
        };
        assert_eq!(text(&line), "2026-01-02T03:04:05.006Z auth: a[31mb [cut]");
    }
}
