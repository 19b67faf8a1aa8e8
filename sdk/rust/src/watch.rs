//! Watches that survive a broken stream: they open a new stream after the last event that they have returned.

use std::{collections::BTreeSet, time::Duration};

use supalove_proto::v1::{
    ProjectState, WatchProjectRequest, WatchProjectResponse, WatchRequest, WatchResponse, WatchSubscription,
    watch_project_response::Message, watch_response::Message as ManyMessage,
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
    limits: Limits,
    removed: bool,
}

impl Watch {
    pub(crate) fn new(client: Client, project_ref: &str, after_seq: Option<u64>) -> Self {
        let request = WatchProjectRequest { project_ref: project_ref.to_owned(), after_seq };
        Self { client, request, stream: None, limits: Limits::default(), removed: false }
    }

    /// Limits the duration of the whole watch; after it the watch returns `DeadlineExceeded`.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limits.end = Some(Instant::now() + limit);
        self
    }

    /// The next snapshot or event; `None` once the project is removed. Keep-alives are not given. Without a resume
    /// point, a stream that breaks before its first event begins anew with the project as it is.
    pub async fn next(&mut self) -> Result<Option<Message>, Error> {
        loop {
            match self.receive().await {
                Ok(Some(answer)) => {
                    self.limits.broken_since = None;
                    if let Some(message) = self.take(answer) {
                        return Ok(Some(message));
                    }
                    continue;
                }
                Ok(None) if self.removed => return Ok(None),
                Err(status) if !self.limits.go_on(&status, self.stream.is_some()) => {
                    return Err(status.into());
                }
                // Ended, broken or silent: go on in a new stream.
                _ => {}
            }
            self.stream = None;
            sleep(PAUSE).await;
        }
    }

    async fn receive(&mut self) -> Result<Option<WatchProjectResponse>, Status> {
        let message = async {
            let stream = if let Some(stream) = &mut self.stream {
                stream
            } else {
                let opened = self.client.projects().watch_project(self.request.clone()).await?;
                self.stream.insert(opened.into_inner())
            };
            stream.message().await
        };
        timeout(self.limits.left(), message).await.unwrap_or_else(|_| Err(silent()))
    }

    fn take(&mut self, answer: WatchProjectResponse) -> Option<Message> {
        match &answer.message {
            Some(Message::Snapshot(project)) => self.removed = project.state() == ProjectState::Removed,
            Some(Message::Event(event)) => self.request.after_seq = Some(event.seq),
            Some(Message::KeepAlive(_)) | None => return None,
        }
        answer.message
    }
}

/// A watch of several objects.
#[derive(Debug)]
pub struct WatchMany {
    client: Client,
    /// As asked for, with the resume points of now.
    subscriptions: Vec<WatchSubscription>,
    /// Indices of those that have not ended.
    going: BTreeSet<usize>,
    /// With the index of each of its subscriptions.
    stream: Option<(Streaming<WatchResponse>, Vec<usize>)>,
    limits: Limits,
}

impl WatchMany {
    pub(crate) fn new(client: Client, subscriptions: Vec<WatchSubscription>) -> Self {
        let going = (0..subscriptions.len()).collect();
        Self { client, subscriptions, going, stream: None, limits: Limits::default() }
    }

    /// Limits the whole watch; at its end the error is `DeadlineExceeded`.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limits.end = Some(Instant::now() + limit);
        self
    }

    /// The next snapshot, event or end of a subscription; `None` once all have ended. Keep-alives are not given.
    pub async fn next(&mut self) -> Result<Option<WatchResponse>, Error> {
        loop {
            match self.receive().await {
                Ok(Some(answer)) => {
                    self.limits.broken_since = None;
                    if let Some(answer) = self.take(answer) {
                        return Ok(Some(answer));
                    }
                    continue;
                }
                Ok(None) if self.going.is_empty() => return Ok(None),
                Err(status) if !self.limits.go_on(&status, self.stream.is_some()) => {
                    return Err(status.into());
                }
                // Ended, broken or silent: go on in a new stream.
                _ => {}
            }
            self.stream = None;
            sleep(PAUSE).await;
        }
    }

    async fn receive(&mut self) -> Result<Option<WatchResponse>, Status> {
        let message = async {
            let (stream, _) = if let Some(stream) = &mut self.stream {
                stream
            } else {
                let indices: Vec<usize> = self.going.iter().copied().collect();
                let subscriptions = indices.iter().map(|index| self.subscriptions[*index].clone()).collect();
                let opened = self.client.watches().watch(WatchRequest { subscriptions }).await?;
                self.stream.insert((opened.into_inner(), indices))
            };
            stream.message().await
        };
        timeout(self.limits.left(), message).await.unwrap_or_else(|_| Err(silent()))
    }

    fn take(&mut self, mut answer: WatchResponse) -> Option<WatchResponse> {
        match &answer.message {
            Some(ManyMessage::KeepAlive(_)) | None => return None,
            Some(_) => {}
        }
        let (_, indices) = self.stream.as_ref()?;
        let index = *indices.get(usize::try_from(answer.subscription).ok()?)?;
        answer.subscription = u32::try_from(index).ok()?;
        self.subscriptions[index].after_seq = Some(answer.resume_seq);
        if matches!(answer.message, Some(ManyMessage::End(_))) {
            self.going.remove(&index);
        }
        Some(answer)
    }
}

/// How long a watch goes on.
#[derive(Debug, Default)]
struct Limits {
    end: Option<Instant>,
    broken_since: Option<Instant>,
}

impl Limits {
    /// For the next message.
    fn left(&self) -> Duration {
        self.end.map_or(SILENCE, |end| end.saturating_duration_since(Instant::now()).min(SILENCE))
    }

    /// True if the stream broke but what is watched may still be there.
    fn go_on(&mut self, status: &Status, opened: bool) -> bool {
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
            Code::Unauthenticated => opened,
            _ => false,
        }
    }
}

fn silent() -> Status {
    Status::deadline_exceeded("the watch heard nothing in time")
}
