//! The log of one service: its past, then what its containers write, whichever they are.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use futures::StreamExt as _;
use supalove_proto::node::v1::LogNoteKind;
use tokio::sync::mpsc;
use tonic::Status;

use super::cursor::Cursor;
use crate::docker::{EngineError, LONGEST_LINE, LogLine, LogRange};
use crate::node::Node;
use crate::service::not_found;
use crate::stack::Redactor;

/// Between two looks for a container that has not come yet; doubled at each look without news.
const LOOK: Duration = Duration::from_millis(500);
/// The longest pause: many may follow a stopped project, and each look is a call of the engine.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// What a reader of one service gets.
#[derive(Debug)]
pub enum Item {
    Line(LogLine),
    Note(LogNoteKind),
    /// The past has been read.
    Past,
    Failed(Status),
}

/// Nobody reads any more.
struct Gone;

/// Why a reading is over.
enum Over {
    Gone,
    Failed(Status),
}

impl From<Gone> for Over {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<EngineError> for Over {
    fn from(error: EngineError) -> Self {
        Self::Failed(error.into())
    }
}

/// Which run of which container.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    container: String,
    started_at: String,
}

/// A service whose log is read.
pub struct ServiceLog {
    pub node: Arc<Node>,
    pub project_ref: String,
    pub service: String,
    pub cursor: Cursor,
    pub out: mpsc::Sender<Item>,
}

impl ServiceLog {
    /// Sends the last lines, and with `follow` what comes after them, until the reader goes or the service is no more.
    pub async fn read(mut self, lines: u32, follow: bool) {
        if let Err(Over::Failed(status)) = self.run(lines, follow).await {
            let _ = self.out.send(Item::Failed(status)).await;
        }
    }

    async fn run(&mut self, lines: u32, follow: bool) -> Result<(), Over> {
        let began = Utc::now();
        let mut run = self.find().await?.map(|(run, _)| run);
        match &run {
            None => self.send(Item::Note(LogNoteKind::NoContainer)).await?,
            Some(_) if lines == 0 => self.cursor.skip_to(began),
            Some(run) => {
                let container = run.container.clone();
                self.copy(
                    &container,
                    LogRange { lines: Some(lines), since: self.cursor.since(), follow: false },
                )
                .await?;
            }
        }
        self.send(Item::Past).await?;
        if !follow {
            return Ok(());
        }
        self.cursor.begin(true);
        let mut told_end = false;
        let mut pause = LOOK;
        loop {
            let found = self.find().await?;
            if let Some((now, running)) = found {
                let before = run.replace(now.clone());
                if before.as_ref() != Some(&now) {
                    pause = LOOK;
                }
                if let Some(kind) = change(before.as_ref(), &now) {
                    if kind == LogNoteKind::Replaced {
                        self.cursor.begin(false);
                    }
                    self.send(Item::Note(kind)).await?;
                    told_end = false;
                }
                if running || !told_end {
                    let range = LogRange { lines: None, since: self.cursor.since(), follow: true };
                    self.copy(&now.container, range).await?;
                    self.cursor.begin(true);
                    let ended = self.find().await?.is_none_or(|(then, running)| then == now && !running);
                    if ended && !told_end {
                        told_end = true;
                        self.send(Item::Note(LogNoteKind::Ended)).await?;
                    }
                }
            }
            tokio::select! {
                () = self.out.closed() => return Err(Over::Gone),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_LOOK);
        }
    }

    /// The service's container, and whether it runs. An error if the project has no such service any more.
    async fn find(&self) -> Result<Option<(Run, bool)>, Over> {
        let record = self.node.supervisor.record(&self.project_ref).await;
        let named =
            record.as_ref().filter(|record| record.removal.is_none()).and_then(|record| record.spec());
        if !named.is_some_and(|spec| spec.services.iter().any(|known| known.name == self.service)) {
            return Err(Over::Failed(not_found(format!("this node has no service {}", self.service))));
        }
        let containers = self.node.engine().project_containers(&self.project_ref).await?;
        let Some(container) = containers.into_iter().find(|one| one.service == self.service) else {
            return Ok(None);
        };
        let inspected = self.node.engine().inspect(&container.id).await?;
        Ok(inspected
            .map(|found| (Run { container: container.id, started_at: found.started_at }, found.running)))
    }

    /// Sends the new lines of a container. A container that goes meanwhile has no more.
    async fn copy(&mut self, container: &str, range: LogRange) -> Result<(), Over> {
        let records = self.node.supervisor.follow_record(&self.project_ref).await;
        // Without it nobody knows what is secret.
        let Some(mut records) = records else {
            return Err(Over::Failed(not_found(format!("this node has no project {}", self.project_ref))));
        };
        let mut redactor = Redactor::from_record(&records.borrow_and_update());
        let mut lines = std::pin::pin!(self.node.engine().log_lines(container, range));
        loop {
            let next = tokio::select! {
                () = self.out.closed() => return Err(Over::Gone),
                next = lines.next() => next,
            };
            let line = match next {
                None => return Ok(()),
                Some(Ok(line)) => line,
                Some(Err(error)) if error.is_not_found() || range.follow => {
                    tracing::debug!(%error, service = self.service, "a log ends with an error");
                    return Ok(());
                }
                Some(Err(error)) => return Err(error.into()),
            };
            // New secrets may restart other services only, and be printed here.
            if records.has_changed().unwrap_or_default() {
                redactor.learn(&records.borrow_and_update());
            }
            if !self.cursor.take(&line) {
                continue;
            }
            if self.cursor.take_lost() {
                self.send(Item::Note(LogNoteKind::LinesLost)).await?;
            }
            self.send(Item::Line(redacted(&redactor, line))).await?;
        }
    }

    async fn send(&self, item: Item) -> Result<(), Gone> {
        self.out.send(item).await.map_err(|_| Gone)
    }
}

/// What has happened between two runs, if the reader is to know.
fn change(before: Option<&Run>, now: &Run) -> Option<LogNoteKind> {
    let before = before?;
    if before.container != now.container {
        return Some(LogNoteKind::Replaced);
    }
    (before.started_at != now.started_at).then_some(LogNoteKind::Restarted)
}

/// What stands for a secret may be longer than it.
fn redacted(redactor: &Redactor, line: LogLine) -> LogLine {
    let mut text = redactor.line(line.text, line.cut);
    let most = text.floor_char_boundary(LONGEST_LINE);
    let cut = line.cut || most < text.len();
    text.truncate(most);
    LogLine { text, cut, ..line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_told_of_another_run_and_of_another_container() {
        let run = |container: &str, started_at: &str| Run {
            container: container.into(),
            started_at: started_at.into(),
        };
        assert_eq!(change(None, &run("a", "1")), None);
        assert_eq!(change(Some(&run("a", "1")), &run("a", "1")), None);
        assert_eq!(change(Some(&run("a", "1")), &run("a", "2")), Some(LogNoteKind::Restarted));
        assert_eq!(change(Some(&run("a", "1")), &run("b", "2")), Some(LogNoteKind::Replaced));
    }
}
