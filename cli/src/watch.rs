//! A watch of one project that survives a broken stream: it opens the next one after the last event it has seen.

use std::time::Duration;

use supalove_proto::v1::{
    WatchProjectRequest, WatchProjectResponse, project_service_client::ProjectServiceClient,
    watch_project_response::Message,
};
use tonic::{Code, Status, Streaming};

use crate::{client::Client, error::Error};

/// The API sends something every 15 s; a stream silent for three times that is dead.
const SILENCE: Duration = Duration::from_secs(45);
/// Pause before a broken stream is opened again.
const PAUSE: Duration = Duration::from_millis(500);

/// A watch.
pub struct Watch<'a> {
    client: &'a Client,
    request: WatchProjectRequest,
    stream: Option<Streaming<WatchProjectResponse>>,
}

impl<'a> Watch<'a> {
    /// Watches a project: its state first, then the events after `after_seq` (`None` = only new ones).
    pub fn new(client: &'a Client, project_ref: &str, after_seq: Option<u64>) -> Self {
        let request = WatchProjectRequest { project_ref: project_ref.to_owned(), after_seq };
        Self { client, request, stream: None }
    }

    /// The next message; keep-alives are not shown.
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
                // Ended, broken or silent: go on in a new stream.
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

/// True if the stream broke but the project may still be there.
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
