//! Logs of a project's services in one stream: the past in the order of its times, then lines as they come.
//!
//! Nothing is kept for a slow reader: each step waits for the one after it, and what nobody has taken stays in the engine's
//! files. So a reader costs at most the messages below, whatever the services write.

mod cursor;
mod service;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, future::join_all, stream::select_all};
use supalove_net::channel::{CONNECTION_WINDOW, STREAM_WINDOW};
use supalove_proto::node::v1::{
    self as pb, LogNote, LogNoteKind, LogPosition, ReadLogsRequest, ReadLogsResponse, read_logs_response,
};
use supalove_spec::limits::{LOG_LINES, LOG_READERS, SERVICES};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use self::cursor::{Cursor, Position};
use self::service::{Item, ServiceLog};
use crate::docker::LogLine;
use crate::node::Node;
use crate::service::{invalid_field, not_found};

/// Messages queued for the reader; with those of the services and the stream's window, what a stalled reader can hold.
const ON_THE_WAY: usize = 4;
/// The same for each service.
const OF_A_SERVICE: usize = 4;

// Stalled readers leave room for tunnels on their connection.
const _: () = assert!(LOG_READERS * STREAM_WINDOW as usize * 4 <= CONNECTION_WINDOW as usize * 3);

/// What a reader gets.
pub type LogStream = ReceiverStream<Result<ReadLogsResponse, Status>>;

/// A checked request.
#[derive(Debug)]
pub struct Wanted {
    project_ref: String,
    services: Vec<(String, Cursor)>,
    lines: u32,
    follow: bool,
}

impl Wanted {
    /// Checks a request. `known`: the services of the project.
    pub fn new(request: ReadLogsRequest, known: &[String]) -> Result<Self, Status> {
        if request.lines > LOG_LINES {
            return Err(invalid_field("lines", format!("must be at most {LOG_LINES}")));
        }
        if request.services.len() > SERVICES {
            return Err(invalid_field("services", format!("must be at most {SERVICES}")));
        }
        if request.after.len() > 2 * SERVICES {
            return Err(invalid_field("after", format!("must be at most {}", 2 * SERVICES)));
        }
        let mut names = if request.services.is_empty() { known.to_vec() } else { request.services };
        names.sort();
        names.dedup();
        if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
            return Err(not_found(format!("this node has no service {unknown}")));
        }
        let since = request.since.map(|since| time("since", &since)).transpose()?;
        let positions = request.after.iter().map(position).collect::<Result<Vec<_>, _>>()?;
        let services = names.into_iter().map(|name| {
            let at = |stderr: bool| {
                let mut found = request.after.iter().zip(&positions);
                found.find(|(one, _)| one.service == name && one.stderr == stderr).map(|(_, at)| *at)
            };
            let cursor = Cursor::new(since, [at(false), at(true)]);
            (name, cursor)
        });
        Ok(Self {
            services: services.collect(),
            project_ref: request.project_ref,
            lines: request.lines,
            follow: request.follow,
        })
    }
}

fn position(position: &LogPosition) -> Result<Position, Status> {
    let time = time("after.time", &position.time.unwrap_or_default())?;
    Ok(Position { time, lines: position.lines.max(1) })
}

fn time(field: &str, time: &prost_types::Timestamp) -> Result<DateTime<Utc>, Status> {
    let nanos = u32::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    nanos
        .and_then(|nanos| DateTime::from_timestamp(time.seconds, nanos))
        .ok_or_else(|| invalid_field(field, "must be a time"))
}

/// Starts to read. The stream ends when the reader leaves; `permit` is held until then.
pub fn start(node: &Arc<Node>, wanted: Wanted, permit: OwnedSemaphorePermit) -> LogStream {
    let (out, reader) = mpsc::channel(ON_THE_WAY);
    let this = node.clone();
    node.tasks.connection("log reader", async move {
        let _permit = permit;
        let mut sources = Vec::with_capacity(wanted.services.len());
        let mut readings = Vec::with_capacity(wanted.services.len());
        for (service, cursor) in wanted.services {
            let (sender, receiver) = mpsc::channel(OF_A_SERVICE);
            sources.push(Source { service: service.clone(), items: receiver, head: None, past: true });
            let log = ServiceLog {
                node: this.clone(),
                project_ref: wanted.project_ref.clone(),
                service,
                cursor,
                out: sender,
            };
            readings.push(log.read(wanted.lines, wanted.follow));
        }
        tokio::select! {
            // The reader's end is dropped when the call is cancelled or its connection ends.
            () = out.closed() => {}
            () = async { tokio::join!(merge(sources, &out), join_all(readings)); } => {}
        }
    });
    ReceiverStream::new(reader)
}

/// The log of one service on its way to the reader.
struct Source {
    service: String,
    items: mpsc::Receiver<Item>,
    /// Its next line of the past.
    head: Option<LogLine>,
    /// It may have more of the past.
    past: bool,
}

type Out = mpsc::Sender<Result<ReadLogsResponse, Status>>;

/// Nobody reads any more, or the reader has an error.
struct Over;

/// Sends the past of all sources, oldest lines first, then what comes.
async fn merge(mut sources: Vec<Source>, out: &Out) {
    if past(&mut sources, out).await.is_err() {
        return;
    }
    let coming = sources.into_iter().map(|source| {
        let Source { service, items, .. } = source;
        ReceiverStream::new(items).map(move |item| (service.clone(), item))
    });
    let mut coming = select_all(coming);
    while let Some((service, item)) = coming.next().await {
        let sent = match item {
            Item::Line(line) => send(out, Ok(line_of(&service, line))).await,
            Item::Note(kind) => send(out, Ok(note_of(&service, kind))).await,
            Item::Past => Ok(()),
            Item::Failed(status) => send(out, Err(status)).await.and(Err(Over)),
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn past(sources: &mut [Source], out: &Out) -> Result<(), Over> {
    loop {
        for source in sources.iter_mut() {
            fill(source, out).await?;
        }
        let oldest = sources.iter_mut().filter(|source| source.head.is_some());
        let oldest = oldest.min_by_key(|source| source.head.as_ref().and_then(|line| line.time));
        let Some(source) = oldest else { return Ok(()) };
        let Some(line) = source.head.take() else { return Ok(()) };
        send(out, Ok(line_of(&source.service, line))).await?;
    }
}

/// Waits for the next line of a source's past, or its end.
async fn fill(source: &mut Source, out: &Out) -> Result<(), Over> {
    while source.past && source.head.is_none() {
        match source.items.recv().await {
            Some(Item::Line(line)) => source.head = Some(line),
            Some(Item::Note(kind)) => send(out, Ok(note_of(&source.service, kind))).await?,
            Some(Item::Past) | None => source.past = false,
            Some(Item::Failed(status)) => return send(out, Err(status)).await.and(Err(Over)),
        }
    }
    Ok(())
}

async fn send(out: &Out, message: Result<ReadLogsResponse, Status>) -> Result<(), Over> {
    out.send(message).await.map_err(|_| Over)
}

fn line_of(service: &str, line: LogLine) -> ReadLogsResponse {
    let line = pb::LogLine {
        service: service.to_owned(),
        time: line.time.map(|time| std::time::SystemTime::from(time).into()),
        stderr: line.stderr,
        text: line.text,
        cut: line.cut,
    };
    ReadLogsResponse { item: Some(read_logs_response::Item::Line(line)) }
}

fn note_of(service: &str, kind: LogNoteKind) -> ReadLogsResponse {
    let note = LogNote { service: service.to_owned(), kind: kind.into() };
    ReadLogsResponse { item: Some(read_logs_response::Item::Note(note)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(second: i64, text: &str) -> Item {
        let time = DateTime::from_timestamp(second, 0);
        Item::Line(LogLine { time, text: text.into(), ..LogLine::default() })
    }

    async fn source(service: &str, items: Vec<Item>) -> (Source, mpsc::Sender<Item>) {
        let (sender, receiver) = mpsc::channel(16);
        for item in items {
            sender.send(item).await.unwrap();
        }
        (Source { service: service.into(), items: receiver, head: None, past: true }, sender)
    }

    fn shown(message: Result<ReadLogsResponse, Status>) -> String {
        match message.map(|message| message.item.unwrap()) {
            Ok(read_logs_response::Item::Line(line)) => format!("{} {}", line.service, line.text),
            Ok(read_logs_response::Item::Note(note)) => format!("{} {:?}", note.service, note.kind()),
            Err(status) => format!("{:?}", status.code()),
        }
    }

    #[tokio::test]
    async fn the_past_comes_in_the_order_of_its_times_then_what_comes() {
        let (api, _) = source("api", vec![line(2, "b"), line(5, "e"), Item::Past]).await;
        let (auth, more) =
            source("auth", vec![line(1, "a"), line(3, "c"), Item::Past, line(4, "live")]).await;
        let (db, _) = source("db", vec![Item::Note(LogNoteKind::NoContainer), Item::Past]).await;
        let (out, mut reader) = mpsc::channel(1);
        let merging = async move { merge(vec![api, auth, db], &out).await };
        let reading = async {
            let mut lines = Vec::new();
            for _ in 0..6 {
                lines.push(shown(reader.recv().await.unwrap()));
            }
            assert_eq!(lines, ["db NoContainer", "auth a", "api b", "auth c", "api e", "auth live"]);
            more.send(Item::Failed(Status::not_found("gone"))).await.unwrap();
            assert_eq!(shown(reader.recv().await.unwrap()), "NotFound");
            assert!(reader.recv().await.is_none());
        };
        tokio::join!(merging, reading);
    }

    #[test]
    fn wrong_requests_are_refused() {
        let known = ["api".to_owned(), "auth".to_owned()];
        let request = ReadLogsRequest { lines: 10, ..ReadLogsRequest::default() };
        let wanted = Wanted::new(request.clone(), &known).unwrap();
        assert_eq!(wanted.services.len(), 2);
        let unknown = ReadLogsRequest { services: vec!["sshd".into()], ..request.clone() };
        assert_eq!(Wanted::new(unknown, &known).unwrap_err().code(), tonic::Code::NotFound);
        let far = prost_types::Timestamp { seconds: i64::MAX, nanos: 0 };
        let wrong = [
            ReadLogsRequest { lines: LOG_LINES + 1, ..request.clone() },
            ReadLogsRequest { since: Some(far), ..request.clone() },
            ReadLogsRequest { services: vec!["api".into(); SERVICES + 1], ..request.clone() },
            ReadLogsRequest {
                after: vec![LogPosition {
                    time: Some(prost_types::Timestamp { seconds: 0, nanos: -1 }),
                    ..LogPosition::default()
                }],
                ..request
            },
        ];
        for wrong in wrong {
            assert_eq!(Wanted::new(wrong, &known).unwrap_err().code(), tonic::Code::InvalidArgument);
        }
    }
}
