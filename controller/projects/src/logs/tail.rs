//! One tail: from the agent's stream to the caller's.

use supalove_core::{
    Core,
    access::{Call, Permission::ReadProjectLogs},
    error::Result,
    ids::{NodeId, ProjectRef},
    outlet::{Outlet, Over},
};
use supalove_proto::{
    node::v1::{self as node, ReadLogsResponse, read_logs_response::Item as Given},
    v1::{self as pb, KeepAlive, TailLogsResponse, tail_logs_response::Item},
};
use supalove_spec::limits::SERVICES;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{failed, no_logs};
use crate::ProjectKey;

/// See the module.
pub struct Tail {
    pub core: Core,
    pub call: Call,
    pub project: ProjectRef,
    pub node: NodeId,
    pub follow: bool,
    pub lines: Streaming<ReadLogsResponse>,
    pub out: mpsc::Sender<Result<TailLogsResponse>>,
}

impl Tail {
    /// Sends until the caller leaves or may not read any more, the node goes away, or all was sent.
    pub async fn run(self, stop: CancellationToken) {
        let now = Instant::now();
        let Self { core, call, project, node, follow, lines, out } = self;
        let out = Outlet {
            sender: out,
            stop,
            deadline: call.deadline,
            last_sent: now,
            what: "tail",
            go_on: "call again with the last positions",
        };
        let next_check = now + core.times.keep_alive;
        let goodbye = core.times.goodbye;
        let caller = Caller { core: core.clone(), call, project, next_check };
        let mut feed = Feed { core, caller, node, follow, lines, out, any: false, without: Vec::new() };
        let over = loop {
            if let Err(over) = feed.step().await {
                break over;
            }
        };
        if let Over::Failed(error) = over {
            feed.out.fail(error, goodbye).await;
        }
    }
}

/// Who reads, and whether that is still allowed.
struct Caller {
    core: Core,
    call: Call,
    project: ProjectRef,
    /// When it is looked at again what the caller may do.
    next_check: Instant,
}

impl Caller {
    async fn check(&mut self) -> Result<()> {
        self.call.confirm().await?;
        let access = &self.core.access;
        access.allow_item::<ProjectKey>(&self.call, self.project.as_str(), ReadProjectLogs).await?;
        self.next_check = Instant::now() + self.core.times.keep_alive;
        Ok(())
    }
}

struct Feed {
    core: Core,
    caller: Caller,
    node: NodeId,
    follow: bool,
    lines: Streaming<ReadLogsResponse>,
    out: Outlet<TailLogsResponse>,
    /// A line was sent.
    any: bool,
    /// Services without a container.
    without: Vec<String>,
}

impl Feed {
    async fn step(&mut self) -> Result<(), Over> {
        // Also before each message: a reader may have kept the tail waiting for long.
        if Instant::now() >= self.caller.next_check {
            self.caller.check().await?;
        }
        let next_keep_alive = self.out.last_sent + self.core.times.keep_alive;
        if Instant::now() >= next_keep_alive {
            return self.send(Item::KeepAlive(KeepAlive {})).await;
        }
        let next = next_keep_alive.min(self.caller.next_check).min(self.out.deadline);
        let message = tokio::select! {
            biased;
            () = self.out.stop.cancelled() => return Err(self.out.stopping().into()),
            () = self.out.sender.closed() => return Err(Over::ReaderGone),
            message = self.lines.message() => message,
            () = tokio::time::sleep_until(next) => {
                return if Instant::now() >= self.out.deadline { Err(self.out.lasted().into()) } else { Ok(()) };
            }
        };
        let item = match message {
            Ok(Some(ReadLogsResponse { item })) => item,
            Ok(None) if self.follow => {
                let status = Status::unavailable("its agent ended the stream");
                return Err(failed(&self.core, self.node, &status).into());
            }
            Ok(None) if self.any || self.without.is_empty() => return Err(Over::Done),
            Ok(None) => return Err(no_logs(&self.without).into()),
            Err(status) => return Err(failed(&self.core, self.node, &status).into()),
        };
        match item {
            Some(given) => {
                self.note(&given);
                self.send(shown(given)).await
            }
            // Of a newer agent.
            None => Ok(()),
        }
    }

    async fn send(&mut self, item: Item) -> Result<(), Over> {
        self.out.send(TailLogsResponse { item: Some(item) }).await
    }

    fn note(&mut self, given: &Given) {
        match given {
            Given::Line(_) => self.any = true,
            Given::Note(note) if note.kind() == node::LogNoteKind::NoContainer => {
                // One for each service of a stack, says an honest agent.
                if !self.follow && self.without.len() < SERVICES {
                    self.without.push(note.service.clone());
                }
            }
            Given::Note(_) => {}
        }
    }
}

fn shown(given: Given) -> Item {
    match given {
        Given::Line(line) => {
            let output = if line.stderr { pb::LogOutput::Stderr } else { pb::LogOutput::Stdout };
            Item::Line(pb::LogLine {
                time: line.time,
                service: line.service,
                output: output.into(),
                text: line.text,
                cut: line.cut,
            })
        }
        Given::Note(note) => {
            let (kind, message) = told(note.kind());
            Item::Note(pb::LogNote { message: message.to_owned(), service: note.service, kind: kind.into() })
        }
    }
}

fn told(kind: node::LogNoteKind) -> (pb::LogNoteKind, &'static str) {
    use node::LogNoteKind as Given;
    match kind {
        Given::Unspecified => (pb::LogNoteKind::Unspecified, "something has happened to its log"),
        Given::NoContainer => (pb::LogNoteKind::NoContainer, "it has no container, and so no log"),
        Given::Ended => (pb::LogNoteKind::Ended, "its container has ended"),
        Given::Restarted => (pb::LogNoteKind::Restarted, "its container was started again"),
        Given::Replaced => (
            pb::LogNoteKind::Replaced,
            "its container was replaced, and the log of the one before is gone: its last lines may be missing",
        ),
        Given::LinesLost => (
            pb::LogNoteKind::LinesLost,
            "lines between those that you have seen and the next one are missing: they are gone, or more than you asked for",
        ),
    }
}
