//! WatchProject: the project as it is, then its events; resumable by number, with keep-alives.

use futures::Stream;
use supalove_proto::v1::{KeepAlive, WatchProjectResponse, watch_project_response::Message};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    ProjectKey,
    store::{events, projects},
    types::ProjectState,
};
use supalove_core::{
    Core,
    access::Call,
    error::{Error, Result},
    hints::Hint,
    ids::ProjectRef,
};

/// Messages kept for a slow reader; then the watch waits for it.
const BUFFER: usize = 64;
const PAGE: i64 = 500;

/// The controller stops; another replica, or the next run, goes on.
fn stopping() -> Error {
    Error::Unavailable {
        message: "the controller is stopping; watch again from the last seq".to_owned(),
        retry_after: std::time::Duration::from_secs(1),
    }
}

/// Streams of projects. Cheap to clone.
#[derive(Clone)]
pub struct Watch {
    core: Core,
}

impl Watch {
    /// On the control database.
    pub fn new(core: &Core) -> Self {
        Self { core: core.clone() }
    }

    /// The stream. It ends when the reader goes, when the project is removed, or with an error.
    pub fn project(
        &self,
        call: Call,
        project: ProjectRef,
        after: Option<u64>,
    ) -> impl Stream<Item = Result<WatchProjectResponse, Status>> + use<> {
        let (sender, receiver) = mpsc::channel(BUFFER);
        let watch = self.clone();
        self.core.tasks.connection_until("watch", |stop| async move {
            if let Err(error) = watch.feed(&call, &project, after, &sender, &stop).await {
                let _ = sender.send(Err(error.into())).await;
            }
        });
        ReceiverStream::new(receiver)
    }

    async fn feed(
        &self,
        call: &Call,
        project: &ProjectRef,
        after: Option<u64>,
        out: &mpsc::Sender<Result<WatchProjectResponse, Status>>,
        stop: &CancellationToken,
    ) -> Result<()> {
        let mut changed = self.core.hints.listen(Hint::Project(project.clone()));
        let mut now = projects::get(&self.core.db, project).await?;
        let mut seq = after.map_or(now.event_seq, |seq| i64::try_from(seq).unwrap_or(i64::MAX));
        let mut shown = None;
        let mut last_sent = Instant::now();
        let mut checked = Instant::now();
        loop {
            let mut messages = Vec::new();
            if shown != Some(now.revision) {
                shown = Some(now.revision);
                messages.push(Message::Snapshot(now.clone().into()));
            }
            for event in events::after(&self.core.db, project, seq, PAGE).await? {
                seq = event.seq;
                messages.push(Message::Event(event.into()));
            }
            if messages.is_empty() && last_sent.elapsed() >= self.core.times.keep_alive {
                messages.push(Message::KeepAlive(KeepAlive {}));
            }
            for message in messages {
                last_sent = Instant::now();
                if out.send(Ok(WatchProjectResponse { message: Some(message) })).await.is_err() {
                    return Ok(());
                }
            }
            if now.state == ProjectState::Removed && seq >= now.event_seq {
                return Ok(());
            }
            if checked.elapsed() >= self.core.times.keep_alive {
                checked = Instant::now();
                self.core.access.still_allow::<ProjectKey>(call, project.as_str()).await?;
            }
            tokio::select! {
                () = stop.cancelled() => return Err(stopping()),
                () = out.closed() => return Ok(()),
                _ = tokio::time::timeout(self.core.times.hinted_poll, changed.woken()) => {}
            }
            now = projects::get(&self.core.db, project).await?;
        }
    }
}
