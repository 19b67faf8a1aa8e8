//! Watches that survive a broken stream: they open a new stream after the last event that they have seen.

use std::{collections::BTreeSet, time::Duration};

use supalove_proto::v1::{
    ProjectState, WatchProjectRequest, WatchProjectResponse, WatchRequest, WatchResponse, WatchSubscription,
    project_service_client::ProjectServiceClient, watch_project_response::Message,
    watch_response::Message as ManyMessage, watch_service_client::WatchServiceClient, watch_subscription,
};
use tonic::{Code, Status, Streaming};

use crate::{client::Client, error::Error};

/// Silence after which a stream counts as dead: three times the API's keep-alive interval of 15 s.
const SILENCE: Duration = Duration::from_secs(45);
/// Pause before reopening a broken stream.
const PAUSE: Duration = Duration::from_millis(500);

/// A watch of one project.
pub struct Watch<'a> {
    client: &'a Client,
    request: WatchProjectRequest,
    stream: Option<Streaming<WatchProjectResponse>>,
    removed: bool,
}

impl<'a> Watch<'a> {
    /// Watches a project: first its state, then the events after `after_seq` (`None` = only new ones).
    pub fn new(client: &'a Client, project_ref: &str, after_seq: Option<u64>) -> Self {
        let request = WatchProjectRequest { project_ref: project_ref.to_owned(), after_seq };
        Self { client, request, stream: None, removed: false }
    }

    /// Returns the next message, or `None` after the project's removal; skips keep-alives.
    pub async fn next(&mut self) -> Result<Option<WatchProjectResponse>, Error> {
        loop {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                None => self.stream.insert(open_one(self.client, &self.request).await?),
            };
            match receive(stream).await? {
                Received::Message(answer) => match &answer.message {
                    Some(Message::KeepAlive(_)) | None => {}
                    Some(Message::Snapshot(project)) => {
                        self.removed = project.state() == ProjectState::Removed;
                        return Ok(Some(answer));
                    }
                    Some(Message::Event(event)) => {
                        self.request.after_seq = Some(event.seq);
                        return Ok(Some(answer));
                    }
                },
                Received::End if self.removed => return Ok(None),
                Received::End | Received::Broken => {
                    self.stream = None;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// A watch of several projects, or of an organization, in one call.
pub struct WatchMany<'a> {
    client: &'a Client,
    /// One per object, with the resume points of now.
    subscriptions: Vec<WatchSubscription>,
    /// Indices of those that have not ended.
    going: BTreeSet<usize>,
    /// With the index of each of its subscriptions.
    stream: Option<(Streaming<WatchResponse>, Vec<usize>)>,
}

impl<'a> WatchMany<'a> {
    /// Watches projects: their states first, then the events after `after_seq` (`None` = only new ones).
    pub fn new(client: &'a Client, project_refs: &[String], after_seq: Option<u64>) -> Self {
        let subscription = |project_ref: &String| WatchSubscription {
            stream: Some(watch_subscription::Stream::ProjectRef(project_ref.clone())),
            after_seq,
        };
        Self::on(client, project_refs.iter().map(subscription).collect())
    }

    /// Watches an organization.
    pub fn of_organization(client: &'a Client, slug: &str, after_seq: Option<u64>) -> Self {
        let stream = Some(watch_subscription::Stream::Organization(slug.to_owned()));
        Self::on(client, vec![WatchSubscription { stream, after_seq }])
    }

    fn on(client: &'a Client, subscriptions: Vec<WatchSubscription>) -> Self {
        Self { client, going: (0..subscriptions.len()).collect(), subscriptions, stream: None }
    }

    /// Returns the next message, whose `subscription` is the index of its project, or `None` after the removal of all
    /// projects; skips keep-alives.
    pub async fn next(&mut self) -> Result<Option<WatchResponse>, Error> {
        loop {
            let (stream, indices) = if let Some(stream) = &mut self.stream {
                stream
            } else {
                let indices: Vec<usize> = self.going.iter().copied().collect();
                let subscriptions = indices.iter().map(|index| self.subscriptions[*index].clone());
                let stream = open_many(self.client, subscriptions.collect()).await?;
                self.stream.insert((stream, indices))
            };
            match receive(stream).await? {
                Received::Message(answer) if is_keep_alive(&answer) => {}
                Received::Message(mut answer) => {
                    let index = usize::try_from(answer.subscription).ok().and_then(|at| indices.get(at));
                    let index = *index
                        .ok_or_else(|| Error::Answer("a subscription that was not asked for".into()))?;
                    answer.subscription = u32::try_from(index).unwrap_or(u32::MAX);
                    self.subscriptions[index].after_seq = Some(answer.resume_seq);
                    if matches!(answer.message, Some(ManyMessage::End(_))) {
                        self.going.remove(&index);
                    }
                    return Ok(Some(answer));
                }
                Received::End if self.going.is_empty() => return Ok(None),
                Received::End | Received::Broken => {
                    self.stream = None;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

fn is_keep_alive(answer: &WatchResponse) -> bool {
    matches!(answer.message, Some(ManyMessage::KeepAlive(_)) | None)
}

/// What comes of a stream.
pub enum Received<T> {
    Message(T),
    /// The server ended it.
    End,
    /// It broke off or is silent; another one may go on.
    Broken,
}

/// Waits for the next message of a stream that has keep-alives.
pub async fn receive<T>(stream: &mut Streaming<T>) -> Result<Received<T>, Error> {
    match tokio::time::timeout(SILENCE, stream.message()).await {
        Ok(Ok(Some(answer))) => Ok(Received::Message(answer)),
        Ok(Ok(None)) => Ok(Received::End),
        Ok(Err(status)) if !is_interruption(&status) => Err(status.into()),
        Ok(Err(_)) | Err(_) => Ok(Received::Broken),
    }
}

async fn open_one(
    client: &Client,
    request: &WatchProjectRequest,
) -> Result<Streaming<WatchProjectResponse>, Error> {
    client
        .open(request.clone(), |channel, request| async move {
            ProjectServiceClient::new(channel).watch_project(request).await
        })
        .await
}

async fn open_many(
    client: &Client,
    subscriptions: Vec<WatchSubscription>,
) -> Result<Streaming<WatchResponse>, Error> {
    client
        .open(WatchRequest { subscriptions }, |channel, request| async move {
            WatchServiceClient::new(channel).watch(request).await
        })
        .await
}

/// True if the stream broke but what it is about may still exist.
pub fn is_interruption(status: &Status) -> bool {
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
