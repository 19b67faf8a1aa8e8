//! The images that the host lacks: a stream of them on the control session, and the controller's answers on the bulk connection.

use supalove_proto::node::v1::{ProvideImageRequest, ProvideImageResponse, WatchImagesResponse};
use supalove_tasks::Tasks;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::error::{invalid_field, not_found};
use crate::images::{Answer, Needs};

/// Messages kept for a slow reader.
const BUFFER: usize = 4;

/// A stream of needs.
pub type NeedStream = ReceiverStream<Result<WatchImagesResponse, Status>>;

/// Streams needs until the reader leaves.
pub fn watch(tasks: &Tasks, needs: &Needs) -> NeedStream {
    let (out, reader) = mpsc::channel(BUFFER);
    let mut watching = needs.watch();
    tasks.connection_until("images that the host lacks", |stop| async move {
        loop {
            let new = tokio::select! {
                new = watching.next() => new,
                () = out.closed() => return,
                () = stop.cancelled() => return,
            };
            for need in new {
                if out.send(Ok(need)).await.is_err() {
                    return;
                }
            }
        }
    });
    ReceiverStream::new(reader)
}

/// Gives the controller's answer to whoever needs the image.
pub async fn provide(
    needs: &Needs,
    mut messages: Streaming<ProvideImageRequest>,
) -> Result<ReceiverStream<Result<ProvideImageResponse, Status>>, Status> {
    let first = messages.message().await?.and_then(|message| message.part);
    let Some((number, has)) = Answer::first(first) else {
        return Err(invalid_field("offer", "offer or absence must be the first message"));
    };
    let (out, reader) = mpsc::channel(BUFFER);
    if !needs.answer(number, Answer { has, messages, out }) {
        return Err(not_found("nobody on this host needs the image any more"));
    }
    Ok(ReceiverStream::new(reader))
}
