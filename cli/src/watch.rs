//! A watch of one project that survives a broken stream: it opens a new stream after the last event that it has seen.

use std::time::Duration;

use supalove_proto::v1::{
    WatchProjectRequest, WatchProjectResponse, project_service_client::ProjectServiceClient,
    watch_project_response::Message,
};
use tonic::{Code, Status, Streaming};

use crate::{client::Client, error::Error};

/// Silence after which a stream counts as dead: three times the API's keep-alive interval of 15 s.
const SILENCE: Duration = Duration::from_secs(45);
/// Pause before reopening a broken stream.
const PAUSE: Duration = Duration::from_millis(500);

/// A watch.
pub struct Watch<'a> {
    client: &'a Client,
    request: WatchProjectRequest,
    stream: Option<Streaming<WatchProjectResponse>>,
}

impl<'a> Watch<'a> {
    /// Watches a project: first its state, then the events after `after_seq` (`None` = only new ones).
    pub fn new(client: &'a Client, project_ref: &str, after_seq: Option<u64>) -> Self {
        let request = WatchProjectRequest { project_ref: project_ref.to_owned(), after_seq };
        Self { client, request, stream: None }
    }

    /// Returns the next message; skips keep-alives.
    pub async fn next(&mut self) -> Result<WatchProjectResponse, Error> {
        loop {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                None => self.stream.insert(open(self.client, &self.request).await?),
            };
            match tokio::time::timeout(SILENCE, stream.message()).await {
                Ok(Ok(Some(answer))) => match &answer.message {
                    Some(Message::KeepAlive(_)) | None => {}
                    Some(Message::Snapshot(_)) => return Ok(answer),
                    Some(Message::Event(event)) => {
                        self.request.after_seq = Some(event.seq);
                        return Ok(answer);
                    }
                },
                Ok(Err(status)) if !is_interruption(&status) => return Err(status.into()),
                // Ended, broken or silent: continue in a new stream.
                _ => {
                    self.stream = None;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn open(
    client: &Client,
    request: &WatchProjectRequest,
) -> Result<Streaming<WatchProjectResponse>, Error> {
    client
        .open(request.clone(), |channel, request| async move {
            ProjectServiceClient::new(channel).watch_project(request).await
        })
        .await
}

/// True if the stream broke but the project may still exist.
fn is_interruption(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Aborted
            | Code::Unknown
            | Code::Internal
            | Code::Unauthenticated
    )
}
