//! A watch that survives a broken stream: it opens a new stream after the last event that it has returned.

use std::time::Duration;

use supalove_proto::v1::{
    ProjectState, WatchProjectRequest, WatchProjectResponse, watch_project_response::Message,
};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status, Streaming};

use crate::{client::Client, error::Error};

/// Silence after which a stream counts as dead: three times the server's keep-alive interval of 15 s.
const SILENCE: Duration = Duration::from_secs(45);
/// Pause before reopening a broken stream.
const PAUSE: Duration = Duration::from_millis(500);
/// How long the watch retries from the first failure on. A message resets it.
const PATIENCE: Duration = Duration::from_mins(1);

/// A watch of one project.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    request: WatchProjectRequest,
    stream: Option<Streaming<WatchProjectResponse>>,
    end: Option<Instant>,
    broken_since: Option<Instant>,
    removed: bool,
}

impl Watch {
    pub(crate) fn new(client: Client, project_ref: &str, after_seq: Option<u64>) -> Self {
        let request = WatchProjectRequest { project_ref: project_ref.to_owned(), after_seq };
        Self { client, request, stream: None, end: None, broken_since: None, removed: false }
    }

    /// Limits the duration of the whole watch; after it the watch returns `DeadlineExceeded`.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.end = Some(Instant::now() + limit);
        self
    }

    /// The next snapshot or event; `None` once the project is removed. Keep-alives are not given. Without a resume
    /// point, a stream that breaks before its first event begins anew with the project as it is.
    pub async fn next(&mut self) -> Result<Option<Message>, Error> {
        loop {
            match self.receive().await {
                Ok(Some(answer)) => {
                    self.broken_since = None;
                    if let Some(message) = self.take(answer) {
                        return Ok(Some(message));
                    }
                    continue;
                }
                Ok(None) if self.removed => return Ok(None),
                Err(status) if !self.goes_on(&status) => return Err(status.into()),
                // Ended, broken or silent: go on in a new stream.
                _ => {}
            }
            self.stream = None;
            sleep(PAUSE).await;
        }
    }

    async fn receive(&mut self) -> Result<Option<WatchProjectResponse>, Status> {
        let left = self.end.map_or(SILENCE, |end| end.saturating_duration_since(Instant::now()).min(SILENCE));
        let message = async {
            let stream = if let Some(stream) = &mut self.stream {
                stream
            } else {
                let opened = self.client.projects().watch_project(self.request.clone()).await?;
                self.stream.insert(opened.into_inner())
            };
            stream.message().await
        };
        timeout(left, message)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("the watch heard nothing in time")))
    }

    fn take(&mut self, answer: WatchProjectResponse) -> Option<Message> {
        match &answer.message {
            Some(Message::Snapshot(project)) => self.removed = project.state() == ProjectState::Removed,
            Some(Message::Event(event)) => self.request.after_seq = Some(event.seq),
            Some(Message::KeepAlive(_)) | None => return None,
        }
        answer.message
    }

    /// True if the stream broke but the project may still be there.
    fn goes_on(&mut self, status: &Status) -> bool {
        let now = Instant::now();
        let broken_since = *self.broken_since.get_or_insert(now);
        if self.end.is_some_and(|end| now >= end) || now - broken_since > PATIENCE {
            return false;
        }
        match status.code() {
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Aborted
            | Code::Unknown
            | Code::Internal => true,
            // The token ended under an open stream; opening the next one trades it.
            Code::Unauthenticated => self.stream.is_some(),
            _ => false,
        }
    }
}
